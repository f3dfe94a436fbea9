"""Northpay's wire shape: bearer keys, lower-case currencies, ISO minor units, cursors that are ids, a path per kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simulator.currencies import ISO
from simulator.disputes import Dispute
from simulator.http import Request
from simulator.memory import Charge, ChargeRequest
from simulator.operations import ChargeStatus, Operation, OperationKind, OperationRequest, Status
from simulator.shape import Creation, Kind, LookUp, Page, Route, id_of
from simulator.tokens import waits_for
from simulator.wire import Problem, Refused, read_amount, read_currency, read_method, read_object, read_text, sub_object

_FIELDS = frozenset({"amount", "currency", "reference", "metadata"})
_BEHIND_FIELDS: Mapping[OperationKind, frozenset[str]] = {
    "capture": frozenset({"amount", "currency", "final", "reference", "metadata"}),
    "void": frozenset({"reference", "metadata"}),
    "refund": frozenset({"amount", "currency", "reference", "metadata"}),
}
_CHARGES = "/northpay/v1/charges"
_ROOT = "/northpay/v1/"
_BEHIND: Mapping[str, OperationKind] = {"captures": "capture", "voids": "void", "refunds": "refund"}
_LISTED: Mapping[str, Kind] = {"charges": "charge", **_BEHIND, "disputes": "dispute"}
_PREFIXES: Mapping[Kind, str] = {"charge": "ch", "capture": "cap", "void": "vd", "refund": "re", "dispute": "dp"}
_STATUSES: Mapping[ChargeStatus, str] = {"authorised": "requires_capture", "voided": "canceled", "expired": "canceled"}
_ERRORS: Mapping[Problem, tuple[int, str, str]] = {
    Problem.UNAUTHORISED: (401, "authentication_error", "api_key_invalid"),
    Problem.INVALID: (400, "invalid_request_error", "parameter_invalid"),
    Problem.KEY_CONFLICT: (409, "idempotency_error", "idempotency_key_in_use"),
    Problem.TOO_MANY: (429, "rate_limit_error", "rate_limit"),
    Problem.UNAVAILABLE: (503, "api_error", "not_processed"),
    Problem.INTERNAL: (500, "api_error", "internal"),
    Problem.NOT_FOUND: (404, "invalid_request_error", "not_found"),
}


class Northpay:
    name = "northpay"
    cursor_parameter = "starting_after"
    key_header = "idempotency-key"
    many_captures = True
    exponents: Mapping[str, int] = ISO

    def api_key(self, headers: Mapping[str, str]) -> str:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key if scheme.lower() == "bearer" else ""

    def route(self, request: Request) -> Route | None:
        if request.method == "POST":
            return Creation("charge") if request.path == _CHARGES else _operations(request.path)
        kind = _LISTED.get(request.path.removeprefix(_ROOT))
        if kind is None or request.method != "GET":
            return None
        reference = request.query.get("dispute" if kind == "dispute" else "reference")
        if reference is not None:
            return LookUp(kind, reference)
        return Page(kind, request.query.get(self.cursor_parameter), request.query.get("limit"))

    def read_charge(self, key: str, body: bytes) -> ChargeRequest:
        asked = read_object(body, _FIELDS, optional=frozenset({"capture", "source", "return_url"}))
        token, return_url = read_method(asked, "source", "return_url")
        metadata = sub_object(asked["metadata"], "metadata", frozenset({"order"}))
        return ChargeRequest(
            key=key,
            reference=read_text(asked["reference"], "reference"),
            order_id=read_text(metadata["order"], "metadata.order"),
            amount=read_amount(asked["amount"], "amount"),
            currency=self._currency(asked["currency"]),
            token=token,
            capture=_flag(asked.get("capture", True), "capture"),
            return_url=return_url,
        )

    def read_operation(self, creation: Creation, key: str, body: bytes) -> OperationRequest:
        assert creation.kind is not None
        assert creation.kind != "charge"
        asked = read_object(body, _BEHIND_FIELDS[creation.kind])
        metadata = sub_object(asked["metadata"], "metadata", frozenset({"order"}))
        return OperationRequest(
            kind=creation.kind,
            key=key,
            reference=read_text(asked["reference"], "reference"),
            order_id=read_text(metadata["order"], "metadata.order"),
            charge_id=id_of(creation.charge_id),
            amount=read_amount(asked["amount"], "amount") if "amount" in asked else None,
            currency=self._currency(asked["currency"]) if "currency" in asked else None,
            final=_flag(asked.get("final", False), "final"),
        )

    def _currency(self, value: object) -> str:
        currency = read_text(value, "currency")
        return read_currency(currency.upper() if currency.islower() else currency.lower(), self.exponents)

    def charge(self, charge: Charge, status: ChargeStatus) -> dict[str, object]:
        decline_code = charge.decline_code if status == "declined" else None
        told: dict[str, object] = {"status": _STATUSES.get(status, status), "decline_code": decline_code}
        if status == "pending":
            told["pending_reason"] = waits_for(charge.token)
            if charge.page_url:
                until = charge.decided_at // 1_000_000
                told["next_action"] = {"redirect_to_url": {"url": charge.page_url, "expires_at": until}}
        if status in ("voided", "expired"):
            told["cancellation_reason"] = status
        return {
            "id": self.shown_id("charge", charge.id),
            "object": "charge",
            **told,
            "network": charge.scheme,
            "amount": charge.amount,
            "currency": charge.currency.lower(),
            "reference": charge.reference,
            "metadata": {"order": charge.order_id},
            "created": charge.created_at // 1_000_000,
            **({"capture_before": charge.capture_until // 1_000_000} if charge.manual else {}),
        }

    def operation(self, operation: Operation, status: Status) -> dict[str, object]:
        return {
            "id": self.shown_id(operation.kind, operation.id),
            "object": operation.kind,
            "charge": self.shown_id("charge", operation.charge_id),
            "status": status,
            "decline_code": operation.decline_code if status == "declined" else None,
            "pending_reason": "processing" if status == "pending" else None,
            "network": operation.scheme,
            "amount": operation.amount,
            "currency": operation.currency.lower(),
            "reference": operation.reference,
            "metadata": {"order": operation.order_id},
            "created": operation.created_at // 1_000_000,
        }

    def dispute(self, dispute: Dispute) -> dict[str, object]:
        return {
            "id": self.shown_id("dispute", dispute.id),
            "object": "dispute",
            "charge": self.shown_id("charge", dispute.charge_id),
            "stage": dispute.stage,
            "status": dispute.status,
            "amount": dispute.amount,
            "currency": dispute.currency.lower(),
            "fee": dispute.fee,
            "fee_returned": dispute.fee_returned,
            "reason": dispute.reason,
            "due_by": None if dispute.due_by is None else dispute.due_by // 1_000_000,
            "reference": dispute.reference,
            "metadata": {"order": dispute.order_id},
            "created": dispute.created_at // 1_000_000,
        }

    def shown_id(self, kind: Kind, id_: str) -> str:
        return f"{_PREFIXES[kind]}_{id_}"

    def page(self, kind: Kind, entries: Sequence[dict[str, object]], next_after: str | None) -> dict[str, object]:
        return {"object": "list", "data": entries, "has_more": next_after is not None}

    def event(self, event_id: str, kind: Kind, told: dict[str, object], now_us: int) -> dict[str, object]:
        return {"id": event_id, "type": f"{kind}.{told['status']}", "created": now_us // 1_000_000, "data": told}

    def signed(self, at: int, mac: str) -> dict[str, str]:
        return {"Northpay-Signature": f"t={at},v1={mac}"}

    def problem(self, problem: Problem, message: str) -> tuple[int, dict[str, object]]:
        status, kind, code = _ERRORS[problem]
        return status, {"error": {"type": kind, "code": code, "message": message}}


def _operations(path: str) -> Creation | None:
    """`/northpay/v1/charges/{id}/{captures, voids or refunds}`"""
    charge_id, _, plural = path.removeprefix(f"{_CHARGES}/").partition("/")
    kind = _BEHIND.get(plural)
    return Creation(kind, charge_id) if kind and path.startswith(f"{_CHARGES}/") else None


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise Refused(Problem.INVALID, f"{name}: must be true or false")
    return value
