"""Bank entries without a key of ours, and expectations without an entry → pairs of equal amounts. Pure.

Among transfers of one counterparty in one amount, which entry is which changes no books: they are paired in one canonical
order, anew whenever one of them changes, so that the order of arrival does not matter. Two counterparties are never guessed.
A bank may credit all of a PSP's pay-outs of a day as one entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import date, datetime
from typing import NamedTuple

from reconciliation.business_days import later
from reconciliation.expected import Fact
from reconciliation.formats import keys
from reconciliation.state import Change, FactFound, FactTakenBack, Reconciliation, Unmatched, UnmatchedMoved
from reconciliation.tally import BANK_ENTRY, Reference, Tally
from topics.settlement_sources import SettlementSource

WAIT_DAYS = 5  # business days that an entry may come after the day on which it is due


class Group(NamedTuple):
    """What may be paired: one amount at one bank account."""

    psp: str
    currency: str
    amount: int


def group_of(entry: Unmatched) -> Group:
    return Group(entry.psp, entry.currency, entry.amount)


class Pair(NamedTuple):
    """So much of a line is explained by an expectation."""

    line: str
    expectation: str
    amount: int

    @property
    def digest(self) -> int:
        return keys.digest("pair", self.line, self.expectation)


def paired(entries: Iterable[Unmatched]) -> list[Pair]:
    """The present pairs: an expectation names its line; several may name one."""
    return [Pair(entry.pair, entry.key, entry.amount) for entry in entries if entry.pair and not entry.is_line]


def unmatched(
    tally: Tally, before: Unmatched | None, present: Iterable[Pair], days: Mapping[int, date]
) -> Unmatched | None:
    """A tally with one half alone, apart from its present pairs. `days`: of the statements that its lines are in."""
    facts, expected = set(tally.facts), tally.expected
    for pair in present:
        if tally.key in pair[:2]:
            facts.discard(pair.digest)
            expected += -pair.amount if tally.key == pair.line else pair.amount
    kept = (before.pair, before.together) if before else (None, False)
    if tally.lines and not facts:
        day = days.get(tally.lines[0].settlement_no)
        if day is None or not tally.settled:
            return None
        return Unmatched(tally.psp, tally.currency, tally.settled, tally.key, True, "", day, *kept)
    if facts and not tally.lines and expected and tally.due:
        return Unmatched(tally.psp, tally.currency, expected, tally.key, False, _counterparty(tally), tally.due, *kept)
    return None


def _counterparty(tally: Tally) -> str:
    """The seller, or the source whose settlement it is, with a slash."""
    return tally.seller or (tally.payment_order_id or "").partition("/")[0] + "/"


def pair_anew(
    state: Reconciliation, tallies: Iterable[Tally], source: Mapping[str, SettlementSource], now: datetime
) -> Iterator[Change]:
    """Pair the groups of these tallies. A pair moves the expectation from one tally to the other: both are equal then."""
    entries = dict(state.unmatched)
    present = paired(state.unmatched.values())
    touched: set[Group] = set()
    moved: list[Unmatched] = []
    for tally in tallies:
        name = (tally.psp, tally.currency, tally.key)
        before = entries.pop(name, None)
        after = unmatched(tally, before, present, state.statement_days)
        touched |= {group_of(entry) for entry in (before, after) if entry}
        if after:
            entries[name] = after
        if before and (after is None or group_of(after) != group_of(before)):
            moved.append(before)
    yield from _repaired(state, entries, touched, moved, source, now)


def _repaired(
    state: Reconciliation,
    entries: dict[tuple[str, str, str], Unmatched],
    touched: set[Group],
    gone: list[Unmatched],
    source: Mapping[str, SettlementSource],
    now: datetime,
) -> Iterator[Change]:
    """Equal amounts first; then what is left of an account and currency, in sums."""
    books = {group[:2] for group in touched}
    groups: dict[Group, list[Unmatched]] = defaultdict(list)
    for entry in entries.values():
        groups[group_of(entry)].append(entry)
    equal = {
        Pair(line, other, group.amount): group[:2]
        for group in touched
        for line, other in pairs(groups[group], source.get(group.psp))
    }
    taken = {key for pair in equal for key in pair[:2]}
    left = [
        entry
        for entry in entries.values()
        if entry.key not in taken and (group_of(entry) in touched or entry.together or not entry.pair)
    ]
    summed = {
        pair: book for book in books for pair in sums([e for e in left if group_of(e)[:2] == book], source.get(book[0]))
    }
    had = {
        Pair(entry.pair, entry.key, entry.amount): group_of(entry)[:2]
        for entry in state.unmatched.values()
        if entry.pair
        and not entry.is_line
        and (group_of(entry) in touched or (entry.together and group_of(entry)[:2] in books))
    }
    wanted = equal | summed
    for pair in sorted(had.keys() - wanted.keys()):
        yield from (FactTakenBack(fact, now) for fact in _facts(*had[pair], pair))
    for pair in sorted(wanted.keys() - had.keys()):
        yield from (FactFound(fact, now) for fact in _facts(*wanted[pair], pair))
    yield UnmatchedMoved(tuple(gone), tuple(_saved(entries.values(), touched, had.keys(), equal.keys(), summed.keys())))


def _saved(
    entries: Iterable[Unmatched], touched: set[Group], had: Set[Pair], equal: Set[Pair], summed: Set[Pair]
) -> Iterator[Unmatched]:
    """What has changed, with its partner: a line with several names the first."""
    partner: dict[str, str] = {}
    for pair in sorted(equal | summed, reverse=True):
        partner |= {pair.line: pair.expectation, pair.expectation: pair.line}
    together = {key for pair in summed for key in pair[:2]}
    changed = {key for pair in had ^ (equal | summed) for key in pair[:2]}
    for entry in entries:
        if group_of(entry) in touched or entry.key in changed:
            yield entry._replace(pair=partner.get(entry.key), together=entry.key in together)


def sums(entries: Iterable[Unmatched], source: SettlementSource | None) -> Iterator[Pair]:
    """One credit for several pay-outs: exactly all that are open of one PSP and due day, and of no other PSP."""
    if source is None:
        return
    listed = sorted(entries, key=lambda entry: (entry.day, entry.key))
    of_day: dict[tuple[str, date], list[Unmatched]] = defaultdict(list)
    for entry in listed:
        if not entry.is_line and entry.counterparty.endswith("/"):
            of_day[entry.counterparty, entry.day].append(entry)
    several = {named: waiting for named, waiting in of_day.items() if len(waiting) > 1}
    for line in (entry for entry in listed if entry.is_line):
        fitting = [
            named
            for named, waiting in several.items()
            if sum(entry.amount for entry in waiting) == line.amount and _in_time(source, named[1], line.day)
        ]
        if len({psp for psp, _ in fitting}) == 1:
            yield from (Pair(line.key, entry.key, entry.amount) for entry in several.pop(min(fitting)))


def pairs(entries: Iterable[Unmatched], source: SettlementSource | None) -> Iterator[tuple[str, str]]:
    """→ (key of the line, key of the expectation), if all expectations are of one counterparty"""
    listed = sorted(entries, key=lambda entry: (entry.day, entry.key))
    waiting = [entry for entry in listed if not entry.is_line]
    if source is None or len({entry.counterparty for entry in waiting}) != 1:
        return
    for line in (entry for entry in listed if entry.is_line):
        fitting = next((entry for entry in waiting if _in_time(source, entry.day, line.day)), None)
        if fitting:
            waiting.remove(fitting)
            yield line.key, fitting.key


def _in_time(source: SettlementSource, due: date, day: date) -> bool:
    return due <= later(source, day, 1) and day <= later(source, due, WAIT_DAYS)


def _facts(psp: str, currency: str, pair: Pair) -> Iterator[Fact]:
    for key, amount in ((pair.line, pair.amount), (pair.expectation, -pair.amount)):
        yield Fact(Reference(key, BANK_ENTRY, psp), currency, amount, pair.digest, None)
