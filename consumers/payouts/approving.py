"""(a pay-out, what one person said of it) → whether that counts. Pure."""

from __future__ import annotations

from dataclasses import replace

from consumers.payouts.payout import Approval, Payout
from schemas.payouts import PayoutApproved
from schemas.persons import person_of
from topics.runtime.shape.consumer import Cause


def approve(payout: Payout, event: PayoutApproved, cause: Cause) -> tuple[Payout, Approval]:
    """The pay-out with what counts, and what is kept of it in any case."""
    why_not = _why_not(payout, event)
    kept = Approval(
        event_id=cause.event_id,
        payout_id=payout.payout_id,
        approver=event.approver,
        decision=event.decision,
        sha256=event.sha256,
        reason=event.reason,
        at=cause.now,
        why_not=why_not,
    )
    if why_not is not None:
        return payout, kept
    if event.decision == "rejected":
        return replace(payout, stop="rejected", stopped_by=event.approver), kept
    return replace(payout, approved_by=(*payout.approved_by, person_of(event.approver))), kept


def _why_not(payout: Payout, event: PayoutApproved) -> str | None:
    """In order of precedence. Whoever has approved may still reject."""
    if payout.sha256 is None or payout.released or payout.stop is not None or payout.ended is not None:
        return "not_waiting"
    if event.sha256 != payout.sha256:
        return "approval_stale"
    if person_of(event.approver) in payout.makers:
        return "same_person"
    if event.decision == "approved" and person_of(event.approver) in payout.approved_by:
        return "already_counted"
    return None
