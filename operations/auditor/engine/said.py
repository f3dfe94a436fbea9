"""What rooms said on topics ⇄ what their stores hold: by event id, and for compacted topics by version and amounts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from operations.auditor.engine.records import Bookmark, Reader, event_ids, key_of
from operations.auditor.pay_in.books import Books, Stores
from operations.auditor.pay_in.compare import Finding, Hop, captured_event_id
from schemas import events
from schemas.envelope import derive_id, event_type, header, time_ms_of
from schemas.events import AnyEvent
from schemas.money import Money
from topics import catalog
from topics.catalog import Topic
from topics.runtime.shape.record import headers_of


@dataclass(frozen=True, slots=True)
class Subject:
    """A topic whose events follow from stored effects, one each."""

    check: str
    topic: Topic
    kinds: tuple[type[AnyEvent], ...]


PLACED = Subject("placements_said", catalog.PAYMENT_ORDERS, (events.OrderPlaced,))
OUTCOMES = Subject("outcomes_said", catalog.EXECUTIONS, (events.PaymentCaptured, events.PaymentDeclined))
CREDITS = Subject("movements_said", catalog.WALLET_MOVEMENTS, (events.WalletCredited,))
JOURNALS = Subject("journals_said", catalog.LEDGER_ENTRIES, (events.JournalPosted,))
SUBJECTS = (PLACED, OUTCOMES, CREDITS, JOURNALS)


def stored_ids(subject: Subject, books: Books) -> Iterator[tuple[str, str]]:
    """(event id, order) of everything that the store says must have been said."""
    if subject is PLACED:
        for order_id, cause in books.placed_by.items():
            if order_id in books.orders:
                yield derive_id(cause, "payments", books.orders[order_id].position, time_ms_of(cause)), order_id
    elif subject is OUTCOMES:
        for order_id, attempt in books.attempts.items():
            if attempt.state in ("captured", "declined"):
                yield captured_event_id(attempt), order_id
    else:
        rows: Iterable[tuple[str, list[str]]]
        if subject is CREDITS:
            rows = ((order_id, [m.cause for m in found]) for order_id, found in books.movements.items())
        else:
            rows = ((order_id, [j.cause for j in found]) for order_id, found in books.journals.items())
        for order_id, causes in rows:
            for cause in causes:
                yield derive_id(cause, subject.topic.spoken_by, 0, time_ms_of(cause)), order_id


@dataclass(slots=True)
class Said:
    """The ids on one topic so far."""

    subject: Subject
    keys: dict[str, str] = field(default_factory=dict)  # event id → key
    place: Bookmark = field(init=False)

    def __post_init__(self) -> None:
        self.place = Bookmark(self.subject.topic)

    def read_on(self, reading: Reader) -> None:
        self.keys.update(event_ids(self.place.read_on(reading), self.subject.kinds))

    def compare(self, books: Books, among: Collection[str] | None = None) -> Iterator[Finding]:
        """Stored, and not said; said, and not stored. With `among` only what is said of these orders."""
        stored = dict(stored_ids(self.subject, books))
        topic, check = self.subject.topic, self.subject.check
        if not self.place.trimmed:
            for event_id in stored.keys() - self.keys.keys():
                detail = f"event {event_id} is not on {topic.name}"
                yield Finding(check, stored[event_id], detail, Hop(topic.spoken_by, topic, None))
        for event_id, key in self.keys.items():
            if event_id not in stored and (among is None or key in among):
                yield Finding(check, key, f"{topic.name} says {event_id}, and {topic.spoken_by} knows nothing of it")


# ── payments ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_KIND_OF = {
    event_type(events.PaymentCompleted).encode(): "done",
    event_type(events.PaymentRefused).encode(): "refused",
}


def endings(stores: Stores) -> set[tuple[str, str]]:
    """(how, checkout) of each payment that is done and each request that was refused."""
    done = stores.rows("payments", "SELECT 'done', checkout_id FROM payment_view WHERE is_payment_done")
    return {*done, *stores.rows("payments", "SELECT 'refused', checkout_id FROM refusal_view")}


@dataclass(slots=True)
class Endings:
    """What payments.v1 says of how payments ended, so far."""

    said: set[tuple[str, str]] = field(default_factory=set)
    place: Bookmark = field(default_factory=lambda: Bookmark(catalog.PAYMENTS))

    def read_on(self, reading: Reader) -> None:
        for record in self.place.read_on(reading):
            how = _KIND_OF.get(dict(headers_of(record)).get("ce_type", b""))
            if how:
                self.said.add((how, key_of(record)))


# ── compacted topics ─────────────────────────────────────────────────────────────────────────────────────────────────

BALANCES: tuple[tuple[str, Topic, str, str], ...] = (
    (
        "wallet_balances_said",
        catalog.WALLET_BALANCES,
        "wallet",
        "SELECT seller_account || ':' || currency, version, currency, available, pending, reserved FROM wallet_view"
        " WHERE version > 0",
    ),
    (
        "account_balances_said",
        catalog.ACCOUNT_BALANCES,
        "ledger",
        "SELECT account || ':' || currency, version, currency, debits, credits FROM account_view WHERE version > 0",
    ),
)
_AMOUNTS = {"wallet": ("available", "pending", "reserved"), "ledger": ("debits", "credits")}


@dataclass(slots=True)
class Latest:
    """The highest version of each key on a compacted topic so far."""

    check: str
    topic: Topic
    room: str
    statement: str
    records: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    place: Bookmark = field(init=False)

    def __post_init__(self) -> None:
        self.place = Bookmark(self.topic)

    def read_on(self, reading: Reader) -> None:
        for record in self.place.read_on(reading):
            key = key_of(record)
            revision = header(headers_of(record), "ce_revision") or ""
            version = int(revision) if revision.isdecimal() else 0
            if version >= self.records.get(key, (-1, b""))[0]:
                self.records[key] = (version, record.value() or b"")

    def compare(self, stores: Stores) -> Compared:
        """Read the topic first: the store can only be newer then."""
        rows = stores.rows(self.room, self.statement)
        wrong = dict.fromkeys(self.records.keys() - {row[0] for row in rows}, "on the topic, and not in the store")
        behind = {}
        for key, version, currency, *amounts in rows:
            said, value = self.records.get(key, (0, b""))
            if said < version:
                behind[key] = version
            elif said > version:
                wrong[key] = f"version {said} was said, {version} is stored"
            elif self._told(value) != [Money(amount, currency) for amount in amounts]:
                wrong[key] = f"version {version} does not say what is stored"
        return Compared(len(rows), wrong, behind)

    def said(self, key: str) -> int:
        """The version that was said last; 0 for none."""
        return self.records.get(key, (0, b""))[0]

    def _told(self, value: bytes) -> list[Money] | None:
        try:
            body = orjson.loads(value)
            return [Money.from_wire(body[name]["amount"], body[name]["currency"]) for name in _AMOUNTS[self.room]]
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Compared:
    """`behind`: key → the version that is stored and not said yet."""

    examined: int
    wrong: dict[str, str]
    behind: dict[str, int]
