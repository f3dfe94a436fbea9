"""The operations and disputes as each store and PSP has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from operations.auditor.rows import Attempt, Journal, Movement
from psp.port import Kind

OperationKey = tuple[str, str]  # kind, operation id
StageKey = tuple[str, int]  # dispute id, stage
AT_THE_PSP = ("calling", "unknown", "pending")
TAKEN_BACK = {"captured": "capture_reversed", "refunded": "refund_reversed"}  # kinds of movements, and templates
KIND = {"capture": "captured", "refund": "refunded"}


class Operation(NamedTuple):
    """A capture, void or refund in the executor. Its fee is the share in its present turn."""

    order_id: str
    seq: int  # 0: the charge's own row
    kind: Literal["charge", "capture", "void", "refund"]
    id: str
    amount: int
    fee: int
    currency: str
    final: bool
    state: str
    turn: int
    call_id: str
    psp: str
    psp_reference: str | None
    checks: int  # the number of contradictions by the PSP
    checking: str | None  # a check is open, or was not answered
    cause: str
    outcome: str | None
    place: int | None
    placed_at: datetime

    @property
    def listed_as(self) -> Kind:
        """The kind of listing that has the operation."""
        return self.kind if self.seq else "charge"

    @property
    def part(self) -> str:
        """The part of its first turn in wallet and ledger."""
        return self.id if self.seq else ""

    def part_of(self, turn: int) -> str:
        return self.part if turn == 1 else f"{self.part}#{turn}"

    @property
    def happened(self) -> Iterator[tuple[str, str]]:
        """The facts that have moved money, in order, as (kind, part). The charge's own belongs to the pay-in's page."""
        done = self.turn if self.state in ("done", "reversed") else 0
        for turn in range(1, done + 1):
            if self.seq or turn > 1:
                yield KIND[self.kind], self.part_of(turn)
            if turn < done or self.state == "reversed":
                yield TAKEN_BACK[KIND[self.kind]], self.part_of(turn)


class Stage(NamedTuple):
    """One stage of a dispute in the executor."""

    psp: str
    reference: str
    stage: int
    order_id: str
    dispute_id: str
    state: str
    amount: int
    fee: int
    currency: str
    dispute_fee: int | None
    fee_currency: str | None
    checking: str | None
    outcome: str | None
    place: int | None
    placed_at: datetime

    @property
    def part(self) -> str:
        return f"{self.dispute_id}.{self.stage}"

    @property
    def happened(self) -> Iterator[tuple[str, str]]:
        if self.state in ("opened", "won", "lost"):
            yield "chargeback_opened", self.part
        if self.state == "won":
            yield "chargeback_won", self.part


class PaymentsOperation(NamedTuple):
    """A capture, void or refund in payments."""

    order_id: str
    amount: int | None
    final: bool | None
    status: str
    wallet_updated: bool
    ledger_updated: bool
    asked: bool  # by its owner; else the PSP did it by itself
    event_id: str


class PaymentsDispute(NamedTuple):
    """One stage of a dispute in payments."""

    order_id: str
    status: str
    wallet_updated: bool
    ledger_updated: bool


class Revenue(NamedTuple):
    """What the revenue report counts of one fact. Signed as the report adds it up; `back`: to the buyer."""

    order_id: str
    kind: str
    part: str
    seller: str
    currency: str
    psp: str
    orders: int
    gross: int
    fee: int
    back: int
    fee_returned: int

    @property
    def amounts(self) -> tuple[int, int]:
        return self.back, self.fee_returned

    @property
    def taken_back(self) -> tuple[int, int]:
        return -self.back, -self.fee_returned


class Call(NamedTuple):
    state: str
    created_at: datetime


class Terms(NamedTuple):
    """An order's terms in payments that its parts follow from."""

    seller: str
    currency: str
    gross: int
    fee: int


class FeeRules(NamedTuple):
    """How much of its fee an order gives back: none, proportional or full."""

    refund: str
    chargeback: str


class Line(NamedTuple):
    """An operation, or one stage of a dispute, in a PSP's listing."""

    psp: str
    order_id: str
    psp_reference: str
    status: str
    amount: int
    currency: str


@dataclass(slots=True)
class Books:
    """The orders with operations or disputes, and their movements and journals."""

    orders: set[str] = field(default_factory=set)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    terms: dict[str, Terms] = field(default_factory=dict)
    operations: dict[OperationKey, Operation] = field(default_factory=dict)
    rules: dict[str, FeeRules] = field(default_factory=dict)
    stages: dict[StageKey, Stage] = field(default_factory=dict)
    opened_at: dict[str, datetime] = field(default_factory=dict)  # a stage's part → when the wallet booked it
    calls: dict[str, Call] = field(default_factory=dict)
    asked: dict[OperationKey, PaymentsOperation] = field(default_factory=dict)
    told: dict[StageKey, PaymentsDispute] = field(default_factory=dict)
    revenue: dict[tuple[str, str, str], Revenue] = field(default_factory=dict)  # by order, kind, part
    movements: dict[str, list[Movement]] = field(default_factory=dict)  # by order, all of its as they came
    journals: dict[str, list[Journal]] = field(default_factory=dict)
    listed: dict[Kind, dict[str, list[Line]]] = field(default_factory=dict)  # kind → our reference → lines
    disputes: dict[tuple[str, str, int], Line] = field(default_factory=dict)  # by PSP, its reference, stage

    def lines(self, operation: Operation) -> list[Line]:
        return self.listed.get(operation.listed_as, {}).get(operation.call_id, [])
