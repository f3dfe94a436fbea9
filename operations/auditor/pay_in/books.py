"""The stores, each through its read-only role → what each says of every checkout and order.

Read a chunk at a time, each in a snapshot of its own: a long one would slow the rooms down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from producers.source import claim_of
from psp.port import ListedCharge
from topics.catalog import ROOMS
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.postgres import connect_to_read
from topics.settings import Settings

CHUNK = 20_000
_FIRST_UUID = "00000000-0000-0000-0000-000000000000"
T = TypeVar("T")


class Request(NamedTuple):
    """What the HTTP door accepted. `claim` is the id by which payments knows it."""

    owner: str
    claim: str


class Payment(NamedTuple):
    owner: str
    status: str
    event_id: str
    received_ms: int


class Order(NamedTuple):
    checkout_id: str
    position: int
    seller: str
    currency: str
    gross: int
    fee: int
    net: int
    status: str
    detail: str
    wallet_updated: bool
    ledger_updated: bool
    psp: str | None
    psp_reference: str | None


class Attempt(NamedTuple):
    state: str
    psp: str
    call_id: str
    psp_reference: str | None
    gross: int
    currency: str
    cause_event_id: str
    outcome_event_id: str | None


class Call(NamedTuple):
    order_id: str
    state: str
    outcome: str | None


class Movement(NamedTuple):
    cause: str
    seller: str
    currency: str
    amount: int


class Journal(NamedTuple):
    """A journal with the sums of its lines. `lines` is how many it says it has, `found` how many there are."""

    cause: str
    currency: str
    currencies: int
    lines: int
    found: int
    debits: int
    credits: int
    receivable: str | None
    gross: int
    payable: str | None
    net: int
    fee: int


class Charge(NamedTuple):
    """A succeeded charge in a PSP's listing."""

    psp: str
    psp_reference: str
    order_id: str
    amount: int
    currency: str


@dataclass(slots=True)
class Books:
    """Everything known, by checkout, order or call id. With `of` only what these keys are about."""

    requests: dict[str, Request] = field(default_factory=dict)  # by checkout
    payments: dict[str, Payment] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)  # ids of the requests that payments refused
    screenings: dict[str, str] = field(default_factory=dict)  # checkout → outcome
    orders: dict[str, Order] = field(default_factory=dict)
    placed_by: dict[str, str] = field(default_factory=dict)  # order → id of the event that had it placed
    attempts: dict[str, Attempt] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)  # call id → call
    movements: dict[str, list[Movement]] = field(default_factory=dict)
    journals: dict[str, list[Journal]] = field(default_factory=dict)
    charges: dict[str, list[Charge]] = field(default_factory=dict)  # reference → charges

    def add_charges(self, psp: str, listed: Sequence[ListedCharge]) -> None:
        for charge in listed:
            if charge.status == "succeeded":
                amount = charge.amount
                row = Charge(psp, charge.psp_reference, charge.payment_order_id, amount.minor, amount.currency)
                self.charges.setdefault(charge.reference, []).append(row)


class Stores:
    """A connection to each room's views, as the role that may do nothing else. Each statement is its own snapshot."""

    def __init__(self, settings: Settings) -> None:
        self._exits = ExitStack()
        self._connections: dict[str, Connection] = {}
        try:
            for room in ROOMS:
                self._connections[room.name] = self._exits.enter_context(_connect(settings, room.name))
        except BaseException:
            self._exits.close()
            raise

    def __enter__(self) -> Stores:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def rows(self, room: str, statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        return self._connections[room].execute(statement, values, binary=True).fetchall()

    def connection(self, room: str) -> Connection:
        return self._connections[room]

    def one(self, room: str, statement: str, values: Any = ()) -> tuple[Any, ...]:
        return self.rows(room, statement, values)[0]


def _connect(settings: Settings, room: str) -> Connection:
    dsn = settings.dsn(f"tally_{room}_read")
    return connect_to_read(dsn, name="tally verify", schema=room, options="-c jit=off", autocommit=True)


# ── everything, in chunks ────────────────────────────────────────────────────────────────────────────────────────────


def read_all(stores: Stores, books: Books) -> None:
    """Effects before causes, so that what is read later has had time to be there."""
    books.journals = _grouped(journals(stores))
    books.movements = _grouped(_movements(stores))
    books.orders = {row[0]: Order(*row[1:]) for row in _scan(stores, "payments", _ORDERS, "payment_order_id", "")}
    books.attempts = {row[0]: Attempt(*row[1:]) for row in _scan(stores, "executor", _ATTEMPTS, "payment_order_id", "")}
    books.calls = {row[0]: Call(*row[1:]) for row in _scan(stores, "executor", _CALLS, "call_id", "")}
    books.placed_by = dict(_placed(stores))
    books.screenings = dict(_scan(stores, "risk", "SELECT checkout_id, outcome FROM screening_view", "checkout_id", ""))
    books.payments = {row[0]: Payment(*row[1:]) for row in _scan(stores, "payments", _PAYMENTS, "checkout_id", "")}
    books.refused = {row[0] for row in stores.rows("payments", "SELECT event_id::text FROM refusal_view")}
    books.requests = {row[0]: _request(*row[1:]) for row in _scan(stores, "doors", _REQUESTS, "checkout_id", "")}


_ORDERS = """
SELECT payment_order_id, checkout_id, position, seller_account, currency, gross, fee, net, payment_order_status, detail,
    wallet_updated, ledger_updated, psp, psp_reference FROM order_view"""
_ATTEMPTS = """
SELECT payment_order_id, state, psp, call_id, psp_reference, gross_minor, currency, cause_event_id, outcome_event_id
FROM attempt_view"""
_CALLS = "SELECT call_id, payment_order_id, state, outcome FROM call_view"
_REQUESTS = "SELECT checkout_id, owner, event_id::text FROM request_view"
_PAYMENTS = """
SELECT checkout_id, owner, status, event_id::text, (extract(epoch FROM received_at) * 1000)::bigint FROM payment_view"""
_MOVEMENTS = """
SELECT payment_order_id, cause_event_id::text, seller_account, currency, amount, movement_id::text FROM movement_view"""
_HISTORY = "SELECT payment_order_id, event_id::text, checkout_id, id FROM history_view"
_PLACED = "payment_order_id IS NOT NULL AND from_status = 'NOT_STARTED' AND to_status = 'EXECUTING'"
_JOURNALS = """
SELECT e.payment_order_id, e.cause_event_id::text, min(e.currency), count(DISTINCT e.currency)::int,
    (SELECT j.lines FROM journal_view j WHERE j.journal_id = e.journal_id), count(*)::int,
    coalesce(sum(amount) FILTER (WHERE direction = 'debit'), 0)::bigint,
    coalesce(sum(amount) FILTER (WHERE direction = 'credit'), 0)::bigint,
    min(account) FILTER (WHERE account LIKE 'psp:%%'),
    coalesce(sum(amount) FILTER (WHERE account LIKE 'psp:%%' AND direction = 'debit'), 0)::bigint,
    min(account) FILTER (WHERE account LIKE 'seller:%%'),
    coalesce(sum(amount) FILTER (WHERE account LIKE 'seller:%%' AND direction = 'credit'), 0)::bigint,
    coalesce(sum(amount) FILTER (WHERE account = 'platform:fees' AND direction = 'credit'), 0)::bigint
FROM entry_view e WHERE {where} GROUP BY e.journal_id, e.payment_order_id, e.cause_event_id"""


def _request(owner: str, event_id: str) -> Request:
    return Request(owner, claim_of(event_id))


def _scan(stores: Stores, room: str, select: str, key: str, after: str, place: int = 0) -> Iterator[tuple[Any, ...]]:
    """A view in the order of its key, a chunk after the other. `place` is where the key stands in a row."""
    statement = f"{select} WHERE {key} > %s ORDER BY {key} LIMIT {CHUNK}"
    while rows := stores.rows(room, statement, [after]):
        yield from rows
        after = rows[-1][place]


def _movements(stores: Stores) -> Iterator[tuple[str, Movement]]:
    for order_id, cause, seller, currency, amount, _ in _scan(
        stores, "wallet", _MOVEMENTS, "movement_id", _FIRST_UUID, 5
    ):
        yield order_id, Movement(cause, seller, currency, amount)


def journals(stores: Stores) -> Iterator[tuple[str, Journal]]:
    """By ranges of journal ids: the entries of a range are found from its journals."""
    edge = f"SELECT journal_id::text FROM journal_view WHERE journal_id > %s ORDER BY journal_id OFFSET {CHUNK - 1} LIMIT 1"
    after = _FIRST_UUID
    while after:
        found = stores.rows("ledger", edge, [after])
        until = found[0][0] if found else None
        where = "e.journal_id > %s" + (" AND e.journal_id <= %s" if until else "")
        for row in stores.rows("ledger", _JOURNALS.format(where=where), [after, until] if until else [after]):
            yield row[0], Journal(*row[1:])
        after = until or ""


def _placed(stores: Stores) -> Iterator[tuple[str, str]]:
    after: tuple[str, int] = ("", 0)
    statement = f"{_HISTORY} WHERE (checkout_id, id) > (%s, %s) AND {_PLACED} ORDER BY checkout_id, id LIMIT {CHUNK}"
    while rows := stores.rows("payments", statement, after):
        for order_id, event_id, *_ in rows:
            yield order_id, event_id
        after = rows[-1][2:]


def _grouped(pairs: Iterator[tuple[str, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


# ── a few, again ─────────────────────────────────────────────────────────────────────────────────────────────────────


def read_orders(stores: Stores, order_ids: Sequence[str]) -> Books:
    """What the stores say of these orders now."""
    books, wanted = Books(), list(order_ids)

    def rows(room: str, statement: str) -> list[tuple[Any, ...]]:
        return stores.rows(room, f"{statement} WHERE payment_order_id = ANY(%s)", [wanted])

    books.orders = {row[0]: Order(*row[1:]) for row in rows("payments", _ORDERS)}
    found = stores.rows("ledger", _JOURNALS.format(where="e.payment_order_id = ANY(%s)"), [wanted])
    books.journals = _grouped((row[0], Journal(*row[1:])) for row in found)
    books.movements = _grouped((row[0], Movement(*row[1:5])) for row in rows("wallet", _MOVEMENTS))
    books.attempts = {row[0]: Attempt(*row[1:]) for row in rows("executor", _ATTEMPTS)}
    calls = [attempt.call_id for attempt in books.attempts.values()]
    found = stores.rows("executor", f"{_CALLS} WHERE call_id = ANY(%s)", [calls])
    books.calls = {row[0]: Call(*row[1:]) for row in found}
    checkouts = list({order.checkout_id for order in books.orders.values()})
    found = stores.rows("payments", f"{_HISTORY} WHERE checkout_id = ANY(%s) AND {_PLACED}", [checkouts])
    books.placed_by = {row[0]: row[1] for row in found}
    return books


def read_checkouts(stores: Stores, checkout_ids: Sequence[str]) -> Books:
    """What the stores say of these checkouts now."""
    books, wanted = Books(), [list(checkout_ids)]
    mine = "WHERE checkout_id = ANY(%s)"
    books.screenings = dict(stores.rows("risk", f"SELECT checkout_id, outcome FROM screening_view {mine}", wanted))
    books.payments = {row[0]: Payment(*row[1:]) for row in stores.rows("payments", f"{_PAYMENTS} {mine}", wanted)}
    books.refused = {
        row[0] for row in stores.rows("payments", f"SELECT event_id::text FROM refusal_view {mine}", wanted)
    }
    books.requests = {row[0]: _request(*row[1:]) for row in stores.rows("doors", f"{_REQUESTS} {mine}", wanted)}
    return books
