"""The port of pay-out providers: a transfer → an HTTP request; a provider's answer → one of the replies.

Nothing here opens a connection: the executor sends. Adapters raise nothing, whatever a provider answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from psp.port import Declared, HttpRequest
from psp.replies import NothingHappened, NotThere, Unknown, reply_from_json
from psp.webhooks import Signature
from schemas.money import Money

TransferStatus = Literal["accepted", "paid", "rejected", "failed", "returned"]
Opened = Mapping[str, str | Mapping[str, str]]
"""A destination as it was sealed (schemas.destinations)."""


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has the transfer and will pay it."""

    provider_reference: str

    def to_json(self) -> dict[str, object]:
        return {"reply": "accepted", "provider_reference": self.provider_reference}


@dataclass(frozen=True, slots=True)
class Paid:
    """The money is at its destination."""

    provider_reference: str

    def to_json(self) -> dict[str, object]:
        return {"reply": "paid", "provider_reference": self.provider_reference}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A final no before anything was done: the same transfer sent again gets the same answer."""

    code: str
    provider_reference: str | None = None

    def to_json(self) -> dict[str, object]:
        return {"reply": "rejected", "code": self.code, "provider_reference": self.provider_reference}


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider had accepted the transfer, and could not pay it."""

    code: str
    provider_reference: str

    def to_json(self) -> dict[str, object]:
        return {"reply": "failed", "code": self.code, "provider_reference": self.provider_reference}


@dataclass(frozen=True, slots=True)
class Returned:
    """The transfer was paid, and `amount` has come back since: less than was sent where a bank has kept a charge."""

    code: str
    provider_reference: str
    amount: Money

    def to_json(self) -> dict[str, object]:
        told = {"reply": "returned", "code": self.code, "provider_reference": self.provider_reference}
        return {**told, **self.amount.wire()}


TransferState = Accepted | Paid | Rejected | Failed | Returned
TransferReply = TransferState | NothingHappened | Unknown | NotThere
SentReply = TransferState | NothingHappened | Unknown
FoundReply = TransferState | Unknown | NotThere
"""A failed question never says that nothing happened."""


def transfer_reply_from_json(stored: Mapping[str, object]) -> TransferReply:
    """The reply that `to_json` stored. Errors: ValueError for anything else."""
    try:
        state = _state(stored)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a stored reply: {error}") from error
    if state is not None:
        return state
    other = reply_from_json(stored)
    if not isinstance(other, NothingHappened | Unknown | NotThere):
        raise ValueError(f"not a reply about a transfer: {stored['reply']}")
    return other


def _state(stored: Mapping[str, object]) -> TransferState | None:
    match stored["reply"]:
        case "accepted":
            return Accepted(_text(stored, "provider_reference"))
        case "paid":
            return Paid(_text(stored, "provider_reference"))
        case "rejected":
            named = stored["provider_reference"] is not None
            return Rejected(_text(stored, "code"), _text(stored, "provider_reference") if named else None)
        case "failed":
            return Failed(_text(stored, "code"), _text(stored, "provider_reference"))
        case "returned":
            amount = Money.from_wire(_text(stored, "amount"), _text(stored, "currency"))
            return Returned(_text(stored, "code"), _text(stored, "provider_reference"), amount)
    return None


def _text(stored: Mapping[str, object], name: str) -> str:
    value = stored[name]
    if not isinstance(value, str):
        raise TypeError(f"{name}: {value!r} is no text")
    return value


# ── transfers ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer. `call_id` (32 hex digits) is both the idempotency key and our reference at the provider."""

    call_id: str
    payout_id: str
    amount: Money
    destination: Opened = field(repr=False)  # `type`, `holder`, the account by its type, the holder's `address`


@dataclass(frozen=True, slots=True)
class TransferReference:
    """What a question names: the answer must be about this reference and this amount."""

    call_id: str
    amount: Money


@dataclass(frozen=True, slots=True)
class ListedTransfer:
    """A transfer in the provider's books, as it lists it."""

    reference: str
    provider_reference: str
    payout_id: str
    amount: Money
    status: TransferStatus
    created_at: datetime
    code: str | None = None  # of what was not paid, or has come back
    returned: Money | None = None  # of a returned transfer


class TransferListing(NamedTuple):
    """A page of the provider's books. `cursor` leads to the next page; None: this is the last."""

    entries: list[ListedTransfer]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class TransferNotification:
    """A provider's webhook. `told` is None if it is of a kind that we do not read."""

    id: str  # the provider's: the same in each repeat
    told: ListedTransfer | None


class PayoutProvider(Protocol):
    """One account at a provider. `read_list` raises ListingError; the other `read` methods raise nothing.

    `signature` and `read_notification` are as those of a Psp.
    """

    @property
    def name(self) -> str: ...
    @property
    def webhook_secrets(self) -> tuple[str, ...]: ...
    @property
    def declared(self) -> Declared: ...

    def transfer(self, transfer: Transfer) -> HttpRequest: ...
    def read_transfer(
        self, asked: TransferReference, status: int, headers: Mapping[str, str], body: bytes
    ) -> SentReply: ...
    def find(self, asked: TransferReference) -> HttpRequest: ...
    def read_find(
        self, asked: TransferReference, status: int, headers: Mapping[str, str], body: bytes
    ) -> FoundReply: ...
    def list_transfers(self, cursor: str | None = None) -> HttpRequest: ...
    def read_list(self, body: bytes) -> TransferListing: ...
    def signature(self, headers: Mapping[str, str]) -> Signature | None: ...
    def read_notification(self, body: bytes) -> TransferNotification | None: ...


def state_of(asked: TransferReference, listed: ListedTransfer | None) -> TransferState | Unknown:
    """A line about a transfer → the reply. Unknown unless it is about the transfer that we asked for."""
    if listed is None:
        return Unknown("unreadable")
    if listed.reference != asked.call_id:
        return Unknown("reference_mismatch")
    if listed.amount != asked.amount:
        return Unknown("amount_mismatch")
    code = listed.code or "unspecified"
    match listed.status:
        case "accepted":
            return Accepted(listed.provider_reference)
        case "paid":
            return Paid(listed.provider_reference)
        case "rejected":
            return Rejected(code, listed.provider_reference)
        case "failed":
            return Failed(code, listed.provider_reference)
        case "returned":
            back = listed.returned
            return Unknown("unreadable") if back is None else Returned(code, listed.provider_reference, back)
