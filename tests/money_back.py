"""Captures in parts, refunds, reversals and disputes of the order of `tests.captures`."""

from __future__ import annotations

from schemas.events import PaymentCaptured
from schemas.money import Money
from schemas.money_back import (
    CaptureFailed,
    CaptureReversed,
    ChargebackLost,
    ChargebackOpened,
    ChargebackWon,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    RefundReversed,
    Share,
)
from tests.captures import capture

PSP = {"psp": "northpay", "call_id": "1" * 32, "psp_reference": "op_1"}
DISPUTE_ID = f"dp_{'0' * 24}"


def share(gross: int, fee: int, currency: str = "EUR") -> Share:
    return Share(Money(gross, currency), Money(fee, currency), Money(gross - fee, currency))


def _terms(order: str, **changes: object) -> dict[str, object]:
    return capture(order, **changes).terms()


def captured(capture_id: str | None, of: Share, order: str = "order-1", **changes: object) -> PaymentCaptured:
    parts = {"gross": of.gross, "fee": of.fee, "net": of.net, "order_gross": Money(1234, of.gross.currency)}
    return capture(order, **{**parts, "capture_id": capture_id, **changes})


def capture_reversed(
    capture_id: str | None, of: Share, order: str = "order-1", turn: int | None = None, **terms: object
) -> CaptureReversed:
    return CaptureReversed(**_terms(order, **terms), **PSP, capture_id=capture_id, turn=turn, share=of)  # type: ignore[arg-type]


def voided(order: str = "order-1", **changes: object) -> PaymentVoided:
    facts = {"void_id": "v-1", "released": Money(1234, "EUR"), "charge_call_id": "2" * 32, **PSP, **changes}
    return PaymentVoided(**_terms(order), **facts)  # type: ignore[arg-type]


def capture_failed(order: str = "order-1", **changes: object) -> CaptureFailed:
    facts = {"capture_id": "c-1", "amount": Money(1234, "EUR"), "code": "no", "psp": "northpay", "call_id": "1" * 32}
    return CaptureFailed(**_terms(order), **{**facts, **changes})  # type: ignore[arg-type]


def refund_failed(order: str = "order-1", **changes: object) -> RefundFailed:
    facts = {"refund_id": "r-1", "amount": Money(1234, "EUR"), "code": "no", "psp": "northpay", "call_id": "1" * 32}
    return RefundFailed(**_terms(order), **{**facts, **changes})  # type: ignore[arg-type]


def refunded(
    refund_id: str, of: Share, order: str = "order-1", turn: int | None = None, **terms: object
) -> PaymentRefunded:
    return PaymentRefunded(**_terms(order, **terms), **PSP, refund_id=refund_id, turn=turn, share=of)  # type: ignore[arg-type]


def refund_reversed(
    refund_id: str, of: Share, order: str = "order-1", turn: int | None = None, **terms: object
) -> RefundReversed:
    return RefundReversed(**_terms(order, **terms), **PSP, refund_id=refund_id, turn=turn, share=of)  # type: ignore[arg-type]


def _dispute(order: str, stage: int, **terms: object) -> dict[str, object]:
    return {**_terms(order, **terms), "dispute_id": DISPUTE_ID, "stage": stage, "psp": "northpay", "reason": "fraud"}


def opened(
    of: Share, fee: Money | None = None, order: str = "order-1", stage: int = 1, **terms: object
) -> ChargebackOpened:
    return ChargebackOpened(**_dispute(order, stage, **terms), share=of, dispute_fee=fee)  # type: ignore[arg-type]


def won(of: Share, fee: Money | None = None, order: str = "order-1", stage: int = 1, **terms: object) -> ChargebackWon:
    return ChargebackWon(**_dispute(order, stage, **terms), share=of, dispute_fee=fee)  # type: ignore[arg-type]


def lost(of: Share, order: str = "order-1", stage: int = 1) -> ChargebackLost:
    return ChargebackLost(**_dispute(order, stage), share=of)  # type: ignore[arg-type]
