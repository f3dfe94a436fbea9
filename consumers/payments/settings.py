"""Payments' own settings: TALLY_FEE_REFUND, TALLY_FEE_CHARGEBACK, TALLY_DISPUTE_FEE_ON and TALLY_SELLERS."""

from __future__ import annotations

from typing import Literal

from schemas.fees import FeeBearer, FeeRule
from topics.settings import Settings


class PaymentsSettings(Settings):
    """The installation's settings and payments' own: rules that are fixed in an order's terms when it is placed."""

    # Of the platform's fee, what goes back to the seller with a refund: nothing, the refund's share, or all once all is refunded.
    fee_refund: FeeRule = "proportional"
    fee_chargeback: FeeRule = "none"  # the same, with a chargeback
    dispute_fee_on: FeeBearer = "seller"  # who bears what the PSP asks for a dispute
    # Whether an order may name a seller that nobody has registered, or its payment is refused (`unknown_seller`).
    sellers: Literal["open", "refuse"] = "open"
