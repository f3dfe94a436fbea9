"""The PSP port: an operation → an HTTP request; a PSP's answer → one of the replies (psp.replies).

Nothing here opens a connection: the executor sends. Adapters raise nothing, whatever a PSP answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, overload

from psp.replies import (
    Authorised,
    Captured,
    Declined,
    DisputeState,
    DisputeStatus,
    FindReply,
    NothingHappened,
    NotThere,
    Pending,
    Refunded,
    Reply,
    Reversed,
    SendReply,
    Unknown,
    Voided,
    Yes,
    reply_from_json,
)
from psp.webhooks import Signature
from schemas.money import Money

__all__ = [
    "Authorised",
    "Capture",
    "Captured",
    "Charge",
    "Declared",
    "Declined",
    "DisputeState",
    "DisputeStatus",
    "FindReply",
    "HttpRequest",
    "Kind",
    "Listed",
    "ListedCharge",
    "ListedDispute",
    "ListedOperation",
    "Listing",
    "ListingError",
    "NotThere",
    "NothingHappened",
    "Notification",
    "Operation",
    "OperationKind",
    "Pending",
    "Psp",
    "Reference",
    "Refund",
    "Refunded",
    "Reply",
    "Reversed",
    "SendReply",
    "Unknown",
    "Void",
    "Voided",
    "Yes",
    "reply_from_json",
]

OperationKind = Literal["capture", "void", "refund"]  # operations on a charge
Kind = Literal["charge", "capture", "void", "refund", "dispute"]  # disputes are never sent, only asked about


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge at one PSP. `call_id` (32 hex digits) is both the idempotency key and our reference there."""

    kind: ClassVar[Literal["charge"]] = "charge"
    call_id: str
    payment_order_id: str
    amount: Money
    token: str | None = field(repr=False)  # None: the buyer pays on a page of the PSP's
    capture: bool = True  # False: authorise, to be captured later
    return_url: str | None = field(default=None, repr=False)  # where the page sends the buyer back to


@dataclass(frozen=True, slots=True)
class Capture:
    """Capture so much of an authorised charge. `final`: the rest is released."""

    kind: ClassVar[Literal["capture"]] = "capture"
    call_id: str
    payment_order_id: str
    amount: Money
    psp_reference: str  # of the charge
    final: bool = False


@dataclass(frozen=True, slots=True)
class Void:
    """Release the authorised amount that is not captured."""

    kind: ClassVar[Literal["void"]] = "void"
    call_id: str
    payment_order_id: str
    psp_reference: str  # of the charge


@dataclass(frozen=True, slots=True)
class Refund:
    """Return so much of the captured amount to the buyer."""

    kind: ClassVar[Literal["refund"]] = "refund"
    call_id: str
    payment_order_id: str
    amount: Money
    psp_reference: str  # of the charge


Operation = Charge | Capture | Void | Refund  # each adapter has one case for each


@dataclass(frozen=True, slots=True)
class Reference:
    """Our reference to an operation: enough to ask about it, not to send it.

    The answer is compared with the reference alone; the caller compares charge and amount.
    """

    kind: Kind
    call_id: str  # of a dispute: the PSP's reference
    stage: int | None = None  # of a dispute; None: the last one


@dataclass(frozen=True, slots=True)
class Declared:
    """The promises of a PSP about one kind of operation."""

    settling_s: float  # so long after the last possible send the answer "not there" is proof
    key_life_s: float  # so long the PSP remembers a key; later a send is a second operation; 0: it knows no keys
    many: bool = True  # whether a charge can have more than one of them


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The request to send, byte for byte. `repr` hides the headers (API key) and the body (token)."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ListedCharge:
    """A charge in the PSP's books, as it lists it.

    A charge that is captured later is `authorised` while it can be captured, then `succeeded` if anything was, else `voided`.
    """

    kind: ClassVar[Literal["charge"]] = "charge"
    reference: str
    psp_reference: str
    payment_order_id: str
    amount: Money  # authorised
    status: Literal["succeeded", "authorised", "declined", "pending", "voided", "reversed"]
    scheme: str
    created_at: datetime
    expires_at: datetime | None = None  # of a charge that is captured later


@dataclass(frozen=True, slots=True)
class ListedOperation:
    """A capture, void or refund in the PSP's books."""

    kind: OperationKind
    reference: str
    psp_reference: str
    charge_reference: str  # the charge's psp_reference
    payment_order_id: str
    amount: Money  # of a void: the released amount
    status: Literal["succeeded", "declined", "pending", "reversed"]
    scheme: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ListedDispute:
    """A stage of a dispute in the PSP's books. Amount and fee as in DisputeState."""

    kind: ClassVar[Literal["dispute"]] = "dispute"
    reference: str  # our reference of the charge
    dispute_reference: str
    charge_reference: str  # the charge's psp_reference
    payment_order_id: str
    stage: int
    status: DisputeStatus
    amount: Money
    fee: Money | None
    reason: str
    due_by: datetime | None
    created_at: datetime


Listed = ListedCharge | ListedOperation | ListedDispute
L = TypeVar("L", bound=Listed)


class Listing(NamedTuple, Generic[L]):
    """A page of the PSP's books. `cursor` leads to the next page; None: this is the last."""

    entries: list[L]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Notification:
    """A PSP's webhook. `told` is None if it is of a kind that we do not read."""

    id: str  # the PSP's: the same in each repeat
    told: Listed | None
    code: str | None = None  # the code of a decline, or of what the operation waits for


class ListingError(Exception):
    """The PSP's listing could not be read."""


class Psp(Protocol):
    """One PSP account. `read_list` raises ListingError; the other `read` methods raise nothing.

    `signature` takes header names in lower case, and returns None without a signature. `read_notification` returns None if
    the body is not of the PSP's format.
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
    def read_find(
        self, asked: Operation | Reference, status: int, headers: Mapping[str, str], body: bytes
    ) -> FindReply: ...
    def list(self, kind: Kind, cursor: str | None = None) -> HttpRequest: ...
    @overload
    def read_list(self, kind: Literal["charge"], body: bytes) -> Listing[ListedCharge]: ...
    @overload
    def read_list(self, kind: OperationKind, body: bytes) -> Listing[ListedOperation]: ...
    @overload
    def read_list(self, kind: Literal["dispute"], body: bytes) -> Listing[ListedDispute]: ...
    def signature(self, headers: Mapping[str, str]) -> Signature | None: ...
    def read_notification(self, body: bytes) -> Notification | None: ...
