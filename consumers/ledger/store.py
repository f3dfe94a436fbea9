"""The ledger's tables ⇄ accounts and journals: read before deciding; after it journals are inserted, and balances updated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, get_args

from consumers.ledger import templates
from consumers.ledger.decide import Balance, Books, Posting, Side
from consumers.ledger.templates import Booking, Entries
from schemas.corrections import CorrectionApproved, fault_of
from schemas.envelope import EventId
from schemas.events import PaymentCaptured
from schemas.journals import AccountBalance, CorrectionTemplate, JournalPosted, LedgerEntry, SettlementTemplate
from schemas.money import Money
from topics import catalog
from topics.runtime.shape.consumer import Connection, Cursor, Latest, Versions
from topics.runtime.shape.store import int_array, text_array
from topics.runtime.shape.table import Column, Table


def _account_ids(balances: Sequence[Balance]) -> list[int]:
    return [balance.account_id for balance in balances]


JOURNALS = Table(
    "journals",
    Column("journal_id", "uuid", "journal.journal_id", key=True),
    Column("template", "text", "journal.template"),
    Column("subject_id", "text", "journal.key"),
    Column("part", "text"),
    Column("checkout_id", "text", "journal.checkout_id", null=True),
    Column("cause_event_id", "uuid"),
    Column("posted_at", "timestamptz"),
    Column("account_ids", "int4[]", "balances", write=_account_ids),
)
ENTRIES = Table(
    "entries",
    Column("account_id", "int4", key=True),
    Column("journal_id", "uuid", key=True),
    Column("line", "int2", key=True),
    Column("currency", "text"),
    Column("direction", "text"),
    Column("amount", "int8"),
)


def load(conn: Connection, events: Sequence[Booking], now: datetime) -> Books:
    """Read the journals of the batch's orders and pay-outs, and find the accounts that new journals will move, without locks.

    Both statements are sent before either result is read: one round trip in a batch.
    """
    orders, sides = _orders_and_sides(events)
    if not orders:
        return Books()
    asked = _ask_posted(conn, orders)
    balances = _find(conn, sides, now)
    postings = _posted(conn, asked)
    return Books({balance.side: balance for balance in balances}, {posting.key: posting for posting in postings})


def _orders_and_sides(events: Sequence[Booking]) -> tuple[list[str], set[Side]]:
    """Orders and pay-outs whose journals are read, and what new journals will move. Captures of the same parties move the same
    accounts: entries are made for one of them.
    """
    orders: list[str] = []
    moved: list[Entries] = []
    captured: set[object] = set()
    for event in events:
        if type(event) is PaymentCaptured:
            orders.append(event.payment_order_id)
            parties = (
                event.psp,
                event.seller_account,
                event.gross.currency,
                event.fee.minor != 0,
                event.net.minor != 0,
            )
            if parties not in captured:
                captured.add(parties)
                moved.append(templates.captured(event))
        elif isinstance(event, CorrectionApproved) and fault_of(event.movements, event.entries):
            continue  # never posted: no account is opened for it
        elif (booked := templates.booked(event)) is not None:
            orders.append(event.key)
            moved.append(booked.entries)
    return orders, {(entry.account, entry.amount.currency) for entries in moved for entry in entries}


def _ask_posted(conn: Connection, payment_order_ids: list[str]) -> Cursor:
    return conn.execute(
        "SELECT journal_id FROM journals WHERE subject_id = ANY(%s::text[])",
        [text_array(payment_order_ids)],
    )


def _posted(conn: Connection, asked: Cursor) -> list[Posting]:
    found = asked.fetchall()
    return _read_postings(conn, [journal_id for (journal_id,) in found]) if found else []


def _read_postings(conn: Connection, journal_ids: list[object]) -> list[Posting]:
    rows = conn.execute(
        "SELECT j.journal_id::text, j.template, j.subject_id, j.part, j.checkout_id, j.cause_event_id::text, j.posted_at,"
        " array_agg(a.account ORDER BY e.line), array_agg(e.direction ORDER BY e.line),"
        " array_agg(e.amount ORDER BY e.line), array_agg(e.currency ORDER BY e.line)"
        " FROM journals j CROSS JOIN LATERAL unnest(j.account_ids) WITH ORDINALITY AS l (account_id, line)"
        " JOIN entries e ON e.account_id = l.account_id AND e.journal_id = j.journal_id AND e.line = l.line"
        " JOIN accounts a ON a.account_id = e.account_id"
        " WHERE j.journal_id = ANY(%s::uuid[]) GROUP BY j.journal_id",
        [journal_ids],
    )
    return [_as_posting(*row) for row in rows]


def _as_posting(
    journal_id: str,
    template: Any,
    subject_id: str,
    part: str,
    checkout_id: str | None,
    cause: str,
    posted_at: datetime,
    *columns: Sequence[Any],
) -> Posting:
    entries = tuple(
        LedgerEntry(account=account, direction=direction, amount=Money(minor, currency))
        for account, direction, minor, currency in zip(*columns, strict=True)
    )
    journal = JournalPosted(
        journal_id=journal_id,
        template=template,
        **{_subject_field(template, checkout_id): subject_id},
        checkout_id=checkout_id,
        part=part or None,
        entries=entries,
    )
    return Posting(journal, (), EventId(cause), posted_at)


def _subject_field(template: str, checkout_id: str | None) -> str:
    if checkout_id is not None:
        return "payment_order_id"
    if template in get_args(CorrectionTemplate):
        return "correction_id"
    return "settlement" if template in get_args(SettlementTemplate) else "payout_id"


def _find(conn: Connection, sides: set[Side], now: datetime) -> list[Balance]:
    """Find the accounts; open those that do not exist."""
    wanted = sorted(sides)
    found = _find_known(conn, wanted)
    if len(found) < len(wanted):
        known = {balance.side for balance in found}
        _open(conn, [side for side in wanted if side not in known], now)
        found = _find_known(conn, wanted)
    return found


def _find_known(conn: Connection, sides: Sequence[Side]) -> list[Balance]:
    rows = conn.execute(
        "SELECT a.account_id, a.account, b.currency, a.account || ':' || b.currency"
        " FROM unnest(%s::text[], %s::text[]) AS t (account, currency)"
        " JOIN accounts a ON a.account = t.account"
        " JOIN balances b ON b.account_id = a.account_id AND b.currency = t.currency",
        [text_array(account for account, _ in sides), text_array(currency for _, currency in sides)],
    )
    return [Balance(*row) for row in rows]


def _open(conn: Connection, sides: Sequence[Side], now: datetime) -> None:
    accounts = [account for account, _ in sides]
    conn.execute(
        "INSERT INTO accounts (account, opened_at) SELECT DISTINCT account, %s FROM unnest(%s::text[]) AS t (account)"
        " ORDER BY account ON CONFLICT DO NOTHING",
        [now, accounts],
    )
    conn.execute(
        "INSERT INTO balances (account_id, currency) SELECT a.account_id, t.currency"
        " FROM unnest(%s::text[], %s::text[]) AS t (account, currency) JOIN accounts a ON a.account = t.account"
        " ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        [accounts, [currency for _, currency in sides]],
    )


_POST, _ENTER = JOURNALS.insert(), ENTRIES.insert()


def save(conn: Connection, postings: Sequence[Posting]) -> Versions:
    """Insert journals first, since the trigger on entries reads them. Update balances last: all batches update the same few
    rows, and whoever locks them makes all others wait.
    """
    if not postings:
        return {}
    _POST.run(conn, postings)
    balances = [balance for posting in postings for balance in posting.balances]
    entries = [entry for posting in postings for entry in posting.journal.entries]
    _enter(conn, postings, balances, entries)
    return {catalog.ACCOUNT_BALANCES: _move_balances(conn, balances, entries)}


def _enter(
    conn: Connection, postings: Sequence[Posting], balances: Sequence[Balance], entries: Sequence[LedgerEntry]
) -> None:
    """Insert journals and entries. Entries come as columns: an object for each entry would double the cost."""
    lines = [range(1, len(posting.journal.entries) + 1) for posting in postings]
    _ENTER.run_columns(
        conn,
        account_id=[balance.account_id for balance in balances],
        journal_id=[
            posting.journal.journal_id for posting, numbers in zip(postings, lines, strict=True) for _ in numbers
        ],
        line=[number for numbers in lines for number in numbers],
        currency=[balance.currency for balance in balances],
        direction=[entry.direction for entry in entries],
        amount=[entry.amount.minor for entry in entries],
    )


# Rows are updated one by one in the sorted order of the arrays (OFFSET 0 keeps the planner from joining otherwise), so that
# processes do not deadlock.
MOVE = """
UPDATE balances b SET debits = b.debits + m.debits, credits = b.credits + m.credits, version = b.version + 1
FROM (SELECT * FROM unnest(%s::integer[], %s::text[], %s::bigint[], %s::bigint[]) OFFSET 0)
    AS m (account_id, currency, debits, credits)
WHERE b.account_id = m.account_id AND b.currency = m.currency RETURNING b.account_id, b.currency, b.version
"""


def _move_balances(conn: Connection, lines: Sequence[Balance], entries: Sequence[LedgerEntry]) -> Mapping[str, int]:
    """Update each balance that the batch moved, once. → its new version, by name"""
    balances = sorted({balance.name: balance for balance in lines}.values(), key=attrgetter("account_id", "currency"))
    moved = {balance.name: [0, 0] for balance in balances}
    for balance, entry in zip(lines, entries, strict=True):
        moved[balance.name][entry.direction == "credit"] += entry.amount.minor
    found = conn.execute(
        MOVE,
        [
            int_array([balance.account_id for balance in balances]),
            text_array([balance.currency for balance in balances]),
            int_array([moved[balance.name][0] for balance in balances]),
            int_array([moved[balance.name][1] for balance in balances]),
        ],
    )
    versions = {(account_id, currency): version for account_id, currency, version in found.fetchall()}
    return {balance.name: versions[balance.account_id, balance.currency] for balance in balances}


def latest_balances(conn: Connection, names: Sequence[str]) -> list[Latest]:
    """The balances with these names as records. A name is <account>:<currency>."""
    sides = [name.rpartition(":") for name in names]
    rows = conn.execute(
        "SELECT v.account, v.currency, v.debits, v.credits, v.version"
        " FROM unnest(%s::text[], %s::text[]) AS t (account, currency)"
        " JOIN account_view v ON v.account = t.account AND v.currency = t.currency",
        [text_array(account for account, _, _ in sides), text_array(currency for _, _, currency in sides)],
        binary=True,
    )
    return [_as_latest(*row) for row in rows]


def _as_latest(account: str, currency: str, debits: int, credits: int, version: int) -> Latest:
    event = AccountBalance(
        account_currency=f"{account}:{currency}",
        account=account,
        debits=Money(debits, currency),
        credits=Money(credits, currency),
        balance_version=version,
    )
    return Latest(event.account_currency, version, event)
