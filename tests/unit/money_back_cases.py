"""Events of captures, voids, refunds and disputes, made by hand, for the tests of payments."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from schemas.events import (
    CaptureRequested,
    OrderPlaced,
    PaymentCaptured,
    RefundRequested,
    Terms,
    VoidRequested,
    WalletCredited,
)
from schemas.journals import JournalPosted, LedgerEntry
from schemas.money import Money
from schemas.money_back import (
    AuthorisationExpired,
    CaptureReversed,
    ChargebackLost,
    ChargebackOpened,
    ChargebackWon,
    DisputeInquiry,
    PaymentAuthorised,
    PaymentRefunded,
    PaymentVoided,
    RefundReversed,
    Share,
    WalletDebited,
)
from tests.unit.payment_cases import NOW, Story, cleared, requested

AT_PSP: dict[str, Any] = {"psp": "northpay", "call_id": "1" * 32, "psp_reference": "np_1"}


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def manual_story(orders: int = 1) -> tuple[Story, list[OrderPlaced]]:
    """Orders of 10.00 EUR that are authorised."""
    story = Story()
    story.hears(requested(orders=orders, capture="manual"), cleared())
    for placed in story.placed():
        story.hears(authorised(placed))
    return story, story.placed()


def authorised(placed: OrderPlaced) -> PaymentAuthorised:
    return PaymentAuthorised.model_validate(
        {**placed.terms(), **AT_PSP, "scheme": "Visa", "expires_at": NOW + timedelta(days=6)}
    )


def ask_capture(capture_id: str, amount: str, order: str = "o1", **more: Any) -> CaptureRequested:
    asked = {"checkout_id": "c1", "payment_order_id": order, "owner": "shop", "amount": amount, "currency": "EUR"}
    return CaptureRequested.model_validate({**asked, "capture_id": capture_id, **more})


def ask_void(void_id: str, order: str = "o1", **more: Any) -> VoidRequested:
    asked = {"checkout_id": "c1", "payment_order_id": order, "owner": "shop", "void_id": void_id}
    return VoidRequested.model_validate({**asked, **more})


def ask_refund(refund_id: str, amount: str, order: str = "o1", **more: Any) -> RefundRequested:
    asked = {"checkout_id": "c1", "payment_order_id": order, "owner": "shop", "amount": amount, "currency": "EUR"}
    return RefundRequested.model_validate({**asked, "refund_id": refund_id, **more})


def part_captured(placed: OrderPlaced, capture_id: str | None, minor: int, **more: Any) -> PaymentCaptured:
    mine = {"gross": eur(minor), "fee": eur(minor // 10), "net": eur(minor - minor // 10)}
    order_gross = placed.gross if placed.gross != eur(minor) else None
    told = {**placed.terms(), **AT_PSP, "scheme": "Visa", **mine, "capture_id": capture_id, "order_gross": order_gross}
    return PaymentCaptured.model_validate({**told, **more})


def share(minor: int) -> Share:
    return Share(eur(minor), eur(minor // 10), eur(minor - minor // 10))


def capture_reversed(
    placed: OrderPlaced, capture_id: str | None, minor: int, turn: int | None = None
) -> CaptureReversed:
    told = {**placed.terms(), **AT_PSP, "capture_id": capture_id, "turn": turn, "share": share(minor)}
    return CaptureReversed.model_validate(told)


def refunded(placed: OrderPlaced, refund_id: str, minor: int, turn: int | None = None) -> PaymentRefunded:
    told = {**placed.terms(), **AT_PSP, "refund_id": refund_id, "turn": turn, "share": share(minor)}
    return PaymentRefunded.model_validate(told)


def refund_reversed(placed: OrderPlaced, refund_id: str, minor: int, turn: int | None = None) -> RefundReversed:
    told = {**placed.terms(), **AT_PSP, "refund_id": refund_id, "turn": turn, "share": share(minor)}
    return RefundReversed.model_validate(told)


def voided(placed: OrderPlaced, void_id: str, minor: int) -> PaymentVoided:
    return PaymentVoided.model_validate({**placed.terms(), **AT_PSP, "void_id": void_id, "released": eur(minor)})


def expired(placed: OrderPlaced, minor: int) -> AuthorisationExpired:
    told = {**placed.terms(), "psp": "northpay", "call_id": "1" * 32, "released": eur(minor)}
    return AuthorisationExpired.model_validate(told)


def _disputed(placed: OrderPlaced, stage: int) -> dict[str, Any]:
    about = {"dispute_id": "dp_1", "stage": stage, "psp": "northpay", "reason": "fraudulent"}
    return {**placed.terms(), **about, "due_by": NOW + timedelta(days=10)}


def inquiry(placed: OrderPlaced, minor: int, stage: int = 1) -> DisputeInquiry:
    return DisputeInquiry.model_validate({**_disputed(placed, stage), "amount": eur(minor)})


def opened(placed: OrderPlaced, minor: int, stage: int = 1) -> ChargebackOpened:
    return ChargebackOpened.model_validate(
        {**_disputed(placed, stage), "share": share(minor), "dispute_fee": eur(1500)}
    )


def won(placed: OrderPlaced, minor: int, stage: int = 1) -> ChargebackWon:
    return ChargebackWon.model_validate({**_disputed(placed, stage), "share": share(minor)})


def lost(placed: OrderPlaced, minor: int, stage: int = 1) -> ChargebackLost:
    return ChargebackLost.model_validate({**_disputed(placed, stage), "share": share(minor)})


def in_wallet(of: Terms, minor: int, part: str, reason: str | None = None) -> WalletCredited | WalletDebited:
    kind = WalletCredited if reason in (None, "refund_reversed", "chargeback_won") else WalletDebited
    return kind.model_validate(
        {
            "payment_order_id": of.payment_order_id,
            "checkout_id": of.checkout_id,
            "movement_id": "m1",
            "seller_account": of.seller_account,
            "amount": eur(minor),
            "available": eur(minor),
            "pending": eur(0),
            "reserved": eur(0),
            "wallet_version": 1,
            "reason": reason,
            "part": part,
        }
    )


def in_ledger(of: Terms, minor: int, part: str, template: str = "captured") -> JournalPosted:
    return JournalPosted.model_validate(
        {
            "journal_id": "j1",
            "template": template,
            "payment_order_id": of.payment_order_id,
            "checkout_id": of.checkout_id,
            "part": part or None,
            "entries": (
                LedgerEntry("psp:northpay:receivable", "debit", eur(minor)),
                LedgerEntry("seller:s1:payable", "credit", eur(minor)),
            ),
        }
    )
