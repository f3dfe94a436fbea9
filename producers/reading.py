"""A room's views → the API: a handful of connections of the room's read-only role."""

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
    """Reads as one role, the room's reader where no other is named. Connections are opened on first use, replaced when lost.

    No psycopg_pool: with it a read took 30 to 60 % more CPU here, and where the store is away 5 s, its time-out, not 1 ms.
    """

    def __init__(self, settings: Settings, room: str, role: str | None = None) -> None:
        self._dsn = settings.dsn(role or reader_role(room))
        self._schema = room
        self._idle: list[psycopg.AsyncConnection[Any]] = []
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

    async def reach(self, *, to_write: bool = False) -> None:
        """By a connection of its own: that others wait for theirs says nothing of the store. Errors: Problem `unavailable`."""
        try:
            await (await self._connect(to_write)).close()
        except psycopg.OperationalError as error:
            raise Problem("unavailable", headers=RETRY_SOON) from error

    async def _query(self, statement: LiteralString, values: Values) -> list[Row]:
        """A connection that had been idle may be dead, of no use since a failover, or know a view as it was before a migration:
        only what a new one says counts.
        """
        while self._idle:
            try:
                return await self._ask(self._idle.pop(), statement, values)
            except (psycopg.errors.QueryCanceled, psycopg.DataError):
                raise
            except psycopg.Error as error:
                log.info("connection left behind", action="read", error=str(error).strip()[:200])
        return await self._ask(await self._connect(), statement, values)

    async def _ask(self, conn: psycopg.AsyncConnection[Any], statement: LiteralString, values: Values) -> list[Row]:
        """A connection whose statement failed is not used again."""
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
