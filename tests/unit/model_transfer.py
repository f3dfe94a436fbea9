"""A transfer in the books of a provider of the tests → what the provider says of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psp.payout_port import Accepted, Failed, Paid, Rejected, Returned, TransferState
from schemas.money import Money


@dataclass
class Transfer:
    """What the provider has under one key."""

    call_id: str
    payout_id: str
    amount: Money
    status: str
    arrived_at: datetime
    returned: Money | None = None

    @property
    def id(self) -> str:
        return f"tr_{self.call_id[:8]}"

    def word(self) -> TransferState:
        match self.status:
            case "accepted":
                return Accepted(self.id)
            case "paid":
                return Paid(self.id)
            case "rejected":
                return Rejected("account_closed", self.id)
            case "failed":
                return Failed("account_closed", self.id)
        assert self.returned is not None
        return Returned("refused", self.id, self.returned)
