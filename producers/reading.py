"""A room's views → the API: a handful of connections of the room's read-only role."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from producers.problems import RETRY_SOON, Problem
from topics.settings import Settings

Row = dict[str, Any]
Values = Sequence[object] | Mapping[str, object]

CONNECTIONS = 4  # per role and process; reads are short
STATEMENT_MS_MAX = 5000


class Reader:
    """Reads as one role. Connections are opened on first use and replaced when they are lost."""

    def __init__(self, settings: Settings, role: str, schema: str) -> None:
        self._dsn = settings.dsn(role)
        self._options = (
            f"-c search_path={schema} -c statement_timeout={STATEMENT_MS_MAX} -c default_transaction_read_only=on"
        )
        self._idle: list[psycopg.AsyncConnection[Row]] = []
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def rows(self, statement: LiteralString, values: Values = ()) -> list[Row]:
        """Errors: Problem `unavailable` while the store cannot be reached, `too_slow` past STATEMENT_MS_MAX."""
        async with self._free:
            try:
                return await self._query(statement, values)
            except psycopg.errors.QueryCanceled as error:
                raise Problem("too_slow") from error
            except psycopg.OperationalError as error:
                raise Problem("unavailable", headers=RETRY_SOON) from error

    async def reach(self) -> None:
        """By a connection of its own: that others wait for theirs says nothing of the store. Errors: Problem `unavailable`."""
        try:
            await (await self._connect()).close()
        except psycopg.OperationalError as error:
            raise Problem("unavailable", headers=RETRY_SOON) from error

    async def _query(self, statement: LiteralString, values: Values) -> list[Row]:
        """A connection that had been idle may be dead; then a new one is asked once more."""
        while self._idle:
            conn = self._idle.pop()
            try:
                return await self._ask(conn, statement, values)
            except psycopg.OperationalError:
                if not conn.broken:
                    raise
        return await self._ask(await self._connect(), statement, values)

    async def _ask(self, conn: psycopg.AsyncConnection[Row], statement: LiteralString, values: Values) -> list[Row]:
        try:
            cursor = await conn.execute(statement, values)
            rows = await cursor.fetchall()
        except BaseException:
            await conn.close()
            raise
        self._idle.append(conn)
        return rows

    async def _connect(self) -> psycopg.AsyncConnection[Row]:
        return await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            row_factory=dict_row,
            options=self._options,
            connect_timeout=3,
            application_name="tally api",
        )

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()
