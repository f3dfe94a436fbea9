"""The same operation, charge or dispute in each PSP's own words, and ways to spoil what was said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psp.northpay import Northpay
from psp.port import Capture, Charge, Operation, Psp, Refund, Void
from psp.southpay import Southpay
from schemas.money import Money
from tests.northpay import charge

Body = dict[str, Any]
FIVE_EUR = Money(500, "EUR")
AUTHORISE = Charge("0f" * 16, "order-1", Money(1234, "EUR"), "tok_visa", capture=False)
CHARGED = "ch_1"
CAPTURE = Capture("1a" * 16, "order-1", FIVE_EUR, CHARGED)
VOID = Void("2b" * 16, "order-1", CHARGED)
REFUND = Refund("3c" * 16, "order-1", FIVE_EUR, CHARGED)
BEHIND: tuple[Capture | Void | Refund, ...] = (CAPTURE, VOID, REFUND)
BY_KIND: Mapping[str, Capture | Void | Refund] = {operation.kind: operation for operation in BEHIND}


@dataclass(frozen=True)
class Words:
    """How one PSP says it. `paths` lead to a field by the name that it has here, `said` to the PSP's word for a value."""

    psp: Psp
    paths: Mapping[str, tuple[str, ...]]
    said: Mapping[str, str]

    def with_(self, body: Body, **fields: object) -> Body:
        """The body with these fields replaced, in words of ours where the PSP has its own."""
        for name, value in fields.items():
            body = _put(body, self.paths[name], self.said.get(value, value) if isinstance(value, str) else value)
        return body

    def without(self, body: Body, field: str) -> Body:
        *outer, last = self.paths[field]
        if outer:
            return {**body, outer[0]: {name: value for name, value in body[outer[0]].items() if name != last}}
        return {name: value for name, value in body.items() if name != last}


def _put(body: Body, path: tuple[str, ...], value: object) -> Body:
    first, *rest = path
    return {**body, first: _put(body[first], tuple(rest), value) if rest else value}


NORTH = Words(
    Northpay("northpay", "http://psp.test/northpay", "secret-key"),
    {
        "id": ("id",),
        "status": ("status",),
        "kind": ("object",),
        "charge": ("charge",),
        "amount": ("amount",),
        "currency": ("currency",),
        "reference": ("reference",),
        "order": ("metadata", "order"),
        "code": ("decline_code",),
        "reason": ("pending_reason",),
        "created": ("created",),
        "expires": ("capture_before",),
        "stage": ("stage",),
        "fee": ("fee",),
        "returned": ("fee_returned",),
        "why": ("reason",),
        "due": ("due_by",),
    },
    {"authorised": "requires_capture", "voided": "canceled", "EUR": "eur", "USD": "usd", "ZZZ": "zzz"},
)
SOUTH = Words(
    Southpay("southpay", "http://psp.test/southpay", "secret-key"),
    {
        "id": ("pspReference",),
        "status": ("resultCode",),
        "kind": ("type",),
        "charge": ("originalReference",),
        "amount": ("amount", "value"),
        "currency": ("amount", "currency"),
        "reference": ("merchantReference",),
        "order": ("merchantOrderReference",),
        "code": ("refusalReasonCode",),
        "reason": ("pendingReasonCode",),
        "created": ("creationDate",),
        "expires": ("expiryDate",),
        "stage": ("stage",),
        "fee": ("fee",),
        "returned": ("feeReturned",),
        "why": ("reasonCode",),
        "due": ("defenceDeadline",),
    },
    {
        "succeeded": "Done",
        "declined": "Refused",
        "pending": "Pending",
        "reversed": "Reversed",
        "authorised": "Authorised",
        "voided": "Cancelled",
        "capture": "Capture",
        "void": "Cancel",
        "refund": "Refund",
    },
)
WORDS: Mapping[str, Words] = {"northpay": NORTH, "southpay": SOUTH}


def operation_said(words: Words, operation: Operation) -> Body:
    """The PSP has done it."""
    assert not isinstance(operation, Charge)
    if words is NORTH:
        body: Body = charge(operation.call_id, id="op_1", amount=500, object=operation.kind, charge=CHARGED)
        return body
    return {
        "pspReference": "op_1",
        "originalReference": CHARGED,
        "type": SOUTH.said[operation.kind],
        "resultCode": "Done",
        "amount": {"value": 500, "currency": "EUR"},
        "merchantReference": operation.call_id,
        "merchantOrderReference": "order-1",
        "paymentMethod": {"type": "scheme", "brand": "visa"},
        "creationDate": "2026-01-02T03:04:05.678Z",
    }


def authorised_said(words: Words) -> Body:
    if words is NORTH:
        body: Body = charge(AUTHORISE.call_id, status="requires_capture", capture_before=1_800_000_000)
        return body
    return {
        "pspReference": "ch_1",
        "resultCode": "Authorised",
        "amount": {"value": 1234, "currency": "EUR"},
        "merchantReference": AUTHORISE.call_id,
        "merchantOrderReference": "order-1",
        "paymentMethod": {"type": "scheme", "brand": "visa"},
        "creationDate": "2026-01-02T03:04:05.678Z",
        "captureDelay": "manual",
        "expiryDate": "2027-01-15T08:00:00Z",
    }


def dispute_said(words: Words) -> Body:
    """Its first stage is open, over 5.00 EUR and a fee of 15.00."""
    if words is NORTH:
        return {
            "id": "dp_1",
            "object": "dispute",
            "charge": CHARGED,
            "stage": 1,
            "status": "opened",
            "amount": 500,
            "currency": "eur",
            "fee": 1500,
            "fee_returned": None,
            "reason": "fraudulent",
            "due_by": 1_800_000_000,
            "reference": AUTHORISE.call_id,
            "metadata": {"order": "order-1"},
            "created": 1_700_000_000,
        }
    return {
        "disputeReference": "dp_1",
        "originalReference": CHARGED,
        "stage": "Chargeback",
        "status": "Open",
        "amount": {"value": 500, "currency": "EUR"},
        "fee": {"value": 1500, "currency": "EUR"},
        "reasonCode": "fraudulent",
        "defenceDeadline": "2027-01-15T08:00:00Z",
        "merchantReference": AUTHORISE.call_id,
        "merchantOrderReference": "order-1",
        "creationDate": "2026-01-02T03:04:05.678Z",
    }


def page_of(words: Words, what: str, *bodies: Body, more: bool = False) -> Body:
    """`what` is charge, dispute, or any kind of operation."""
    if words is NORTH:
        return {"data": list(bodies), "has_more": more}
    name = {"charge": "payments", "dispute": "disputes"}.get(what, "modifications")
    return {name: list(bodies), **({"nextPageToken": "NEXT"} if more else {})}


def event_of(words: Words, what: str, body: Body) -> Body:
    """A webhook about it. `what` is charge, dispute, or the kind of operation that the webhook's type names."""
    if words is NORTH:
        return {"id": "evt_1", "type": f"{what}.updated", "data": body}
    field = {"charge": "payment", "dispute": "dispute"}.get(what, "modification")
    code = {"charge": "PAYMENT", "void": "CANCEL"}.get(what, what.upper())
    return {"eventId": "evt_1", "eventCode": code, field: body}
