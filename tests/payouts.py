"""The events of one pay-out, for tests of the rooms that hear them: EUR 100.00 of seller-1, through harbour."""

from __future__ import annotations

from typing import Any

from schemas.money import Money
from schemas.payouts import (
    PayoutFailed,
    PayoutNotSent,
    PayoutPaid,
    PayoutPlaced,
    PayoutReleased,
    PayoutReturned,
    PayoutSubmitted,
    PayoutUnknown,
    PayoutUnresolved,
)

PAYOUT = "payout-1"
SELLER = "seller-1"
AMOUNT = Money(10_000, "EUR")


def placed(amount: Money | None = AMOUNT, **changes: object) -> PayoutPlaced:
    """None: all that is available."""
    return PayoutPlaced(**_with(changes, owner="shop", seller_account=SELLER, currency="EUR", amount=amount))


def given_up(**changes: object) -> PayoutReleased:
    return PayoutReleased(**_with(changes, seller_account=SELLER, currency="EUR"))


def submitted(turn: int | None = None, **changes: object) -> PayoutSubmitted:
    return PayoutSubmitted(**_executed(changes, turn=turn, provider_reference="tr_1"))


def paid(turn: int | None = None, **changes: object) -> PayoutPaid:
    return PayoutPaid(**_executed(changes, turn=turn, provider_reference="tr_1"))


def failed(turn: int | None = None, **changes: object) -> PayoutFailed:
    """After the provider had taken it."""
    return PayoutFailed(**_executed(changes, turn=turn, submitted=True, code="account_closed"))


def refused(**changes: object) -> PayoutFailed:
    """A clear no: the provider never had it."""
    return PayoutFailed(**_executed(changes, submitted=False, code="invalid_account"))


def returned(turn: int | None = None, *, returned: Money = AMOUNT, **changes: object) -> PayoutReturned:
    return PayoutReturned(
        **_executed(changes, turn=turn, returned=returned, code="account_closed", provider_reference="tr_1")
    )


def unknown(**changes: object) -> PayoutUnknown:
    return PayoutUnknown(**_executed(changes, reason="timeout"))


def unresolved(**changes: object) -> PayoutUnresolved:
    return PayoutUnresolved(**_executed(changes, reason="timeout"))


def not_sent(**changes: object) -> PayoutNotSent:
    return PayoutNotSent(**_executed(changes, code="withdrawn"))


def _executed(changes: dict[str, object], **own: object) -> dict[str, Any]:
    terms: dict[str, object] = {"owner": "shop", "seller_account": SELLER, "amount": AMOUNT}
    sent: dict[str, object] = {"release_no": 1, "provider": "harbour", "bank_account": "main", "call_id": "0" * 32}
    return _with(changes, **terms, **sent, **own)


def _with(changes: dict[str, object], **terms: object) -> dict[str, Any]:
    return {"payout_id": PAYOUT, **terms, **changes}
