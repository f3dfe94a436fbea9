"""Where a pay-out stands → whose turn it is, in a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from producers.payable import makers
from schemas.payouts import PayoutStatus
from schemas.persons import person_of


def turn(payout: dict[str, Any], approvals: Sequence[dict[str, Any]]) -> str:
    """Of a row of payouts' `payout_view` (its `detail` as `code`), and of `approval_view`."""
    status: PayoutStatus = payout["status"]
    id_, code = payout["payout_id"], payout["code"]
    match status:
        case "received" | "screening":
            return "waits for the answer of risk"
        case "in_review":
            return f"waits for a person who decides what risk has found (tally risk show {id_} --payout)"
        case "reserving":
            return "waits for the wallet"
        case "awaiting_approval":
            return _approvals(payout, approvals)
        case "on_hold" if code == "no_rate":
            return f"waits for a rate from {payout['currency']} to {payout['payout_currency']} (TALLY_FX); looks every hour"
        case "on_hold" if code == "no_provider":
            return "waits for a provider that takes its currency and country (TALLY_PAYOUT_PROVIDERS); looks every hour"
        case "on_hold":
            return f"waits until its seller is active again (tally sellers thaw {payout['seller_account']})"
        case "scheduled":
            return "waits for the next cut-off of its bank"
        case "processing":
            return _sending(code)
        case "submitted":
            return "waits for the provider, which has taken it"
        case "paid":
            return "paid, nothing to do"
        case "failed" | "returned":
            return (
                f"{status}{_why(code)}, the money is the seller's again: see to the destination, then ask for a new one"
            )
        case "refused" | "rejected" | "cancelled" | "expired":
            return refused(status, code)
        case _:
            assert_never(status)


def refused(status: str, code: str | None) -> str:
    return f"{status}{_why(code)}, nothing to do"


def _why(code: str | None) -> str:
    return f": {code}" if code else ""


def _approvals(payout: dict[str, Any], approvals: Sequence[dict[str, Any]]) -> str:
    """Whoever has approved it does not count a second time."""
    missing = payout["approvals_needed"] - payout["approvals_given"]
    counted = (each for each in approvals if each["decision"] == "approved" and each["why_not"] is None)
    others = dict.fromkeys([*makers(payout), *(person_of(each["approver"]) for each in counted)])
    return f"waits for {missing} more approval{'' if missing == 1 else 's'}, not by {' or '.join(others)}"


def _sending(code: str | None) -> str:
    if code == "unknown":
        return "the provider is asked until it says whether it has it: nothing to do, and it is not sent twice"
    if code == "unresolved":
        return "waits for two persons who say what the provider did with it (tally resolve)"
    return "waits for the provider's answer"
