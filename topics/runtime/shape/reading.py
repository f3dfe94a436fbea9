"""A room's views → rows, by the room's reading role. All readers from outside a room connect here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

from psycopg.rows import dict_row

from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.postgres import connect_to_read
from topics.settings import Settings


def reader_role(room: str) -> str:
    """The role that may only read the room's views."""
    return f"tally_{room}_read"


def connect_reader(
    settings: Settings, room: str, *, name: str, options: str = "", autocommit: bool = False
) -> Connection:
    """To the room's own schema. Errors: psycopg.OperationalError while the store is away."""
    return connect_to_read(
        settings.dsn(reader_role(room)), name=name, schema=room, options=options, autocommit=autocommit
    )


def read(
    settings: Settings, room: str, statement: LiteralString, values: Sequence[object] | Mapping[str, object] = ()
) -> list[dict[str, Any]]:
    """By a connection of its own. Errors: psycopg.OperationalError while the store is away."""
    with connect_reader(settings, room, name="tally") as conn:
        return conn.cursor(row_factory=dict_row).execute(statement, values).fetchall()
