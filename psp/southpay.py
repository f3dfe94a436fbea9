"""Operation ↔ Southpay: an API key header, nested amounts, two exponents of its own, page tokens, modifications."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, assert_never, overload
from urllib.parse import urlencode

import orjson

from psp import southpay_wire as wire
from psp.lines import (
    charge_reply,
    found_charge,
    found_dispute,
    found_operation,
    listing,
    notification,
    operation_reply,
    operations_of,
)
from psp.port import (
    Capture,
    Charge,
    Declared,
    FindReply,
    HttpRequest,
    Kind,
    ListedCharge,
    ListedDispute,
    ListedOperation,
    Listing,
    Notification,
    Operation,
    OperationKind,
    Reference,
    Refund,
    SendReply,
    Void,
)
from psp.webhooks import Signature, hex_macs, seconds
from psp.wire import Wire, is_reference, parsed, refused, unanswered

PAGE = 1000
_TYPES: Mapping[OperationKind, str] = {"capture": "Capture", "void": "Cancel", "refund": "Refund"}
_CODES: Mapping[str, OperationKind] = {"CAPTURE": "capture", "CANCEL": "void", "REFUND": "refund"}
_PROBLEMS = {"000": "unauthorised", "702": "invalid", "704": "key_conflict", "911": "not_processed"}
_DECLARED = Declared(settling_s=2.0, key_life_s=24 * 3600.0)


class _Error(Wire):
    status: int
    errorCode: str


@dataclass(frozen=True, slots=True)
class Southpay:
    """One Southpay account. A test compares its declarations with `GET /southpay/capabilities`."""

    adapter: ClassVar[str] = "southpay"
    declared: ClassVar[Mapping[Kind, Declared]] = {
        "charge": _DECLARED,
        "capture": Declared(settling_s=2.0, key_life_s=24 * 3600.0, many=False),
        "void": _DECLARED,
        "refund": _DECLARED,
        "dispute": Declared(settling_s=2.0, key_life_s=0.0),
    }
    name: str
    url: str
    api_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)

    # ── what is sent, and what its answer means ──────────────────────────────────────────────────────────────────────

    def request(self, operation: Operation) -> HttpRequest:
        match operation:
            case Charge():
                return self._charge(operation)
            case Capture() | Refund():
                return self._modify(operation, {"amount": wire.theirs(operation.amount)})
            case Void():
                return self._modify(operation, {})
            case _:
                assert_never(operation)

    def _charge(self, charge: Charge) -> HttpRequest:
        method = {"type": "scheme", "token": charge.token}
        paid_by = {"paymentMethod": method} if charge.return_url is None else {"returnUrl": charge.return_url}
        body = {
            "amount": wire.theirs(charge.amount),
            **paid_by,
            "reference": charge.call_id,
            "merchantOrderReference": charge.payment_order_id,
            **({} if charge.capture else {"captureDelay": "manual"}),
        }
        return self._post("payments", charge.call_id, body)

    def _modify(self, operation: Capture | Void | Refund, more: Mapping[str, object]) -> HttpRequest:
        """A modification of a payment. A capture is always the last: Southpay takes one per payment."""
        body = {
            "type": _TYPES[operation.kind],
            "originalReference": operation.psp_reference,
            **more,
            "reference": operation.call_id,
            "merchantOrderReference": operation.payment_order_id,
        }
        return self._post("modifications", operation.call_id, body)

    def _post(self, path: str, key: str, body: Mapping[str, object]) -> HttpRequest:
        headers = {**self._headers(), "Content-Type": "application/json", "idempotency-key": key}
        return HttpRequest("POST", f"{self.url}/{path}", headers, orjson.dumps(body))

    def read(self, operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> SendReply:
        if status != 200:
            return refused(status, headers, _problem(status, body))
        match operation:
            case Charge():
                return charge_reply(operation, wire.charge(body))
            case Capture() | Void() | Refund():
                return operation_reply(operation, wire.operation(body))
            case _:
                assert_never(operation)

    # ── questions, and the PSP's books ───────────────────────────────────────────────────────────────────────────────

    def find(self, asked: Operation | Reference) -> HttpRequest:
        match asked.kind:
            case "charge":
                return self._ask("payments", {"merchantReference": asked.call_id})
            case "capture" | "void" | "refund" as kind:
                return self._ask("modifications", {"type": _TYPES[kind], "merchantReference": asked.call_id})
            case "dispute":
                return self._ask("disputes", {"disputeReference": asked.call_id})
            case _:
                assert_never(asked.kind)

    def read_find(
        self, asked: Operation | Reference, status: int, headers: Mapping[str, str], body: bytes
    ) -> FindReply:
        if status != 200:
            return unanswered(status, headers)
        match asked:
            case Charge() | Reference(kind="charge"):
                return found_charge(asked, wire.charges(body))
            case Reference(kind="dispute"):
                return found_dispute(asked, wire.disputes(body))
            case Capture() | Void() | Refund() | Reference():
                return found_operation(asked, wire.operations(body))
            case _:
                assert_never(asked)

    def list(self, kind: Kind, cursor: str | None = None) -> HttpRequest:
        page = {"pageSize": str(PAGE), **({"pageToken": cursor} if cursor else {})}
        match kind:
            case "charge":
                return self._ask("payments/list", page)
            case "capture" | "void" | "refund":
                return self._ask("modifications/list", {"type": _TYPES[kind], **page})
            case "dispute":
                return self._ask("disputes/list", page)
            case _:
                assert_never(kind)

    @overload
    def read_list(self, kind: Literal["charge"], body: bytes) -> Listing[ListedCharge]: ...
    @overload
    def read_list(self, kind: OperationKind, body: bytes) -> Listing[ListedOperation]: ...
    @overload
    def read_list(self, kind: Literal["dispute"], body: bytes) -> Listing[ListedDispute]: ...
    def read_list(
        self, kind: Kind, body: bytes
    ) -> Listing[ListedCharge] | Listing[ListedOperation] | Listing[ListedDispute]:
        match kind:
            case "charge":
                return listing(self.name, wire.charges(body))
            case "capture" | "void" | "refund":
                return operations_of(kind, listing(self.name, wire.operations(body)), self.name)
            case "dispute":
                return listing(self.name, wire.disputes(body))
            case _:
                assert_never(kind)

    # ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def signature(self, headers: Mapping[str, str]) -> Signature | None:
        """`X-Southpay-Timestamp` in seconds, `X-Southpay-Signature: <hex>`, one for each secret with spaces between."""
        at = seconds(headers.get("x-southpay-timestamp"))
        return None if at is None else Signature(at, hex_macs(headers.get("x-southpay-signature", "").split()))

    def read_notification(self, body: bytes) -> Notification | None:
        event = parsed(wire.Event, body)
        if event is None or not is_reference(event.eventId):
            return None
        match event.eventCode:
            case "PAYMENT":
                payment = parsed(wire.PaymentEvent, body)
                return notification(event.eventId, None if payment is None else wire.charge_line(payment.payment))
            case "CAPTURE" | "CANCEL" | "REFUND" as code:
                modification = parsed(wire.ModificationEvent, body)
                told = None if modification is None else wire.operation_line(modification.modification)
                return notification(event.eventId, told if told and told.listed.kind == _CODES[code] else None)
            case "DISPUTE":
                dispute = parsed(wire.DisputeEvent, body)
                return notification(event.eventId, None if dispute is None else wire.dispute_line(dispute.dispute))
        return Notification(event.eventId, None)

    def _ask(self, path: str, query: Mapping[str, str]) -> HttpRequest:
        return HttpRequest("GET", f"{self.url}/{path}?{urlencode(query)}", self._headers())

    def _headers(self) -> dict[str, str]:
        return {"X-API-Key": self.api_key}


def _problem(status: int, body: bytes) -> str | None:
    error = parsed(_Error, body)
    return _PROBLEMS.get(error.errorCode) if error and error.status == status else None


ADAPTER = Southpay
