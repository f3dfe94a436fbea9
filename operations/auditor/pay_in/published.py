"""The pay-in's effects → the events that rooms must have published, and the ends of payments on payments.v1."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from operations.auditor.engine.published import Subject
from operations.auditor.engine.records import Bookmark, Reader, key_of
from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import Stores
from operations.auditor.pay_in.books import Books
from operations.auditor.pay_in.orders import CREDITED, DECIDED, PLACED, POSTED, captured_event_id
from operations.auditor.rows import PAYOUT_KINDS, Journal, Movement
from schemas import events, journals, money_back
from schemas.envelope import derive_id, event_type, time_ms_of
from topics import catalog
from topics.runtime.shape.record import headers_of

SETTLED = ("authorised", *DECIDED)  # states of a charge with an outcome
Ids = Iterator[tuple[str, str]]  # event id, order


def _placements(books: Books) -> Ids:
    for order_id, cause in books.placed_by.items():
        if order_id in books.orders:
            yield derive_id(cause, PLACED.speaker, books.orders[order_id].position, time_ms_of(cause)), order_id


def _outcomes(books: Books) -> Ids:
    for order_id, attempt in books.attempts.items():
        if attempt.state in SETTLED:
            yield captured_event_id(attempt), order_id
    yield from books.outcomes.items()


def _with_more(books: Books) -> Collection[str]:
    """Orders with more events than rows: a row keeps an operation's last outcome alone, and an expiry has no row."""
    return {order_id for order_id, attempt in books.attempts.items() if attempt.behind or attempt.manual}


def _credits(books: Books) -> Ids:
    """What the wallet says of pay-outs is on a topic of its own; corrections have a page of their own."""
    of_orders = {
        id_: [movement for movement in found if movement.kind not in (*PAYOUT_KINDS, "corrected")]
        for id_, found in books.movements.items()
    }
    return _of(CREDITED.speaker, of_orders)


def _journals(books: Books) -> Ids:
    return _of(POSTED.speaker, books.journals)


def _of(speaker: str, effects: Mapping[str, Sequence[Movement | Journal]]) -> Ids:
    for order_id, found in effects.items():
        for effect in found:
            yield derive_id(effect.cause, speaker, 0, time_ms_of(effect.cause)), order_id


OUTCOMES = (
    events.PaymentCaptured,
    events.PaymentDeclined,
    money_back.PaymentAuthorised,
    money_back.PaymentVoided,
    money_back.CaptureReversed,
    money_back.CaptureFailed,
    money_back.VoidFailed,
    money_back.PaymentRefunded,
    money_back.RefundReversed,
    money_back.RefundFailed,
    money_back.DisputeInquiry,
    money_back.ChargebackOpened,
    money_back.ChargebackWon,
    money_back.ChargebackLost,
)

SUBJECTS = (
    Subject("placements_said", (events.OrderPlaced,), _placements),
    Subject("outcomes_said", OUTCOMES, _outcomes, _with_more),
    Subject("movements_said", (events.WalletCredited, money_back.WalletDebited, money_back.FundsAvailable), _credits),
    Subject("journals_said", (journals.JournalPosted,), _journals),
)


# ── how payments ended ───────────────────────────────────────────────────────────────────────────────────────────────

_KIND_OF = {
    event_type(events.PaymentCompleted).encode(): "done",
    event_type(events.PaymentRefused).encode(): "refused",
}


def endings(stores: Stores) -> set[tuple[str, str]]:
    """(status, checkout) of each payment that is done and each request that was refused."""
    done = stores.rows("payments", "SELECT 'done', checkout_id FROM payment_view WHERE is_payment_done")
    return {*done, *stores.rows("payments", "SELECT 'refused', checkout_id FROM refusal_view")}


@dataclass(slots=True)
class Endings:
    """The ends of payments that were read on payments.v1 so far."""

    said: set[tuple[str, str]] = field(default_factory=set)
    place: Bookmark = field(default_factory=lambda: Bookmark(catalog.PAYMENTS))

    def read_on(self, reading: Reader) -> None:
        for record in self.place.read_on(reading):
            how = _KIND_OF.get(dict(headers_of(record)).get("ce_type", b""))
            if how:
                self.said.add((how, key_of(record)))


def check_ended(run: Run) -> Check:
    """Compare the store, which is read first, with the topic: each end in the store was written with its event. There may be
    none, since orders are booked before their payments end. `payments_done` checks that payments end with their orders.
    """
    ended, topic, until = endings(run.stores), Endings(), time.monotonic() + run.patience.latest_s
    topic.read_on(run.reading)
    while not ended <= topic.said and not topic.place.trimmed and time.monotonic() < until:
        time.sleep(run.patience.pauses_s[0])
        topic.read_on(run.reading)
    silent = [] if topic.place.trimmed else sorted(ended - topic.said)
    wrong = [f"{checkout_id}: {how}, and payments.v1 does not say so" for how, checkout_id in silent]
    return judged("payments_said", len(ended), wrong, expected=False, aside=[topic.place.note])
