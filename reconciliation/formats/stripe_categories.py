"""Stripe's reporting categories → kinds of lines.

Categories: docs.stripe.com/reports/reporting-categories. One that is not here makes a file drift.
"""

from __future__ import annotations

from collections.abc import Mapping

_HOLDS = (
    "connect_reserved_funds",
    "issuing_authorization_hold",
    "issuing_authorization_release",
    "payment_network_reserve_hold",
    "payment_network_reserve_release",
    "payout_minimum_balance_hold",
    "payout_minimum_balance_release",
    "risk_reserved_funds",
)
_OTHERS = (
    "advance",
    "advance_funding",
    "anticipation_repayment",
    "climate_order_purchase",
    "climate_order_refund",
    "connect_collection_transfer",
    "contribution",
    "financing_paydown",
    "financing_paydown_reversal",
    "financing_payout",
    "financing_payout_reversal",
    "issuing_disbursement",
    "issuing_dispute",
    "issuing_dispute_fraud_liability_debit",
    "issuing_dispute_provisional_credit",
    "issuing_dispute_provisional_credit_reversal",
    "issuing_transaction",
    "platform_earning",
    "platform_earning_refund",
    "topup",
    "topup_reversal",
    "transfer",
    "transfer_reversal",
    "unreconciled_customer_funds",
)

CATEGORIES: Mapping[str, str] = {
    "charge": "c",
    "charge_failure": "c",  # minus: a charge that was pending, and failed
    "partial_capture_reversal": "c",  # minus: what of a charge was not captured
    "refund": "r",
    "refund_failure": "R",
    "dispute": "b",
    "dispute_reversal": "B",
    "fee": "f",
    "network_cost": "f",
    "tax": "f",
    "payout": "p",
    "payout_reversal": "q",
    "other_adjustment": "j",
    **dict.fromkeys(_HOLDS, "h"),
    **dict.fromkeys(_OTHERS, "u"),
}


def kind_of(category: str, net: int) -> str | None:
    """The letter of a line's kind; None for an unknown category. Both ends of a hold have one category."""
    kind = CATEGORIES.get(category)
    return "H" if kind == "h" and net > 0 else kind
