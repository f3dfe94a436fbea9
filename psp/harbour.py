"""Transfer ↔ Harbour, a provider of pay-outs: bearer key, ISO minor units, cursors that are ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import urlencode

import orjson

from psp.payout_port import (
    FoundReply,
    ListedTransfer,
    Rejected,
    SentReply,
    Transfer,
    TransferListing,
    TransferNotification,
    TransferReference,
    TransferStatus,
    state_of,
)
from psp.port import Declared, HttpRequest, ListingError
from psp.replies import Declined, NothingHappened, NotThere, Unknown
from psp.webhooks import Signature, hex_macs, seconds
from psp.wire import Wire, decline_code, is_reference, parsed, refused, unanswered
from schemas.money import InvalidMoney, Money, exponent

PAGE = 1000
REJECTED = "provider_rejected_request"
_PROBLEMS = {
    "api_key_invalid": "unauthorised",
    "parameter_invalid": "invalid",
    "idempotency_key_in_use": "key_conflict",
    "not_processed": "not_processed",
}


class _Transfer(Wire):
    id: str
    status: TransferStatus
    code: str | None = None
    amount: int
    returned_amount: int | None = None
    currency: str
    reference: str
    payout: str
    created: int


class _Page(Wire):
    data: list[_Transfer]
    has_more: bool


class _Event(Wire):
    id: str
    type: str


class _TransferEvent(_Event):
    data: _Transfer


class _Problem(Wire):
    code: str


class _Error(Wire):
    error: _Problem


@dataclass(frozen=True, slots=True)
class Harbour:
    """One Harbour account. A test compares its declarations with `GET /harbour/capabilities`."""

    adapter: ClassVar[str] = "harbour"
    declared: ClassVar[Declared] = Declared(settling_s=2.0, key_life_s=24 * 3600.0)
    name: str
    url: str
    api_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)

    def transfer(self, transfer: Transfer) -> HttpRequest:
        body = {
            "amount": transfer.amount.minor,
            "currency": transfer.amount.currency,
            "reference": transfer.call_id,
            "payout": transfer.payout_id,
            "destination": dict(transfer.destination),
        }
        headers = {
            **self._headers(),
            "Content-Type": "application/json",
            "Idempotency-Key": transfer.call_id,
        }
        return HttpRequest("POST", f"{self.url}/v1/transfers", headers, orjson.dumps(body))

    def read_transfer(
        self, asked: TransferReference, status: int, headers: Mapping[str, str], body: bytes
    ) -> SentReply:
        if status == 200:
            told = parsed(_Transfer, body)
            return state_of(asked, None if told is None else _listed(told))
        reply = refused(status, headers, _problem(body))
        if isinstance(reply, Declined):
            return Rejected(REJECTED)
        assert isinstance(reply, NothingHappened | Unknown), "a refusal is nothing else"
        return reply

    def find(self, asked: TransferReference) -> HttpRequest:
        return self._ask({"reference": asked.call_id})

    def read_find(self, asked: TransferReference, status: int, headers: Mapping[str, str], body: bytes) -> FoundReply:
        if status != 200:
            return unanswered(status, headers)
        page = parsed(_Page, body)
        if page is None:
            return Unknown("unreadable")
        if page.has_more or len(page.data) > 1:
            return Unknown("several_transfers")
        return state_of(asked, _listed(page.data[0])) if page.data else NotThere()

    def list_transfers(self, cursor: str | None = None) -> HttpRequest:
        return self._ask({"limit": str(PAGE), **({"after": cursor} if cursor else {})})

    def read_list(self, body: bytes) -> TransferListing:
        page = parsed(_Page, body)
        if page is None or (page.has_more and not page.data):
            raise ListingError(f"{self.name}: the listing is not what the provider promises")
        lines = [_listed(told) for told in page.data]
        read = [line for line in lines if line is not None]
        if len(read) < len(lines):
            raise ListingError(f"{self.name}: the listing holds a line that cannot be read")
        return TransferListing(read, page.data[-1].id if page.has_more else None)

    def signature(self, headers: Mapping[str, str]) -> Signature | None:
        """`Harbour-Signature: t=1772366400,v1=<hex>`, a v1 for each secret."""
        parts = [part.strip().partition("=") for part in headers.get("harbour-signature", "").split(",")]
        at = seconds(next((value for name, _, value in parts if name == "t"), None))
        return None if at is None else Signature(at, hex_macs(value for name, _, value in parts if name == "v1"))

    def read_notification(self, body: bytes) -> TransferNotification | None:
        event = parsed(_Event, body)
        if event is None or not is_reference(event.id):
            return None
        if event.type.partition(".")[0] != "transfer":
            return TransferNotification(event.id, None)
        told = parsed(_TransferEvent, body)
        line = None if told is None else _listed(told.data)
        return None if line is None else TransferNotification(event.id, line)

    def _ask(self, query: Mapping[str, str]) -> HttpRequest:
        return HttpRequest("GET", f"{self.url}/v1/transfers?{urlencode(query)}", self._headers())

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


def _listed(told: _Transfer) -> ListedTransfer | None:
    """None for a line with an impossible field."""
    amount, created_at = _money(told.amount, told.currency), _time(told.created)
    if amount is None or created_at is None or not is_reference(told.id):
        return None
    returned = None if told.returned_amount is None else _money(told.returned_amount, told.currency)
    is_returned = returned is not None and returned.minor <= amount.minor
    if is_returned != (told.status == "returned") or (told.returned_amount is None) == is_returned:
        return None
    code = decline_code(told.code) if told.status in ("rejected", "failed", "returned") else None
    return ListedTransfer(told.reference, told.id, told.payout, amount, told.status, created_at, code, returned)


def _money(minor: int, currency: str) -> Money | None:
    try:
        exponent(currency)
        return Money(minor, currency) if minor > 0 else None
    except InvalidMoney:
        return None


def _time(at: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _problem(body: bytes) -> str | None:
    error = parsed(_Error, body)
    return _PROBLEMS.get(error.error.code) if error else None


PROVIDER = Harbour
