"""Commands about disputes of captured charges → their stages in the PSP's books."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from simulator.changes import ChangeKind, Changes
from simulator.memory import Charge, Memory, new_id
from simulator.operations import OperationBooks
from simulator.wire import Problem, Refused

DisputeStatus = Literal["inquiry", "opened", "won", "lost"]
STATUSES: tuple[DisputeStatus, ...] = ("inquiry", "opened", "won", "lost")
STAGES = (1, 2)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS disputes (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,               -- the same through all stages
    psp TEXT NOT NULL,
    charge_seq INTEGER NOT NULL,
    charge_id TEXT NOT NULL,
    reference TEXT NOT NULL,        -- the charge's
    order_id TEXT NOT NULL,
    stage INTEGER NOT NULL,
    status TEXT NOT NULL,
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    fee INTEGER,
    fee_returned INTEGER,           -- of it, where the dispute is won
    reason TEXT NOT NULL,
    due_by INTEGER,                 -- microseconds, by the clock that can be moved
    created_at INTEGER NOT NULL,
    UNIQUE (charge_seq, id, stage)
);
CREATE INDEX IF NOT EXISTS disputes_by_id ON disputes (id);
"""
_COLUMNS = (
    "seq, id, psp, charge_seq, charge_id, reference, order_id, stage, status, amount, currency, fee, fee_returned, reason,"
    " due_by, created_at"
)
_SELECT = f"SELECT {_COLUMNS} FROM disputes"
_PUT = f"INSERT OR REPLACE INTO disputes ({_COLUMNS}) VALUES ({','.join('?' * 16)})"


@dataclass(frozen=True, slots=True)
class Dispute:
    """A stage of a dispute in the PSP's books."""

    seq: int
    id: str
    psp: str
    charge_seq: int
    charge_id: str
    reference: str
    order_id: str
    stage: int
    status: DisputeStatus
    amount: int
    currency: str
    fee: int | None
    fee_returned: int | None
    reason: str
    due_by: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class DisputeChange:
    """A command about a charge's dispute. None keeps a field; for a new dispute: the whole captured amount, no fee."""

    status: DisputeStatus
    stage: int = 1
    amount: int | None = None
    fee: int | None = None
    fee_returned: int | None = None
    reason: str | None = None
    due_by: int | None = None
    id: str | None = None


class Disputes:
    """The disputes of all charges. A charge has one dispute, unless a command names another id, or the last one is over."""

    def __init__(self, memory: Memory, operations: OperationBooks) -> None:
        self._memory = memory
        self._operations = operations
        self._changes = Changes(memory)
        memory.writing.executescript(_SCHEMA)
        self._next_seq: int = memory.writing.execute("SELECT coalesce(max(seq), 0) + 1 FROM disputes").fetchone()[0]

    async def dispute(self, charge: Charge, change: DisputeChange, now_us: int) -> Dispute:
        """Errors: Refused INVALID if nothing or less was captured, or if the step cannot follow."""

        def work() -> Dispute:
            stages = _disputes(
                self._memory.writing.execute(f"{_SELECT} WHERE charge_seq=? ORDER BY seq", (charge.seq,))
            )
            before = _stage(stages, change)
            told = _moved(before, change) if before else self._begun(charge, stages, change, now_us)
            self._check(charge, stages, told, now_us)
            self._note(before, told, now_us)
            self._memory.writing.execute(_PUT, _row(told))
            return told

        return await self._memory.commit(work)

    def _begun(self, charge: Charge, stages: Sequence[Dispute], change: DisputeChange, now_us: int) -> Dispute:
        """A new dispute, or the second stage of one that is won or lost."""
        first = _first_of(stages, change)
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        captured = self._operations.standing(charge, now_us).captured
        return Dispute(
            seq, first.id if first else new_id(seq), charge.psp, charge.seq, charge.id, charge.reference, charge.order_id,
            change.stage, change.status, change.amount or (first.amount if first else captured), charge.currency, change.fee,
            change.fee_returned, change.reason or (first.reason if first else "fraudulent"), change.due_by, now_us,
        )  # fmt: skip

    def _check(self, charge: Charge, stages: Sequence[Dispute], told: Dispute, now_us: int) -> None:
        captured = self._operations.standing(charge, now_us).captured
        if not captured:
            raise Refused(Problem.INVALID, f"nothing of {charge.order_id} is captured")
        others = {one.id: one for one in stages if one.id != told.id and one.status in ("opened", "lost")}
        if told.amount + sum(one.amount for one in others.values()) > captured:
            raise Refused(Problem.INVALID, f"amount: more than the {captured} that were captured")
        if told.fee_returned is not None and told.fee_returned > (told.fee or 0):
            raise Refused(Problem.INVALID, "fee_returned: more than the fee")

    def _note(self, before: Dispute | None, told: Dispute, now_us: int) -> None:
        """Note when the disputed money moves: away once a stage is opened or lost, back once it is won."""
        was_taken, is_taken = _taken(before), _taken(told)
        opened: ChangeKind = "chargeback" if told.stage == 1 else "second_chargeback"
        fee, fee_before = told.fee or 0, before.fee or 0 if before else 0
        if is_taken and not was_taken:
            self._changes.add(opened, now_us, -told.amount, charge_seq=told.charge_seq, dispute_id=told.id, fee=fee)
            return
        if was_taken and fee != fee_before:
            self._changes.add("fee", now_us, 0, charge_seq=told.charge_seq, dispute_id=told.id, fee=fee - fee_before)
        if was_taken and not is_taken:
            back = told.fee_returned or 0
            self._changes.add(
                "chargeback_reversed", now_us, told.amount, charge_seq=told.charge_seq, dispute_id=told.id, fee=-back
            )

    def of(self, psp: str, dispute_id: str) -> list[Dispute]:
        rows = self._memory.reading.execute(f"{_SELECT} WHERE id=? AND psp=? ORDER BY seq", (dispute_id, psp))
        return _disputes(rows)

    def about(self, charge: Charge) -> list[Dispute]:
        return _disputes(self._memory.reading.execute(f"{_SELECT} WHERE charge_seq=? ORDER BY seq", (charge.seq,)))

    def page(self, psp: str, after_seq: int, limit: int) -> tuple[list[Dispute], bool]:
        """Disputes in the order of their beginning, each with all its stages."""
        begun = f"{_SELECT} WHERE seq>? AND psp=? AND stage=1 ORDER BY seq LIMIT ?"
        found = _disputes(self._memory.reading.execute(begun, (after_seq, psp, limit + 1)))
        return [stage for first in found[:limit] for stage in self.of(psp, first.id)], len(found) > limit


def _stage(stages: Sequence[Dispute], change: DisputeChange) -> Dispute | None:
    """The row to change: the last of that stage; None if a new stage begins."""
    if change.id is not None and not any(one.id == change.id for one in stages):
        raise Refused(Problem.INVALID, f"id: no dispute {change.id} of this charge")
    found = [one for one in stages if one.stage == change.stage and change.id in (None, one.id)]
    if not found:
        return None
    over = found[-1].status in ("won", "lost") and change.status in ("inquiry", "opened")
    return None if over and change.id is None and change.stage == 1 else found[-1]


def _first_of(stages: Sequence[Dispute], change: DisputeChange) -> Dispute | None:
    """The first stage, before a second begins. Errors: Refused if it is not over."""
    if change.stage == 1:
        return None
    first = next((one for one in reversed(stages) if one.stage == 1 and change.id in (None, one.id)), None)
    if first is None or first.status not in ("won", "lost"):
        raise Refused(Problem.INVALID, "stage: a second one follows a first that is won or lost")
    return first


def _moved(before: Dispute, change: DisputeChange) -> Dispute:
    """The stage after the command. Errors: Refused if the status cannot follow."""
    allowed = {"inquiry": STATUSES, "opened": ("opened", "won", "lost"), "lost": ("lost", "won"), "won": ("won",)}
    if change.status not in allowed[before.status]:
        raise Refused(Problem.INVALID, f"status: this dispute is {before.status} already")
    if change.amount not in (None, before.amount) and before.status != "inquiry":
        raise Refused(Problem.INVALID, f"amount: this dispute is about {before.amount}")
    return replace(
        before,
        status=change.status,
        amount=change.amount or before.amount,
        fee=before.fee if change.fee is None else change.fee,
        fee_returned=before.fee_returned if change.fee_returned is None else change.fee_returned,
        reason=change.reason or before.reason,
        due_by=before.due_by if change.due_by is None else change.due_by,
    )


def _taken(dispute: Dispute | None) -> bool:
    return dispute is not None and dispute.status in ("opened", "lost")


def _disputes(rows: Iterable[Sequence[Any]]) -> list[Dispute]:
    return [Dispute(*row) for row in rows]


def _row(told: Dispute) -> tuple[object, ...]:
    return (
        told.seq, told.id, told.psp, told.charge_seq, told.charge_id, told.reference, told.order_id, told.stage,
        told.status, told.amount, told.currency, told.fee, told.fee_returned, told.reason, told.due_by, told.created_at,
    )  # fmt: skip
