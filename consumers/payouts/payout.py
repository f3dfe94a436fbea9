"""A pay-out: the facts on its row, and where it stands, which follows from them. Pure (docs/states.md)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Literal, NamedTuple

import orjson

from schemas.conversions import Conversion
from schemas.envelope import EventId
from schemas.ids import OWN_PREFIX
from schemas.money import Money
from schemas.payouts import PayoutStatus, SealedDestination
from schemas.persons import person_of
from schemas.sellers import SellerSet

Risk = Literal["cleared", "refused", "held"]
Reserve = Literal["none", "asked", "reserved", "refused"]
Stop = Literal["cancelled", "rejected"]
End = Literal["refused", "rejected", "cancelled", "expired", "submitted", "paid", "failed", "returned"]
Outcome = Literal["not_sent", "unknown", "unresolved", "submitted", "paid", "failed", "returned"]  # of a release
Doubt = Literal["unknown", "unresolved"]
Lack = Literal["no_rate", "no_provider", "cut_off", "open_break"]

BY_SCHEDULE = "schedule"  # who asked for a pay-out that a schedule made


@dataclass(frozen=True, slots=True)
class Payout:
    """One pay-out. Amounts are minor units of `currency`; `asked` and, until it is reserved, `amount` are None: all. `target` is
    what the present release sends, in minor units of `payout_currency` where that is another one.

    `status`, `code` and `changed_at` are copies for readers: whatever is decided is decided by the facts.
    """

    # as asked for, never changed
    payout_id: str
    owner: str
    seller_account: str
    currency: str
    asked: int | None
    minimum: int | None
    keep: int | None
    destination: SealedDestination  # as the seller had it then
    contents: str
    description: str | None
    requested_by: str
    destination_changed_by: str | None  # where that was within the cooling period before the request
    received_at: datetime
    event_id: EventId
    payout_currency: str | None = None  # None: nothing is converted
    destination_changers: tuple[str, ...] = ()  # within that period, or since others have vouched for the destination
    # facts
    screen_no: int = 0
    risk: Risk | None = None  # the answer to that screening
    cleared_at: datetime | None = None
    refusal: str | None = None  # why risk or the wallet said no
    reserve: Reserve = "none"
    amount: int | None = None
    reserved_at: datetime | None = None
    approvals_needed: int = 0
    approved_by: tuple[str, ...] = ()  # as compared
    stop: Stop | None = None
    stopped_by: str | None = None
    release_no: int = 0
    released: bool = False  # this release may have left
    withdrawn: int = 0  # the last release that we asked not to send
    target: int | None = None
    rate: str | None = None  # of that release
    doubt: Doubt | None = None  # the executor does not know whether it has left
    ended: End | None = None
    why: str | None = None  # it has ended so
    provider_reference: str | None = None
    # copies
    status: PayoutStatus = "received"
    code: str | None = None
    changed_at: datetime | None = None
    version: int = 0

    @property
    def is_scheduled(self) -> bool:
        return self.payout_id.startswith(OWN_PREFIX)

    @property
    def money(self) -> Money | None:
        """What is reserved, else asked for; None: all."""
        minor = self.asked if self.amount is None else self.amount
        return None if minor is None else Money(minor, self.currency)

    @property
    def sent_currency(self) -> str:
        return self.payout_currency or self.currency

    @property
    def sent(self) -> Money | None:
        """What its destination gets, where it is converted; None until it is released."""
        return None if self.target is None else Money(self.target, self.sent_currency)

    def converted(self, conversion: Conversion | None) -> Payout:
        """As a release converts it."""
        if conversion is None:
            return replace(self, target=None, rate=None)
        return replace(self, target=conversion.target.minor, rate=conversion.rate)

    @property
    def makers(self) -> frozenset[str]:
        """Who may not approve. A schedule is its owner's."""
        named = [self.requested_by, *self.destination_changers]
        named += [self.destination_changed_by] if self.destination_changed_by else []
        named += [self.owner] if self.is_scheduled else []
        return frozenset(map(person_of, named))

    @property
    def approvals_missing(self) -> int:
        return max(0, self.approvals_needed - len(self.approved_by))

    @property
    def sha256(self) -> str | None:
        """Of all that an approval is about; None before the amount is fixed."""
        if self.amount is None:
            return None
        approved = {
            "payout_id": self.payout_id,
            "owner": self.owner,
            "seller_account": self.seller_account,
            "amount": Money(self.amount, self.currency).amount,
            "currency": self.currency,
            "destination": self.destination.fingerprint,
        }
        if self.payout_currency is not None:
            approved["payout_currency"] = self.payout_currency
        return sha256(orjson.dumps(approved, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def is_told(self) -> bool:
        """Whether its owner hears of it. A schedule that finds nothing to pay out is no news, or it would be every day."""
        return (
            not self.is_scheduled
            or self.reserve == "reserved"
            or (self.ended is not None and self.reserve != "refused")
        )


class Standing(NamedTuple):
    """A status, with a code where there is more to say."""

    status: PayoutStatus
    code: str | None = None


def standing(payout: Payout, seller: SellerSet, lacks: Lack | None = None) -> Standing:
    """Where a pay-out stands after `next_step`: at the first gate that is closed. `lacks`: what the settings do not have, or a
    cut-off that is still to come.
    """
    if payout.ended is not None:
        return Standing(payout.ended, payout.why)
    if payout.released:
        return Standing("processing", payout.doubt)
    if payout.risk != "cleared":
        return Standing("in_review" if payout.risk == "held" else "screening")
    if payout.reserve != "reserved":
        return Standing("reserving")
    if payout.approvals_missing:
        return Standing("awaiting_approval")
    if seller.state == "active" and lacks == "cut_off":
        return Standing("scheduled")
    return Standing("on_hold", lacks or "no_provider" if seller.state == "active" else f"seller_{seller.state}")


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """A status that a pay-out has had."""

    payout_id: str
    status: PayoutStatus
    code: str | None
    at: datetime
    event_id: EventId  # the cause


@dataclass(frozen=True, slots=True)
class Screening:
    """One answer of risk. `counts`: it was the answer to the question that was open."""

    event_id: EventId
    payout_id: str
    screen_no: int
    outcome: Risk
    rule: str
    list_version: str
    score: int
    actor: str
    decided_at: datetime
    counts: bool


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person said. It counts, or `why_not` says why it does not."""

    event_id: EventId
    payout_id: str
    approver: str
    decision: Literal["approved", "rejected"]
    sha256: str
    reason: str
    at: datetime
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """One time that every gate was open."""

    payout_id: str
    release_no: int
    provider: str
    bank_account: str
    conversion: Conversion | None
    released_at: datetime
    deadline: datetime
    cleared_at: datetime  # of risk's answer that it relied on
    fresh_until: datetime  # so long that answer was good for a release
    approvals_needed: int
    approvals: int
    event_id: EventId  # the cause
    cut_off: datetime | None = None  # of the bank's file that it leaves in


@dataclass(frozen=True, slots=True)
class ReleaseOutcome:
    """What became of a release last."""

    payout_id: str
    release_no: int
    outcome: Outcome
    code: str | None
    outcome_at: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was not taken, under an id that may be another's."""

    payout_id: str
    owner: str
    code: str
    detail: str
    at: datetime
    event_id: EventId


@dataclass(frozen=True, slots=True)
class SellerHeard:
    """A seller's terms, as a later revision replaces them."""

    said: SellerSet
    event_id: EventId
    at: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """A break about a seller: while it is open nothing of the seller's is paid out."""

    break_id: str
    seller_account: str
    code: str
    revision: int
    is_open: bool
    since: datetime
    heard_at: datetime


Change = Payout | HistoryLine | Screening | Approval | Release | ReleaseOutcome | Refusal | SellerHeard | Hold


@dataclass(slots=True)
class Payouts:
    """The pay-outs that a batch is about, and their sellers; of a seller whose terms change, all that have not ended."""

    payouts: dict[str, Payout] = field(default_factory=dict)
    sellers: dict[str, SellerSet] = field(default_factory=dict)
    vouched: dict[tuple[str, str], datetime] = field(default_factory=dict)  # by seller and destination's fingerprint
    holds: dict[tuple[str, str], Hold] = field(default_factory=dict)  # by seller and break

    def fold(self, change: Change) -> None:
        if isinstance(change, Payout):
            self.payouts[change.payout_id] = change
        elif isinstance(change, SellerHeard):
            self.sellers[change.said.seller_account] = change.said
        elif isinstance(change, Hold):
            self.holds[change.seller_account, change.break_id] = change

    def is_held(self, seller_account: str) -> bool:
        """Whether a break is open about the seller."""
        return any(hold.is_open for (seller, _), hold in self.holds.items() if seller == seller_account)

    def vouched_at(self, seller: SellerSet) -> datetime | None:
        """When the last pay-out to the seller's destination was asked for that others have approved and that was sent."""
        fingerprint = "" if seller.destination is None else seller.destination.fingerprint
        return self.vouched.get((seller.seller_account, fingerprint))

    def unended(self, seller_account: str) -> list[Payout]:
        """Of one seller, by id."""
        found = [p for p in self.payouts.values() if p.seller_account == seller_account and p.ended is None]
        return sorted(found, key=lambda payout: payout.payout_id)
