"""The wire format of one PSP: all in which the PSPs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from simulator.disputes import Dispute
from simulator.http import Request
from simulator.memory import Charge, ChargeRequest
from simulator.operations import ChargeStatus, Operation, OperationKind, OperationRequest, Status
from simulator.wire import Problem

Kind = Literal["charge", "capture", "void", "refund", "dispute"]


class Creation(NamedTuple):
    """A request for a charge or an operation. `kind` is None if the body names it."""

    kind: OperationKind | Literal["charge"] | None
    charge_id: str = ""  # from the path


class LookUp(NamedTuple):
    """A look-up by the caller's reference; of disputes, by the PSP's."""

    kind: Kind
    reference: str


class Page(NamedTuple):
    """A request for a page of the books."""

    kind: Kind
    cursor: str | None
    limit: str | None


Route = Creation | LookUp | Page


class Front(Protocol):
    """What PSPs and pay-out providers have in common."""

    @property
    def name(self) -> str: ...
    def api_key(self, headers: Mapping[str, str]) -> str: ...
    def signed(self, at: int, mac: str) -> dict[str, str]: ...  # the headers of a signed webhook
    def problem(self, problem: Problem, message: str) -> tuple[int, dict[str, object]]: ...


class Shape(Front, Protocol):
    cursor_parameter: str
    key_header: str  # lower case
    many_captures: bool
    exponents: Mapping[str, int]

    def route(self, request: Request) -> Route | None: ...
    def read_charge(self, key: str, body: bytes) -> ChargeRequest: ...
    def read_operation(self, creation: Creation, key: str, body: bytes) -> OperationRequest: ...
    def charge(self, charge: Charge, status: ChargeStatus) -> dict[str, object]: ...
    def operation(self, operation: Operation, status: Status) -> dict[str, object]: ...
    def dispute(self, dispute: Dispute) -> dict[str, object]: ...
    def shown_id(self, kind: Kind, id_: str) -> str: ...  # an id of the books in this PSP's format
    def page(self, kind: Kind, entries: Sequence[dict[str, object]], next_after: str | None) -> dict[str, object]: ...
    def event(self, event_id: str, kind: Kind, told: dict[str, object], now_us: int) -> dict[str, object]: ...


def id_of(shown: str) -> str:
    """The books' id in an id of a PSP's format: with or without a prefix, in upper or lower case."""
    return shown.rpartition("_")[2].lower()
