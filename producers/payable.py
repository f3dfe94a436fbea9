"""A request for a pay-out or about one, and what the views say → an early refusal, if one is certain. Pure.

A courtesy to the caller: payouts and the wallet decide later, by their own state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from producers.doors.payouts import ApprovalSubmission
from producers.problems import Problem
from producers.reading import Row
from schemas.conversions import convert
from schemas.ids import OWN_PREFIX
from schemas.money import Money
from schemas.payouts import PayoutRequest
from schemas.persons import person_of
from schemas.requests import FieldError
from topics.exchange_rates import Rates

SENT = ("submitted", "paid", "failed", "returned")
ENDED = (*SENT, "refused", "rejected", "cancelled", "expired")


def refusal(
    asked: PayoutRequest, settings: Mapping[str, Any] | None, available: Money, least: Money | None, rates: Rates
) -> Problem | None:
    """`settings` are those of the caller's seller, None where there is none; `least` is the smallest pay-out, if there is one."""
    if settings is None:
        return _problem("unknown_seller", "seller_account", "there is no such seller, or it is another owner's")
    if settings["state"] == "closed":
        return _problem("seller_closed", "seller_account", "the seller is closed")
    amount = available if asked.asked is None else asked.asked
    is_small = least is not None and amount < least
    if asked.asked is not None and is_small:
        return _problem("below_minimum", "amount", f"at least {least}")
    if "destination" not in settings:
        return _problem("no_destination", "seller_account", "the seller has no destination yet")
    if available.minor <= 0 or available < amount:
        return _problem("insufficient_funds", "amount", "the seller's wallet has less available")
    if is_small:
        return _problem("below_minimum", "amount", f"less than {least} is available")
    return _not_converted(amount, asked.converted_to, rates)


def _not_converted(amount: Money, to: str | None, rates: Rates) -> Problem | None:
    code = None if to is None else convert(amount, to, rates.quote(amount.currency, to))
    if code == "no_rate":
        return _problem(code, "payout_currency", f"there is no rate from {amount.currency} to {to}")
    return _problem(code, "amount", f"{amount} cannot be sent as {to}") if isinstance(code, str) else None


def approval_refusal(asked: ApprovalSubmission, payout: Row, said: Sequence[Row]) -> Problem | None:
    """Of a decision about a pay-out, by what payouts shows of it and of earlier decisions; in the room's order."""
    if payout["sha256"] is None or payout["status"] in (*ENDED, "processing"):
        return Problem("not_waiting", f"the pay-out is {payout['status']}")
    if asked.sha256 != payout["sha256"]:
        return Problem("approval_stale")
    person = person_of(asked.approver)
    if person in makers(payout):
        return Problem("same_person")
    approved = {person_of(one["approver"]) for one in said if one["decision"] == "approved" and one["why_not"] is None}
    if asked.decision == "approved" and person in approved:
        return Problem("not_waiting", f"{asked.approver} has approved it already")
    return None


def makers(payout: Row) -> list[str]:
    """The persons who may not approve it, as compared. A schedule is its owner's."""
    named = [payout["requested_by"], payout["destination_changed_by"], *payout["destination_changers"]]
    named += [payout["owner"]] if payout["payout_id"].startswith(OWN_PREFIX) else []
    return sorted({person_of(name) for name in named if name})


def _problem(code: str, field: str, why: str) -> Problem:
    return Problem(code, f"{field}: {why}", [FieldError(field, code, why)])
