"""An operation goes in, an HTTP request comes out; whatever the PSP answers becomes one of six replies.

Nothing here opens a connection: the executor sends. Adapters never raise on what a PSP says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal, NamedTuple, Protocol

from psp.webhooks import Signature
from schemas.money import Money

Kind = Literal["charge"]


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge at one PSP. `call_id` (32 hex digits) is both the idempotency key and our reference there."""

    kind: ClassVar[Literal["charge"]] = "charge"
    call_id: str
    payment_order_id: str
    amount: Money
    token: str = field(repr=False)


Operation = Charge  # the union of all of them: an adapter has one case for each


@dataclass(frozen=True, slots=True)
class Reference:
    """An operation of which no more is known than our reference to it: enough to ask, not to send."""

    kind: Kind
    call_id: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What a PSP declares of one kind of operation."""

    settling_s: float  # after this long since the last possible send, "not there" is proof
    key_life_s: float  # after this long it forgets a key, and sending again is a second one; 0: it knows no keys


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What the executor is to send, byte for byte. Headers hold the API key and the body a token: neither is shown."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Captured:
    """A clear yes: the money is taken, and reference and amount are those of the charge."""

    psp_reference: str
    scheme: str  # visa | mastercard | amex | discover | other
    amount: Money

    def to_json(self) -> dict[str, object]:
        return {
            "reply": "captured",
            "psp_reference": self.psp_reference,
            "scheme": self.scheme,
            "amount": self.amount.amount,
            "currency": self.amount.currency,
        }


@dataclass(frozen=True, slots=True)
class Declined:
    """A clear no, for ever: the same charge sent again gets the same answer."""

    code: str
    psp_reference: str | None = None
    scheme: str | None = None

    def to_json(self) -> dict[str, object]:
        return {"reply": "declined", "code": self.code, "psp_reference": self.psp_reference, "scheme": self.scheme}


@dataclass(frozen=True, slots=True)
class Pending:
    """The PSP has the charge and has not decided yet: ask, or wait to be told; never send."""

    psp_reference: str
    reason: str

    def to_json(self) -> dict[str, object]:
        return {"reply": "pending", "psp_reference": self.psp_reference, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class NothingHappened:
    """The PSP promises that this send did nothing: it may be sent again, same key, not before `retry_after_s`."""

    reason: str
    retry_after_s: float | None = None

    def to_json(self) -> dict[str, object]:
        return {"reply": "nothing_happened", "reason": self.reason, "retry_after_s": self.retry_after_s}


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything may have happened. Ask, not before `retry_after_s`; never send."""

    reason: str
    retry_after_s: float | None = None

    def to_json(self) -> dict[str, object]:
        return {"reply": "unknown", "reason": self.reason, "retry_after_s": self.retry_after_s}


@dataclass(frozen=True, slots=True)
class NotThere:
    """The PSP does not know our reference now: proof only once its settling time has passed since the last send."""

    def to_json(self) -> dict[str, object]:
        return {"reply": "not_there"}


SendReply = Captured | Declined | Pending | NothingHappened | Unknown
FindReply = Captured | Declined | Pending | Unknown | NotThere  # a failed question never says that nothing happened
Reply = Captured | Declined | Pending | NothingHappened | Unknown | NotThere


def reply_from_json(stored: Mapping[str, object]) -> Reply:
    """The reply that `to_json` stored. Errors: ValueError for anything else."""
    try:
        return _read_stored(stored)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a stored reply: {error}") from error


def _read_stored(stored: Mapping[str, object]) -> Reply:
    match stored["reply"]:
        case "captured":
            amount = Money.from_wire(_text(stored["amount"]), _text(stored["currency"]))
            return Captured(_text(stored["psp_reference"]), _text(stored["scheme"]), amount)
        case "declined":
            return Declined(
                _text(stored["code"]), _text_or_none(stored["psp_reference"]), _text_or_none(stored["scheme"])
            )
        case "pending":
            return Pending(_text(stored["psp_reference"]), _text(stored["reason"]))
        case "nothing_happened":
            return NothingHappened(_text(stored["reason"]), _seconds_or_none(stored["retry_after_s"]))
        case "unknown":
            return Unknown(_text(stored["reason"]), _seconds_or_none(stored.get("retry_after_s")))
        case "not_there":
            return NotThere()
        case other:
            raise ValueError(f"not a stored reply: {other!r}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _seconds_or_none(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number of seconds")
    return float(value)


@dataclass(frozen=True, slots=True)
class ListedCharge:
    """One line of the PSP's own books, as its listing gives it."""

    reference: str
    psp_reference: str
    payment_order_id: str
    amount: Money
    status: Literal["succeeded", "declined", "pending"]
    scheme: str
    created_at: datetime


class Listing(NamedTuple):
    """A page of the PSP's books. `cursor` leads to the next one; None: this was the last."""

    charges: list[ListedCharge]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Notification:
    """What a PSP tells unasked. `charge` is None where it is of a kind that we do not read."""

    id: str  # the PSP's own: the same however often it is sent
    charge: ListedCharge | None
    code: str | None = None  # why it was declined, or what it waits for


class ListingError(Exception):
    """The PSP's listing could not be read."""


class Psp(Protocol):
    """One PSP account. `read*` never raise, except `read_list`, which raises ListingError.

    Header names given to `signature` are in lower case; it is None where nothing is signed. `read_notification` is None
    where the body is not what the PSP promises.
    """

    @property
    def name(self) -> str: ...
    @property
    def webhook_secrets(self) -> tuple[str, ...]: ...
    @property
    def declared(self) -> Mapping[Kind, Declared]: ...

    def request(self, operation: Operation) -> HttpRequest: ...
    def read(self, operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> SendReply: ...
    def find(self, asked: Operation | Reference) -> HttpRequest: ...
    def read_find(self, operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> FindReply: ...
    def list(self, kind: Kind, cursor: str | None = None) -> HttpRequest: ...
    def read_list(self, kind: Kind, body: bytes) -> Listing: ...
    def signature(self, headers: Mapping[str, str]) -> Signature | None: ...
    def read_notification(self, body: bytes) -> Notification | None: ...
