"""The models that describe answers about reconciliation."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Links(_Shape):
    self: str


class SettlementFile(_Shape):
    """A file as it was stored. `file_id` is the SHA-256 of its bytes, `size` their number, both unpacked."""

    source: str
    file_id: str
    name: str
    size: int
    stored_by: str
    received_at: datetime
    links: _Links


class SettlementFilePage(_Shape):
    """Newest first. `next_cursor` leads to older ones."""

    files: list[SettlementFile]
    next_cursor: str | None
