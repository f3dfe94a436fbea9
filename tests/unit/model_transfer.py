"""A provider of the tests: it takes each transfer once under its key, pays, fails, gets money back, lies and is silent."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

from consumers.executor.payout import Payout
from psp.payout_port import Accepted, Failed, Paid, Rejected, Returned, TransferReply, TransferState
from psp.replies import NotThere, Unknown
from schemas.money import Money
from tests.unit.executor_cases import SETTLING_S


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


class Provider:
    """Errors: AssertionError, if a pay-out is paid out twice."""

    def __init__(self, r: random.Random) -> None:
        self.r = r
        self.lies = r.random() < 0.25  # it says that nothing happened, or is there, and it is not so
        self.silence = r.choice((0.2, 0.2, 0.2, 0.85))  # when it is asked
        self.transfers: dict[str, Transfer] = {}

    def arrive(self, id_: str, payout: Payout, now: datetime) -> None:
        """It takes a transfer once under its key."""
        if id_ in self.transfers:
            return
        status = "rejected" if self.r.random() < 0.15 else "accepted"
        self.transfers[id_] = Transfer(id_, payout.key, payout.sent, status, now)
        live = [each for each in self.transfers.values() if each.payout_id == payout.key and each.status != "rejected"]
        assert len(live) <= 1 or self.lies, f"{payout.key} is paid out {len(live)} times"

    def found(self, release_id: str, now: datetime) -> TransferReply:
        """Its answer to a question about a release's call."""
        transfer = self.transfers.get(release_id)
        if self.r.random() < self.silence:
            return Unknown("timeout")
        if transfer is None or (self.lies and self.r.random() < 0.1):
            return NotThere()
        settled = now - transfer.arrived_at >= timedelta(seconds=SETTLING_S)
        return transfer.word() if settled or self.r.random() < 0.5 else NotThere()

    def evolve(self) -> None:
        """It pays, fails, or gets money back; a liar changes its mind."""
        if not self.transfers:
            return
        transfer = self.r.choice([*self.transfers.values()])
        after = {"accepted": ("paid", "paid", "failed"), "paid": ("returned",)}.get(transfer.status, ())
        if self.lies and transfer.status in ("rejected", "failed", "returned"):
            after = ("accepted",)
        if not after:
            return
        transfer.status = self.r.choice(after)
        if transfer.status == "returned":
            kept = self.r.choice((0, 0, 100))
            transfer.returned = Money(max(1, transfer.amount.minor - kept), transfer.amount.currency)

    def check_bank(self, currency: str, balance: Callable[[str, str], int]) -> None:
        transfers = [each for each in self.transfers.values() if each.amount.currency == currency]
        accepted = sum(each.amount.minor for each in transfers if each.status == "accepted")
        in_transit = balance("payouts:in-transit", currency)
        assert in_transit == -accepted, "in transit is what the provider has not ended"
        out = sum(each.amount.minor for each in transfers if each.status == "paid")
        returned = [(each.amount, each.returned) for each in transfers if each.status == "returned" and each.returned]
        lost = sum(amount.minor - back.minor for amount, back in returned)
        at_bank = balance("bank:main:clearing", currency)
        assert at_bank == -(out + lost), "our bank account is not what the provider has paid"
        assert balance("bank:fees", currency) == lost, "what banks have kept is not what came back less"

    def check_exchange(self, currency: str, balance: Callable[[str, str], int], rates: Mapping[str, str]) -> None:
        """What is out is exchanged, each at the rate of its own release, and nothing of what came back."""
        live = [each for each in self.transfers.values() if each.status in ("accepted", "paid")]
        out = [each for each in live if each.amount.currency == currency]
        account = f"fx:EUR-{currency}"
        assert balance(account, currency) == sum(each.amount.minor for each in out), "another amount was exchanged"
        cents = (Fraction(each.amount.amount) / Fraction(rates[each.payout_id]) * 100 for each in out)
        assert balance(account, "EUR") == -sum(map(ceil, cents)), "what was sent has cost something else"
