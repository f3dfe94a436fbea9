"""An operation goes in, an HTTP request comes out; whatever the PSP answers becomes one of the replies (psp.replies).

Nothing here opens a connection: the executor sends. Adapters never raise on what a PSP says.
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

OperationKind = Literal["capture", "void", "refund"]  # what is done behind a charge
Kind = Literal["charge", "capture", "void", "refund", "dispute"]  # disputes are asked about only


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge at one PSP. `call_id` (32 hex digits) is both the idempotency key and our reference there."""

    kind: ClassVar[Literal["charge"]] = "charge"
    call_id: str
    payment_order_id: str
    amount: Money
    token: str = field(repr=False)
    capture: bool = True  # False: authorise only, and capture later


@dataclass(frozen=True, slots=True)
class Capture:
    """Take so much of an authorised charge. `final`: what is left is given up."""

    kind: ClassVar[Literal["capture"]] = "capture"
    call_id: str
    payment_order_id: str
    amount: Money
    psp_reference: str  # of the charge
    final: bool = False


@dataclass(frozen=True, slots=True)
class Void:
    """Give up what is authorised and not captured, however much that is."""

    kind: ClassVar[Literal["void"]] = "void"
    call_id: str
    payment_order_id: str
    psp_reference: str  # of the charge


@dataclass(frozen=True, slots=True)
class Refund:
    """Give so much of what was captured back to the buyer."""

    kind: ClassVar[Literal["refund"]] = "refund"
    call_id: str
    payment_order_id: str
    amount: Money
    psp_reference: str  # of the charge


Operation = Charge | Capture | Void | Refund  # an adapter has one case for each


@dataclass(frozen=True, slots=True)
class Reference:
    """An operation of which no more is known than our reference to it: enough to ask, not to send.

    What is read of it is compared with nothing but that: whether charge and amount are ours is for the reader to say.
    """

    kind: Kind
    call_id: str  # of a dispute: the PSP's own reference of it
    stage: int | None = None  # of a dispute; None: the last one


@dataclass(frozen=True, slots=True)
class Declared:
    """What a PSP declares of one kind of operation."""

    settling_s: float  # after this long since the last possible send, "not there" is proof
    key_life_s: float  # after this long it forgets a key, and sending again is a second one; 0: it knows no keys
    many: bool = True  # whether a charge takes more than one of them


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What the executor is to send, byte for byte. Headers hold the API key and the body a token: neither is shown."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ListedCharge:
    """One line of the PSP's own books, as its listing gives it.

    A charge that is captured later is `authorised` while it can be, then `succeeded` if anything was captured, else `voided`.
    """

    kind: ClassVar[Literal["charge"]] = "charge"
    reference: str
    psp_reference: str
    payment_order_id: str
    amount: Money  # authorised
    status: Literal["succeeded", "authorised", "declined", "pending", "voided", "reversed"]
    scheme: str
    created_at: datetime
    expires_at: datetime | None = None  # there where it is captured later


@dataclass(frozen=True, slots=True)
class ListedOperation:
    """One capture, void or refund of the PSP's own books."""

    kind: OperationKind
    reference: str
    psp_reference: str
    charge_reference: str  # the charge's psp_reference
    payment_order_id: str
    amount: Money  # of a void: what it released
    status: Literal["succeeded", "declined", "pending", "reversed"]
    scheme: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ListedDispute:
    """One stage of a dispute in the PSP's own books. Amount and fee as in DisputeState."""

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
    """A page of the PSP's books. `cursor` leads to the next one; None: this was the last."""

    entries: list[L]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Notification:
    """What a PSP tells unasked. `told` is None where it is of a kind that we do not read."""

    id: str  # the PSP's own: the same however often it is sent
    told: Listed | None
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
