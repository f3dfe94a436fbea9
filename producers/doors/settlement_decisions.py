"""What persons decide of a file → a row, and the event that reconciliation hears.

A file that the gate or the brake holds is released by two persons, and discarded by one; a file that counts is discarded by
two. The first proposes, the second asks for the same. What was decided before the file's state changed counts no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, LiteralString

from psycopg.rows import dict_row

from producers.doors.commands import Command, CommandEvents
from producers.doors.settlement_files import event_id_of
from producers.problems import Problem
from producers.reading import Row
from schemas.events import Event
from schemas.persons import person_of
from schemas.settlements import RELEASABLE, SettlementFileDiscarded, SettlementFileReleased
from topics.runtime.shape.consumer import Connection

Decision = Literal["release_proposed", "discard_proposed", "released", "discarded"]

LIFE = timedelta(days=7)  # of a proposal, as of others
DECISIONS: LiteralString = (
    "SELECT source, file_id, decision, decided_by, reason, decided_at FROM settlement_file_decision_view"
    " WHERE source = %s AND file_id = %s ORDER BY decision_no"
)


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as reconciliation has it."""

    source: str
    file_id: str
    state: str = "received"
    why: str | None = None
    since: datetime | None = None  # of its last change there

    @classmethod
    def of(cls, source: str, file_id: str, states: Sequence[Mapping[str, Any]]) -> FileState:
        """From the rows of STATES: none, where reconciliation has not heard of it."""
        if not states:
            return cls(source, file_id)
        return cls(source, file_id, states[0]["state"], states[0]["why"], states[0]["changed_at"])

    @property
    def is_held(self) -> bool:
        return self.state in ("quarantined", "held")

    def check_held(self) -> None:
        """Errors: Problem `not_waiting`."""
        if not self.is_held:
            raise Problem("not_waiting", f"The file is {self.state}: neither the gate nor the brake holds it.")

    @property
    def counts(self) -> bool:
        return self.state == "folded"

    def check_discardable(self) -> None:
        """Errors: Problem `not_waiting`."""
        if not self.counts:
            self.check_held()

    def check_releasable(self) -> None:
        """Errors: Problem `not_waiting`, `refused`."""
        self.check_held()
        if self.state == "quarantined" and self.why not in RELEASABLE:
            codes = ", ".join(sorted(RELEASABLE))
            raise Problem("refused", f"A file that is refused by {self.why} cannot be released; by {codes} it can.")


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision as it is kept, and whether it was made before."""

    row: Mapping[str, Any]
    replayed: bool = False


def release(file: FileState, by: str, reason: str) -> Command[Decided]:
    """Propose a release, or agree to one that another person has proposed. Errors: Problem `not_waiting`, `refused`,
    `same_person`.
    """

    def work(conn: Connection, now: datetime) -> tuple[Decided, CommandEvents]:
        last = _last(conn, file)
        if last is not None and _is_again(last, file, ("release_proposed", "released"), by, reason):
            return Decided(_told(last), replayed=True), CommandEvents()
        file.check_releasable()
        proposal = _agreed_to(last, file, "release_proposed", by, now)
        if proposal is None:
            return Decided(_insert(conn, file, last, "release_proposed", by, reason, now)), CommandEvents()
        event = SettlementFileReleased(
            source=file.source,
            file_id=file.file_id,
            proposed_by=proposal["decided_by"],
            released_by=by,
            reason=reason,
        )
        return _said(conn, file, last, "released", by, reason, now, event)

    return Command(("settlement_file", f"{file.source}/{file.file_id}"), work)


def discard(file: FileState, by: str, reason: str) -> Command[Decided]:
    """Errors: Problem `not_waiting`, and of a file that counts `same_person`."""

    def work(conn: Connection, now: datetime) -> tuple[Decided, CommandEvents]:
        last = _last(conn, file)
        if last is not None and _is_again(last, file, ("discard_proposed", "discarded"), by, reason):
            return Decided(_told(last), replayed=True), CommandEvents()
        file.check_discardable()
        if _agreed_to(last, file, "discard_proposed", by, now) is None and file.counts:
            return Decided(_insert(conn, file, last, "discard_proposed", by, reason, now)), CommandEvents()
        event = SettlementFileDiscarded(source=file.source, file_id=file.file_id, discarded_by=by, reason=reason)
        return _said(conn, file, last, "discarded", by, reason, now, event)

    return Command(("settlement_file", f"{file.source}/{file.file_id}"), work)


def _agreed_to(last: Row | None, file: FileState, proposal: Decision, by: str, now: datetime) -> Row | None:
    """The proposal that this person agrees to, if there is one. Errors: Problem `not_waiting`, `same_person`."""
    if last is None or not _counts(last, file):
        return None
    if last["decision"] in ("released", "discarded"):
        raise Problem("not_waiting", f"{last['decision']} by {last['decided_by']}")
    if last["decision"] != proposal or last["decided_at"] + LIFE <= now:
        return None
    if person_of(by) == person_of(last["decided_by"]):
        raise Problem("same_person", f"Who has proposed the {proposal.partition('_')[0]} cannot agree to it.")
    return last


def _counts(last: Row | None, file: FileState) -> bool:
    """Whether the decision is about the file as it is now."""
    return last is not None and (file.since is None or last["decided_at"] >= file.since)


def _is_again(last: Row, file: FileState, decisions: Sequence[Decision], by: str, reason: str) -> bool:
    same = last["decision"] in decisions and (last["decided_by"], last["reason"]) == (by, reason)
    waits = file.is_held or (file.counts and "discarded" in decisions)
    return same and (_counts(last, file) or not waits)


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _last(conn: Connection, file: FileState) -> Row | None:
    """The newest decision. Others wait until this transaction ends."""
    conn.execute("SELECT FROM files WHERE source = %s AND file_id = %s FOR UPDATE", [file.source, file.file_id])
    cursor = conn.cursor(row_factory=dict_row)
    return cursor.execute(
        "SELECT * FROM file_decisions WHERE source = %s AND file_id = %s ORDER BY decision_no DESC LIMIT 1",
        [file.source, file.file_id],
    ).fetchone()


def _said(
    conn: Connection,
    file: FileState,
    last: Row | None,
    decision: Decision,
    by: str,
    reason: str,
    now: datetime,
    event: Event,
) -> tuple[Decided, CommandEvents]:
    number = 1 + (last["decision_no"] if last else 0)
    event_id = event_id_of(f"{decision}|{number}", file.source, file.file_id, now)
    row = _insert(conn, file, last, decision, by, reason, now, event_id)
    return Decided(row), CommandEvents([(event_id, event, 0)])


def _insert(
    conn: Connection,
    file: FileState,
    last: Row | None,
    decision: Decision,
    by: str,
    reason: str,
    now: datetime,
    event_id: str | None = None,
) -> Row:
    row = {
        "source": file.source,
        "file_id": file.file_id,
        "decision_no": 1 + (last["decision_no"] if last else 0),
        "decision": decision,
        "decided_by": by,
        "reason": reason,
        "decided_at": now,
    }
    conn.execute(
        "INSERT INTO file_decisions (source, file_id, decision_no, decision, decided_by, reason, decided_at, event_id)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [*row.values(), event_id],
    )
    return _told(row)


def _told(row: Row) -> Row:
    return {name: row[name] for name in ("source", "file_id", "decision", "decided_by", "reason", "decided_at")}
