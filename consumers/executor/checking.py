"""A PSP's word that contradicts a settled outcome → a check: a question that never sends. Only its answer counts. Pure.

There is one check at a time of each operation, dispute or charge. A notification or reply that comes while a check is open
makes the check ask once more, since the answer to the open question may be older. Nothing waits for a check, and a check
whose ladder ends without an answer changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, TypeVar, assert_never

from consumers.executor.attempt import Attempt
from consumers.executor.draft import Draft
from consumers.executor.ladder import retry_after_s
from consumers.executor.operation import (
    CHARGE_SEQ,
    Check,
    Checked,
    Checking,
    Dispute,
    Operation,
    OperationState,
    automatic_id,
)
from consumers.executor.payout import Payout
from consumers.executor.state import Policy
from psp.payout_port import TransferReply
from psp.port import Authorised, Captured, Declined, NothingHappened, NotThere, Refunded, Reply, Unknown, Voided
from schemas.errors import Permanent
from schemas.payouts import RESOLVED_BY_OPERATORS
from topics.runtime.shape.consumer import Cause, Retry, Timer

C = TypeVar("C", bound=Checked | Payout)
CONTRADICTION = "contradiction"  # a timer's kind
FAILED_BY_PERSONS = Declined(RESOLVED_BY_OPERATORS)


class Asking(Protocol):
    """A decision in the making about an order or a pay-out."""

    policy: Policy
    cause: Cause

    def put(self, changed: Any, /) -> None: ...
    def ask(self, check_id: str, question: dict[str, object], /) -> None: ...
    def retry(self, retry: Retry, /) -> None: ...
    def end(self, call_id: str, outcome: str, /) -> None: ...


def begin(draft: Asking, about: Checked | Payout, state: Checking = "open") -> None:
    """Ask about an operation, dispute or pay-out: at once, or again after the question that is open."""
    if about.check.open:
        _put(draft, about, replace(about.check, state="again"))
        return
    begun = _put(draft, about, Check(about.check.number + 1, state))
    draft.ask(begun.check_id, _question(begun))


def look_up(draft: Draft, about: Operation) -> None:
    """Ask about what a settlement file says otherwise, or lacks. An open question is enough; no answer changes nothing."""
    if not about.check.open:
        begin(draft, about, "confirming")


def row_of_charge(draft: Draft) -> Operation:
    """The charge's own row in `operations`, which exists from the charge's first check on: an automatic charge as its
    capture, any other as a row that is only asked about.
    """
    key = automatic_id(draft.attempt.key)
    found = draft.operations.get(("capture", key)) or draft.operations.get(("charge", key))
    return found or _charge(draft.attempt)


def unanswered(draft: Asking, about: Checked | Payout, reply: Reply | TransferReply) -> None:
    """Ask again by the ladder, until the ladder ends: the reply does not answer the check."""
    asks, rungs = about.check.asks + 1, draft.policy.ladders.ask_again_s
    if asks < len(rungs):
        _put(draft, about, replace(about.check, asks=asks))
        draft.retry(Retry(about.check_id, "ask", max(rungs[asks], retry_after_s(reply))))
        return
    draft.end(about.check_id, "unresolved")
    if not _asked_again(draft, about):
        is_confirming = about.check.state == "confirming"
        _put(draft, about, replace(about.check, state=None if is_confirming else "unanswered"))


def answered(draft: Asking, about: Checked | Payout) -> None:
    """End the check: the reply answers it."""
    draft.end(about.check_id, "answered")
    if not _asked_again(draft, about):
        _put(draft, about, replace(about.check, state=None))


def believes_persons(draft: Draft, about: Operation, reply: Reply) -> bool:
    """Whether the "failed" of two persons is believed, since the PSP has nothing of what is unresolved, or has answered no
    question. Where it has something, and says neither yes nor no to it, they are refused.
    """
    match reply:
        case NotThere():
            return True
        case Unknown() | NothingHappened():
            unanswered(draft, about, reply)
            return draft.operations[about.key].check.state == "unanswered"
    draft.end(about.check_id, "answered")
    _put(draft, about, replace(about.check, state="unanswered"))
    return False


def end_of_unresolved(draft: Draft, about: Operation) -> Operation:
    """The operation without its check: the PSP has spoken, so nobody needs to ask about what two persons have said."""
    if about.check.state is None:
        return about
    if about.check.open:
        draft.end(about.check_id, "answered")
    return _put(draft, about, replace(about.check, state=None))


def end_of_charge(draft: Draft) -> None:
    """Settle the charge's own row as the charge is: what two persons have said of it is not asked about any more."""
    attempt, asked = draft.attempt, draft.operations.get(("charge", automatic_id(draft.attempt.key)))
    if asked is not None and not attempt.undecided and asked.state != state_of_charge(attempt):
        settled = {"state": state_of_charge(attempt), "outcome_event_id": attempt.outcome_event_id}
        draft.put(end_of_unresolved(draft, asked).evolve(draft.cause.now, **settled))


def take_reference(draft: Draft, about: Operation, said: Reply) -> Operation:
    """The PSP's own name replaces the one that persons gave, which may be that of another buyer's charge."""
    if not about.named_by_persons or not isinstance(said, Captured | Authorised | Voided | Refunded):
        return about
    named = about.evolve(draft.cause.now, psp_reference=said.psp_reference, named_by_persons=False)
    draft.put(named)
    if about.is_charge:
        draft.move(draft.attempt.state, psp_reference=said.psp_reference)
    return named


def contradicted(draft: Draft, about: Checked) -> None:
    """The answer cannot be applied. A timer makes the dead letter, so the check is over whatever becomes of the letter, and
    other answers about the order do not wait behind it."""
    if not about.check.open:
        _put(draft, about, replace(about.check, state="contradicted"))
        draft.set_timer(Timer(CONTRADICTION, draft.attempt.key, draft.cause.now))


def fail_contradicted(draft: Draft) -> None:
    """Errors: Permanent `contradiction`, while anything of the order is contradicted."""
    behind: list[Checked] = [*draft.operations.values(), *draft.disputes.values()]
    for about in behind:
        if about.check.state == "contradicted":
            raise Permanent("contradiction", f"{_name(draft, about)}, and is not so when its PSP is asked", ours=False)


def _name(draft: Draft, about: Checked) -> str:
    match about:
        case Dispute():
            return f"{about.dispute_id} stage {about.stage} was {about.state}"
        case Operation():
            charge = f"the charge was {draft.attempt.state}"
            return charge if about.is_charge else f"{about.kind} {about.operation_id} was {about.state}"
        case _:
            assert_never(about)


def _asked_again(draft: Asking, about: Checked | Payout) -> bool:
    if about.check.state != "again":
        return False
    begin(draft, _put(draft, about, replace(about.check, state=None)))
    return True


def _put(draft: Asking, about: C, check: Check) -> C:
    changed = about.evolve(draft.cause.now, check=check)
    draft.put(changed)
    return changed  # type: ignore[return-value]


def _question(about: Checked | Payout) -> dict[str, object]:
    match about:
        case Payout():
            return {"call_id": about.call_id, **about.sent.wire()}
        case Dispute():
            return {"kind": "dispute", "call_id": about.dispute_reference, "stage": about.stage}
        case Operation():
            return {"kind": "charge" if about.is_charge else about.kind, "call_id": about.call_id}
        case _:
            assert_never(about)


def state_of_charge(attempt: Attempt) -> OperationState:
    """The state of the charge's own row."""
    if attempt.state == "unresolved":
        return "unresolved"
    return "failed" if attempt.state == "declined" else "done"


def _charge(attempt: Attempt) -> Operation:
    return Operation(
        "charge",
        automatic_id(attempt.key),
        attempt.key,
        CHARGE_SEQ,
        attempt.placed.gross.minor,
        final=False,
        state=state_of_charge(attempt),
        call_id=attempt.call_id,
        psp=attempt.psp,
        cause_event_id=attempt.cause_event_id,
        placed_at=attempt.created_at,
        changed_at=attempt.changed_at,
        outcome_event_id=attempt.outcome_event_id,
        outcome_place=0,
        revision=0,
    )
