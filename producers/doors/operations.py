"""Requests for captures, voids and refunds, as their door takes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from producers.doors.operation_ids import IdSubmission, Key
from producers.doors.payments import links as payment_links
from schemas.events import CaptureRequested, OperationKind, OperationRequested, RefundRequested, VoidRequested
from schemas.requests import CaptureRequest, RefundRequest, VoidRequest

OperationRequest = CaptureRequest | VoidRequest | RefundRequest
EVENTS: dict[OperationKind, type[OperationRequested]] = {
    "capture": CaptureRequested,
    "void": VoidRequested,
    "refund": RefundRequested,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationSubmission(IdSubmission[Any]):
    """A request for a capture, void or refund. `checkout_id` is "" where its order is not known any more."""

    repeated: ClassVar[tuple[str, ...]] = (
        "payment_order_id",
        "checkout_id",
        "amount",
        "currency",
        "final",
        "reason",
    )
    kind: OperationKind
    checkout_id: str

    @property
    def operation_id(self) -> str:
        return str(getattr(self.request, f"{self.kind}_id"))

    @property
    def key(self) -> Key:
        return self.kind, self.operation_id

    @property
    def order(self) -> tuple[str, str]:
        return self.checkout_id, self.request.payment_order_id

    @property
    def location(self) -> str:
        return links(self.kind, self.operation_id, self.checkout_id)["self"]

    def shown(self, now: datetime) -> dict[str, object]:
        request = self.request
        more: dict[str, object] = {}
        if isinstance(request, CaptureRequest):
            more = {"final": request.final}
        elif isinstance(request, RefundRequest):
            more = {"reason": request.reason}
        return {
            f"{self.kind}_id": self.operation_id,
            "payment_order_id": request.payment_order_id,
            "checkout_id": self.checkout_id,
            "amount": getattr(request, "amount", None),
            "currency": getattr(request, "currency", None),
            **more,
            "status": "received",
            "detail": "",
            "code": None,
            "wallet_updated": False,
            "ledger_updated": False,
            "received_at": now,
            "links": links(self.kind, self.operation_id, self.checkout_id),
        }

    def event(self, now: datetime) -> OperationRequested:
        """For payments."""
        said = self.request.__dict__ | {"checkout_id": self.checkout_id, "owner": self.owner, "received_at": now}
        return EVENTS[self.kind].model_construct(set(said), **said)


def links(kind: OperationKind, operation_id: str, checkout_id: str) -> dict[str, str]:
    """A refund can be read by itself; captures and voids stand with their payment."""
    return {"self": f"/v1/refunds/{operation_id}"} if kind == "refund" else payment_links(checkout_id)
