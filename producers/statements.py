"""The wallet's movements → a seller's statement: opening balance, what has changed it, closing balance; as JSON or CSV.

A statement is of `available`, in one currency. It reads movements by their wallet's version, a chunk at a time: they are never
changed, so that it ties however long it is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple, Protocol

import orjson

from producers.reading import Row, Values
from schemas.money import Money

CHUNK = 1000  # movements read at once
OF_PAYOUTS = ("reserved", "released", "settled", "returned")

# The movement by which a pay-out's money was reserved, and the one before of its wallet, where its statement begins.
RESERVED: LiteralString = """
SELECT m.seller_account, m.currency, m.at, m.wallet_version, m.to_reserved, m.available_after,
       coalesce(b.wallet_version, 0) AS begins, coalesce(b.available_after, 0) AS opening, b.at AS since
FROM movement_view m
LEFT JOIN LATERAL (SELECT wallet_version, available_after, at FROM movement_view
                   WHERE seller_account = m.seller_account AND currency = m.currency AND kind = 'reserved'
                     AND wallet_version < m.wallet_version
                   ORDER BY wallet_version DESC LIMIT 1) b ON TRUE
WHERE m.payment_order_id = %s AND m.kind = 'reserved'
"""
# What its destination gets, where the pay-out is converted: in payouts.
SENT: LiteralString = (
    "SELECT payout_currency, target, rate FROM payout_view WHERE payout_id = %s AND target IS NOT NULL"
)
_MOVED: LiteralString = """
SELECT wallet_version, at, kind, payment_order_id AS subject, part, amount - to_pending - to_reserved AS changed, available_after
FROM movement_view
WHERE seller_account = %s AND currency = %s AND wallet_version > %s AND wallet_version < %s
ORDER BY wallet_version LIMIT %s
"""
_AT: LiteralString = (
    "SELECT at, available_after FROM movement_view WHERE seller_account = %s AND currency = %s AND wallet_version = %s"
)
_VERSION: LiteralString = "SELECT version FROM wallet_view WHERE seller_account = %s AND currency = %s"


class Rows(Protocol):
    """A reader of the wallet's views."""

    async def rows(self, statement: LiteralString, values: Values = ()) -> list[Row]: ...


class Sent(NamedTuple):
    """What the destination of a converted pay-out gets, and at which rate."""

    target: Money
    rate: str

    def __str__(self) -> str:
        return f"{self.target} at {self.rate}"


@dataclass(frozen=True, slots=True)
class Statement:
    """What is known before its lines are read. It has the movements above the version `begins` and below `ends`.

    Amounts are in minor units. closing = opening + the lines' changes − what was reserved for `payout`.
    """

    seller_account: str
    currency: str
    begins: int
    ends: int
    opening: int
    closing: int
    since: datetime | None  # None: from the wallet's first movement on
    until: datetime
    payout_id: str | None = None
    payout: int = 0
    sent: Sent | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A movement that has changed what is available, and the balance after it."""

    at: datetime
    kind: str
    payment_order_id: str | None
    payout_id: str | None
    about: str | None  # a capture, refund or dispute of the order; the turn of a pay-out
    changed: int
    available: int


def of_payout(payout_id: str, row: Row, sent: Sequence[Row]) -> Statement:
    """From a row of RESERVED, and of SENT where there is one."""
    return Statement(
        row["seller_account"],
        row["currency"],
        row["begins"],
        row["wallet_version"],
        row["opening"],
        row["available_after"],
        row["since"],
        row["at"],
        payout_id,
        row["to_reserved"],
        next((Sent(Money(each["target"], each["payout_currency"]), each["rate"]) for each in sent), None),
    )


async def of_period(
    wallet: Rows, seller_account: str, currency: str, since: datetime, until: datetime
) -> Statement | None:
    """From the first movement that is not before `since` to the last one before `until`; None if there is no such wallet."""
    rows = await wallet.rows(_VERSION, [seller_account, currency])
    if not rows:
        return None
    last = rows[0]["version"]
    first = await _first_at(wallet, seller_account, currency, since, last)
    ends = await _first_at(wallet, seller_account, currency, until, last)
    opening = await _after(wallet, seller_account, currency, first - 1)
    closing = await _after(wallet, seller_account, currency, ends - 1)
    return Statement(seller_account, currency, first - 1, ends, opening, closing, since, until)


async def _first_at(wallet: Rows, seller_account: str, currency: str, at: datetime, last: int) -> int:
    """The version of the first movement that is not before `at`; one more than the last if all are.

    A wallet's versions have no gap and are as old as they are high, so it is searched by halves.
    """
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        rows = await wallet.rows(_AT, [seller_account, currency, middle])
        low, high = (low, middle) if rows[0]["at"] >= at else (middle + 1, high)
    return low


async def _after(wallet: Rows, seller_account: str, currency: str, version: int) -> int:
    rows = await wallet.rows(_AT, [seller_account, currency, version])
    return int(rows[0]["available_after"]) if rows else 0


async def lines(wallet: Rows, statement: Statement) -> AsyncIterator[list[Line]]:
    """Chunk by chunk. What only moves between other pockets is left out."""
    after = statement.begins
    while rows := await wallet.rows(
        _MOVED, [statement.seller_account, statement.currency, after, statement.ends, CHUNK]
    ):
        yield [_line(row) for row in rows if row["changed"]]
        after = rows[-1]["wallet_version"]


def _line(row: Row) -> Line:
    of_payout, of_wallet = row["kind"] in OF_PAYOUTS, row["kind"] == "available"
    return Line(
        row["at"],
        row["kind"],
        None if of_payout or of_wallet else row["subject"],
        row["subject"] if of_payout else None,
        None if of_wallet else row["part"] or None,
        row["changed"],
        row["available_after"],
    )


# ── written ──────────────────────────────────────────────────────────────────────────────────────────────────────────


HEAD = ("at", "kind", "payment_order_id", "payout_id", "about", "amount", "currency", "available")


async def as_json(wallet: Rows, statement: Statement) -> AsyncIterator[bytes]:
    """One object, its `lines` last."""
    yield orjson.dumps(head(statement), option=orjson.OPT_UTC_Z)[:-1] + b',"lines":['
    before = b""
    async for chunk in lines(wallet, statement):
        for line in chunk:
            yield before + orjson.dumps(_shown(line, statement.currency), option=orjson.OPT_UTC_Z)
            before = b","
    yield b"]}"


def head(statement: Statement) -> dict[str, Any]:
    """All but the lines."""

    def decimal(minor: int) -> str:
        return Money(minor, statement.currency).amount

    told = {"payout_id": statement.payout_id, "payout": decimal(statement.payout)} if statement.payout_id else {}
    if (sent := statement.sent) is not None:
        told |= {"payout_currency": sent.target.currency, "target": sent.target.amount, "rate": sent.rate}
    return {
        "seller_account": statement.seller_account,
        "currency": statement.currency,
        "from": statement.since,
        "to": statement.until,
        "opening": decimal(statement.opening),
        "closing": decimal(statement.closing),
        **told,
    }


def _shown(line: Line, currency: str) -> dict[str, Any]:
    return {
        "at": line.at,
        "kind": line.kind,
        "payment_order_id": line.payment_order_id,
        "payout_id": line.payout_id,
        "about": line.about,
        "amount": Money(line.changed, currency).amount,
        "available": Money(line.available, currency).amount,
    }


async def as_csv(wallet: Rows, statement: Statement) -> AsyncIterator[bytes]:
    """RFC 4180: a heading, the opening balance, the lines, what was reserved for the pay-out, the closing balance."""
    currency = statement.currency
    yield _rows([HEAD, _balance(statement.since, "opening", statement.opening, currency)])
    async for chunk in lines(wallet, statement):
        told = [_shown(line, currency) | {"currency": currency} for line in chunk]
        yield _rows([[_text(line[name]) for name in HEAD] for line in told])
    if statement.payout_id is not None:
        amount = Money(-statement.payout, currency).amount
        closing = Money(statement.closing, currency).amount
        of = (statement.payout_id, _text(statement.sent))
        yield _rows([[_text(statement.until), "payout", "", *of, amount, currency, closing]])
    yield _rows([_balance(statement.until, "closing", statement.closing, currency)])


def _balance(at: datetime | None, name: str, minor: int, currency: str) -> Sequence[str]:
    return [_text(at), name, "", "", "", "", currency, Money(minor, currency).amount]


def _text(value: Any) -> str:
    return "" if value is None else value.isoformat() if isinstance(value, datetime) else str(value)


def _rows(rows: Sequence[Sequence[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()
