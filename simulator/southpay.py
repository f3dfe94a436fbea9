"""Southpay's wire shape: an API key header, nested amounts, a few exponents of its own, page tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simulator.currencies import ISO
from simulator.memory import Asked, Charge
from simulator.tokens import waits_for
from simulator.wire import Problem, iso_time, read_amount, read_currency, read_object, read_text, sub_object

_FIELDS = frozenset({"amount", "paymentMethod", "reference", "merchantOrderReference"})
_BRANDS = {"visa": "visa", "mastercard": "mc", "amex": "amex", "discover": "discover"}
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
    charges_path = "/southpay/payments"
    listing_path = "/southpay/payments/list"
    reference_parameter = "merchantReference"
    cursor_parameter = "pageToken"
    limit_parameter = "pageSize"
    key_header = "idempotency-key"
    exponents: Mapping[str, int] = {code: digits for code, digits in ISO.items() if code != "IDR"} | {
        "CLP": 2,
        "ISK": 2,
    }

    def api_key(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-api-key", "")

    def read_charge(self, key: str, body: bytes) -> Asked:
        asked = read_object(body, _FIELDS)
        amount = sub_object(asked["amount"], "amount", frozenset({"value", "currency"}))
        method = sub_object(asked["paymentMethod"], "paymentMethod", frozenset({"type", "token"}))
        return Asked(
            key=key,
            reference=read_text(asked["reference"], "reference"),
            order_id=read_text(asked["merchantOrderReference"], "merchantOrderReference"),
            amount=read_amount(amount["value"], "amount.value"),
            currency=read_currency(read_text(amount["currency"], "amount.currency"), self.exponents),
            token=read_text(method["token"], "paymentMethod.token"),
        )

    def charge(self, charge: Charge, now_us: int) -> dict[str, object]:
        if charge.pending(now_us):
            result, why = "Pending", {"pendingReasonCode": waits_for(charge.token)}
        elif charge.decline_code:
            result, why = "Refused", {"refusalReasonCode": charge.decline_code}
        else:
            result, why = "Authorised", {}
        brand = {"brand": _BRANDS[charge.scheme]} if charge.scheme else {}
        return {
            "pspReference": charge.id.upper(),
            "resultCode": result,
            **why,
            "amount": {"value": charge.amount, "currency": charge.currency},
            "merchantReference": charge.reference,
            "merchantOrderReference": charge.order_id,
            "paymentMethod": {"type": "scheme", **brand},
            "creationDate": iso_time(charge.created_at),
        }

    def found(self, charges: Sequence[Charge], now_us: int) -> dict[str, object]:
        return {"payments": [self.charge(charge, now_us) for charge in charges]}

    def page(self, charges: Sequence[Charge], more: bool, now_us: int) -> dict[str, object]:
        next_token = {"nextPageToken": charges[-1].id.upper()} if more else {}
        return {"payments": [self.charge(charge, now_us) for charge in charges], **next_token}

    def event(self, event_id: str, charge: Charge, now_us: int) -> dict[str, object]:
        told = self.charge(charge, now_us)
        return {"eventId": event_id, "eventCode": "PAYMENT", "eventDate": iso_time(now_us), "payment": told}

    def signed(self, at: int, mac: str) -> dict[str, str]:
        return {"X-Southpay-Timestamp": str(at), "X-Southpay-Signature": mac}

    def problem(self, problem: Problem, message: str) -> tuple[int, dict[str, object]]:
        status, code, kind = _ERRORS[problem]
        return status, {"status": status, "errorCode": code, "errorType": kind, "message": message}
