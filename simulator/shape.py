"""How one PSP speaks: everything that differs between them, and nothing that does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from simulator.behind import AskedOperation, ChargeStatus, Operation, OperationKind, Status
from simulator.disputes import Dispute
from simulator.http import Request
from simulator.memory import Asked, Charge
from simulator.wire import Problem

Kind = Literal["charge", "capture", "void", "refund", "dispute"]


class Make(NamedTuple):
    """A charge is to be made, or something behind one. `kind` is None where the body says which."""

    kind: OperationKind | Literal["charge"] | None
    charge_id: str = ""  # as the path has it


class Find(NamedTuple):
    """A look-up by the caller's reference; of a dispute, by the PSP's."""

    kind: Kind
    reference: str


class Page(NamedTuple):
    """A page of the books."""

    kind: Kind
    cursor: str | None
    limit: str | None


Route = Make | Find | Page


class Shape(Protocol):
    name: str
    cursor_parameter: str
    key_header: str  # lower case
    many_captures: bool
    exponents: Mapping[str, int]

    def api_key(self, headers: Mapping[str, str]) -> str: ...
    def route(self, request: Request) -> Route | None: ...
    def read_charge(self, key: str, body: bytes) -> Asked: ...
    def read_operation(self, make: Make, key: str, body: bytes) -> AskedOperation: ...
    def charge(self, charge: Charge, status: ChargeStatus) -> dict[str, object]: ...
    def operation(self, operation: Operation, status: Status) -> dict[str, object]: ...
    def dispute(self, dispute: Dispute) -> dict[str, object]: ...
    def shown_id(self, kind: Kind, id_: str) -> str: ...  # an id of ours as this PSP writes it
    def page(self, kind: Kind, entries: Sequence[dict[str, object]], next_after: str | None) -> dict[str, object]: ...
    def event(self, event_id: str, kind: Kind, told: dict[str, object], now_us: int) -> dict[str, object]: ...
    def signed(self, at: int, mac: str) -> dict[str, str]: ...  # a webhook's headers
    def problem(self, problem: Problem, message: str) -> tuple[int, dict[str, object]]: ...


def id_of(shown: str) -> str:
    """Our id behind one that a PSP wrote: with or without a prefix, in either case."""
    return shown.rpartition("_")[2].lower()
