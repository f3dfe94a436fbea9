"""(a break, what a person wants done about it) → what is done, or why not. Pure.

Nothing that a person asks for is dropped: what cannot be done is answered in the break's history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from reconciliation.business_days import next_boundary
from reconciliation.case import Case, CaseWorked, CorrectionMade, Proposal, reference_of, state_of
from reconciliation.expected import Fact
from reconciliation.formats import keys
from reconciliation.state import Change, FactFound, FactTakenBack, Reconciliation
from reconciliation.tally import Reference, Tally
from schemas import repairs
from schemas.break_work import REPAIRS, BreakWorked
from schemas.corrections import CorrectionApproved, check
from schemas.envelope import derive_id
from schemas.errors import Permanent
from schemas.events import AnyEvent
from schemas.persons import person_of
from schemas.repairs import NotPossible, Repair, TallyChange
from topics.break_rules import BreakRules
from topics.runtime.shape.consumer import Cause, Decision, Timer

SWEEP = "sweep"  # as in `files`
SWEEP_EVERY = timedelta(seconds=10)


def work(state: Reconciliation, event: BreakWorked, rules: BreakRules, cause: Cause) -> Decision:
    """Errors: Permanent `unknown_break`: the door asks before it takes an action."""
    if event.operation_id in state.operations:
        return Decision()
    case = state.cases.get(event.subject)
    if case is None:
        raise Permanent("unknown_break", f"there is no break {event.subject}")
    try:
        return _Acting(state, case, event, rules, cause).act()
    except NotPossible as why:
        told = {"reason": event.reason, "refused": why.code, "why": why.detail}
        after = replace(case, proposal=None, work=_back(case)) if isinstance(why, _Stale) else case
        return Decision((CaseWorked(after, event.action, event.operation_id, event.actor, cause.now, told),))


class _Stale(NotPossible):
    """What was proposed is not what would be done now: the proposal lapses."""


@dataclass(slots=True)
class _Acting:
    """One action of one person on one break."""

    state: Reconciliation
    case: Case
    event: BreakWorked
    rules: BreakRules
    cause: Cause

    def act(self) -> Decision:
        """Errors: NotPossible."""
        event, case = self.event, self.case
        if event.action == "note":
            return self._acted(case)
        if event.action == "undo":
            return self._repairs(event, _undone(self.state, event))
        if not case.is_open:
            raise NotPossible("break_closed", "the break is closed: its condition does not hold any more")
        if event.action in REPAIRS:
            return self._repairs(event, _repair(self.state, case, event))
        if event.action == "assign":
            return self._assigned()
        if event.action == "reopen":
            if case.work != "resolved":
                raise NotPossible("not_resolved", "the break is not resolved")
            return self._acted(replace(case, work=_back(case), worked_amount=None))
        if case.work != "proposed" or case.proposal is None:
            raise NotPossible("nothing_proposed", "nothing is proposed that could be decided on")
        return self._approved(Proposal.read(case.proposal)) if event.action == "approve" else self._rejected()

    def _assigned(self) -> Decision:
        if self.event.assignee is None:
            raise NotPossible("assignee_needed", "to whom?")
        if self.case.work == "resolved":
            raise NotPossible("resolved", "the break is resolved: reopen it first")
        work = "assigned" if self.case.work in ("open", "assigned", "approved") else self.case.work
        return self._acted(replace(self.case, assignee=self.event.assignee, work=work), assignee=self.event.assignee)

    def _repairs(self, event: BreakWorked, repair: Repair) -> Decision:
        case = self.case
        if case.work == "proposed":
            raise NotPossible("proposed", "something is proposed already: approve or reject that first")
        if case.work == "resolved" and event.action != "undo":
            raise NotPossible("resolved", "the break is resolved: reopen it first")
        if event.sha256 is not None and event.sha256 != repair.sha256:
            raise NotPossible("changed", "what would be done now is not what was shown: look at it again")
        if not self.rules.needs_two(repairs.weight(repair, case.amount, case.currency)):
            return self._done(event, repair)
        if not case.is_open:
            raise NotPossible(
                "break_closed", "the break is closed, and this needs two persons: ask for it on an open break"
            )
        proposal = Proposal(event, repair).told()
        after = replace(case, work="proposed", proposal=proposal)
        return self._acted(after, proposed=repair.told(), sha256=repair.sha256)

    def _approved(self, proposal: Proposal) -> Decision:
        event, asked = self.event, proposal.asked
        if person_of(event.actor) == person_of(asked.actor):
            raise NotPossible("same_person", "who has proposed it cannot approve it")
        if event.sha256 != proposal.repair.sha256:
            raise NotPossible("approval_stale", "what is approved is not what is proposed: look at it again")
        try:
            repair = _undone(self.state, asked) if asked.action == "undo" else _repair(self.state, self.case, asked)
        except NotPossible as why:
            raise _Stale("approval_stale", f"it cannot be done any more: {why.detail}") from None
        if repair.sha256 != event.sha256:
            raise _Stale(
                "approval_stale", "what would be done has changed since it was proposed: it must be proposed again"
            )
        return self._done(asked, repair)

    def _rejected(self) -> Decision:
        return self._acted(replace(self.case, work=_back(self.case), proposal=None))

    def _acted(self, after: Case, *changes: Change, events: Sequence[AnyEvent] = (), **told: Any) -> Decision:
        event = self.event
        detail = {"reason": event.reason} | told
        worked = CaseWorked(after, event.action, event.operation_id, event.actor, self.cause.now, detail)
        timers = [Timer(SWEEP, "", next_boundary(self.cause.now, SWEEP_EVERY))] if changes else []
        return Decision((*changes, worked), events, timers=timers, revision=1)

    def _done(self, asked: BreakWorked, repair: Repair) -> Decision:
        """`asked`: by the maker, who is also the approver where no second person is needed."""
        case, now = self.case, self.cause.now
        if repair.kind == "resolve":
            return self._acted(replace(case, work="resolved", proposal=None, worked_amount=case.amount))
        id_ = keys.named("correction", asked.subject, asked.operation_id)
        moves = bool(repair.entries)
        event_id = derive_id(self.cause.event_id, "reconciliation", 0, self.cause.entered_ms) if moves else None
        made = CorrectionMade(id_, case.break_id, repair, event_id, asked.reason, asked.actor, self.event.actor, now)
        said = [_approved_event(made)] if moves else []
        after = replace(case, work="approved", proposal=None) if case.is_open else replace(case, proposal=None)
        moved = (
            [FactTakenBack(f, now) for f in _taken_back(self.state, repair)]
            if repair.undoes
            else [FactFound(f, now) for f in _facts(self.state, id_, repair, now.date())]
        )
        return self._acted(after, made, *moved, events=said, correction_id=id_, done=repair.told())


def _approved_event(made: CorrectionMade) -> CorrectionApproved:
    """Errors: Permanent, where wallet and ledger would not book it."""
    event = CorrectionApproved(
        correction_id=made.correction_id,
        break_id=made.break_id,
        movements=made.repair.movements,
        entries=made.repair.entries,
        reason=made.reason,
        maker=made.maker,
        approver=made.approver,
        sha256=made.repair.sha256,
    )
    check(event)
    return event


def _back(case: Case) -> Any:
    return "assigned" if case.assignee else "open"


# ── what is done ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _repair(state: Reconciliation, case: Case, asked: BreakWorked) -> Repair:
    """Errors: NotPossible."""
    named = {*case.items, *(asked.expectations or ())}
    tallies = {item: [state_of(tally) for tally in _tallies(state, item)] for item in named}
    return repairs.repair_of(asked, repairs.CaseState(case.amount, case.currency, case.items), tallies)


def _tallies(state: Reconciliation, item: str) -> Sequence[Tally]:
    reference = reference_of(item)
    return () if reference is None else state.tallies.get(reference, ())


def _undone(state: Reconciliation, asked: BreakWorked) -> Repair:
    done = state.corrections.get(asked.correction_id or "")
    if done is None:
        raise NotPossible("unknown_correction", "there is no such repair")
    if done.is_undone:
        raise NotPossible("is_undone", "it was taken back before")
    return repairs.undone(done.correction_id, done.repair)


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _facts(state: Reconciliation, id_: str, repair: Repair, today: date) -> Iterator[Fact]:
    """What the repair makes us expect. Fees go on being compared as they were; a matched line has those of what it is."""
    other = next(
        (_tally(state, c) for c in repair.changes if c.amount and repair.kind == "match" and _is_known(state, c)), None
    )
    for change in repair.changes:
        tally = _tally(state, change)
        fact = Fact(
            Reference(change.key, change.kind, change.psp), change.currency, change.amount, _digest(id_, change), None
        )
        if tally is not None and tally.facts:
            yield replace(fact, fee=0)
        elif other is not None:
            fee, slack = (other.fee_expected, other.fee_slack) if other.expected == change.amount else (None, 0)
            yield replace(
                fact,
                due=other.due,
                fee=fee,
                fee_slack=slack,
                payment_order_id=other.payment_order_id,
                seller=other.seller,
            )
        else:
            yield replace(fact, due=today)  # the line may be withdrawn: then it is missing


def _taken_back(state: Reconciliation, repair: Repair) -> Iterator[Fact]:
    done = state.corrections[repair.undoes or ""]
    for change in done.repair.changes:
        yield Fact(
            Reference(change.key, change.kind, change.psp),
            change.currency,
            change.amount,
            _digest(done.correction_id, change),
            None,
        )


def _digest(correction_id: str, change: TallyChange) -> int:
    return keys.digest("correction", correction_id, change.psp, change.kind, change.key, change.currency)


def _tally(state: Reconciliation, change: TallyChange) -> Tally | None:
    found = state.tallies.get(Reference(change.key, change.kind, change.psp), ())
    return next((tally for tally in found if tally.currency == change.currency), None)


def _is_known(state: Reconciliation, change: TallyChange) -> bool:
    tally = _tally(state, change)
    return tally is not None and bool(tally.facts)
