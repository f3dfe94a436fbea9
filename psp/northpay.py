"""Charge ↔ Northpay: bearer key, lower-case currencies, ISO minor units, cursors that are charge ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Literal, assert_never
from urllib.parse import urlencode

import orjson

from psp.port import (
    Captured,
    Charge,
    Declared,
    Declined,
    FindReply,
    HttpRequest,
    Kind,
    ListedCharge,
    Listing,
    ListingError,
    Notification,
    NotThere,
    Operation,
    Pending,
    Reference,
    SendReply,
    Unknown,
)
from psp.webhooks import Signature, hex_macs, seconds
from psp.wire import Wire, agreed, is_reference, parsed, refused, unanswered
from schemas.money import InvalidMoney, Money, exponent

PAGE = 1000
_SCHEMES = frozenset({"visa", "mastercard", "amex", "discover"})
_PROBLEMS = {
    ("authentication_error", "api_key_invalid"): "unauthorised",
    ("invalid_request_error", "parameter_invalid"): "invalid",
    ("idempotency_error", "idempotency_key_in_use"): "key_conflict",
    ("api_error", "not_processed"): "not_processed",
}


class _Metadata(Wire):
    order: str


class _Charge(Wire):
    id: str
    status: Literal["succeeded", "declined", "pending"]
    decline_code: str | None = None
    pending_reason: str | None = None
    network: str | None = None
    amount: int
    currency: str
    reference: str
    metadata: _Metadata
    created: int


class _Page(Wire):
    data: list[_Charge]
    has_more: bool


class _Event(Wire):
    id: str
    type: str


class _ChargeEvent(_Event):
    data: _Charge


class _Problem(Wire):
    type: str
    code: str


class _Error(Wire):
    error: _Problem


@dataclass(frozen=True, slots=True)
class Northpay:
    """One Northpay account. What it declares is checked against `GET /northpay/capabilities` by a test."""

    adapter: ClassVar[str] = "northpay"
    declared: ClassVar[Mapping[Kind, Declared]] = {"charge": Declared(settling_s=2.0, key_life_s=24 * 3600.0)}
    name: str
    url: str
    api_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)

    def request(self, operation: Operation) -> HttpRequest:
        match operation:
            case Charge():
                return self._charge(operation)
            case _:
                assert_never(operation)

    def _charge(self, charge: Charge) -> HttpRequest:
        body = {
            "amount": charge.amount.minor,
            "currency": charge.amount.currency.lower(),
            "source": charge.token,
            "reference": charge.call_id,
            "metadata": {"order": charge.payment_order_id},
        }
        headers = {**self._headers(), "Content-Type": "application/json", "Idempotency-Key": charge.call_id}
        return HttpRequest("POST", f"{self.url}/v1/charges", headers, orjson.dumps(body))

    def read(self, operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> SendReply:
        if status != 200:
            return refused(status, headers, _problem(body))
        match operation:
            case Charge():
                return _agreed(operation, parsed(_Charge, body))
            case _:
                assert_never(operation)

    def find(self, asked: Operation | Reference) -> HttpRequest:
        return self._ask(asked.kind, {"reference": asked.call_id})

    def read_find(self, operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> FindReply:
        if status != 200:
            return unanswered(status, headers)
        match operation:
            case Charge():
                return _found(operation, parsed(_Page, body))
            case _:
                assert_never(operation)

    def list(self, kind: Kind, cursor: str | None = None) -> HttpRequest:
        return self._ask(kind, {"limit": str(PAGE), **({"starting_after": cursor} if cursor else {})})

    def read_list(self, kind: Kind, body: bytes) -> Listing:
        match kind:
            case "charge":
                return self._listing(parsed(_Page, body))
            case _:
                assert_never(kind)

    def _listing(self, page: _Page | None) -> Listing:
        if page is None or (page.has_more and not page.data):
            raise ListingError(f"{self.name}: the listing is not what Northpay promises")
        listed = [_listed(charge) for charge in page.data]
        complete = [charge for charge in listed if charge is not None]
        if len(complete) < len(listed):
            raise ListingError(f"{self.name}: the listing holds a charge that cannot be read")
        return Listing(complete, page.data[-1].id if page.has_more else None)

    def signature(self, headers: Mapping[str, str]) -> Signature | None:
        """`Northpay-Signature: t=1772366400,v1=<hex>`, a v1 for each secret."""
        parts = [part.strip().partition("=") for part in headers.get("northpay-signature", "").split(",")]
        at = seconds(next((value for name, _, value in parts if name == "t"), None))
        return None if at is None else Signature(at, hex_macs(value for name, _, value in parts if name == "v1"))

    def read_notification(self, body: bytes) -> Notification | None:
        event = parsed(_Event, body)
        if event is None or not is_reference(event.id):
            return None
        if not event.type.startswith("charge."):
            return Notification(event.id, None)
        told = parsed(_ChargeEvent, body)
        listed = None if told is None else _listed(told.data)
        return None if told is None or listed is None else Notification(event.id, listed, _code(told.data))

    def _ask(self, kind: Kind, query: Mapping[str, str]) -> HttpRequest:
        match kind:
            case "charge":
                return HttpRequest("GET", f"{self.url}/v1/charges?{urlencode(query)}", self._headers())
            case _:
                assert_never(kind)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


def _found(charge: Charge, page: _Page | None) -> FindReply:
    if page is None or page.has_more or len(page.data) > 1:
        return Unknown("unreadable" if page is None else "several_charges")
    return _agreed(charge, page.data[0]) if page.data else NotThere()


def _agreed(charge: Charge, told: _Charge | None) -> Captured | Declined | Pending | Unknown:
    listed = None if told is None else _listed(told)
    return Unknown("unreadable") if told is None or listed is None else agreed(charge, listed, _code(told))


def _code(told: _Charge) -> str | None:
    """Why it was declined, or what it waits for."""
    return told.pending_reason if told.status == "pending" else told.decline_code


def _listed(told: _Charge) -> ListedCharge | None:
    """None where a field holds what cannot be."""
    currency = told.currency.upper()
    try:
        exponent(currency)
        amount = Money(told.amount, currency)
        created_at = datetime.fromtimestamp(told.created, UTC)
    except (InvalidMoney, OverflowError, OSError, ValueError):
        return None
    if not is_reference(told.id):
        return None
    scheme = told.network if told.network in _SCHEMES else "other" if told.network else ""
    return ListedCharge(told.reference, told.id, told.metadata.order, amount, told.status, scheme, created_at)


def _problem(body: bytes) -> str | None:
    error = parsed(_Error, body)
    return _PROBLEMS.get((error.error.type, error.error.code)) if error else None


ADAPTER = Northpay
