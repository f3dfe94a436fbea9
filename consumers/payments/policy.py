"""What an installation chooses, and a seller's terms where the seller has some → an order's fee and terms. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from schemas.fees import FeeBearer, FeeRule
from schemas.money import Money
from schemas.requests import RequestedOrder
from schemas.sellers import SellerSet
from schemas.urls import is_plain_http

Rule = TypeVar("Rule", bound=str)


@dataclass(frozen=True, slots=True)
class Policy:
    """What an installation chooses."""

    deadline_s: int  # where the request names no deadline
    contents_key: bytes  # requests hold names: their hash must not be guessable
    # Rules of an order's terms, None where they are as an order says nothing of them.
    fee_refund: FeeRule | None = None
    fee_chargeback: FeeRule | None = None
    dispute_fee_on: FeeBearer | None = None
    sellers: Literal["open", "refuse"] = "open"  # whether nobody need have registered an order's seller
    http_return_urls: bool = False  # of loopback; https goes always

    def refusal(self, seller: SellerSet | None) -> str | None:
        """Why this seller, None where nobody has registered it, takes no payment."""
        if seller is None:
            return "unknown_seller" if self.sellers == "refuse" else None
        return "seller_closed" if seller.state == "closed" else None

    def allows(self, return_url: str | None) -> bool:
        return return_url is None or self.http_return_urls or not is_plain_http(return_url)

    def terms(self, seller: SellerSet | None) -> dict[str, Any]:
        """The rules in an order's terms: the seller's, else the installation's."""
        rules: dict[str, Any] = {
            "fee_refund": self.fee_refund,
            "fee_chargeback": self.fee_chargeback,
            "dispute_fee_on": self.dispute_fee_on,
        }
        if seller is None:
            return rules
        own = {
            "fee_refund": _unless(seller.fee_refund, "proportional"),
            "fee_chargeback": _unless(seller.fee_chargeback, "none"),
            "dispute_fee_on": _unless(seller.dispute_fee_on, "seller"),
        }
        named = {name: rule for name, rule in own.items() if getattr(seller, name) is not None}
        return rules | named | {"hold_days": seller.hold_days, "reserve": seller.reserve}


def _unless(rule: Rule | None, usual: str) -> Rule | None:
    return None if rule == usual else rule


def fee_of(order: RequestedOrder, seller: SellerSet | None) -> Money:
    """The fee that the order names, else by the seller's plan, else none."""
    if order.platform_fee is None and seller is not None and seller.fee_plan is not None:
        return seller.fee_plan.fee(order.gross)
    return order.fee
