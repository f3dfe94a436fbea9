"""A day is closed → a settlement of each PSP and currency, the day's bank statements; kept, so that they stay the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from simulator.clock import Clock
from simulator.memory import Memory
from simulator.settlements.bank import Bank, Entry
from simulator.settlements.facts import Draft, unsettled
from simulator.settlements.model import Fee, Row, Settlement, with_payout
from simulator.settlements.terms import Terms, read_terms
from simulator.shape import Shape
from simulator.wire import Problem, Refused

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settled_days (
    day TEXT PRIMARY KEY,
    until INTEGER NOT NULL,         -- microseconds: what happened from then on is another day's
    terms TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    psp TEXT NOT NULL,
    number INTEGER NOT NULL,        -- of the PSP's day, in all its currencies
    currency TEXT NOT NULL,
    day TEXT NOT NULL,
    left_over INTEGER NOT NULL,     -- carried to the next one; most often 0
    PRIMARY KEY (psp, number, currency)
);
CREATE TABLE IF NOT EXISTS settled (
    psp TEXT NOT NULL,
    number INTEGER NOT NULL,
    currency TEXT NOT NULL,
    place INTEGER NOT NULL,
    fact TEXT NOT NULL,             -- what it is about; empty: made by settling
    row TEXT NOT NULL,
    PRIMARY KEY (psp, number, currency, place)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS settled_once ON settled (psp, fact) WHERE fact<>'';
"""
_DAY = "SELECT day, until, terms FROM settled_days WHERE day=?"
_LAST_DAY = "SELECT day, until, terms FROM settled_days ORDER BY day DESC LIMIT 1"
_CARRIED = """
SELECT currency, left_over, number FROM batches WHERE psp=:psp AND left_over<>0
AND number=(SELECT max(number) FROM batches WHERE psp=:psp)
"""
_NEXT = "SELECT coalesce(max(number), 1000) + 1 FROM batches WHERE psp=?"
_DAY_US = 24 * 3600 * 1_000_000


class Closed(NamedTuple):
    """A day that is settled."""

    day: str
    until_us: int
    terms: Terms


class Batch(NamedTuple):
    """One settlement, without its rows."""

    psp: str
    number: int
    currency: str
    day: str
    left_over: int

    def told(self) -> dict[str, object]:
        return {"psp": self.psp, "number": self.number, "currency": self.currency, "left_over": self.left_over}


class SettlementBooks:
    """Days are closed in their order; what happened in none of them yet comes with the next."""

    def __init__(self, memory: Memory, bank: Bank, clock: Clock, shapes: Mapping[str, Shape]) -> None:
        self._memory = memory
        self._bank = bank
        self._clock = clock
        self._shapes = shapes
        memory.writing.executescript(_SCHEMA)

    async def close(self, day: str | None, terms: Terms | None) -> Closed:
        """Settle a day, today by the clock; one that is closed stays as it is. Errors: Refused INVALID."""
        now_us = self._clock.now_us()
        today = _day_of(now_us)
        wanted = _read_day(day) if day else today
        if wanted > today:
            raise Refused(Problem.INVALID, f"date: {wanted} has not come yet, it is {today}")
        until_us = min(now_us, _start_us(wanted) + _DAY_US)
        return await self._memory.commit(lambda: self._closed(wanted, until_us, terms))

    def _closed(self, day: str, until_us: int, terms: Terms | None) -> Closed:
        execute = self._memory.writing.execute
        known = _closed_day(execute(_DAY, (day,)).fetchone())
        if known is not None:
            return known
        last = _closed_day(execute(_LAST_DAY).fetchone())
        if last is not None and day < last.day:
            raise Refused(Problem.INVALID, f"date: {last.day} is settled already, and days are settled in their order")
        closed = Closed(day, until_us, terms or (last.terms if last else Terms()))
        for shape in self._shapes.values():
            self._settle(shape, closed)
        execute(
            "INSERT INTO settled_days VALUES (?,?,?)", (day, until_us, orjson.dumps(closed.terms.to_json()).decode())
        )
        self._bank.close(closed.terms.bank_account, day, until_us)
        return closed

    def _settle(self, shape: Shape, closed: Closed) -> None:
        """One number for all that a PSP settles on a day, and under it a settlement of each currency."""
        by_currency: dict[str, list[Draft]] = {}
        for draft in unsettled(self._memory, shape, closed.terms, closed.until_us):
            by_currency.setdefault(draft.row.net_currency, []).append(draft)
        if not by_currency:
            return
        [number] = self._memory.writing.execute(_NEXT, (shape.name,)).fetchone()
        for currency, amount, before in self._memory.writing.execute(_CARRIED, {"psp": shape.name}).fetchall():
            row = Row("carried", closed.until_us - 1, currency, amount, currency, amount, payout_ref=str(before))
            by_currency.setdefault(currency, []).insert(0, Draft("", row))
        for currency, drafts in sorted(by_currency.items()):
            left = sum(draft.row.net for draft in drafts)
            # What is negative waits for the next settlement, except where the PSP takes it from the bank account.
            carried = left if left < 0 and closed.terms.formats.get(shape.name) != "stripe" else 0
            self._make(Batch(shape.name, number, currency, closed.day, carried), drafts, closed)

    def _make(self, batch: Batch, drafts: list[Draft], closed: Closed) -> None:
        settlement = _settlement(batch, closed.until_us, (draft.row for draft in drafts))
        carry_to = str(batch.number + 1) if batch.left_over else None
        at, trace = closed.until_us - 1, settlement.trace
        rows = list(with_payout(settlement.rows, batch.currency, at, trace, carry_to=carry_to))
        self._keep(batch, [draft.fact for draft in drafts] + [""] * (len(rows) - len(drafts)), rows)
        if rows[-1].kind == "payout":
            self._pay(settlement, -rows[-1].net, closed)

    def _keep(self, batch: Batch, facts: list[str], rows: list[Row]) -> None:
        self._memory.writing.execute("INSERT INTO batches VALUES (?,?,?,?,?)", batch)
        values = (
            (batch.psp, batch.number, batch.currency, place, fact, _row_text(row))
            for place, (fact, row) in enumerate(zip(facts, rows, strict=True))
        )
        self._memory.writing.executemany("INSERT INTO settled VALUES (?,?,?,?,?,?)", values)

    def _pay(self, settlement: Settlement, amount: int, closed: Closed) -> None:
        text = f"{settlement.trace} batch {settlement.ref}, {settlement.account}, {settlement.payout_id}"
        due = (date.fromisoformat(closed.day) + timedelta(days=closed.terms.bank_days)).isoformat()
        fact = f"payout:{settlement.psp}:{settlement.ref}:{settlement.currency}"
        entry = Entry(fact, settlement.closed_at, amount, "", text, settlement.psp)
        self._bank.expect(closed.terms.bank_account, settlement.currency, due, entry)

    def closed(self, day: str) -> Closed | None:
        return _closed_day(self._memory.reading.execute(_DAY, (day,)).fetchone())

    def batches(self, day: str) -> list[Batch]:
        found = self._memory.reading.execute("SELECT * FROM batches WHERE day=? ORDER BY psp, number, currency", (day,))
        return [Batch(*row) for row in found]

    def settlement(self, batch: Batch, closed: Closed) -> Settlement:
        """The settlement; its rows are read from the books as they are asked for, once."""
        return _settlement(batch, closed.until_us, self._rows(batch))

    def _rows(self, batch: Batch) -> Iterator[Row]:
        statement = "SELECT row FROM settled WHERE psp=? AND number=? AND currency=? ORDER BY place"
        for (text,) in self._memory.reading.execute(statement, (batch.psp, batch.number, batch.currency)):
            yield _read_row(text)


def _closed_day(row: tuple[str, int, str] | None) -> Closed | None:
    return Closed(row[0], row[1], read_terms(orjson.loads(row[2]))) if row else None


def _settlement(batch: Batch, until_us: int, rows: Iterable[Row]) -> Settlement:
    account = f"{batch.psp}-account"
    return Settlement(batch.psp, account, batch.number, batch.currency, batch.day, until_us, rows)


def _row_text(row: Row) -> str:
    return orjson.dumps(row).decode()


def _read_row(text: str) -> Row:
    told: dict[str, Any] = orjson.loads(text)
    return Row(**{**told, "fee": Fee(**told["fee"])})


def _day_of(now_us: int) -> str:
    return datetime.fromtimestamp(now_us / 1_000_000, UTC).date().isoformat()


def _start_us(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


def _read_day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Refused(Problem.INVALID, f"date: {text!r} is no day (YYYY-MM-DD)") from None
