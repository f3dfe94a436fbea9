"""Bank entries without a key of ours, and expectations without an entry → pairs of equal amounts. Pure.

Among transfers of one counterparty in one amount, which entry is which changes no books: they are paired in one canonical
order, anew whenever one of them changes, so that the order of arrival does not matter. Two counterparties are never guessed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
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


def unmatched(tally: Tally, before: Unmatched | None, days: Mapping[int, date]) -> Unmatched | None:
    """A tally with one half alone, apart from its present pair. `days`: of the statements that its lines are in."""
    facts, expected = set(tally.facts), tally.expected
    if before and before.pair:
        facts.discard(_pair_digest(*_pair(before)))
        expected -= before.amount if before.is_line else -before.amount
    pair = before.pair if before else None
    if tally.lines and not facts:
        day = days.get(tally.lines[0].settlement_no)
        if day is None or not tally.settled:
            return None
        return Unmatched(tally.psp, tally.currency, tally.settled, tally.key, True, "", day, pair)
    if facts and not tally.lines and expected and tally.due:
        counterparty = _counterparty(tally)
        return Unmatched(tally.psp, tally.currency, expected, tally.key, False, counterparty, tally.due, pair)
    return None


def _counterparty(tally: Tally) -> str:
    """The seller, or the source whose settlement it is."""
    return tally.seller or (tally.payment_order_id or "").partition("/")[0]


def pair_anew(
    state: Reconciliation, tallies: Iterable[Tally], source: Mapping[str, SettlementSource], now: datetime
) -> Iterator[Change]:
    """Pair the groups of these tallies. A pair moves the expectation from one tally to the other: both are equal then."""
    entries = dict(state.unmatched)
    touched: set[Group] = set()
    moved: list[Unmatched] = []
    for tally in tallies:
        name = (tally.psp, tally.currency, tally.key)
        before = entries.pop(name, None)
        after = unmatched(tally, before, state.statement_days)
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
    groups: dict[Group, list[Unmatched]] = defaultdict(list)
    for entry in entries.values():
        groups[group_of(entry)].append(entry)
    had = {_pair(entry) for entry in state.unmatched.values() if entry.pair and group_of(entry) in touched}
    wanted = {(line, other): group for group in touched for line, other in pairs(groups[group], source.get(group.psp))}
    held = {_pair(entry): group_of(entry) for entry in state.unmatched.values() if entry.pair}
    for each in sorted(had - wanted.keys()):
        yield from (FactTakenBack(fact, now) for fact in _facts(held[each], *each))
    for each in sorted(wanted.keys() - had):
        yield from (FactFound(fact, now) for fact in _facts(wanted[each], *each))
    partner = {key: other for line, expectation in wanted for key, other in ((line, expectation), (expectation, line))}
    saved = [entry._replace(pair=partner.get(entry.key)) for group in touched for entry in groups[group]]
    yield UnmatchedMoved(tuple(gone), tuple(saved))


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


def _pair(entry: Unmatched) -> tuple[str, str]:
    """Line first."""
    assert entry.pair
    return (entry.key, entry.pair) if entry.is_line else (entry.pair, entry.key)


def _pair_digest(line: str, expectation: str) -> int:
    return keys.digest("pair", line, expectation)


def _facts(group: Group, line: str, expectation: str) -> Iterator[Fact]:
    digest = _pair_digest(line, expectation)
    for key, amount in ((line, group.amount), (expectation, -group.amount)):
        yield Fact(Reference(key, BANK_ENTRY, group.psp), group.currency, amount, digest, None)
