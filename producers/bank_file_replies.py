"""What the routes of bank files answer, for the API's description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from schemas.money import Money

FileState = Literal["closed", "delivering", "delivered", "unresolved", "not_delivered", "rejected"]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StatusFileTaken(_Shape):
    """Of a bank's report: our file, its lines that were told on, and those that are kept and move nothing."""

    file_id: str
    matched: int
    unknown: int


class BankFile(_Shape):
    """A file for a bank. `sha256` and `bytes` are null until it is written; `states`: how many lines are in which state."""

    file_id: str
    provider: str
    bank_account: str
    cut_off: datetime
    transactions: int
    amount: str
    currency: str
    state: FileState
    code: str | None
    sha256: str | None
    bytes: int | None
    closed_at: datetime
    changed_at: datetime
    states: dict[str, int]


class BankFilePage(_Shape):
    files: list[BankFile]
    next_cursor: str | None


class BankFileLine(_Shape):
    """A line of a file; `state` is that of its pay-out at the bank."""

    position: int
    call_id: str
    payout_id: str
    amount: str
    currency: str
    state: str
    code: str | None


class OddLine(_Shape):
    """A line of a report that moves nothing: it is not ours, or names another amount."""

    end_to_end_id: str
    status: str
    code: str | None
    amount: str | None = None
    currency: str | None = None
    why: Literal["not_ours", "other_amount"]


class BankReport(_Shape):
    """What a bank has told of a file, once."""

    sha256: str
    group_status: str | None
    lines: int
    matched: int
    odd: list[OddLine]
    stored_by: str
    received_at: datetime


class BankFileShown(BankFile):
    lines: list[BankFileLine]
    reports: list[BankReport]


def file(row: Mapping[str, Any], counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of a row of the executor's `bank_file_view`."""
    shown = {name: value for name, value in row.items() if name not in ("total_minor", "currency")}
    states = {each["state"]: each["lines"] for each in counts if each["file_id"] == row["file_id"]}
    return shown | Money(row["total_minor"], row["currency"]).wire() | {"states": states}


def line(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of a row of the executor's `bank_file_line_view`."""
    shown = {name: value for name, value in row.items() if name not in ("amount_minor", "currency")}
    return shown | Money(row["amount_minor"], row["currency"]).wire()
