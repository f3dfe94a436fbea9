"""What the routes about pay-outs answer: rows of the views of payouts → replies, and the models that describe these."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from producers.doors.destinations import SEEN
from producers.doors.payouts import links
from producers.reading import Row
from producers.replies import Links, decimal
from producers.seller_replies import Destination
from schemas.payouts import PayoutStatus


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Payout(_Shape):
    """Where a pay-out stands. `amount` is "all" until the wallet has reserved what is there; `code` says why it ended so.

    Where it is converted, `target` of `payout_currency` is what its destination gets, at `rate`: both are of its release. What is
    null is not known yet, or not so: without a `payout_currency` nothing is converted.
    """

    payout_id: str
    seller_account: str
    amount: str
    currency: str
    payout_currency: str | None
    target: str | None
    rate: str | None
    description: str | None
    status: PayoutStatus
    code: str | None
    destination: Destination | None
    approvals_needed: int | None
    approvals_given: int | None
    provider_reference: str | None
    received_at: datetime
    links: Links


class PayoutStep(_Shape):
    status: PayoutStatus
    code: str | None
    at: datetime


class PayoutWithHistory(Payout):
    """A pay-out, and every status that it has had, the oldest first."""

    history: list[PayoutStep]


class PayoutPage(_Shape):
    """The newest first. `next_cursor` leads to older ones."""

    payouts: list[Payout]
    next_cursor: str | None


class Cancellation(_Shape):
    """The request is on its way: a pay-out that has not left ends `cancelled`."""

    payout_id: str
    received_at: datetime
    links: Links


# ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Approval(_Shape):
    """What one person said. `why_not`: why it does not count."""

    approver: str
    decision: Literal["approved", "rejected"]
    sha256: str
    reason: str
    at: datetime
    why_not: str | None


class PayoutToApprove(Payout):
    """A pay-out as operators see it. Who approves says so of this `sha256`."""

    owner: str
    requested_by: str
    destination_changed_by: str | None
    destination_changers: list[str]
    sha256: str | None
    approvals: list[Approval]


class PayoutsToApprove(_Shape):
    payouts: list[PayoutToApprove]
    next_cursor: str | None


class Decided(_Shape):
    """The decision as it was taken. Whether it counts is said by the pay-out's `approvals`."""

    payout_id: str
    decision: Literal["approved", "rejected"]
    sha256: str
    reason: str
    approver: str


# ── rows → replies ───────────────────────────────────────────────────────────────────────────────────────────────────


_COPIED = (
    "payout_id",
    "seller_account",
    "currency",
    "payout_currency",
    "rate",
    "description",
    "status",
    "code",
    "approvals_needed",
    "approvals_given",
    "provider_reference",
)
_FOR_OPERATORS = ("owner", "requested_by", "destination_changed_by", "destination_changers", "sha256")


def payout(row: Row) -> dict[str, Any]:
    """A row of `payout_view`."""
    return {name: row[name] for name in _COPIED} | {
        "amount": "all" if row["amount"] is None else decimal(row["amount"], row["currency"]),
        "target": None if row["target"] is None else decimal(row["target"], row["payout_currency"]),
        "destination": {name: row[f"destination_{name}"] for name in SEEN},
        "received_at": row["received_at"],
        "links": links(row["payout_id"]),
    }


def to_approve(row: Row, approvals: list[Row]) -> dict[str, Any]:
    return payout(row) | {name: row[name] for name in _FOR_OPERATORS} | {"approvals": approvals}
