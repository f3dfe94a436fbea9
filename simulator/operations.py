"""Captures, voids and refunds → rows of a PSP's books, or declines by them. A decline is a row, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from simulator.changes import Changes
from simulator.clock import machine_us
from simulator.memory import Charge, Memory, new_id
from simulator.wire import Problem, Refused

OperationKind = Literal["capture", "void", "refund"]
Status = Literal["succeeded", "declined", "pending", "reversed"]
ChargeStatus = Literal["succeeded", "authorised", "declined", "pending", "voided", "expired", "reversed"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS operations (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    psp TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    reference TEXT NOT NULL,
    order_id TEXT NOT NULL,
    charge_seq INTEGER NOT NULL,
    charge_id TEXT NOT NULL,
    amount INTEGER NOT NULL,        -- of a void: what it releases
    currency TEXT NOT NULL,
    final INTEGER NOT NULL,         -- of a capture: what is left is given up
    scheme TEXT,
    decline_code TEXT,              -- NULL: succeeded
    created_at INTEGER NOT NULL,    -- the times are those of a charge
    visible_at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    reversed INTEGER NOT NULL       -- done, and taken back
);
CREATE INDEX IF NOT EXISTS operations_by_reference ON operations (reference);
CREATE INDEX IF NOT EXISTS operations_by_key ON operations (key);
CREATE INDEX IF NOT EXISTS operations_by_charge ON operations (charge_seq);
"""
_COLUMNS = (
    "seq, id, psp, kind, key, reference, order_id, charge_seq, charge_id, amount, currency, final, scheme, decline_code,"
    " created_at, visible_at, decided_at, reversed"
)
_SELECT = f"SELECT {_COLUMNS} FROM operations"
_INSERT = f"INSERT INTO operations ({_COLUMNS}) VALUES ({','.join('?' * 18)})"
_BY_KEY = f"{_SELECT} WHERE key=? AND kind=? AND psp=? AND created_at>? ORDER BY seq DESC LIMIT 1"
_BY_REFERENCE = f"{_SELECT} WHERE reference=? AND kind=? AND psp=? AND visible_at<=? ORDER BY seq"
_PAGE = f"{_SELECT} WHERE seq>? AND kind=? AND psp=? AND visible_at<=? ORDER BY seq LIMIT ?"
_UNDECIDED = f"{_SELECT} WHERE decided_at>? ORDER BY seq"
_ALL_BY_REFERENCE = f"{_SELECT} WHERE reference=? OR order_id=? ORDER BY seq"


_ACTS = {True: "take back", False: "do again"}


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """A caller's request for an operation on a charge. A void has neither amount nor currency."""

    kind: OperationKind
    key: str
    reference: str
    order_id: str
    charge_id: str
    amount: int | None = None
    currency: str | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the PSP's books."""

    seq: int
    id: str
    psp: str
    kind: OperationKind
    key: str
    reference: str
    order_id: str
    charge_seq: int
    charge_id: str
    amount: int
    currency: str
    final: int
    scheme: str | None
    decline_code: str | None
    created_at: int
    visible_at: int
    decided_at: int
    reversed: int

    def status(self, now_us: int) -> Status:
        if now_us < self.decided_at:
            return "pending"
        if self.decline_code:
            return "declined"
        return "reversed" if self.reversed else "succeeded"

    def answers(self, asked: OperationRequest) -> bool:
        """Whether the operation is the requested one, and not another under the same key."""
        mine = (self.reference, self.order_id, self.charge_id, bool(self.final))
        same_money = asked.amount is None or (self.amount, self.currency) == (asked.amount, asked.currency)
        return same_money and mine == (asked.reference, asked.order_id, asked.charge_id, asked.final)


@dataclass(frozen=True, slots=True)
class Plan:
    """How an allowed operation ends: done at once, or as a test has set."""

    decline_code: str | None = None
    decided_us: int = 0  # microseconds after the request
    hidden_us: int = 0


@dataclass(frozen=True, slots=True)
class KeptOperation:
    """An operation in the books, and whether an earlier request made it."""

    operation: Operation
    replayed: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """A charge with its operations, at one moment."""

    charge: Charge
    operations: Sequence[Operation]
    now_us: int

    def _sum(self, kind: OperationKind, *statuses: Status) -> int:
        found = (one for one in self.operations if one.kind == kind and one.status(self.now_us) in statuses)
        return sum(one.amount for one in found)

    @property
    def captured(self) -> int:
        """The captured amount without reversed captures."""
        if self.charge.manual:
            return self._sum("capture", "succeeded")
        return self.charge.amount if self.charge.first_status(self.now_us) == "succeeded" else 0

    @property
    def returned(self) -> int:
        """The amount of refunds, done or pending."""
        return self._sum("refund", "succeeded", "pending")

    @property
    def left(self) -> int:
        """The amount that can still be captured. A reversed capture counts as captured: the PSP may do it again."""
        return self.charge.amount - self._sum("capture", "succeeded", "pending", "reversed")

    def status(self) -> ChargeStatus:
        """The charge's status. With later capture it is `succeeded` when something was captured and nothing more can be."""
        first = self.charge.first_status(self.now_us)
        if first != "authorised" or not (self._closed() or self._expired()):
            return first
        if self._sum("capture", "succeeded", "reversed"):
            return "succeeded"
        return "voided" if self._closed() else "expired"

    def _expired(self) -> bool:
        return self.now_us >= self.charge.capture_until

    def _closed(self) -> bool:
        """Whether a void, a final capture, or captures of the whole amount are done."""
        done = [one for one in self.operations if one.status(self.now_us) in ("succeeded", "reversed")]
        closing = any(one.kind == "void" or one.final for one in done)
        return closing or self._sum("capture", "succeeded", "reversed") >= self.charge.amount

    def _closing(self) -> bool:
        """Whether these are done or pending."""
        alive = [one for one in self.operations if one.status(self.now_us) != "declined"]
        return any(one.kind == "void" or one.final for one in alive)

    def refusal(self, asked: OperationRequest) -> str | None:
        """Why the books decline the operation, or None. Disputes do not reduce what can be refunded: callers must see to it."""
        if asked.kind == "refund":
            if not self.captured:
                return "not_captured"
            return "exceeds_captured" if (asked.amount or 0) > self.captured - self.returned else None
        first = self.charge.first_status(self.now_us)
        if first != "authorised":
            return "not_authorised" if first in ("declined", "pending") else "closed"
        if self._closing():
            return "closed"
        if self._expired():
            return "authorisation_expired"
        if asked.kind == "void":
            return None if self.left else "nothing_left"
        return "exceeds_authorised" if (asked.amount or 0) > self.left else None


class OperationBooks:
    """The operations of all charges, in the books and commits of Memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._changes = Changes(memory)
        memory.writing.executescript(_SCHEMA)
        self._next_seq: int = memory.writing.execute("SELECT coalesce(max(seq), 0) + 1 FROM operations").fetchone()[0]

    async def operate(
        self, psp: str, asked: OperationRequest, plan: Plan, now_us: int, key_life_us: int
    ) -> KeptOperation:
        """The operation under this key if the PSP still knows the key, else a new one, done or declined.

        Errors: Refused NOT_FOUND for an unknown charge, INVALID for another order or currency.
        """

        def work() -> KeptOperation:
            known = self._by_key(psp, asked, now_us - key_life_us)
            if known:
                return KeptOperation(known, replayed=True)
            standing = self.standing(self._charge(psp, asked), now_us)
            operation = self._made(standing, asked, plan)
            self._memory.writing.execute(_INSERT, _row(operation))
            return KeptOperation(operation, replayed=False)

        return await self._memory.commit(work)

    def _by_key(self, psp: str, asked: OperationRequest, since_us: int) -> Operation | None:
        row = self._memory.writing.execute(_BY_KEY, (asked.key, asked.kind, psp, since_us)).fetchone()
        return Operation(*row) if row else None

    def _charge(self, psp: str, asked: OperationRequest) -> Charge:
        charge = self._memory.charge_of_id(psp, asked.charge_id)
        if charge is None:
            raise Refused(Problem.NOT_FOUND, f"no charge {asked.charge_id} here")
        if charge.order_id != asked.order_id:
            raise Refused(Problem.INVALID, "the charge is another order's")
        if asked.currency not in (None, charge.currency):
            raise Refused(Problem.INVALID, f"the charge is in {charge.currency}")
        return charge

    def _made(self, standing: Standing, asked: OperationRequest, plan: Plan) -> Operation:
        """A new operation. One that the books do not allow is declined at once, whatever is planned."""
        charge, now_us, refusal = standing.charge, standing.now_us, standing.refusal(asked)
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        amount = (0 if refusal else standing.left) if asked.amount is None else asked.amount
        return Operation(
            seq, new_id(seq), charge.psp, asked.kind, asked.key, asked.reference, asked.order_id, charge.seq, charge.id,
            amount, charge.currency, int(asked.final), charge.scheme, refusal or plan.decline_code, now_us,
            machine_us() + plan.hidden_us, now_us + plan.decided_us if plan.decided_us and not refusal else 0, 0,
        )  # fmt: skip

    async def take_back(self, operation: Operation, now_us: int) -> Operation:
        """Reverse an operation. Errors: Refused INVALID if it is not done, or if refunds would exceed what is left."""

        def work() -> Operation:
            current = self._current(operation)
            if current.kind == "void" or current.status(now_us) != "succeeded":
                raise Refused(Problem.INVALID, f"this {current.kind} is {current.status(now_us)}: nothing to take back")
            standing = self._standing_of(current, now_us)
            if current.kind == "capture" and standing.captured - current.amount < standing.returned:
                raise Refused(Problem.INVALID, "its refunds are more than would be left")
            self._note(current, now_us, done=False)
            return self._put(replace(current, reversed=1))

        return await self._memory.commit(work)

    async def do_again(self, operation: Operation, now_us: int) -> Operation:
        """Do a reversed or declined operation after all. Errors: Refused INVALID if it is neither, or exceeds what is left."""

        def work() -> Operation:
            current = self._current(operation)
            status = current.status(now_us)
            if current.kind == "void" or status not in ("reversed", "declined"):
                raise Refused(Problem.INVALID, f"this {current.kind} is {status}: nothing to do again")
            again = OperationRequest(
                current.kind, "", "", "", "", current.amount, current.currency, bool(current.final)
            )
            done_before = (current.kind, status) == (
                "capture",
                "reversed",
            )  # the amount of a reversed capture is still counted
            refusal = None if done_before else self._standing_of(current, now_us).refusal(again)
            if refusal:
                raise Refused(Problem.INVALID, f"this {current.kind} cannot be done after all: {refusal}")
            self._note(current, now_us, done=True)
            return self._put(replace(current, reversed=0, decline_code=None))

        return await self._memory.commit(work)

    async def set_charge_reversed(self, charge: Charge, is_reversed: bool, now_us: int) -> Charge:
        """Reverse an automatic charge, or do it again. Errors: as `take_back` and `do_again`."""

        def work() -> Charge:
            current = self._memory.charge_of_id(charge.psp, charge.id)
            assert current is not None, "charges are never deleted"
            status = current.first_status(now_us)
            if status != ("succeeded" if is_reversed else "reversed"):
                raise Refused(Problem.INVALID, f"this charge is {status}: nothing to {_ACTS[is_reversed]}")
            if is_reversed and self.standing(current, now_us).returned:
                raise Refused(Problem.INVALID, "its refunds are more than would be left")
            amount = -current.amount if is_reversed else current.amount
            self._changes.add("capture", now_us, amount, charge_seq=current.seq)
            return self._memory.put_reversed(current, is_reversed)

        return await self._memory.commit(work)

    def _standing_of(self, operation: Operation, now_us: int) -> Standing:
        charge = self._memory.charge_of_id(operation.psp, operation.charge_id)
        assert charge is not None, "charges are never deleted"
        return self.standing(charge, now_us)

    def _current(self, operation: Operation) -> Operation:
        return Operation(*self._memory.writing.execute(f"{_SELECT} WHERE seq=?", (operation.seq,)).fetchone())

    def _note(self, current: Operation, now_us: int, *, done: bool) -> None:
        """Note when a capture or refund was done after all, or taken back."""
        is_capture = current.kind == "capture"
        self._changes.add(
            "capture" if is_capture else "refund" if done else "refund_reversed",
            now_us,
            current.amount if is_capture == done else -current.amount,
            charge_seq=current.charge_seq,
            subject_seq=current.seq,
            was_declined=current.status(now_us) == "declined",
        )

    def _put(self, operation: Operation) -> Operation:
        changed = (operation.reversed, operation.decline_code, operation.seq)
        self._memory.writing.execute("UPDATE operations SET reversed=?, decline_code=? WHERE seq=?", changed)
        return operation

    def standing(self, charge: Charge, now_us: int) -> Standing:
        """The charge's standing, as the open transaction sees it."""
        rows = self._memory.writing.execute(f"{_SELECT} WHERE charge_seq=? ORDER BY seq", (charge.seq,))
        return Standing(charge, _operations(rows), now_us)

    def captured(self, charge: Charge, now_us: int) -> int:
        """The charge's captured amount after the last commit."""
        rows = self._memory.reading.execute(f"{_SELECT} WHERE charge_seq=? ORDER BY seq", (charge.seq,))
        return Standing(charge, _operations(rows), now_us).captured

    def statuses(self, charges: Sequence[Charge], now_us: int) -> list[ChargeStatus]:
        """The status of each charge. Automatic charges need no look-up."""
        manual = {charge.seq: charge for charge in charges if charge.manual}
        behind: dict[int, list[Operation]] = {seq: [] for seq in manual}
        if manual:
            span = (min(manual), max(manual))
            for one in _operations(self._memory.reading.execute(f"{_SELECT} WHERE charge_seq BETWEEN ? AND ?", span)):
                behind.setdefault(one.charge_seq, []).append(one)
        return [
            Standing(charge, behind[charge.seq], now_us).status() if charge.manual else charge.first_status(now_us)
            for charge in charges
        ]

    def find(self, psp: str, kind: OperationKind, reference: str) -> list[Operation]:
        """The operations of that kind and reference that look-ups can see by now."""
        return _operations(self._memory.reading.execute(_BY_REFERENCE, (reference, kind, psp, machine_us())))

    def page(self, psp: str, kind: OperationKind, after_seq: int, limit: int) -> tuple[list[Operation], bool]:
        """Operations in the order of their requests, and whether there are more."""
        found = _operations(self._memory.reading.execute(_PAGE, (after_seq, kind, psp, machine_us(), limit + 1)))
        return found[:limit], len(found) > limit

    def undecided(self, now_us: int) -> list[Operation]:
        return _operations(self._memory.reading.execute(_UNDECIDED, (now_us,)))

    def known_as(self, reference_or_order: str) -> list[Operation]:
        """All operations with this reference or order id, hidden ones included: for people only."""
        return _operations(self._memory.reading.execute(_ALL_BY_REFERENCE, (reference_or_order, reference_or_order)))


def _operations(rows: Iterable[Sequence[Any]]) -> list[Operation]:
    return [Operation(*row) for row in rows]


def _row(operation: Operation) -> tuple[object, ...]:
    return (
        operation.seq, operation.id, operation.psp, operation.kind, operation.key, operation.reference,
        operation.order_id, operation.charge_seq, operation.charge_id, operation.amount, operation.currency,
        operation.final, operation.scheme, operation.decline_code, operation.created_at, operation.visible_at,
        operation.decided_at, operation.reversed,
    )  # fmt: skip
