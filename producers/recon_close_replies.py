"""The models that describe a day of reconciliation: its report, and who has signed it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from producers.recon_replies import (
    BreaksOfCode,
    ClearingLine,
    FileStateName,
    ProofLine,
    SettlementAtBank,
    SourceFiles,
)

Day = date


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourceOfDay(SourceFiles):
    """With the files of the day or before that are late."""

    missing: int
    missing_since: Day | None


class MissingFile(_Shape):
    source: str
    subject: str
    first_day: Day
    last_day: Day
    since: datetime


class FileUnderWay(_Shape):
    source: str
    file_id: str
    name: str
    state: FileStateName


class HeldFileOfDay(_Shape):
    source: str
    file_id: str
    name: str
    state: FileStateName
    why: str | None
    received_at: datetime


class ClearingTotal(_Shape):
    """Of a station how many tallies are out, and how much, whichever side they are on; what is not due apart."""

    psp: str
    station: Literal["receivable", "bank clearing", "unknown"]
    currency: str
    not_due_tallies: int
    not_due: str
    late_tallies: int
    late: str


class CarriedOver(_Shape):
    """An open break. `owner`: who works it; `work`: how far."""

    break_id: str
    code: str
    class_: Annotated[Literal["A", "B", "C"], Field(alias="class")]
    subject: str
    source: str
    psp: str
    currency: str | None
    amount: str | None
    items: int
    opened_at: datetime
    owner: str | None
    work: str


class FeesOfDay(_Shape):
    """What the settlements of the day charge, in their currency; `gross` of the lines in it."""

    psp: str
    currency: str
    kind: str
    lines: int
    fee: str
    gross: str | None


class DayReport(_Shape):
    """A day as of the moment at which the report was taken."""

    date: Day
    taken_at: datetime
    sources: list[SourceOfDay]
    missing: list[MissingFile]
    under_way: list[FileUnderWay]
    held: list[HeldFileOfDay]
    settlements: list[SettlementAtBank]
    clearing: list[ClearingLine]
    clearing_totals: list[ClearingTotal]
    proof: list[ProofLine]
    holds: bool
    breaks: list[BreaksOfCode]
    carried_over: list[CarriedOver]
    fees: list[FeesOfDay]


class Close(_Shape):
    """What was decided about a day. `sha256`: of the report. A proposal that nobody signs within seven days expires."""

    day: Day
    state: Literal["proposed", "signed", "expired"]
    sha256: str
    decided_by: str
    reason: str
    decided_at: datetime


class ClosePage(_Shape):
    """Newest day first. `next_cursor` leads to older ones."""

    closes: list[Close]
    next_cursor: str | None


class CloseShown(Close):
    """With all decisions, oldest first; `report` is that of the last one, with its names sorted: `sha256` is that of its text
    without blanks.
    """

    decisions: list[Close]
    report: DayReport
