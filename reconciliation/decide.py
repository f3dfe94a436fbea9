"""One event → what changes in files, tallies, settlements and breaks, and what the ledger is told."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from reconciliation import files, inside, notifying, settling, working
from reconciliation.business_days import late_at, next_boundary
from reconciliation.expected import Fact, Sources, expected
from reconciliation.move import Move
from reconciliation.state import Change, FactFound, LateJudged, Reconciliation, Swept
from schemas.break_work import BreakWorked
from schemas.events import (
    AnyEvent,
    PaymentCaptured,
    PaymentDeclined,
    PaymentPending,
    RiskReviewed,
    TimerFired,
    WalletCredited,
)
from schemas.journals import JournalPosted
from schemas.money_back import Execution, FundsAvailable, PaymentRefunded, WalletCorrected, WalletDebited
from schemas.payouts import (
    FundsReserved,
    FundsReturned,
    PayoutExecution,
    PayoutMovement,
    ReservationRefused,
    ReservationReleased,
    ReservationSettled,
)
from schemas.settlements import (
    SettlementFileDiscarded,
    SettlementFileReleased,
    SettlementFileStored,
    SettlementLines,
    SettlementLinesEnded,
)
from topics.break_rules import BreakRules
from topics.runtime.shape.consumer import Cause, Decision, Timer

File = SettlementFileStored | SettlementFileReleased | SettlementFileDiscarded
Line = SettlementLines | SettlementLinesEnded
Movement = WalletCredited | WalletDebited | WalletCorrected | FundsAvailable | PayoutMovement
Heard = File | Line | Execution | PayoutExecution | Movement | JournalPosted | BreakWorked | RiskReviewed | TimerFired

YOUNG = timedelta(days=1)  # less than tallies are kept at least: see Retention
# Each call has one of these, and few come back to it.
_FIRST_WORDS = (PaymentCaptured, PaymentRefunded, PaymentDeclined, PaymentPending)
OVERDUE = "overdue"  # timers, as in `files`
SWEEP_EVERY = timedelta(seconds=10)
NOTHING = Decision()
RULES = BreakRules()


def decide(
    state: Reconciliation, event: Heard, cause: Cause, *, sources: Sources, rules: BreakRules = RULES
) -> Decision:
    """Errors: Transient, Permanent (of `files` and `working`)."""
    now = cause.now
    match event:
        case SettlementLines():
            return files.lines(state, event, now)
        case SettlementLinesEnded():
            return files.ended(state, event, now)
        case SettlementFileStored():
            return files.stored(state, event, now)
        case SettlementFileReleased():
            return files.released(state, event, now)
        case SettlementFileDiscarded():
            return files.discarded(state, event, now)
        case BreakWorked():
            return _worked(state, event, rules, sources, cause)
        case RiskReviewed():
            return NOTHING  # of risk
        case TimerFired():
            return _timer(state, event, sources, now)
        case FundsAvailable() | WalletCorrected():
            return NOTHING  # of no execution
        case FundsReserved() | ReservationRefused() | ReservationReleased():
            return NOTHING  # of what payouts asks for
        case WalletCredited() | WalletDebited() | ReservationSettled() | FundsReturned() | JournalPosted():
            move = inside.effect(event, cause, state.moves_since)
            return NOTHING if move is None else _compare(state, [move], now)
        case _:
            fact = expected(event, sources, cause.said_at)
            tallied = NOTHING if fact is None else _expect(fact, sources, now, is_new=_is_new(event, cause))
            compared = _compare(state, list(inside.wanted(event, cause, state.moves_since)), now)
            return Decision((*tallied.changes, *compared.changes), timers=[*tallied.timers, *compared.timers])


def _compare(state: Reconciliation, moves: list[Move], now: datetime) -> Decision:
    """The first of a batch sets the timer: one look serves all of a minute."""
    if not moves:
        return NOTHING
    return Decision(moves, timers=[] if state.hears_moves else [_looks_inside(now)])


def _looks_inside(now: datetime) -> Timer:
    return Timer(inside.INSIDE, "", next_boundary(now, inside.LOOK_EVERY))


def _look_inside(state: Reconciliation, now: datetime) -> Decision:
    changes = list(inside.judge(state.moves, state.items, now))
    return Decision(changes, timers=[_looks_inside(now)] if state.moves_wait else [])


def _worked(state: Reconciliation, event: BreakWorked, rules: BreakRules, sources: Sources, cause: Cause) -> Decision:
    decided = working.work(state, event, rules, cause)
    facts = [change.fact for change in decided.changes if isinstance(change, FactFound)]
    due = [fact for fact in facts if fact.due is not None and fact.reference.psp in sources.of]
    timers = [timer for fact in due for timer in _timers_of(fact, sources, cause.now)]
    return decided._replace(timers=(*decided.timers, *timers)) if timers else decided


def _timer(state: Reconciliation, event: TimerFired, sources: Sources, now: datetime) -> Decision:
    match event.kind:
        case files.LOOK:
            return files.looked_at(state, event, sources, now)
        case files.SETTLE:
            return files.settled(state, event, sources, now)
        case files.WITHDRAW:
            return files.withdrawn(state, event, sources, now)
        case files.FOLD:
            return files.folded_again(state, event, now)
        case files.SWEEP:
            return _sweep(state, sources, now)
        case inside.INSIDE:
            return _look_inside(state, now)
        case files.MISSED:
            return files.files_missed(state, event.timer_key, sources, now)
        case _:
            psp, _, day = event.timer_key.partition("|")
            late = LateJudged(psp, date.fromisoformat(day), date.fromisoformat(day), now)
            return Decision((late,), timers=(Timer(files.SWEEP, "", now),))


def _is_new(event: Execution | PayoutExecution, cause: Cause) -> bool:
    """Whether it is the first word of a call, published so lately that a tally of it cannot have been archived."""
    return isinstance(event, _FIRST_WORDS) and cause.now - cause.said_at < YOUNG


def _expect(fact: Fact, sources: Sources, now: datetime, *, is_new: bool) -> Decision:
    return Decision((FactFound(fact, now, is_new),), timers=_timers_of(fact, sources, now))


def _timers_of(fact: Fact, sources: Sources, now: datetime) -> list[Timer]:
    """A fact may meet a line that is here already, so a sweep follows: one serves all facts of some seconds. And it may be
    late some day."""
    timers = [Timer(files.SWEEP, "", next_boundary(now, SWEEP_EVERY))]
    if fact.due is not None:
        psp = fact.reference.psp
        timers.append(Timer(OVERDUE, f"{psp}|{fact.due.isoformat()}", late_at(sources.of[psp], fact.due)))
    return timers


def _sweep(state: Reconciliation, sources: Sources, now: datetime) -> Decision:
    """Judge what facts and due days have made odd, and settle what has changed."""
    changes: list[Change] = [*settling.judge(state, 0, sources, now), Swept()]
    events: list[AnyEvent] = [*notifying.events(changes)]
    for settlement in state.settlements.values():
        more, said = settling.settle(state, settlement, sources, now)
        changes += more
        events += said
    return Decision(changes, events, timers=_after_sweep(state, changes, sources, now), revision=1)


def _after_sweep(state: Reconciliation, changes: list[Change], sources: Sources, now: datetime) -> list[Timer]:
    timers = [Timer(files.SWEEP, "", now)] if 0 in state.more_odd or state.more_settlements else []
    timers += files.looks_again(changes)
    for change in changes:
        if isinstance(change, FactFound):
            timers += _timers_of(change.fact, sources, now)
    for settlement in state.settlements.values():
        source = sources.by_name[settlement.source]
        if day := settling.waits_for_other_half(settlement, source, now):
            timers.append(Timer(OVERDUE, f"{settlement.psp}|{day.isoformat()}", late_at(source, day)))
    return timers
