"""A fact of money behind a charge → what it adds to the revenue report. Pure.

The first capture of an order that is captured automatically has no line: the order's own row tells of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from schemas.envelope import EventId
from schemas.events import PaymentCaptured
from schemas.money_back import (
    CaptureReversed,
    ChargebackOpened,
    ChargebackWon,
    PaymentRefunded,
    RefundReversed,
    Share,
)
from topics.runtime.shape.consumer import Cause

Moved = PaymentCaptured | CaptureReversed | PaymentRefunded | RefundReversed | ChargebackOpened | ChargebackWon

# As the ledger names the journals of these facts.
_KINDS: dict[type[Moved], str] = {
    PaymentCaptured: "captured",
    CaptureReversed: "capture_reversed",
    PaymentRefunded: "refunded",
    RefundReversed: "refund_reversed",
    ChargebackOpened: "chargeback_opened",
    ChargebackWon: "chargeback_won",
}


class RevenueLine(NamedTuple):
    """Written once. gross and fee are the fact's share, in minor units; its kind says with which sign they count."""

    payment_order_id: str
    kind: str
    part: str  # of the order, see `part_of`
    at: datetime
    owner: str
    currency: str
    seller_account: str
    psp: str
    orders: int  # 1 where the order counts as captured by it
    gross: int
    fee: int
    event_id: EventId


def revenue_line(event: Moved, cause: Cause, *, is_first: bool = False) -> RevenueLine:
    """`is_first`: nothing of the order was captured before."""
    share = Share(event.gross, event.fee, event.net) if isinstance(event, PaymentCaptured) else event.share
    return RevenueLine(
        event.payment_order_id,
        _KINDS[type(event)],
        event.part,
        cause.now,
        event.owner,
        share.gross.currency,
        event.seller_account,
        event.psp,
        int(is_first),
        share.gross.minor,
        share.fee.minor,
        cause.event_id,
    )
