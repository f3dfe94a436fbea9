"""Southpay's wire shape: an API key header, nested amounts, a few exponents of its own, page tokens, modifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simulator.currencies import ISO
from simulator.disputes import Dispute
from simulator.http import Request
from simulator.memory import Charge, ChargeRequest
from simulator.operations import ChargeStatus, Operation, OperationKind, OperationRequest, Status
from simulator.shape import Creation, Kind, LookUp, Page, Route, id_of
from simulator.tokens import waits_for
from simulator.wire import (
    Problem,
    Refused,
    iso_time,
    read_amount,
    read_currency,
    read_method,
    read_object,
    read_text,
    sub_object,
)

_FIELDS = frozenset({"amount", "reference", "merchantOrderReference"})
_CHANGE_FIELDS = frozenset({"type", "originalReference", "reference", "merchantOrderReference"})
_BRANDS = {"visa": "visa", "mastercard": "mc", "amex": "amex", "discover": "discover"}
_TYPES: Mapping[OperationKind, str] = {"capture": "Capture", "void": "Cancel", "refund": "Refund"}
_KINDS = {type_: kind for kind, type_ in _TYPES.items()}
_RESULTS: Mapping[Status, str] = {
    "succeeded": "Done",
    "declined": "Refused",
    "pending": "Pending",
    "reversed": "Reversed",
}
_CHARGES: Mapping[ChargeStatus, str] = {
    "succeeded": "Authorised",
    "authorised": "Authorised",
    "declined": "Refused",
    "pending": "Pending",
    "voided": "Cancelled",
    "expired": "Expired",
    "reversed": "Reversed",
}
_DISPUTES = {"inquiry": "Inquiry", "opened": "Open", "won": "Won", "lost": "Lost"}
_STAGES = {1: "Chargeback", 2: "SecondChargeback"}
_EVENTS: Mapping[Kind, str] = {
    "charge": "PAYMENT",
    "capture": "CAPTURE",
    "void": "CANCEL",
    "refund": "REFUND",
    "dispute": "DISPUTE",
}
_FIELD_OF: Mapping[Kind, str] = {
    "charge": "payment",
    "capture": "modification",
    "void": "modification",
    "refund": "modification",
    "dispute": "dispute",
}
_ERRORS: Mapping[Problem, tuple[int, str, str]] = {
    Problem.UNAUTHORISED: (401, "000", "security"),
    Problem.INVALID: (422, "702", "validation"),
    Problem.KEY_CONFLICT: (422, "704", "idempotency"),
    Problem.TOO_MANY: (429, "910", "throttled"),
    Problem.UNAVAILABLE: (503, "911", "not_processed"),
    Problem.INTERNAL: (500, "901", "internal"),
    Problem.NOT_FOUND: (404, "010", "not_found"),
}


class Southpay:
    name = "southpay"
    cursor_parameter = "pageToken"
    key_header = "idempotency-key"
    many_captures = False
    exponents: Mapping[str, int] = {code: digits for code, digits in ISO.items() if code != "IDR"} | {
        "CLP": 2,
        "ISK": 2,
    }

    def api_key(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-api-key", "")

    def route(self, request: Request) -> Route | None:
        query = request.query
        page = (query.get(self.cursor_parameter), query.get("pageSize"))
        match request.method, request.path.removeprefix("/southpay/"):
            case "POST", "payments":
                return Creation("charge")
            case "POST", "modifications":
                return Creation(None)
            case "GET", "payments" if "merchantReference" in query:
                return LookUp("charge", query["merchantReference"])
            case "GET", "payments/list":
                return Page("charge", *page)
            case "GET", "modifications" if "merchantReference" in query:
                return LookUp(_kind(query.get("type")), query["merchantReference"])
            case "GET", "modifications/list":
                return Page(_kind(query.get("type")), *page)
            case "GET", "disputes" if "disputeReference" in query:
                return LookUp("dispute", query["disputeReference"])
            case "GET", "disputes/list":
                return Page("dispute", *page)
        return None

    def read_charge(self, key: str, body: bytes) -> ChargeRequest:
        asked = read_object(body, _FIELDS, optional=frozenset({"captureDelay", "paymentMethod", "returnUrl"}))
        amount, currency = self._amount(asked["amount"])
        if "paymentMethod" in asked:
            asked["token"] = sub_object(asked["paymentMethod"], "paymentMethod", frozenset({"type", "token"}))["token"]
        token, return_url = read_method(asked, "token", "returnUrl")
        if asked.get("captureDelay", "manual") != "manual":
            raise Refused(Problem.INVALID, "captureDelay: manual, or not there")
        return ChargeRequest(
            key=key,
            reference=read_text(asked["reference"], "reference"),
            order_id=read_text(asked["merchantOrderReference"], "merchantOrderReference"),
            amount=amount,
            currency=currency,
            token=token,
            capture="captureDelay" not in asked,
            return_url=return_url,
        )

    def read_operation(self, creation: Creation, key: str, body: bytes) -> OperationRequest:
        asked = read_object(body, _CHANGE_FIELDS, optional=frozenset({"amount"}))
        kind = _kind(asked["type"])
        if (kind == "void") == ("amount" in asked):
            raise Refused(Problem.INVALID, "amount: captures and refunds have one, and a cancel has none")
        amount, currency = (None, None) if kind == "void" else self._amount(asked["amount"])
        return OperationRequest(
            kind=kind,
            key=key,
            reference=read_text(asked["reference"], "reference"),
            order_id=read_text(asked["merchantOrderReference"], "merchantOrderReference"),
            charge_id=id_of(read_text(asked["originalReference"], "originalReference")),
            amount=amount,
            currency=currency,
            final=kind == "capture",  # one capture per payment
        )

    def _amount(self, value: object) -> tuple[int, str]:
        amount = sub_object(value, "amount", frozenset({"value", "currency"}))
        currency = read_currency(read_text(amount["currency"], "amount.currency"), self.exponents)
        return read_amount(amount["value"], "amount.value"), currency

    def charge(self, charge: Charge, status: ChargeStatus) -> dict[str, object]:
        why: dict[str, object] = {}
        if status == "pending":
            why = {"pendingReasonCode": waits_for(charge.token)}
        elif status == "declined":
            why = {"refusalReasonCode": charge.decline_code}
        if status == "pending" and charge.page_url:
            page = {"type": "redirect", "url": charge.page_url, "expiresAt": iso_time(charge.decided_at)}
            why["action"] = page
        later = {"captureDelay": "manual", "expiryDate": iso_time(charge.capture_until)} if charge.manual else {}
        return {
            "pspReference": self.shown_id("charge", charge.id),
            "resultCode": "Captured" if charge.manual and status == "succeeded" else _CHARGES[status],
            **why,
            "amount": {"value": charge.amount, "currency": charge.currency},
            "merchantReference": charge.reference,
            "merchantOrderReference": charge.order_id,
            "paymentMethod": _method(charge.scheme),
            "creationDate": iso_time(charge.created_at),
            **later,
        }

    def operation(self, operation: Operation, status: Status) -> dict[str, object]:
        why: dict[str, object] = {}
        if status == "pending":
            why = {"pendingReasonCode": "processing"}
        elif status == "declined":
            why = {"refusalReasonCode": operation.decline_code}
        return {
            "pspReference": self.shown_id(operation.kind, operation.id),
            "originalReference": self.shown_id("charge", operation.charge_id),
            "type": _TYPES[operation.kind],
            "resultCode": _RESULTS[status],
            **why,
            "amount": {"value": operation.amount, "currency": operation.currency},
            "merchantReference": operation.reference,
            "merchantOrderReference": operation.order_id,
            "paymentMethod": _method(operation.scheme),
            "creationDate": iso_time(operation.created_at),
        }

    def dispute(self, dispute: Dispute) -> dict[str, object]:
        def money(minor: int | None) -> object:
            return None if minor is None else {"value": minor, "currency": dispute.currency}

        return {
            "disputeReference": self.shown_id("dispute", dispute.id),
            "originalReference": self.shown_id("charge", dispute.charge_id),
            "stage": _STAGES[dispute.stage],
            "status": _DISPUTES[dispute.status],
            "amount": money(dispute.amount),
            "fee": money(dispute.fee),
            "feeReturned": money(dispute.fee_returned),
            "reasonCode": dispute.reason,
            "defenceDeadline": None if dispute.due_by is None else iso_time(dispute.due_by),
            "merchantReference": dispute.reference,
            "merchantOrderReference": dispute.order_id,
            "creationDate": iso_time(dispute.created_at),
        }

    def shown_id(self, kind: Kind, id_: str) -> str:
        """Ids of charges have no prefix; ids of operations and disputes have one for their kind."""
        return id_.upper() if kind == "charge" else f"{kind[0].upper()}_{id_.upper()}"

    def page(self, kind: Kind, entries: Sequence[dict[str, object]], next_after: str | None) -> dict[str, object]:
        next_token = {} if next_after is None else {"nextPageToken": self.shown_id(kind, next_after)}
        return {f"{_FIELD_OF[kind]}s": entries, **next_token}

    def event(self, event_id: str, kind: Kind, told: dict[str, object], now_us: int) -> dict[str, object]:
        said = {"eventId": event_id, "eventCode": _EVENTS[kind], "eventDate": iso_time(now_us)}
        return {**said, _FIELD_OF[kind]: told}

    def signed(self, at: int, mac: str) -> dict[str, str]:
        return {"X-Southpay-Timestamp": str(at), "X-Southpay-Signature": mac}

    def problem(self, problem: Problem, message: str) -> tuple[int, dict[str, object]]:
        status, code, kind = _ERRORS[problem]
        return status, {"status": status, "errorCode": code, "errorType": kind, "message": message}


def _kind(type_: object) -> OperationKind:
    kind = _KINDS.get(type_) if isinstance(type_, str) else None
    if kind is None:
        raise Refused(Problem.INVALID, f"type: one of {', '.join(_KINDS)}")
    return kind


def _method(scheme: str | None) -> dict[str, object]:
    return {"type": "scheme", **({"brand": _BRANDS[scheme]} if scheme else {})}
