"""A room's read views → rows, as the role that may do nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg.rows import dict_row

from topics.runtime.shape.postgres import connect_to_read
from topics.settings import Settings


def read(
    settings: Settings, room: str, statement: LiteralString, values: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """Errors: psycopg.OperationalError while the store is away."""
    with connect_to_read(settings.dsn(f"tally_{room}_read"), name="tally", schema=room) as conn:
        return conn.cursor(row_factory=dict_row).execute(statement, values).fetchall()
