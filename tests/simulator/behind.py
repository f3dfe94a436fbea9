"""Captures, voids and refunds by the adapters on a running simulator, in few words."""

from __future__ import annotations

import http.client
from uuid import uuid4

from psp.port import (
    Authorised,
    Capture,
    Charge,
    FindReply,
    ListedOperation,
    Operation,
    OperationKind,
    Psp,
    Refund,
    Reply,
    Unknown,
    Void,
)
from schemas.money import Money
from tests.simulator.running import send


def sent(psp: Psp, operation: Operation, timeout_s: float = 10.0) -> Reply:
    try:
        return psp.read(operation, *send(psp.request(operation), timeout_s))
    except (OSError, http.client.HTTPException) as error:
        return Unknown(type(error).__name__)


def asked(psp: Psp, operation: Operation) -> FindReply:
    return psp.read_find(operation, *send(psp.find(operation)))


def a_wish(minor: int = 1234, token: str = "tok_visa", currency: str = "EUR") -> Charge:
    """A charge that is captured later."""
    return Charge(uuid4().hex, f"order-{uuid4().hex[:8]}", Money(minor, currency), token, capture=False)


def authorised(psp: Psp, minor: int = 1234) -> Authorised:
    """One that the PSP has authorised. Its order is `order_of` it."""
    wish = a_wish(minor)
    reply = sent(psp, wish)
    assert isinstance(reply, Authorised), reply
    _ORDERS[reply.psp_reference] = wish
    return reply


_ORDERS: dict[str, Charge] = {}


def wish_of(charge: Authorised) -> Charge:
    return _ORDERS[charge.psp_reference]


def order_of(charge: Authorised) -> str:
    return wish_of(charge).payment_order_id


def a_capture(charge: Authorised, minor: int | None = None, final: bool = False) -> Capture:
    amount = charge.amount if minor is None else Money(minor, charge.amount.currency)
    return Capture(uuid4().hex, order_of(charge), amount, charge.psp_reference, final)


def a_void(charge: Authorised) -> Void:
    return Void(uuid4().hex, order_of(charge), charge.psp_reference)


def a_refund(charge: Authorised, minor: int | None = None) -> Refund:
    amount = charge.amount if minor is None else Money(minor, charge.amount.currency)
    return Refund(uuid4().hex, order_of(charge), amount, charge.psp_reference)


def operations(psp: Psp, kind: OperationKind) -> list[ListedOperation]:
    """All of that kind in the PSP's books, page after page."""
    listed: list[ListedOperation] = []
    cursor: str | None = None
    while True:
        page, cursor = psp.read_list(kind, send(psp.list(kind, cursor))[2])
        listed += page
        if cursor is None:
            return listed
