"""Tallies that are not simply equal, and settlements whose sums have changed → breaks, bookings, events. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from reconciliation import banking, twice
from reconciliation.booking import (
    PAYOUT,
    PAYOUT_REVERSED,
    Amounts,
    as_booked,
    claimed,
    difference,
    moves_suspense_alone,
    paid_out,
    target,
    ties,
)
from reconciliation.breaking import Finding, judged
from reconciliation.business_days import late_at, next_boundary
from reconciliation.conversions import spread
from reconciliation.expected import Sources, paid_by_psp
from reconciliation.matching import Verdict, verdict
from reconciliation.notifying import MOST, notified
from reconciliation.schedule import and_late, missing_file, waits_for_file
from reconciliation.state import (
    ApartMoved,
    Booked,
    Change,
    FactFound,
    FactTakenBack,
    Judged,
    Reconciliation,
    Settlement,
    Span,
    Statement,
    Told,
    UnexplainedMoved,
)
from reconciliation.tally import BANK_ENTRY, Reference, Tally
from schemas.breaks import Code
from schemas.money import Money
from schemas.settlements import Settled, SettlementMatched, SettlementReclassified, StatementMatched
from topics.settlement_sources import SettlementSource

LOOK_AGAIN = timedelta(minutes=1)
WAIT_FOR_FILE = timedelta(hours=1)  # before we look without having seen one
_OUR_LAG = ("MISSING_INTERNAL", "UNEXPECTED_REVERSAL")
_GROUPED = ("FEE_VARIANCE",)
_BY_ORDER = ("DUPLICATE_CHARGE", "PAYOUT_RETURNED")


# ── tallies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def judge(state: Reconciliation, file_no: int, sources: Sources, now: datetime) -> Iterator[Change]:
    """Judge the loaded slice of references."""
    references = state.odd.get(file_no, [])
    moved: set[Reference] = set()
    for change in _paired(state, references, sources, now):
        if isinstance(change, FactFound | FactTakenBack):
            moved.add(change.fact.reference)  # judged again, once its facts are saved
        yield change
    again, waiting, broken, whole = list[Reference](), list[Reference](), list[Reference](), list[Reference]()
    looks = [_looked_at(state, each, sources, now) for each in references if each not in moved]
    explained, changes = _explained(state, looks, now)
    yield from changes
    counts = Counter(look.found.code for look in looks if look.found)
    for reference, tallies, seen, waits, _ in looks:
        found = None if reference in explained else seen
        if found and found.code in _OUR_LAG and not state.has_heard(tallies):
            again.append(reference)
            continue
        (broken if found else whole).append(reference)
        if waits and not found and verdict(tallies, late=True):
            waiting.append(reference)
        item = str(reference)
        finding = _finding(state, reference, tallies, found, sources) if found else None
        yield from judged(item, finding, state.items.get(item), now)
        told = notified(state, reference, tallies, found, item) if found and counts[found.code] <= MOST else None
        if told:
            yield Told(item, told, now)
    if references:
        at = (tuple(again), next_boundary(now, LOOK_AGAIN), tuple(waiting), next_boundary(now, WAIT_FOR_FILE))
        yield Judged(file_no, tuple(references), tuple(broken), tuple(whole), *at)


class _Look(NamedTuple):
    reference: Reference
    tallies: tuple[Tally, ...]
    found: Verdict | None
    waits: bool  # for a file that has not come
    again: bool  # it captures what its order has had already


def _looked_at(state: Reconciliation, reference: Reference, sources: Sources, now: datetime) -> _Look:
    tallies = state.tallies.get(reference, ())
    due = _late_since(tallies, sources, now)
    waits = due is not None and waits_for_file(state, reference.psp, due, sources)
    again = twice.captured_again(tallies, state.named, state.charged)
    return _Look(reference, tallies, verdict(tallies, due is not None and not waits, again), waits, bool(again))


def _explained(state: Reconciliation, looks: Sequence[_Look], now: datetime) -> tuple[Set[Reference], list[Change]]:
    """→ the references that are no breaks, since a second capture and its refund explain each other; and what has changed"""
    had, changes = state.unexplained, list[Change]()
    present = dict(had)
    for look in looks:
        present.pop(look.reference, None)
        if (entry := _unexplained(state, look)) is not None:
            present[look.reference] = entry
        changes += _set_apart(state, look)
    before, after = twice.explained(had.values()), twice.explained(present.values())
    explained = {each.reference for each in after}
    here = {look.reference for look in looks}
    others = tuple(sorted({each.reference for each in before ^ after} - here))
    gone, saved = set(had.values()) - set(present.values()), set(present.values()) - set(had.values())
    if gone or saved:
        changes.append(UnexplainedMoved(tuple(sorted(gone)), tuple(sorted(saved)), others, now))
    return explained, changes


def _unexplained(state: Reconciliation, look: _Look) -> twice.Unexplained | None:
    """What of a known order no fact explains: a capture, or a refund."""
    order, found = twice.order_of(look.tallies, state.named), look.found
    if found is None or order is None or (found.code in _OUR_LAG and not state.has_heard(look.tallies)):
        return None
    kind = look.reference.kind
    if not look.again and (kind not in (twice.CAPTURE, twice.REFUND) or any(tally.facts for tally in look.tallies)):
        return None
    return twice.Unexplained(
        order, look.reference.psp, found.currency, kind, look.reference.key, found.amount, look.again
    )


def _set_apart(state: Reconciliation, look: _Look) -> Iterator[Change]:
    for tally in look.tallies:
        apart = tuple(sorted(line.digest for line in twice.lines_again(tally, state.named)))
        if apart != tuple(sorted(tally.apart)):
            yield ApartMoved(tally, apart)


def _paired(
    state: Reconciliation, references: Sequence[Reference], sources: Sources, now: datetime
) -> Iterator[Change]:
    bank = [tally for each in references if each.kind == BANK_ENTRY for tally in state.tallies.get(each, ())]
    return banking.pair_anew(state, bank, sources.of, now) if bank else iter(())


def _late_since(tallies: Sequence[Tally], sources: Sources, now: datetime) -> date | None:
    """The due day, if it and its grace are over."""
    due = max((tally.due for tally in tallies if tally.due and tally.facts), default=None)
    source = sources.of.get(tallies[0].psp) if tallies else None
    return due if due and source and now >= late_at(source, due) else None


def _finding(
    state: Reconciliation, reference: Reference, tallies: Sequence[Tally], found: Verdict, sources: Sources
) -> Finding:
    named = sorted({state.names[line.settlement_no] for t in tallies for line in t.lines if line.settlement_no})
    grouped = found.code in _GROUPED and bool(named)
    source = sources.of.get(reference.psp)
    detail = {
        "settlements": named,
        "orders": sorted({tally.payment_order_id for tally in tallies if tally.payment_order_id}),
        "sellers": sorted({tally.seller for tally in tallies if tally.seller}),
        "expected": {tally.currency: tally.expected for tally in tallies if tally.facts},
        "settled": {tally.currency: tally.settled for tally in tallies if tally.lines},
        "outcome": next((tally.outcome for tally in tallies if tally.outcome), None),
    }
    return Finding(
        found.code,
        named[0] if grouped else _subject(state, reference, tallies, found),
        named[0].partition("/")[0] if named else source.name if source else "",
        reference.psp,
        found.currency,
        found.amount,
        detail,
        "" if grouped else _group(reference, tallies, named),
    )


def _subject(state: Reconciliation, reference: Reference, tallies: Sequence[Tally], found: Verdict) -> str:
    """An order that is charged twice, a pay-out that has come back; else what both halves call it."""
    order = twice.order_of(tallies, state.named) if found.code in _BY_ORDER else None
    return f"{reference.psp}/{order}" if order else str(reference)


def _group(reference: Reference, tallies: Sequence[Tally], named: Sequence[str]) -> str:
    """The settlement, or the day on which it is due."""
    due = max((tally.due for tally in tallies if tally.due), default=None)
    return named[0] if named else f"{reference.psp}/{due}" if due else reference.psp


# ── settlements ──────────────────────────────────────────────────────────────────────────────────────────────────────


def settle(
    state: Reconciliation, settlement: Settlement, sources: Sources, now: datetime
) -> tuple[list[Change], list[Settled]]:
    """Book the difference between what should be booked of a settlement and what is."""
    source = sources.by_name[settlement.source]
    tied, change = ties(settlement.sums, settlement.claims), claimed(settlement.claims)
    bank = source.kind == "bank"
    wanted = (
        target(settlement.sums, settlement.currency, bank, change.kept, spread(settlement.fx))
        if tied and change
        else {}
    )
    changed = difference(wanted, settlement.booked)
    paid = (
        {} if bank or not tied else paid_out(settlement.claims, wanted.get(("bank_clearing", settlement.currency), 0))
    )
    moved = {ref: paid.get(ref, 0) - settlement.paid.get(ref, 0) for ref in sorted({*paid, *settlement.paid})}
    revision = settlement.revision + (bool(changed) or any(moved.values()))
    changes: list[Change] = [Booked(settlement.settlement_no, revision, wanted, paid, tied, now)]
    changes += _untied(state, settlement, tied or waits_for_other_half(settlement, source, now) is not None, now)
    changes += _repeated(state, settlement, now)
    changes += _rates(state, settlement, now)
    changes += _paid_back(state, settlement, now)
    changes += _gaps(state, settlement, source, now)
    if source.bank_account in sources.of:
        came = (settlement.came_at or now).date()  # not when it is booked, which depends on who lags
        day = max((claim.day for claim in settlement.claims if claim.day), default=came)
        for reference, minor in moved.items():
            if minor:
                money = Money(minor, settlement.currency)
                fact = paid_by_psp(source, settlement.settlement, reference, revision, money, day)
                changes.append(FactFound(fact, now))
    return changes, [_event(settlement, source, revision, changed)] if changed else []


def waits_for_other_half(settlement: Settlement, source: SettlementSource, now: datetime) -> date | None:
    """The lines of a settlement and the total that is claimed of it may come in two files: the day from which on the source's
    grace runs for the second one; None once both are here, or it is late."""
    has_lines = any(each.lines for each in settlement.sums if each.kind != PAYOUT)
    is_claimed = any(claim.paid is not None for claim in settlement.claims)
    if has_lines == is_claimed or settlement.came_at is None:
        return None
    day = settlement.came_at.astimezone(ZoneInfo(source.timezone)).date()
    return day if now < late_at(source, day) else None


def _untied(state: Reconciliation, settlement: Settlement, tied: bool, now: datetime) -> Iterator[Change]:
    item = f"settlement|{settlement.subject}"
    net = sum(each.net for each in settlement.sums)
    empty = not any(each.lines for each in settlement.sums) and not settlement.claims  # its files are withdrawn
    finding = None
    if not tied and not empty:
        claims = [claim.paid for claim in settlement.claims if claim.paid is not None]
        detail = {"lines": net, "claims": sorted(claims)}
        finding = _about(settlement, "PAYOUT_TOTAL", net, detail)
    yield from judged(item, finding, state.items.get(item), now)


def _repeated(state: Reconciliation, settlement: Settlement, now: datetime) -> Iterator[Change]:
    """Lines that two files have are counted once: the break is only recorded."""
    if not settlement.duplicates:
        return
    item = f"duplicate|{settlement.subject}"
    finding = _about(settlement, "DUPLICATE_ROW", settlement.duplicates_gross, {"lines": settlement.duplicates})
    yield from judged(item, finding, state.items.get(item), now, closed=True)


def _rates(state: Reconciliation, settlement: Settlement, now: datetime) -> Iterator[Change]:
    """Lines whose rates are beyond the band: one break for each currency."""
    for currency, item in settlement.rate_items.items():
        sums, finding = settlement.fx.get(currency), None
        if sums and sums.lines:
            detail: dict[str, object] = {"settlements": [settlement.subject], "of": currency, "lines": sums.lines}
            finding = _about(settlement, "FX_DIFFERENCE", sums.beyond, detail)._replace(
                subject=f"{settlement.subject}/{currency}"
            )
        yield from judged(item, finding, state.items.get(item), now)


def _paid_back(state: Reconciliation, settlement: Settlement, now: datetime) -> Iterator[Change]:
    """A pay-out of the PSP has not arrived and is back at the PSP: it goes to other bank details, or nowhere."""
    item = f"returned|{settlement.subject}"
    back = sum(each.gross for each in settlement.sums if each.kind == PAYOUT_REVERSED)
    finding = _about(settlement, "PAYOUT_RETURNED", back, {"settlements": [settlement.subject]}) if back else None
    yield from judged(item, finding, state.items.get(item), now)


def _gaps(state: Reconciliation, settlement: Settlement, source: SettlementSource, now: datetime) -> Iterator[Change]:
    """A statement opens with what another one of its account has closed with; else one is missing between them."""
    chain = state.statements.get((settlement.source, settlement.currency), [])
    missing = without_predecessor(chain)
    for each in chain:
        item = f"gap|{settlement.source}/{each.settlement}/{settlement.currency}"
        finding = None
        if each in missing:
            subject = f"{settlement.source}/{settlement.currency}/{each.day.isoformat()}"
            finding = missing_file(settlement.source, subject, Span(missing[each].day, each.day))
            finding = finding._replace(psp=settlement.psp, currency=settlement.currency, amount=each.opening)
        yield from and_late(source, judged(item, finding, state.items.get(item), now), now)


def without_predecessor(statements: Sequence[Statement]) -> dict[Statement, Statement]:
    """Those, but the first, whose opening balance no statement of that day or before has closed with → the one before."""
    listed = sorted(statements, key=lambda each: (each.day, each.settlement))
    return {
        each: before
        for before, each in pairwise(listed)
        if not any(o.closing == each.opening and o.day <= each.day and o is not each for o in listed)
    }


def _about(settlement: Settlement, code: Code, amount: int, detail: dict[str, object]) -> Finding:
    return Finding(code, settlement.subject, settlement.source, settlement.psp, settlement.currency, amount, detail)


def _event(settlement: Settlement, source: SettlementSource, revision: int, changed: Amounts) -> Settled:
    kind: type[Settled] = SettlementMatched
    if source.kind == "bank":
        kind = StatementMatched
    elif revision > 1 and moves_suspense_alone(changed):
        kind = SettlementReclassified
    return kind(
        subject=settlement.subject,
        revision=revision,
        psp=settlement.psp,
        bank_account=source.bank_account,
        file_ids=settlement.file_ids,
        amounts=as_booked(changed),
    )
