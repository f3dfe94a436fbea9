"""Charge ↔ Southpay: an API key header, nested amounts, two exponents of its own, page tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
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
from schemas import times
from schemas.money import InvalidMoney, Money, exponent

PAGE = 1000
EXPONENTS: Mapping[str, int] = {"CLP": 2, "ISK": 2}
"""Southpay counts these in hundredths, though ISO 4217 gives them no decimals."""

_SCHEMES = {"visa": "visa", "mc": "mastercard", "amex": "amex", "discover": "discover"}
_STATUSES: Mapping[str, Literal["succeeded", "declined", "pending"]] = {
    "Authorised": "succeeded",
    "Refused": "declined",
    "Pending": "pending",
}
_PROBLEMS = {"000": "unauthorised", "702": "invalid", "704": "key_conflict", "911": "not_processed"}


class _Amount(Wire):
    value: int
    currency: str


class _Method(Wire):
    brand: str | None = None


class _Payment(Wire):
    pspReference: str
    resultCode: Literal["Authorised", "Refused", "Pending"]
    refusalReasonCode: str | None = None
    pendingReasonCode: str | None = None
    amount: _Amount
    merchantReference: str
    merchantOrderReference: str
    paymentMethod: _Method
    creationDate: str


class _Page(Wire):
    payments: list[_Payment]
    nextPageToken: str | None = None


class _Event(Wire):
    eventId: str
    eventCode: str


class _PaymentEvent(_Event):
    payment: _Payment


class _Error(Wire):
    status: int
    errorCode: str


@dataclass(frozen=True, slots=True)
class Southpay:
    """One Southpay account. What it declares is checked against `GET /southpay/capabilities` by a test."""

    adapter: ClassVar[str] = "southpay"
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
            "amount": {"value": _theirs(charge.amount), "currency": charge.amount.currency},
            "paymentMethod": {"type": "scheme", "token": charge.token},
            "reference": charge.call_id,
            "merchantOrderReference": charge.payment_order_id,
        }
        headers = {**self._headers(), "Content-Type": "application/json", "idempotency-key": charge.call_id}
        return HttpRequest("POST", f"{self.url}/payments", headers, orjson.dumps(body))

    def read(self, operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> SendReply:
        if status != 200:
            return refused(status, headers, _problem(status, body))
        match operation:
            case Charge():
                return _agreed(operation, parsed(_Payment, body))
            case _:
                assert_never(operation)

    def find(self, asked: Operation | Reference) -> HttpRequest:
        match asked.kind:
            case "charge":
                return self._ask("payments", {"merchantReference": asked.call_id})
            case _:
                assert_never(asked.kind)

    def read_find(self, operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> FindReply:
        if status != 200:
            return unanswered(status, headers)
        match operation:
            case Charge():
                return _found(operation, parsed(_Page, body))
            case _:
                assert_never(operation)

    def list(self, kind: Kind, cursor: str | None = None) -> HttpRequest:
        match kind:
            case "charge":
                page = {"pageToken": cursor} if cursor else {}
                return self._ask("payments/list", {"pageSize": str(PAGE), **page})
            case _:
                assert_never(kind)

    def read_list(self, kind: Kind, body: bytes) -> Listing:
        match kind:
            case "charge":
                return self._listing(parsed(_Page, body))
            case _:
                assert_never(kind)

    def _listing(self, page: _Page | None) -> Listing:
        if page is None:
            raise ListingError(f"{self.name}: the listing is not what Southpay promises")
        listed = [_listed(payment) for payment in page.payments]
        complete = [charge for charge in listed if charge is not None]
        if len(complete) < len(listed):
            raise ListingError(f"{self.name}: the listing holds a charge that cannot be read")
        return Listing(complete, page.nextPageToken)

    def signature(self, headers: Mapping[str, str]) -> Signature | None:
        """`X-Southpay-Timestamp` in seconds, `X-Southpay-Signature: <hex>`, one for each secret with spaces between."""
        at = seconds(headers.get("x-southpay-timestamp"))
        return None if at is None else Signature(at, hex_macs(headers.get("x-southpay-signature", "").split()))

    def read_notification(self, body: bytes) -> Notification | None:
        event = parsed(_Event, body)
        if event is None or not is_reference(event.eventId):
            return None
        if event.eventCode != "PAYMENT":
            return Notification(event.eventId, None)
        told = parsed(_PaymentEvent, body)
        listed = None if told is None else _listed(told.payment)
        return None if told is None or listed is None else Notification(event.eventId, listed, _code(told.payment))

    def _ask(self, path: str, query: Mapping[str, str]) -> HttpRequest:
        return HttpRequest("GET", f"{self.url}/{path}?{urlencode(query)}", self._headers())

    def _headers(self) -> dict[str, str]:
        return {"X-API-Key": self.api_key}


def _found(charge: Charge, page: _Page | None) -> FindReply:
    if page is None or page.nextPageToken or len(page.payments) > 1:
        return Unknown("unreadable" if page is None else "several_charges")
    return _agreed(charge, page.payments[0]) if page.payments else NotThere()


def _agreed(charge: Charge, told: _Payment | None) -> Captured | Declined | Pending | Unknown:
    listed = None if told is None else _listed(told)
    return Unknown("unreadable") if told is None or listed is None else agreed(charge, listed, _code(told))


def _code(told: _Payment) -> str | None:
    """Why it was refused, or what it waits for."""
    return told.pendingReasonCode if told.resultCode == "Pending" else told.refusalReasonCode


def _listed(told: _Payment) -> ListedCharge | None:
    """None where a field holds what cannot be."""
    amount, created_at = _ours(told.amount), _time(told.creationDate)
    if amount is None or created_at is None or not is_reference(told.pspReference):
        return None
    brand = told.paymentMethod.brand
    return ListedCharge(
        told.merchantReference,
        told.pspReference,
        told.merchantOrderReference,
        amount,
        _STATUSES[told.resultCode],
        _SCHEMES.get(brand, "other") if brand else "",
        created_at,
    )


def _scale(currency: str) -> int:
    """How many of Southpay's minor units make one of ours. Errors: InvalidMoney."""
    ours = exponent(currency)
    return int(10 ** (EXPONENTS.get(currency, ours) - ours))


def _theirs(amount: Money) -> int:
    return amount.minor * _scale(amount.currency)


def _ours(amount: _Amount) -> Money | None:
    """None for a currency that we do not know or a fraction of our minor unit."""
    try:
        minor, rest = divmod(amount.value, _scale(amount.currency))
        return None if rest else Money(minor, amount.currency)
    except InvalidMoney:
        return None


def _time(text: str) -> datetime | None:
    try:
        return times.instant(text)
    except ValueError:
        return None


def _problem(status: int, body: bytes) -> str | None:
    error = parsed(_Error, body)
    return _PROBLEMS.get(error.errorCode) if error and error.status == status else None


ADAPTER = Southpay
