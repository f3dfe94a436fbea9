"""What an operator decides about a pay-out → said once through the doors' store, and waited for until payouts has taken it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeVar

from operations.cli.door_commands import take
from operations.cli.letters.choosing import audit_note, failed
from operations.cli.payout_rows import approvals, one
from operations.cli.terminal import note
from producers.doors.commits import Claim
from producers.doors.operation_ids import claim
from producers.doors.payouts import ApprovalSubmission, PayoutCancelRequest, PayoutCancelSubmission, claim_approvals
from producers.payable import ENDED
from producers.problems import Problem
from topics.settings import Settings

HEARD_WITHIN_S = 20
ASK_EVERY_S = 0.1
VERBS = {"approved": "approves", "rejected": "rejects"}
Found = TypeVar("Found")


def cancel(settings: Settings, payout_id: str, actor: str | None) -> dict[str, Any]:
    """→ the pay-out once it has ended. Exits 1 where it does not in time."""
    state, by = one(settings, payout_id), audit_note(actor, "cancelled").actor
    if state["status"] in ENDED:
        return state
    if state["stop"] is None:
        note(f"cancels {_described(state)} as {by}")
        asked = PayoutCancelSubmission(
            owner=state["owner"],
            request=PayoutCancelRequest(),
            payout_id=payout_id,
            requested_by=f"operator {by}",
        )
        _say(settings, claim, asked)
    return _wait(lambda: _ended(settings, payout_id), "it may leave still")


def _ended(settings: Settings, payout_id: str) -> dict[str, Any] | None:
    state = one(settings, payout_id)
    return state if state["status"] in ENDED else None


def decide(
    settings: Settings, payout_id: str, decision: Literal["approved", "rejected"], reason: str, actor: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """→ the decision as payouts has taken it, and the pay-out after it. Exits 1 where it does not in time."""
    state, by = one(settings, payout_id), audit_note(actor, reason).actor
    if state["sha256"] is None:
        raise failed(
            f"tally: {payout_id} is {state['status']}, and its amount is not reserved: nothing waits for approval"
        )
    asked = ApprovalSubmission(payout_id, decision, by, state["sha256"], reason, requested_at=state["received_at"])
    same = asked.same(approvals(settings, payout_id))
    if counted := next((each for each in same if each["why_not"] is None), None):
        return counted, state
    asked = replace(asked, earlier=len(same))
    note(f"{VERBS[decision]} {_described(state)} as {by}")
    _say(settings, claim_approvals, asked)
    said = _wait(lambda: _taken(settings, asked), "the decision is on its way")
    return said, one(settings, payout_id)


def _taken(settings: Settings, asked: ApprovalSubmission) -> dict[str, Any] | None:
    said = approvals(settings, asked.payout_id)
    return next((each for each in said if each["event_id"] == asked.event_id), None)


def _described(state: dict[str, Any]) -> str:
    where = f"{state['destination_masked']} ({state['destination_country']})"
    what = f"{state['amount']} {state['currency']}"
    what += f", in {state['payout_currency']}," if state["payout_currency"] else ""
    return f"{state['payout_id']}: {what} of {state['seller_account']} to {where}"


def _say(settings: Settings, how: Claim[Any, Any], asked: Any) -> None:
    try:
        take(settings, how, asked)
    except Problem as problem:
        raise failed(f"tally: {problem.detail}") from None


def _wait(look: Callable[[], Found | None], meanwhile: str) -> Found:
    until = time.monotonic() + HEARD_WITHIN_S
    while time.monotonic() < until:
        if (found := look()) is not None:
            return found
        time.sleep(ASK_EVERY_S)
    raise failed(
        f"tally: payouts has not said so within {HEARD_WITHIN_S} s, and {meanwhile}"
        " (does the room run? `tally status` says)"
    )
