"""What payments alone decides by: TALLY_FEE_REFUND, TALLY_FEE_CHARGEBACK and TALLY_DISPUTE_FEE_ON."""

from __future__ import annotations

from schemas.events import FeeBearer, FeeRule
from topics.settings import Settings


class PaymentsSettings(Settings):
    """The installation's, and payments' own: rules that go into an order's terms when it is placed, and stay."""

    fee_refund: FeeRule = (
        "proportional"  # how much of the platform's fee goes back with a refund: none, proportional, full
    )
    fee_chargeback: FeeRule = "none"  # the same, with a chargeback
    dispute_fee_on: FeeBearer = "seller"  # who bears what the PSP asks for a dispute: seller, platform
