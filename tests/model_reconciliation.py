"""What the room must end with, computed from all that it has heard at once: no order, no statements, no code of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from tests.reconciling import Report, Row
from tests.store.hearing import NOW
from topics.settlement_sources import SettlementSource

Key = tuple[str, str, str, str]  # psp, kind, key, currency
PAYMENTS = "crRbB2"


@dataclass(frozen=True)
class Expectation:
    """One fact about a tally; an amount of None: the executor said no."""

    name: str
    psp: str
    kind: str
    key: str
    currency: str
    amount: int | None
    fee: int | None = None  # None: not checked
    fee_slack: int = 0


@dataclass
class World:
    expectations: set[Expectation] = field(default_factory=set)
    reports: list[Report] = field(default_factory=list)
    discarded: set[str] = field(default_factory=set)  # file ids
    tallies: dict[Key, tuple[list[Expectation], list[Row]]] = field(default_factory=dict)

    def counted(self) -> list[Report]:
        """The newest version of each identity, and what only adds."""
        alive = [report for report in self.reports if report.file_id not in self.discarded]
        newest: dict[tuple[str, str], Report] = {}
        for report in sorted(alive, key=lambda each: each.version):
            newest[report.source.name, report.identity if report.mode == "replace" else report.file_id] = report
        return list(newest.values())

    def lines(self) -> dict[int, tuple[str, str, Row]]:
        """A row counts once, whatever it came in."""
        return {row.digest: (each.psp, each.source.name, row) for each in self.counted() for row in each.rows}

    def end(self) -> World:
        tallies: dict[Key, tuple[list[Expectation], list[Row]]] = defaultdict(lambda: ([], []))
        for each in self.expectations:
            tallies[each.psp, each.kind, each.key, each.currency][0].append(each)
        for psp, _, row in self.lines().values():
            tallies[psp, row.kind, row.key or f"{row.digest % 2**64:032x}", row.currency][1].append(row)
        self.tallies = dict(tallies)
        return self

    def amounts(self) -> dict[Key, tuple[int, int, int]]:
        """Expected, settled, fee. Tallies of nothing are left out."""
        found = {}
        for key, (facts, rows) in self.tallies.items():
            fee = sum(_fee(row) for row in rows)
            found[key] = (sum(fact.amount or 0 for fact in facts), sum(row.gross for row in rows), fee)
        return {key: amounts for key, amounts in found.items() if any(amounts)}

    def subjects(self) -> dict[str, tuple[list[tuple[str, Row]], set[int]]]:
        """Lines of each settlement, and what is claimed of it."""
        found: dict[str, tuple[list[tuple[str, Row]], set[int]]] = defaultdict(lambda: ([], set()))
        for psp, source, row in self.lines().values():
            found[f"{source}/{row.settlement}/{row.net_currency or row.currency}"][0].append((psp, row))
        for report in self.counted():
            for settlement, currency, paid in report.claims:
                found[f"{report.source.name}/{settlement}/{currency}"][1].add(paid)
        return found

    def untied(self) -> Iterator[str]:
        for subject, (rows, claims) in self.subjects().items():
            if claims != {sum(_net(row) for _, row in rows if row.kind != "p")}:
                yield subject

    def booked(self) -> dict[str, dict[str, int]]:
        untied = set(self.untied())
        books = {s: _book(self._known, rows) for s, (rows, _) in self.subjects().items() if s not in untied}
        return {subject: book for subject, book in books.items() if book}

    def _known(self, psp: str, row: Row) -> bool:
        facts, _ = self.tallies[psp, row.kind, row.key or f"{row.digest % 2**64:032x}", row.currency]
        return any(fact.amount is not None for fact in facts)

    def late_breaks(self, source: SettlementSource, today: date) -> set[tuple[str, str]]:
        """All facts are of Monday, and due on Wednesday: what is missing may be in a file of these days. A file is late on the
        fourth business day after its own."""
        if source.files is None:
            return self.breaks(late=True)
        wanted = [source.files.first_day + timedelta(days=number) for number in range((today - NOW.date()).days)]
        wanted = [day for day in wanted if day.weekday() < 5]
        spans = [each.days for each in self.reports if each.file_id not in self.discarded and each.days]
        missing = [day for day in wanted if not any(first <= day.isoformat() <= last for first, last in spans)]
        waits = any(day in missing for day in wanted[:3])
        return self.breaks(late=not waits, heard=True) | {
            ("FILE_MISSING", f"day|{source.name}/{day}") for day in missing if day in wanted[:-3]
        }

    def breaks(self, late: bool, heard: bool | None = None) -> set[tuple[str, str]]:
        """Code, item. `late`: all due days are over. `heard`: all that was published is; else as `late`."""
        groups: dict[str, list[tuple[str, list[Expectation], list[Row]]]] = defaultdict(list)
        for (psp, kind, key, currency), (facts, rows) in self.tallies.items():
            groups[f"{psp}|{kind}|{key}"].append((currency, facts, rows))
        found = {("PAYOUT_TOTAL", f"settlement|{subject}") for subject in self.untied()}
        for item, tallies in groups.items():
            if code := _code(item.split("|")[1], tallies, late, late if heard is None else heard):
                found.add((code, item))
        return found


def _fee(row: Row) -> int:
    """In the currency of the gross, at the row's own rate."""
    if row.currency == (row.net_currency or row.currency):
        return row.fee
    worth = _net(row) + row.fee
    if not worth:
        return 0
    sign = 1 if (row.fee * row.gross < 0) == (worth < 0) else -1
    whole, rest = divmod(abs(row.fee * row.gross), abs(worth))
    if sign > 0:
        return whole + (2 * rest >= abs(worth))
    return -(whole + (2 * rest > abs(worth)))


def _net(row: Row) -> int:
    return row.gross - row.fee if row.net is None else row.net


def _book(known: object, rows: Iterable[tuple[str, Row]]) -> dict[str, int]:
    assert callable(known)
    book: dict[str, int] = defaultdict(int)
    for psp, row in rows:
        currency = row.net_currency or row.currency
        if row.kind == "p":
            continue
        account = (
            "fees" if row.kind == "f" else "receivable" if row.kind in PAYMENTS and known(psp, row) else "suspense"
        )
        book[f"{account} {row.currency}"] -= row.gross
        book[f"fees {currency}"] += row.fee
        book[f"bank_clearing {currency}"] += _net(row)
        if currency != row.currency:
            book[f"fx {row.currency}"] += row.gross
            book[f"fx {currency}"] -= _net(row) + row.fee
    return {side: amount for side, amount in book.items() if amount}


def _code(kind: str, tallies: list[tuple[str, list[Expectation], list[Row]]], late: bool, heard: bool) -> str | None:
    real = {currency: [f for f in facts if f.amount is not None] for currency, facts, _ in tallies}
    with_facts = {currency for currency, facts in real.items() if facts}
    with_lines = {currency for currency, _, rows in tallies if rows}
    if kind not in PAYMENTS or not (with_facts or with_lines):
        return None
    expected = {currency: sum(f.amount or 0 for f in facts) for currency, facts in real.items()}
    settled = {currency: sum(row.gross for row in rows) for currency, _, rows in tallies}
    if not with_lines:
        return "MISSING_AT_PSP" if late and any(expected.values()) else None
    if not with_facts:
        if any(facts for _, facts, _ in tallies):
            return "STATUS_MISMATCH"
        return None if not heard else "MISSING_INTERNAL" if kind == "c" else "UNEXPECTED_REVERSAL"
    if not with_lines <= with_facts:
        return "CURRENCY"
    differ = [currency for currency in with_facts if expected[currency] != settled[currency]]
    if differ:
        once = [currency for currency in differ if len(real[currency]) == 1]  # what was expected has not changed since
        over = any(abs(settled[currency]) >= abs(expected[currency]) for currency in once)
        if over or late:
            return "AMOUNT"
    for currency, _, rows in tallies:
        if currency in differ or currency not in with_lines:
            continue
        fees = [fact.fee for fact in real[currency]]
        slack = sum(fact.fee_slack for fact in real[currency])
        if None not in fees and not 0 <= sum(map(_fee, rows)) - sum(fee or 0 for fee in fees) <= slack:
            return "FEE_VARIANCE"
    return None
