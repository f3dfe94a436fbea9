"""Early refusals of pay-outs and of decisions about them, each in the order in which the rooms refuse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from producers.doors.payouts import ApprovalSubmission
from producers.payable import approval_refusal, refusal
from schemas.money import Money
from schemas.payouts import PayoutRequest
from topics.exchange_rates import NO_RATES, FxRate, RateTable

HASH = "a" * 64
SELLER: dict[str, Any] = {"state": "active", "destination": {}}
LEAST = Money(1000, "EUR")


def euros(minor: int) -> Money:
    return Money(minor, "EUR")


@pytest.mark.parametrize(
    ("amount", "settings", "available", "code"),
    [
        ("5.00", None, 0, "unknown_seller"),
        ("5.00", {"state": "closed"}, 0, "seller_closed"),
        ("9.99", {"state": "active"}, 0, "below_minimum"),
        ("10.00", {"state": "active"}, 0, "no_destination"),
        ("10.00", SELLER, 999, "insufficient_funds"),
        ("10.00", SELLER, 1000, None),
        ("all", {"state": "active"}, 500, "no_destination"),
        ("all", SELLER, -5, "insufficient_funds"),
        ("all", SELLER, 0, "insufficient_funds"),
        ("all", SELLER, 999, "below_minimum"),
        ("all", SELLER, 1000, None),
        ("all", {**SELLER, "state": "frozen"}, 1000, None),
    ],
)
def test_the_first_reason_against_a_pay_out_is_told(
    amount: str, settings: dict[str, Any] | None, available: int, code: str | None
) -> None:
    asked = PayoutRequest(payout_id="p", seller_account="s", amount=amount, currency="EUR")
    why = refusal(asked, settings, euros(available), LEAST, NO_RATES)
    assert (None if why is None else why.code) == code


def test_without_a_minimum_a_cent_is_paid_out() -> None:
    asked = PayoutRequest(payout_id="p", seller_account="s", amount="all", currency="EUR")
    assert refusal(asked, SELLER, euros(1), None, NO_RATES) is None


RATES = RateTable([FxRate(currency="EUR", payout_currency=to, rate="1.5") for to in ("JPY", "USD")])


@pytest.mark.parametrize(
    ("amount", "available", "to", "code"),
    [
        ("0.66", 66, "JPY", "amount_too_small"),
        ("all", 66, "JPY", "amount_too_small"),
        ("0.67", 67, "JPY", None),
        ("0.67", 66, "JPY", "insufficient_funds"),
        ("all", 0, "JPY", "insufficient_funds"),
        ("1.00", 100, "GBP", "no_rate"),
        ("1.00", 100, "EUR", None),
        ("1.00", 100, "USD", None),
    ],
)
def test_what_cannot_be_converted_now_is_told(amount: str, available: int, to: str, code: str | None) -> None:
    asked = PayoutRequest(payout_id="p", seller_account="s", amount=amount, currency="EUR", payout_currency=to)
    why = refusal(asked, SELLER, euros(available), None, RATES)
    assert (None if why is None else why.code) == code


def said(approver: str, decision: str = "approved", why_not: str | None = None) -> dict[str, Any]:
    return {"approver": approver, "decision": decision, "why_not": why_not}


@pytest.mark.parametrize(
    ("approver", "decision", "changed", "before", "code"),
    [
        ("ann", "approved", {}, [], None),
        ("ann", "approved", {"sha256": None}, [], "not_waiting"),
        ("shop", "approved", {"status": "paid", "sha256": "b" * 64}, [], "not_waiting"),
        ("ann", "rejected", {"status": "processing"}, [], "not_waiting"),
        ("Shop", "approved", {"sha256": "b" * 64}, [], "approval_stale"),
        ("SHOP", "approved", {}, [], "same_person"),
        ("eve", "rejected", {}, [], "same_person"),
        ("Dan", "approved", {}, [], "same_person"),
        ("store", "approved", {"payout_id": "auto~1"}, [], "same_person"),
        ("ann", "approved", {}, [said("Ann")], "not_waiting"),
        ("ann", "approved", {}, [said("ann", why_not="approval_stale")], None),
        ("ann", "rejected", {}, [said("ann")], None),
        ("ann", "approved", {"status": "on_hold"}, [said("bert")], None),
    ],
)
def test_the_first_reason_against_a_decision_is_told(
    approver: str, decision: Any, changed: dict[str, Any], before: list[dict[str, Any]], code: str | None
) -> None:
    makers = {"requested_by": "shop (key 1a2b3c4d)", "destination_changed_by": "operator Eve"}
    makers |= {"destination_changers": ["operator Eve", "dan (key 0a0a0a0a)"], "owner": "store", "payout_id": "p"}
    payout = {"status": "awaiting_approval", "sha256": HASH, **makers, **changed}
    asked = ApprovalSubmission("p", decision, approver, HASH, "seen", requested_at=datetime.now(UTC))
    why = approval_refusal(asked, payout, before)
    assert (None if why is None else why.code) == code
