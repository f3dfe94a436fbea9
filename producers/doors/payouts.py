"""Requests for pay-outs, their cancellation, and what a person decides about one, as their door takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeVar

from producers.doors.operation_ids import IdSubmission, Key
from producers.doors.records import record_of
from producers.source import SOURCE
from schemas.envelope import EventId, derive_id
from schemas.payouts import PayoutApproved, PayoutCancelRequested, PayoutRequest, PayoutRequested
from schemas.requests import RequestPart
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import Row
from topics.runtime.shape.consumer import Connection

ROOT = "/v1/payouts"
Said = TypeVar("Said", bound=Mapping[str, Any])  # a row of payouts' `approval_view`


def links(payout_id: str) -> dict[str, str]:
    return {"self": f"{ROOT}/{payout_id}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutSubmission(IdSubmission[PayoutRequest]):
    """A request for a pay-out, and who makes it: "shop (key 1a2b3c4d)"."""

    repeated: ClassVar[tuple[str, ...]] = ("seller_account", "amount", "currency", "payout_currency", "description")
    requested_by: str

    @property
    def key(self) -> Key:
        return "payout", self.request.payout_id

    @property
    def location(self) -> str:
        return links(self.request.payout_id)["self"]

    def shown(self, now: datetime) -> dict[str, object]:
        request = self.request
        return {
            "payout_id": request.payout_id,
            "seller_account": request.seller_account,
            "amount": request.amount,
            "currency": request.currency,
            "payout_currency": request.converted_to,
            "target": None,
            "rate": None,
            "description": request.description,
            "status": "received",
            "code": None,
            "destination": None,
            "approvals_needed": None,
            "approvals_given": None,
            "provider_reference": None,
            "received_at": now,
            "links": links(request.payout_id),
        }

    def event(self, now: datetime) -> PayoutRequested:
        return PayoutRequested(
            **self.request.model_dump(), owner=self.owner, requested_by=self.requested_by, received_at=now
        )


class PayoutCancelRequest(RequestPart):
    """Nothing more is said than the path says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutCancelSubmission(IdSubmission[PayoutCancelRequest]):
    """A request not to send a pay-out. Its pay-out is the sender's."""

    repeated: ClassVar[tuple[str, ...]] = ()
    id_field: ClassVar[str] = "payout_id"
    payout_id: str
    requested_by: str

    @property
    def key(self) -> Key:
        return "payout_cancel", self.payout_id

    @property
    def location(self) -> str:
        return links(self.payout_id)["self"]

    def shown(self, now: datetime) -> dict[str, object]:
        return {"payout_id": self.payout_id, "received_at": now, "links": links(self.payout_id)}

    def event(self, now: datetime) -> PayoutCancelRequested:
        return PayoutCancelRequested(
            payout_id=self.payout_id, owner=self.owner, requested_by=self.requested_by, received_at=now
        )


@dataclass(frozen=True, slots=True)
class ApprovalSubmission:
    """What one person decides, and when the pay-out was asked for: every process derives the same event from it.

    `earlier`: so often the person has said just this before without any effect. What may count now is another event.
    """

    payout_id: str
    decision: Literal["approved", "rejected"]
    approver: str
    sha256: str
    reason: str
    requested_at: datetime
    earlier: int = 0

    def ids(self) -> list[EventId]:
        return [self.event_id]

    @property
    def event_id(self) -> EventId:
        cause = "|".join(("approval", self.payout_id, self.approver, self.decision, self.sha256))
        return derive_id(f"{cause}|{self.reason}", SOURCE, self.earlier, int(self.requested_at.timestamp() * 1000))

    def same(self, said: Sequence[Said]) -> list[Said]:
        """The decisions among these that say just this."""
        names = ("approver", "decision", "sha256", "reason")
        return [one for one in said if all(one[name] == getattr(self, name) for name in names)]

    def event(self) -> PayoutApproved:
        return PayoutApproved(
            payout_id=self.payout_id,
            decision=self.decision,
            approver=self.approver,
            sha256=self.sha256,
            reason=self.reason,
        )


def claim_approvals(
    conn: Connection, batch: Sequence[ApprovalSubmission], now: datetime
) -> tuple[Sequence[None], Callable[[], list[Row]]]:
    return [None] * len(batch), outbox.insert(conn, [record_of(asked.event(), asked.event_id, now) for asked in batch])
