"""Operation ↔ Northpay: bearer key, lower-case currencies, ISO minor units, cursors that are ids, a path per kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, assert_never, overload
from urllib.parse import quote, urlencode

import orjson

from psp import northpay_wire as wire
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
from schemas.money import Money

PAGE = 1000
_PATHS: Mapping[Kind, str] = {
    "charge": "charges",
    "capture": "captures",
    "void": "voids",
    "refund": "refunds",
    "dispute": "disputes",
}
_PROBLEMS = {
    ("authentication_error", "api_key_invalid"): "unauthorised",
    ("invalid_request_error", "parameter_invalid"): "invalid",
    ("idempotency_error", "idempotency_key_in_use"): "key_conflict",
    ("api_error", "not_processed"): "not_processed",
}
_DECLARED = Declared(settling_s=2.0, key_life_s=24 * 3600.0)


class _Problem(Wire):
    type: str
    code: str


class _Error(Wire):
    error: _Problem


@dataclass(frozen=True, slots=True)
class Northpay:
    """One Northpay account. A test compares its declarations with `GET /northpay/capabilities`."""

    adapter: ClassVar[str] = "northpay"
    declared: ClassVar[Mapping[Kind, Declared]] = {
        "charge": _DECLARED,
        "capture": _DECLARED,
        "void": _DECLARED,
        "refund": _DECLARED,
        "dispute": Declared(settling_s=2.0, key_life_s=0.0),
    }
    name: str
    url: str
    api_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)

    # ── what is sent, and what its answer means ─────────────────────────────────────────────────────────────────────

    def request(self, operation: Operation) -> HttpRequest:
        match operation:
            case Charge():
                return self._charge(operation)
            case Capture():
                more = _amount(operation.amount) | {"final": operation.final}
                return self._behind(operation, more)
            case Void():
                return self._behind(operation, {})
            case Refund():
                return self._behind(operation, _amount(operation.amount))
            case _:
                assert_never(operation)

    def _charge(self, charge: Charge) -> HttpRequest:
        paid_by = {"source": charge.token} if charge.return_url is None else {"return_url": charge.return_url}
        body = {
            **_amount(charge.amount),
            **paid_by,
            "reference": charge.call_id,
            "metadata": {"order": charge.payment_order_id},
            **({} if charge.capture else {"capture": False}),
        }
        return self._post("charges", charge.call_id, body)

    def _behind(self, operation: Capture | Void | Refund, more: Mapping[str, object]) -> HttpRequest:
        path = f"charges/{quote(operation.psp_reference, safe='')}/{_PATHS[operation.kind]}"
        told = {"reference": operation.call_id, "metadata": {"order": operation.payment_order_id}}
        return self._post(path, operation.call_id, {**more, **told})

    def _post(self, path: str, key: str, body: Mapping[str, object]) -> HttpRequest:
        headers = {**self._headers(), "Content-Type": "application/json", "Idempotency-Key": key}
        return HttpRequest("POST", f"{self.url}/v1/{path}", headers, orjson.dumps(body))

    def read(self, operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> SendReply:
        if status != 200:
            return refused(status, headers, _problem(body))
        match operation:
            case Charge():
                return charge_reply(operation, wire.charge(body))
            case Capture() | Void() | Refund():
                return operation_reply(operation, wire.operation(body))
            case _:
                assert_never(operation)

    # ── questions, and the PSP's books ───────────────────────────────────────────────────────────────────────────────

    def find(self, asked: Operation | Reference) -> HttpRequest:
        return self._ask(asked.kind, {"dispute" if asked.kind == "dispute" else "reference": asked.call_id})

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
        return self._ask(kind, {"limit": str(PAGE), **({"starting_after": cursor} if cursor else {})})

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
        """`Northpay-Signature: t=1772366400,v1=<hex>`, a v1 for each secret."""
        parts = [part.strip().partition("=") for part in headers.get("northpay-signature", "").split(",")]
        at = seconds(next((value for name, _, value in parts if name == "t"), None))
        return None if at is None else Signature(at, hex_macs(value for name, _, value in parts if name == "v1"))

    def read_notification(self, body: bytes) -> Notification | None:
        event = parsed(wire.Event, body)
        if event is None or not is_reference(event.id):
            return None
        match event.type.partition(".")[0]:
            case "charge":
                charge = parsed(wire.ChargeEvent, body)
                return notification(event.id, None if charge is None else wire.charge_line(charge.data))
            case "capture" | "void" | "refund" as kind:
                operation = parsed(wire.OperationEvent, body)
                told = None if operation is None else wire.operation_line(operation.data)
                return notification(event.id, told if told and told.listed.kind == kind else None)
            case "dispute":
                dispute = parsed(wire.DisputeEvent, body)
                return notification(event.id, None if dispute is None else wire.dispute_line(dispute.data))
        return Notification(event.id, None)

    def _ask(self, kind: Kind, query: Mapping[str, str]) -> HttpRequest:
        return HttpRequest("GET", f"{self.url}/v1/{_PATHS[kind]}?{urlencode(query)}", self._headers())

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


def _amount(amount: Money) -> dict[str, object]:
    return {"amount": amount.minor, "currency": amount.currency.lower()}


def _problem(body: bytes) -> str | None:
    error = parsed(_Error, body)
    return _PROBLEMS.get((error.error.type, error.error.code)) if error else None


ADAPTER = Northpay
