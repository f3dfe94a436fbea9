"""(an order, a PSP's notification of a dispute about it) → inquiry, chargeback opened, won, lost. Pure.

The PSP's amount is posted even if less is left of the order. A dispute that is reported before its capture waits, and is
applied in the decision that captures.
"""

from __future__ import annotations

from typing import assert_never

from consumers.executor import checking
from consumers.executor.draft import Draft
from consumers.executor.operation import Dispute
from psp.port import DisputeState, Reply
from schemas.errors import Permanent
from schemas.events import Terms
from schemas.money import Money
from schemas.money_back import (
    ChargebackLost,
    ChargebackOpened,
    ChargebackWon,
    DisputeInquiry,
    DisputeNotified,
)
from topics.runtime.shape.consumer import Timer

DISPUTE = "dispute"  # a timer due at once: its own message becomes the dead letter of disputes about an order that took no money


def apply_notification(draft: Draft, event: DisputeNotified) -> None:
    """Apply a notification. Errors: Permanent `contradiction` if the order ended without a capture; `notification_mismatch`."""
    if event.amount.currency != draft.attempt.placed.gross.currency:
        why = f"a dispute of {event.amount} about {draft.attempt.placed.gross}"
        raise Permanent("notification_mismatch", why, ours=False)
    if draft.ever_captured:
        _follow(draft, event)
    elif _ended_without_capture(draft):
        raise _contradiction(draft)
    else:
        waiting = _known(draft, event)
        draft.put(waiting.evolve(draft.cause.now, told=(*waiting.told, event.model_dump_json())))


def apply_waiting(draft: Draft) -> None:
    """Apply waiting disputes once there is a capture; mark them orphaned once there cannot be any."""
    for waiting in [each for each in draft.disputes.values() if each.state in ("waiting", "orphaned")]:
        if draft.ever_captured:
            draft.put(waiting.evolve(draft.cause.now, state="waiting", told=()))
            for told in waiting.told:
                _follow(draft, DisputeNotified.model_validate_json(told))
        elif waiting.state == "waiting" and _ended_without_capture(draft):
            draft.put(waiting.evolve(draft.cause.now, state="orphaned"))
            draft.set_timer(Timer(DISPUTE, draft.attempt.key, draft.cause.now))


def fail_orphaned(draft: Draft) -> None:
    """Errors: Permanent `contradiction`, where a dispute is about an order that ended without a capture."""
    if any(each.state == "orphaned" for each in draft.disputes.values()):
        raise _contradiction(draft)


def apply_reply(draft: Draft, dispute: Dispute, reply: Reply) -> None:
    """Apply the answer to a check. A stage that was won and is lost after all needs a person."""
    if not isinstance(reply, DisputeState) or reply.stage != dispute.stage:
        checking.unanswered(draft, dispute, reply)
        return
    checking.answered(draft, dispute)
    if dispute.state == "won" and reply.status == "lost":
        checking.contradicted(draft, draft.disputes[dispute.key])
    if dispute.state == "lost" and reply.status == "won":
        _win(draft, draft.disputes[dispute.key], reply.fee)


def _ended_without_capture(draft: Draft) -> bool:
    return draft.attempt.state in ("declined", "voided", "expired") and not draft.coming


def _contradiction(draft: Draft) -> Permanent:
    return Permanent("contradiction", f"a dispute about {draft.attempt.key}, which took no money", ours=False)


def _known(draft: Draft, event: DisputeNotified) -> Dispute:
    known = draft.disputes.get((event.dispute_reference, event.stage))
    cause = draft.cause
    return known or Dispute(
        event.psp,
        event.dispute_reference,
        event.stage,
        draft.attempt.key,
        "waiting",
        event.amount.minor,
        event.reason,
        cause.event_id,
        cause.now,
        cause.now,
        due_by=event.due_by,
        revision=0,
    )


def _follow(draft: Draft, event: DisputeNotified) -> None:
    dispute = _known(draft, event)
    match dispute.state:
        case "waiting" | "orphaned" | "inquiry":
            _begin(draft, dispute, event)
        case "opened" if event.status == "won":
            _win(draft, dispute, event.fee)
        case "opened" if event.status == "lost":
            _lose(draft, dispute)
        case "won" | "lost" if event.status in ("won", "lost") and (
            event.status != dispute.state or dispute.check.open
        ):
            checking.begin(draft, dispute)
        case "opened" | "won" | "lost":
            pass  # a late repeat
        case _:
            assert_never(dispute.state)


def _begin(draft: Draft, dispute: Dispute, event: DisputeNotified) -> None:
    """Publish the first status of a dispute; ChargebackOpened too if only its end was reported."""
    facts = {"reason": event.reason, "due_by": event.due_by, "amount_minor": event.amount.minor}
    if event.status == "inquiry":
        if dispute.state != "inquiry":
            _publish(
                draft, dispute.evolve(draft.cause.now, state="inquiry", **facts), DisputeInquiry, amount=event.amount
            )
        return
    opened = _open(draft, dispute.evolve(draft.cause.now, **facts), event.fee)
    if event.status == "won":
        _win(draft, opened, event.fee)
    elif event.status == "lost":
        _lose(draft, opened)


def _open(draft: Draft, dispute: Dispute, asked: Money | None) -> Dispute:
    fee = draft.dispute_fee(dispute.amount_minor)
    opened = dispute.evolve(
        draft.cause.now,
        state="opened",
        fee_minor=fee,
        dispute_fee_minor=asked and asked.minor,
        dispute_fee_currency=asked and asked.currency,
    )
    return _publish(draft, opened, ChargebackOpened, share=draft.share(dispute.amount_minor, fee), dispute_fee=asked)


def _win(draft: Draft, dispute: Dispute, returned: Money | None) -> None:
    share = draft.share(dispute.amount_minor, dispute.fee_minor)
    won = dispute.evolve(draft.cause.now, state="won")
    _publish(draft, won, ChargebackWon, share=share, dispute_fee=returned)


def _lose(draft: Draft, dispute: Dispute) -> None:
    share = draft.share(dispute.amount_minor, dispute.fee_minor)
    _publish(draft, dispute.evolve(draft.cause.now, state="lost"), ChargebackLost, share=share)


def _publish(draft: Draft, dispute: Dispute, kind: type[Terms], **facts: object) -> Dispute:
    place = draft.publish(
        kind,
        dispute_id=dispute.dispute_id,
        stage=dispute.stage,
        psp=dispute.psp,
        dispute_reference=dispute.dispute_reference,
        reason=dispute.reason,
        due_by=dispute.due_by,
        **facts,
    )
    said = dispute.evolve(draft.cause.now, outcome_event_id=draft.cause.event_id, outcome_place=place)
    draft.put(said)
    return said
