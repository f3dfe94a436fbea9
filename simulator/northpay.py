"""Northpay's wire shape: bearer keys, lower-case currencies, ISO minor units, cursors that are ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simulator.currencies import ISO
from simulator.memory import Asked, Charge
from simulator.tokens import waits_for
from simulator.wire import Problem, read_amount, read_currency, read_object, read_text, sub_object

_FIELDS = frozenset({"amount", "currency", "source", "reference", "metadata"})
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
    charges_path = "/northpay/v1/charges"
    listing_path = "/northpay/v1/charges"
    reference_parameter = "reference"
    cursor_parameter = "starting_after"
    limit_parameter = "limit"
    key_header = "idempotency-key"
    exponents: Mapping[str, int] = ISO

    def api_key(self, headers: Mapping[str, str]) -> str:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key if scheme.lower() == "bearer" else ""

    def read_charge(self, key: str, body: bytes) -> Asked:
        asked = read_object(body, _FIELDS)
        metadata = sub_object(asked["metadata"], "metadata", frozenset({"order"}))
        currency = read_text(asked["currency"], "currency")
        return Asked(
            key=key,
            reference=read_text(asked["reference"], "reference"),
            order_id=read_text(metadata["order"], "metadata.order"),
            amount=read_amount(asked["amount"], "amount"),
            currency=read_currency(currency.upper() if currency.islower() else currency.lower(), self.exponents),
            token=read_text(asked["source"], "source"),
        )

    def charge(self, charge: Charge, now_us: int) -> dict[str, object]:
        if charge.pending(now_us):
            told = {"status": "pending", "decline_code": None, "pending_reason": waits_for(charge.token)}
        else:
            told = {"status": "declined" if charge.decline_code else "succeeded", "decline_code": charge.decline_code}
        return {
            "id": f"ch_{charge.id}",
            "object": "charge",
            **told,
            "network": charge.scheme,
            "amount": charge.amount,
            "currency": charge.currency.lower(),
            "reference": charge.reference,
            "metadata": {"order": charge.order_id},
            "created": charge.created_at // 1_000_000,
        }

    def found(self, charges: Sequence[Charge], now_us: int) -> dict[str, object]:
        return {"object": "list", "data": [self.charge(charge, now_us) for charge in charges], "has_more": False}

    def page(self, charges: Sequence[Charge], more: bool, now_us: int) -> dict[str, object]:
        return {"object": "list", "data": [self.charge(charge, now_us) for charge in charges], "has_more": more}

    def event(self, event_id: str, charge: Charge, now_us: int) -> dict[str, object]:
        told = self.charge(charge, now_us)
        return {"id": event_id, "type": f"charge.{told['status']}", "created": now_us // 1_000_000, "data": told}

    def signed(self, at: int, mac: str) -> dict[str, str]:
        return {"Northpay-Signature": f"t={at},v1={mac}"}

    def problem(self, problem: Problem, message: str) -> tuple[int, dict[str, object]]:
        status, kind, code = _ERRORS[problem]
        return status, {"error": {"type": kind, "code": code, "message": message}}
