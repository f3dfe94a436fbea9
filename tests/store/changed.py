"""Stores as the auditor reads them, after somebody has changed them past all rights."""

from __future__ import annotations

from typing import Any

import psycopg

from operations.auditor.engine.stores import Stores


class Changed(Stores):
    """The stores after a change that is taken back: all of them through the one connection that has made it."""

    def __init__(self, dsn: str, statement: str) -> None:
        """`dsn`: of the superuser."""
        self._conn = psycopg.connect(dsn)
        self._conn.execute("SET LOCAL session_replication_role = replica")  # past the triggers
        assert self._conn.execute(statement).rowcount, f"changes nothing: {statement}"  # type: ignore[call-overload]

    def rows(self, room: str, statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        self._conn.execute(f"SET LOCAL search_path = {room}")  # type: ignore[arg-type]
        return self._conn.execute(statement, values, binary=True).fetchall()  # type: ignore[arg-type]

    def __exit__(self, *_: object) -> None:
        self._conn.rollback()
        self._conn.close()
