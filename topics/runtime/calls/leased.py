"""Rows that are sent under a lease: due → sending (leased, numbered) → recorded: due again, or ended.

One implementation for calls to PSPs (`CallSender` in the executor) and for webhooks (`WebhookSender`): both lease rows,
release unsent ones, expire lost leases and record outcomes.

Two clocks, never compared: `due_at` is business time, passed in; `lease_until` is PostgreSQL's time, which
`tally clock advance` does not move.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from topics.runtime.shape.consumer import Connection

AT_ONCE = 500  # expired rows


@dataclass(frozen=True, slots=True)
class LeasedRows:
    """A table with `state`, `due_at` and `lease_until`. Each lease increments `number`, and only the holder of
    the newest lease may change the row: a late outcome is not recorded.

    Statements are made once, at import; their texts go into `Connection.execute`.
    """

    table: LiteralString
    id: LiteralString
    id_type: LiteralString
    number: LiteralString
    order: LiteralString  # in which rows are locked
    lease_s: float
    unsent: LiteralString = ""  # columns also set on release

    def lease(self, due: LiteralString, sets: LiteralString, returning: LiteralString) -> LiteralString:
        """`due` selects the ids, as `wanted`, FOR UPDATE SKIP LOCKED. %(lease)s is how long."""
        return (
            f"WITH wanted AS ({due}) UPDATE {self.table} SET state = 'sending', {self.number} = {self.number} + 1,"
            f" lease_until = clock_timestamp() + %(lease)s, {sets}"
            f" FROM wanted WHERE {self.table}.{self.id} = wanted.{self.id} RETURNING {returning}"
        )

    # A statement that finds rows by id has the required state as a parameter: with a constant the planner, which expects
    # few rows to be out, reads all of those for each id (58 µs of an order's CPU in place of 16).
    def record(
        self, sets: LiteralString, result: Mapping[LiteralString, LiteralString], returning: LiteralString
    ) -> LiteralString:
        """Parameters: arrays of ids, numbers and each of `result` (name → type), then the required state, `sending`. Rows
        with an expired lease are not returned."""
        arrays = "".join(f", %s::{kind}[]" for kind in result.values())
        names = "".join(f", {name}" for name in result)
        return (
            f"UPDATE {self.table} SET {sets}"
            f" FROM unnest(%s::{self.id_type}[], %s::int[]{arrays}) AS result ({self.id}, {self.number}{names})"
            f" WHERE {self.table}.{self.id} = result.{self.id} AND {self.table}.{self.number} = result.{self.number}"
            f" AND {self.table}.state = %s RETURNING {returning}"
        )

    def unsent_text(self) -> LiteralString:
        """The statement of `release`."""
        return self.record(f"state = 'due', lease_until = NULL{self.unsent}", {}, "1")

    def release(self, conn: Connection, leases: Sequence[tuple[str, int]]) -> None:
        """Release rows that were surely not sent (ids and numbers): due again unchanged. Their numbers stay used."""
        ids, numbers = [id_ for id_, _ in leases], [number for _, number in leases]
        conn.execute(self.unsent_text(), (ids, numbers, "sending"))

    def expired(self, conn: Connection, columns: LiteralString) -> list[tuple[Any, ...]]:
        """Rows whose lease has expired, locked: their holder is gone or late, and may have sent them."""
        return conn.execute(
            f"SELECT {columns} FROM {self.table} WHERE state = 'sending' AND lease_until < statement_timestamp()"
            f" ORDER BY {self.order} LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED"
        ).fetchall()

    def lasts(self, leased_at: float, seconds: float) -> bool:
        """Whether the lease lasts `seconds` more. `leased_at` is the monotonic time before the lease was taken."""
        return leased_at + self.lease_s - time.monotonic() >= seconds
