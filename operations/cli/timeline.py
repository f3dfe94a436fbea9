"""An id of ours, or a PSP's reference → all that each store and the PSP say of that payment, in the order of time."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from operations.auditor.engine.stores import Stores
from operations.cli.moment import Moment, in_order, letters
from operations.cli.timeline_asked import asked
from operations.cli.timeline_calls import at_psps, behind, calls
from operations.cli.timeline_settled import SettledPart, settled
from operations.cli.timeline_settled import moments as settlings
from psp.registry import make_psps
from schemas.money import Money
from topics.settings import Settings

NEAR = 5
RECENT = 5000  # ids among which near ones are looked for


@dataclass(frozen=True, slots=True)
class Timeline:
    checkout_id: str
    order_ids: tuple[str, ...]
    moments: tuple[Moment, ...]
    settled: tuple[SettledPart, ...] = ()
    trace: str | None = None  # the id of its W3C trace; None of a payment that payments has not taken


class UnknownId(Exception):
    """No store has this id; `near` are similar ids."""

    def __init__(self, given: str, near: Sequence[str]) -> None:
        super().__init__(
            f"no checkout, payment order, refund, dispute, pay-out, call or PSP's reference is called {given}"
        )
        self.near = tuple(near)


def timeline(settings: Settings, given: str) -> Timeline:
    """Errors: UnknownId; psycopg.OperationalError while a store is away."""
    with Stores(settings) as stores:
        checkout_id, order_ids = _resolve(stores, given)
        moments = [
            *_doors(stores, checkout_id),
            *_payments(stores, checkout_id, order_ids),
            *asked(stores, order_ids),
            *_risk(stores, checkout_id),
            *_executor(stores, order_ids),
            *behind(stores, order_ids),
            *calls(stores, order_ids),
            *_wallet(stores, order_ids),
            *_ledger(stores, order_ids),
            *letters(stores, [checkout_id, *order_ids]),
            *at_psps(stores, make_psps(settings.psps), order_ids),
        ]
        parts = settled(settings, stores, order_ids)
        traces = stores.rows("payments", "SELECT trace FROM trace_view WHERE checkout_id = %s", [checkout_id])
    trace = traces[0][0] if traces else None
    return Timeline(checkout_id, tuple(order_ids), tuple(in_order([*moments, *settlings(parts)])), tuple(parts), trace)


def _resolve(stores: Stores, given: str) -> tuple[str, list[str]]:
    """The checkout, and those of its orders that were asked for: all of them, or the one.

    The door claims an id for one owner while another's, by Kafka, is on its way: whose it is, payments say.
    """
    for room, statement in (
        ("payments", "SELECT checkout_id, payment_order_id FROM order_view WHERE checkout_id = %s ORDER BY position"),
        ("payments", "SELECT checkout_id, payment_order_id FROM order_view WHERE payment_order_id = %s"),
        ("doors", "SELECT checkout_id, payment_order_id FROM order_id_view WHERE checkout_id = %s ORDER BY 2"),
        ("doors", "SELECT checkout_id, payment_order_id FROM order_id_view WHERE payment_order_id = %s"),
        ("executor", "SELECT checkout_id, payment_order_id FROM attempt_view WHERE payment_order_id = %s"),
        ("executor", "SELECT checkout_id, payment_order_id FROM attempt_view WHERE call_id = %s"),
        ("payments", "SELECT DISTINCT checkout_id, payment_order_id FROM operation_view WHERE operation_id = %s"),
        ("payments", "SELECT DISTINCT checkout_id, payment_order_id FROM dispute_view WHERE dispute_id = %s"),
        ("payments", "SELECT checkout_id, payment_order_id FROM order_view WHERE psp_reference = %s"),
        ("executor", "SELECT checkout_id, payment_order_id FROM dispute_view WHERE dispute_reference = %s LIMIT 1"),
    ):
        rows = stores.rows(room, statement, [given])
        if rows:
            checkout_id, order_ids = rows[0][0], [row[1] for row in rows]
            return checkout_id, _without_others(stores, checkout_id, order_ids)
    if stores.rows("payments", "SELECT 1 FROM refusal_view WHERE checkout_id = %s LIMIT 1", [given]):
        return given, []
    raise UnknownId(given, _near(stores, given))


def _without_others(stores: Stores, checkout_id: str, order_ids: list[str]) -> list[str]:
    """Without orders that are another checkout's, for which this one was refused: their money is not its story."""
    others = stores.rows(
        "payments",
        "SELECT payment_order_id FROM order_view WHERE payment_order_id = ANY(%s) AND checkout_id <> %s",
        [order_ids, checkout_id],
    )
    return [order_id for order_id in order_ids if (order_id,) not in others]


def _near(stores: Stores, given: str) -> list[str]:
    """Of the newest ids those that look most like it."""
    rows = stores.rows(
        "payments",
        "SELECT checkout_id, payment_order_id FROM order_view ORDER BY received_at DESC LIMIT %s",
        [RECENT],
    )
    known = list(dict.fromkeys(id_ for row in rows for id_ in row))
    return difflib.get_close_matches(given, known, NEAR, cutoff=0.5)


# ── each store ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _doors(stores: Stores, checkout_id: str) -> Iterator[Moment]:
    for owner, at in stores.rows(
        "doors", "SELECT owner, accepted_at FROM request_view WHERE checkout_id = %s", [checkout_id]
    ):
        yield Moment(at, "doors", "request accepted", checkout_id, f"from {owner}")


def _payments(stores: Stores, checkout_id: str, order_ids: Sequence[str]) -> Iterator[Moment]:
    for order_id, before, after, detail, at in stores.rows(
        "payments",
        "SELECT payment_order_id, from_status, to_status, detail, at FROM history_view WHERE checkout_id = %s"
        " AND (payment_order_id IS NULL OR payment_order_id = ANY(%s)) ORDER BY id",
        [checkout_id, list(order_ids)],
    ):
        step = f"{before} → {after}" if before else after
        yield Moment(at, "payments", step, order_id or checkout_id, detail)
    for code, detail, at in stores.rows(
        "payments", "SELECT code, detail, at FROM refusal_view WHERE checkout_id = %s", [checkout_id]
    ):
        yield Moment(at, "payments", f"refused: {code}", checkout_id, detail)
    for status, at in stores.rows(
        "payments", "SELECT status, done_at FROM payment_view WHERE checkout_id = %s AND is_payment_done", [checkout_id]
    ):
        yield Moment(at, "payments", "done", checkout_id, status)


def _risk(stores: Stores, checkout_id: str) -> Iterator[Moment]:
    for outcome, rule, score, at in stores.rows(
        "risk", "SELECT outcome, rule, score, decided_at FROM screening_view WHERE checkout_id = %s", [checkout_id]
    ):
        yield Moment(at, "risk", outcome, checkout_id, f"rule {rule}, score {score}")
    for decision, actor, counts, at in stores.rows(
        "risk",
        "SELECT decision, actor, counts, reviewed_at FROM review_view WHERE about = 'payment' AND subject = %s",
        [checkout_id],
    ):
        late = "" if counts else ", after another review: no effect"
        yield Moment(at, "risk", f"reviewed: {decision}", checkout_id, f"by {actor}{late}")


def _executor(stores: Stores, order_ids: Sequence[str]) -> Iterator[Moment]:
    charged = _charged(stores, order_ids)
    for order_id, state, psp, scheme, reference, code, gross, currency, created, changed in stores.rows(
        "executor",
        "SELECT payment_order_id, state, psp, scheme, psp_reference, code, gross_minor, currency, created_at, changed_at"
        " FROM attempt_view WHERE payment_order_id = ANY(%s)",
        [list(order_ids)],
    ):
        yield Moment(created, "executor", "attempted", order_id, f"{Money(gross, currency)} at {psp}")
        if state != "calling":
            told = ", ".join(part for part in (scheme, reference, code) if part)
            yield Moment(charged.get((order_id, state), changed), "executor", state, order_id, told)


def _charged(stores: Stores, order_ids: Sequence[str]) -> dict[tuple[str, str], datetime]:
    """(order, state of its charge) → when it came into that state: the attempt changes with all that happens behind it. One
    that is captured by hand is captured, or voided, with the last capture or void.
    """
    by_hand = stores.rows(
        "executor",
        "SELECT payment_order_id, max(changed_at) FROM operation_view WHERE payment_order_id = ANY(%s) AND seq > 0"
        " AND kind IN ('capture', 'void') AND state = 'done' GROUP BY payment_order_id",
        [list(order_ids)],
    )
    rows = stores.rows(
        "payments",
        "SELECT payment_order_id, 'captured', o.captured_at FROM order_view o JOIN order_amount_view a USING (payment_order_id)"
        " WHERE payment_order_id = ANY(%(orders)s) AND a.capture = 'automatic' AND o.captured_at IS NOT NULL"
        " UNION ALL SELECT payment_order_id, 'authorised', authorised_at FROM authorisation_view"
        " WHERE payment_order_id = ANY(%(orders)s)",
        {"orders": list(order_ids)},
    )
    ended = {(order_id, state): at for order_id, at in by_hand for state in ("captured", "voided")}
    return ended | {(order_id, state): at for order_id, state, at in rows}


def _wallet(stores: Stores, order_ids: Sequence[str]) -> Iterator[Moment]:
    for order_id, kind, seller, amount, currency, after, at in stores.rows(
        "wallet",
        "SELECT payment_order_id, kind, seller_account, amount, currency, available_after, at FROM movement_view"
        " WHERE payment_order_id = ANY(%s) AND checkout_id IS NOT NULL",
        [list(order_ids)],
    ):
        verb, towards = ("debited", "from") if amount < 0 else ("credited", "to")
        detail = f"{Money(abs(amount), currency)} {towards} {seller}, {Money(after, currency)} available after it"
        yield Moment(at, "wallet", f"{verb} ({kind})", order_id, detail)


def _ledger(stores: Stores, order_ids: Sequence[str]) -> Iterator[Moment]:
    for order_id, template, account, direction, amount, currency, at in stores.rows(
        "ledger",
        "SELECT payment_order_id, template, account, direction, amount, currency, posted_at FROM entry_view"
        " WHERE payment_order_id = ANY(%s) AND checkout_id IS NOT NULL ORDER BY journal_id, line",
        [list(order_ids)],
    ):
        detail = f"{'Dr' if direction == 'debit' else 'Cr'} {account} {Money(amount, currency)}"
        yield Moment(at, "ledger", f"posted ({template})", order_id, detail)
