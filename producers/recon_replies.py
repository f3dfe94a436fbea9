"""The models that describe answers about reconciliation."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

FileStateName = Literal[
    "received", "reading", "quarantined", "gated", "folding", "held", "folded", "superseded", "discarded"
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Links(_Shape):
    self: str


class FileRefusal(_Shape):
    """Why the gate refuses the whole file: at the first line that does not hold. `excerpt` is masked."""

    code: str
    detail: str
    line: int | None
    column: str | None
    excerpt: str


class SettlementFile(_Shape):
    """A file and how far it is. `file_id` is the SHA-256 of its bytes, `size` their number, both unpacked.

    `why` is the code by which it is quarantined or held; `reader` and `lines` are known once it is read.
    """

    source: str
    file_id: str
    name: str
    size: int
    stored_by: str
    received_at: datetime
    state: FileStateName
    why: str | None
    refusal: FileRefusal | None
    reader: str | None
    lines: int | None
    links: _Links


class SettlementFilePage(_Shape):
    """Newest first. `next_cursor` leads to older ones."""

    files: list[SettlementFile]
    next_cursor: str | None


class FileDecision(_Shape):
    """What a person has decided about a file. A release that is proposed waits for another person."""

    source: str
    file_id: str
    decision: Literal["release_proposed", "released", "discarded"]
    decided_by: str
    reason: str
    decided_at: datetime


class SettlementFileShown(SettlementFile):
    """With all decisions about it, oldest first."""

    decisions: list[FileDecision]
