"""A break as persons work it, and what they do about it: the values that are loaded, decided on and saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from reconciliation.tally import Reference, Tally
from schemas.break_work import BreakAction, BreakWorked
from schemas.repairs import Repair, TallyState

Work = Literal["open", "assigned", "proposed", "approved", "resolved", "auto_closed"]


@dataclass(frozen=True, slots=True)
class Case:
    """A break, and how far persons are with it. Amounts are minor units."""

    break_id: str
    code: str
    is_open: bool  # its condition holds
    work: Work
    assignee: str | None
    proposal: Mapping[str, Any] | None  # as `Proposal.told`
    amount: int
    currency: str | None
    items: tuple[str, ...]  # open ones, at most one more than a repair may be about
    worked_amount: int | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one person wants done, as asked and as computed then, until another one decides."""

    asked: BreakWorked
    repair: Repair

    def told(self) -> dict[str, Any]:
        return {
            "asked": self.asked.model_dump(mode="json", exclude_none=True),
            "repair": self.repair.told(),
            "sha256": self.repair.sha256,
            "maker": self.asked.actor,
            "reason": self.asked.reason,
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Proposal:
        import orjson

        return cls(BreakWorked.model_validate_json(orjson.dumps(told["asked"])), Repair.read(told["repair"]))


@dataclass(frozen=True, slots=True)
class Done:
    """A repair that was done, and whether another one has taken it back."""

    correction_id: str
    break_id: str
    repair: Repair
    is_undone: bool


class CaseWorked(NamedTuple):
    """An action of a person, done or refused: one append-only row; and the break after it."""

    case: Case
    action: BreakAction
    operation_id: str
    actor: str
    at: datetime
    detail: Mapping[str, Any]


class CorrectionMade(NamedTuple):
    """A repair is done: its row, and by how much more is expected of tallies."""

    correction_id: str
    break_id: str
    repair: Repair
    event_id: str | None  # of CorrectionApproved; None: no money moves
    reason: str
    maker: str
    approver: str
    at: datetime


def reference_of(item: str) -> Reference | None:
    """The tally that an item is about; None if it is about something else."""
    psp, _, rest = item.partition("|")
    kind, _, key = rest.partition("|")
    if len(kind) != 1 or len(key) != 32 or not set(key) <= set("0123456789abcdef"):
        return None
    return Reference(key, kind, psp)


def state_of(tally: Tally) -> TallyState:
    return TallyState(
        tally.psp, tally.kind, tally.key, tally.currency, tally.expected, tally.settled, bool(tally.facts)
    )
