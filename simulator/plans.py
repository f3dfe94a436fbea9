"""Failures planned for the next operation of a kind on a subject → each met once, kept in the PSPs' books until then."""

from __future__ import annotations

from typing import NamedTuple

from simulator.faults import Failure, Op, read_failure, read_op
from simulator.memory import Memory

_SCHEMA = """
CREATE TABLE IF NOT EXISTS plans (seq INTEGER PRIMARY KEY, op TEXT NOT NULL, subject TEXT NOT NULL, fault TEXT NOT NULL)
"""


class Planned(NamedTuple):
    """The subject is an order or a reference."""

    seq: int
    op: Op
    subject: str
    failure: Failure


class Plans:
    """In the order in which they were made. An operation of which nothing is planned costs no commit."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        memory.writing.executescript(_SCHEMA)
        rows = memory.writing.execute("SELECT seq, op, subject, fault FROM plans ORDER BY seq").fetchall()
        self._planned = [
            Planned(seq, o := read_op(op), subject, read_failure(o, fault)) for seq, op, subject, fault in rows
        ]

    async def add(self, op: Op, subject: str, failure: Failure) -> None:
        statement = "INSERT INTO plans (op, subject, fault) VALUES (?,?,?) RETURNING seq"
        values = (op, subject, failure.value)
        [seq] = await self._memory.commit(lambda: self._memory.writing.execute(statement, values).fetchone())
        self._planned.append(Planned(seq, op, subject, failure))

    async def take(self, op: Op, *subjects: str) -> Failure | None:
        """The first one planned for any of these; no other operation meets it."""
        of_op = [plan for plan in self._planned if plan.op == op]
        found = next((plan for subject in subjects for plan in of_op if plan.subject == subject), None)
        if found is None:
            return None
        self._planned.remove(found)
        await self._memory.commit(lambda: self._memory.writing.execute("DELETE FROM plans WHERE seq=?", (found.seq,)))
        return found.failure

    def to_json(self) -> list[dict[str, object]]:
        return [{"op": plan.op, "subject": plan.subject, "fault": plan.failure.value} for plan in self._planned]
