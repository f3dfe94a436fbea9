"""The rows of pay-outs that the checks compare: as doors took them, as payouts decided, as the executor sent them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import orjson

from schemas.ids import OWN_PREFIX
from schemas.money import Money
from schemas.persons import person_of


class Request(NamedTuple):
    """A request that a door accepted."""

    owner: str
    claim: str  # the id under which payouts hears it


class PayoutRow(NamedTuple):
    """A pay-out as payouts has it."""

    owner: str
    seller: str
    currency: str
    amount: int | None
    is_all: bool
    fingerprint: str
    sha256: str | None
    requested_by: str
    changed_by: str | None  # the destination, within the cooling period
    changers: list[str]  # and all who have changed it since others have vouched for it
    received_at: datetime
    event_id: str
    screen_no: int
    release_no: int
    released: bool
    ended: str | None
    status: str
    code: str | None
    payout_currency: str | None  # where it is converted

    def contents(self, payout_id: str) -> str | None:
        """The hash of what is approved, computed anew; None before the amount is fixed."""
        if self.sha256 is None or self.amount is None:
            return None
        approved = {
            "payout_id": payout_id,
            "owner": self.owner,
            "seller_account": self.seller,
            "amount": Money(self.amount, self.currency).amount,
            "currency": self.currency,
            "destination": self.fingerprint,
        }
        if self.payout_currency is not None:
            approved["payout_currency"] = self.payout_currency
        return sha256(orjson.dumps(approved, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def makers(self, payout_id: str) -> set[str]:
        """Who may not have approved it. A schedule is its owner's."""
        asked_by = self.owner if is_scheduled(payout_id) else self.requested_by
        return {person_of(name) for name in (asked_by, self.changed_by, *self.changers) if name}


def is_scheduled(payout_id: str) -> bool:
    return payout_id.startswith(OWN_PREFIX)


class ScreeningRow(NamedTuple):
    screen_no: int
    outcome: str
    decided_at: datetime
    counts: bool


class ApprovalRow(NamedTuple):
    event_id: str
    approver: str
    decision: str
    sha256: str
    at: datetime
    why_not: str | None


class ReleaseRow(NamedTuple):
    release_no: int
    released_at: datetime
    cleared_at: datetime
    fresh_until: datetime  # by the settings at that time
    approvals_needed: int
    target: int | None  # where it is converted, as all of the following
    rate: str | None
    spread_bps: int | None
    cost: int | None


class SentRow(NamedTuple):
    """A pay-out as the executor has it."""

    release_no: int
    state: str
    sent: int
    sent_currency: str
    cost: int | None


@dataclass(slots=True)
class PayoutBooks:
    """By pay-out, but `refused`: the claims of refused requests; and `sellers`: their owners."""

    requests: dict[str, Request] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    sellers: dict[str, str] = field(default_factory=dict)
    payouts: dict[str, PayoutRow] = field(default_factory=dict)
    screenings: dict[str, list[ScreeningRow]] = field(default_factory=lambda: defaultdict(list))
    approvals: dict[str, list[ApprovalRow]] = field(default_factory=lambda: defaultdict(list))
    releases: dict[str, list[ReleaseRow]] = field(default_factory=lambda: defaultdict(list))
    last: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # status and code in the history
    decided: dict[str, set[int]] = field(
        default_factory=lambda: defaultdict(set)
    )  # the questions that risk has answered
    sent: dict[str, SentRow] = field(default_factory=dict)
