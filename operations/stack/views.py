"""A room's read views → rows, as the role that may do nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from topics.settings import Settings


def read(
    settings: Settings, room: str, statement: LiteralString, values: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """Errors: psycopg.OperationalError while the store is away."""
    options = f"-c search_path={room} -c default_transaction_read_only=on"
    with psycopg.connect(
        settings.dsn(f"tally_{room}_read"), options=options, row_factory=dict_row, connect_timeout=5
    ) as conn:
        return conn.execute(statement, values).fetchall()
