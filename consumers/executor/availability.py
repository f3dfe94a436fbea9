"""(an order's terms, the net of one of its captures, when it was captured) → when the seller may have it. Pure.

Said once, with the capture: whoever books it computes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.events import Terms
from schemas.fees import ReserveShare
from schemas.money import Money


def held_back(terms: Terms, net: Money, captured_at: datetime) -> dict[str, object]:
    """What a capture's event says beyond the terms; nothing where nothing is held back."""
    facts: dict[str, object] = {}
    if terms.hold_days is not None:
        facts["available_on"] = captured_at + timedelta(days=terms.hold_days)
    if terms.reserve is not None and (kept := terms.reserve.share(net.minor)) > 0:
        until = captured_at + timedelta(days=terms.reserve.days)
        facts["reserve_share"] = ReserveShare(Money(kept, net.currency), until)
    return facts
