"""A day is closed → a settlement of each PSP and currency, the day's bank statements; kept, so that they stay the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import orjson

from simulator.clock import Clock
from simulator.memory import Memory
from simulator.mischief import Fault, FileFault, Mischief, Reported, SentOut
from simulator.settlements.bank import Bank, Entry
from simulator.settlements.facts import Draft, declined, unsettled
from simulator.settlements.model import Fee, Row, Settlement, with_payout
from simulator.settlements.names import report_name
from simulator.settlements.terms import Format, Terms, read_terms
from simulator.shape import Shape
from simulator.wire import Problem, Refused

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settled_days (
    day TEXT PRIMARY KEY,
    until INTEGER NOT NULL,         -- microseconds: what happened from then on is another day's
    terms TEXT NOT NULL,
    planted TEXT NOT NULL           -- faults, and what must be found of each
);
CREATE TABLE IF NOT EXISTS file_faults (
    psp TEXT NOT NULL,
    number INTEGER NOT NULL,
    fault TEXT NOT NULL,
    currency TEXT NOT NULL,
    delta INTEGER NOT NULL,
    PRIMARY KEY (psp, number)
);
CREATE TABLE IF NOT EXISTS never_reported (psp TEXT NOT NULL, fact TEXT NOT NULL, PRIMARY KEY (psp, fact)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    psp TEXT NOT NULL,
    number INTEGER NOT NULL,        -- of the PSP's day, in all its currencies
    currency TEXT NOT NULL,
    day TEXT NOT NULL,
    left_over INTEGER NOT NULL,     -- carried to the next one; most often 0
    closed_at INTEGER NOT NULL,
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
TAKES_FROM_THE_BANK: frozenset[Format] = frozenset({"stripe", "checkoutcom", "checkoutcom_actions"})
_SELECT_DAY = "SELECT day, until, terms, planted FROM settled_days"
_DAY = f"{_SELECT_DAY} WHERE day=?"
_LAST_DAY = f"{_SELECT_DAY} ORDER BY day DESC LIMIT 1"
_CARRIED = """
SELECT currency, left_over FROM batches WHERE psp=:psp AND left_over<>0
AND number=(SELECT max(number) FROM batches WHERE psp=:psp)
"""
_NEXT = "SELECT coalesce(max(number), 1000) + 1 FROM batches WHERE psp=?"
_DAY_US = 24 * 3600 * 1_000_000


class Closed(NamedTuple):
    """A day that is settled."""

    day: str
    until_us: int
    terms: Terms
    planted: list[dict[str, Any]]


class Asked(NamedTuple):
    """What a day is settled with. No terms: those of the day before."""

    terms: Terms | None = None
    faults: Sequence[Fault] = ()
    psp: str | None = None  # only there are faults planted
    seed: int = 0


class FileFaultOf(NamedTuple):
    """What is wrong with the file of a batch; the amount that it is about."""

    number: int
    fault: FileFault
    currency: str
    delta: int


class Batch(NamedTuple):
    """One settlement, without its rows."""

    psp: str
    number: int
    currency: str
    day: str
    left_over: int
    closed_at: int

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

    async def close(self, day: str | None, asked: Asked) -> Closed:
        """Settle a day, today by the clock; one that is closed stays as it is. Errors: Refused INVALID."""
        now_us = self._clock.now_us()
        today = _day_of(now_us)
        wanted = _read_day(day) if day else today
        if wanted > today:
            raise Refused(Problem.INVALID, f"date: {wanted} has not come yet, it is {today}")
        until_us = min(now_us, _start_us(wanted) + _DAY_US)
        return await self._memory.commit(lambda: self._closed(wanted, until_us, asked))

    def _closed(self, day: str, until_us: int, asked: Asked) -> Closed:
        execute = self._memory.writing.execute
        known = _closed_day(execute(_DAY, (day,)).fetchone())
        if known is not None:
            if asked.faults or asked.terms:
                raise Refused(Problem.INVALID, f"date: {day} is settled already, and stays as it is")
            return known
        last = _closed_day(execute(_LAST_DAY).fetchone())
        if last is not None and day < last.day:
            raise Refused(Problem.INVALID, f"date: {last.day} is settled already, and days are settled in their order")
        closed = Closed(day, until_us, asked.terms or (last.terms if last else Terms()), [])
        reported = [self._reported(shape, closed) for shape in self._shapes.values()]
        account = closed.terms.bank_account
        sent = [SentOut(*row) for row in self._bank.sent_out(account, day)]
        mischief = Mischief(f"{asked.seed}/{day}", [each for each in reported if asked.psp in (None, each.psp)], sent)
        closed.planted.extend(mischief.plant(fault).to_json() for fault in asked.faults)
        for gone in mischief.returned:
            text = f"return of pay-out {gone.reference}"
            back = Entry(f"{gone.fact}:back", until_us, -gone.amount, gone.reference, text, "beneficiary")
            self._bank.expect(account, gone.currency, _day_after(day), back)
        for each in reported:
            self._settle(each, closed)
        kept = (orjson.dumps(closed.terms.to_json()).decode(), orjson.dumps(closed.planted).decode())
        execute("INSERT INTO settled_days VALUES (?,?,?,?)", (day, until_us, *kept))
        self._bank.close(closed.terms.bank_account, day, until_us)
        return closed

    def _reported(self, shape: Shape, closed: Closed) -> Reported:
        [number] = self._memory.writing.execute(_NEXT, (shape.name,)).fetchone()
        found = (self._memory, shape, closed.terms, closed.until_us)
        written = closed.terms.formats.get(shape.name, "native")
        name = partial(report_name, written, shape.name, closed.day)
        brought = dict(self._memory.writing.execute(_CARRIED, {"psp": shape.name}).fetchall())
        rows = dict(unsettled(*found))
        return Reported(shape.name, number, written, rows, brought, partial(declined, *found), name)

    def _settle(self, reported: Reported, closed: Closed) -> None:
        """One number for all that a PSP settles on a day, and under it a settlement of each currency."""
        execute, psp, number = self._memory.writing.execute, reported.psp, reported.number
        for fact in reported.hidden:
            execute("INSERT INTO never_reported VALUES (?,?)", (psp, fact))
        if not reported.rows and not reported.invented:
            return
        for currency, drafts in sorted(_by_currency(reported, closed).items()):
            left = sum(draft.row.net for draft in drafts)
            # What is negative waits for the next settlement, except where the PSP takes it from the bank account.
            carried = left if left < 0 and reported.format not in TAKES_FROM_THE_BANK else 0
            self._make(Batch(psp, number, currency, closed.day, carried, closed.until_us), drafts, reported, closed)
        for fact, (currency, amount) in reported.unknown_credits().items():
            entry = Entry(fact, closed.until_us, amount, "", "your invoice 4711", "somebody")
            self._bank.expect(closed.terms.bank_account, currency, closed.day, entry)
        for fault, currency, delta in reported.file_faults:
            execute("INSERT INTO file_faults VALUES (?,?,?,?,?)", (psp, number, fault, currency, delta))

    def _make(self, batch: Batch, drafts: list[Draft], reported: Reported, closed: Closed) -> None:
        settlement = _settlement(batch, (draft.row for draft in drafts))
        carry_to = str(batch.number + 1) if batch.left_over else None
        at, trace = closed.until_us - 1, settlement.trace
        rows = list(with_payout(settlement.rows, batch.currency, at, trace, carry_to=carry_to))
        paid = -rows[-1].net if rows[-1].kind == "payout" else 0
        if too_much := reported.claimed_too_much(batch.currency):
            rows[-1] = replace(rows[-1], gross=rows[-1].gross - too_much, net=rows[-1].net - too_much)
        self._keep(batch, [draft.fact for draft in drafts] + [""] * (len(rows) - len(drafts)), rows)
        if at_the_bank := reported.at_the_bank(batch.currency, paid):
            self._pay(settlement, at_the_bank, closed)

    def _keep(self, batch: Batch, facts: list[str], rows: list[Row]) -> None:
        self._memory.writing.execute("INSERT INTO batches VALUES (?,?,?,?,?,?)", batch)
        values = (
            (batch.psp, batch.number, batch.currency, place, fact, _row_text(row))
            for place, (fact, row) in enumerate(zip(facts, rows, strict=True))
        )
        self._memory.writing.executemany("INSERT INTO settled VALUES (?,?,?,?,?,?)", values)

    def _pay(self, settlement: Settlement, amount: int, closed: Closed) -> None:
        keys = f"{settlement.payout_id}, {settlement.account}:{settlement.day}"
        text = f"{settlement.trace} batch {settlement.ref}, {settlement.account}, {keys}"
        due = (date.fromisoformat(closed.day) + timedelta(days=closed.terms.bank_days)).isoformat()
        fact = f"payout:{settlement.psp}:{settlement.ref}:{settlement.currency}"
        entry = Entry(fact, settlement.closed_at, amount, "", text, settlement.psp)
        self._bank.expect(closed.terms.bank_account, settlement.currency, due, entry)

    def closed(self, day: str) -> Closed | None:
        return _closed_day(self._memory.reading.execute(_DAY, (day,)).fetchone())

    def day_before(self, day: str) -> Closed | None:
        """The day that was settled before that one."""
        statement = f"{_SELECT_DAY} WHERE day<? ORDER BY day DESC LIMIT 1"
        return _closed_day(self._memory.reading.execute(statement, (day,)).fetchone())

    def file_fault(self, psp: str, number: int) -> FileFaultOf | None:
        statement = "SELECT number, fault, currency, delta FROM file_faults WHERE psp=? AND number=?"
        row = self._memory.reading.execute(statement, (psp, number)).fetchone()
        return FileFaultOf(*row) if row else None

    def batches(self, day: str) -> list[Batch]:
        found = self._memory.reading.execute("SELECT * FROM batches WHERE day=? ORDER BY psp, number, currency", (day,))
        return [Batch(*row) for row in found]

    def batches_of(self, psp: str, number: int) -> list[Batch]:
        found = self._memory.reading.execute(
            "SELECT * FROM batches WHERE psp=? AND number=? ORDER BY currency", (psp, number)
        )
        return [Batch(*row) for row in found]

    def settlement(self, batch: Batch) -> Settlement:
        """The settlement; its rows are read from the books as they are asked for, once."""
        return _settlement(batch, self._rows(batch))

    def _rows(self, batch: Batch) -> Iterator[Row]:
        statement = "SELECT row FROM settled WHERE psp=? AND number=? AND currency=? ORDER BY place"
        for (text,) in self._memory.reading.execute(statement, (batch.psp, batch.number, batch.currency)):
            yield _read_row(text)


def _closed_day(row: tuple[str, int, str, str] | None) -> Closed | None:
    return Closed(row[0], row[1], read_terms(orjson.loads(row[2])), orjson.loads(row[3])) if row else None


def _by_currency(reported: Reported, closed: Closed) -> dict[str, list[Draft]]:
    """By the currency of the settlement, what is brought from the one before first."""
    found: dict[str, list[Draft]] = {}
    for currency, amount in reported.brought.items():
        at, before = closed.until_us - 1, str(reported.number - 1)
        found[currency] = [Draft("", Row("carried", at, currency, amount, currency, amount, payout_ref=before))]
    for fact, row in (*reported.rows.items(), *(("", row) for row in reported.invented)):
        found.setdefault(row.net_currency, []).append(Draft(fact, row))
    return found


def _settlement(batch: Batch, rows: Iterable[Row]) -> Settlement:
    account = f"{batch.psp}-account"
    return Settlement(batch.psp, account, batch.number, batch.currency, batch.day, batch.closed_at, rows)


def _row_text(row: Row) -> str:
    return orjson.dumps(row).decode()


def _read_row(text: str) -> Row:
    told: dict[str, Any] = orjson.loads(text)
    return Row(**{**told, "fee": Fee(**told["fee"])})


def _day_of(now_us: int) -> str:
    return datetime.fromtimestamp(now_us / 1_000_000, UTC).date().isoformat()


def _day_after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def _start_us(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


def _read_day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Refused(Problem.INVALID, f"date: {text!r} is no day (YYYY-MM-DD)") from None
