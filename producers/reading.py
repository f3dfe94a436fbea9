"""A room's views → rows for the API, through a few connections of the room's reading role."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
import structlog
from psycopg.rows import dict_row

from producers.problems import RETRY_SOON, Problem
from topics.runtime.shape.postgres import connect_async
from topics.runtime.shape.reading import reader_role
from topics.settings import Settings

log = structlog.get_logger()

Row = dict[str, Any]
Values = Sequence[object] | Mapping[str, object]

CONNECTIONS = 4  # per role and process; reads are short
STATEMENT_MS_MAX = 5000


class Reader:
    """Reads as one role, by default the room's reading role. Connections are opened on first use and replaced when lost.

    psycopg_pool is not used: a read through it took 30 to 60 % more CPU, and 5 s (its time-out) instead of 1 ms while the
    store was away.
    """

    def __init__(self, settings: Settings, room: str, role: str | None = None) -> None:
        self._dsn = settings.dsn(role or reader_role(room))
        self._schema = room
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def rows(self, statement: LiteralString, values: Values = ()) -> list[Row]:
        """The rows of a statement. Errors: Problem `unavailable` while the store is away, `too_slow` after STATEMENT_MS_MAX."""
        async with self._free:
            try:
                return await self._query(statement, values)
            except psycopg.errors.QueryCanceled as error:
                raise Problem("too_slow") from error
            except psycopg.OperationalError as error:
                raise Problem("unavailable", headers=RETRY_SOON) from error

    async def reach(self, *, to_write: bool = False) -> None:
        """Check the store through a new connection: a wait for a free one would say nothing of the store.

        Errors: Problem `unavailable`.
        """
        try:
            await (await self._connect(to_write)).close()
        except psycopg.OperationalError as error:
            raise Problem("unavailable", headers=RETRY_SOON) from error

    async def _query(self, statement: LiteralString, values: Values) -> list[Row]:
        """Run a statement; once more on a new connection if it fails on a kept one, which may be dead, read-only since a
        failover, or have cached plans from before a migration.
        """
        while self._idle:
            try:
                return await self._ask(self._idle.pop(), statement, values)
            except (psycopg.errors.QueryCanceled, psycopg.DataError):
                raise
            except psycopg.Error as error:
                log.info("connection replaced", action="read", error=str(error).strip()[:200])
        return await self._ask(await self._connect(), statement, values)

    async def _ask(self, conn: psycopg.AsyncConnection[Any], statement: LiteralString, values: Values) -> list[Row]:
        """Run a statement; close the connection if it fails."""
        try:
            cursor = await conn.cursor(row_factory=dict_row).execute(statement, values)
            rows = await cursor.fetchall()
        except BaseException:
            await conn.close()
            raise
        self._idle.append(conn)
        return rows

    async def _connect(self, to_write: bool = False) -> psycopg.AsyncConnection[Any]:
        limit = f"-c statement_timeout={STATEMENT_MS_MAX}"
        return await connect_async(self._dsn, writes=to_write, name="tally api", schema=self._schema, options=limit)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()
