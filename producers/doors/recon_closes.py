"""A day of reconciliation, signed by two persons: one proposes the report as it is then, another one signs that report by its
SHA-256. Both rows are kept for ever; a day that is signed stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal, LiteralString

import orjson
from psycopg.rows import dict_row

from producers.doors.commands import Command, CommandEvents
from producers.problems import Problem
from producers.reading import Row
from producers.recon_day_report import Taken
from schemas.persons import person_of
from schemas.requests import FieldError
from topics.runtime.shape.consumer import Connection

Decision = Literal["proposed", "signed"]

LIFE = timedelta(days=7)  # of a proposal, as of others
NAMED_MAX = 5  # reasons of a refusal that its text names
COLUMNS: LiteralString = "day, close_no, decision, sha256, decided_by, reason, decided_at"
# How each day stands: signed, or as it was proposed last.
DAYS: LiteralString = (
    "SELECT DISTINCT ON (day) " + COLUMNS + " FROM recon_close_view WHERE day < %(before)s"
    " ORDER BY day DESC, close_no DESC LIMIT %(limit)s"
)
OF_DAY: LiteralString = "SELECT " + COLUMNS + ", report FROM recon_close_view WHERE day = %(day)s ORDER BY close_no"
_ONE_AT_A_TIME: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('close of ' || %s::date, 0))"


@dataclass(frozen=True, slots=True)
class Closing:
    """A decision as it is kept, and whether it was made before."""

    row: Mapping[str, Any]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How a day stands: the row by which it was signed, or else the newest proposal that still counts."""

    signed: Row | None
    proposal: Row | None
    close_no: int  # of the newest row

    @classmethod
    def of(cls, rows: list[Row], now: datetime) -> Standing:
        """`rows`: of the day, oldest first."""
        signed = next((row for row in rows if row["decision"] == "signed"), None)
        last = rows[-1] if rows else None
        counts = last is not None and signed is None and last["decided_at"] + LIFE > now
        return cls(signed, last if counts else None, last["close_no"] if last else 0)


def close(taken: Taken, by: str, reason: str, sha256: str | None) -> Command[Closing]:
    """Propose the report that is taken, or sign the one of this `sha256` that another person has proposed.

    A day that is signed shows what was signed. Errors: Problem `refused`, `same_person`, `not_waiting`, `approval_stale`,
    and `missing_field`, which names `sha256`.
    """

    def work(conn: Connection, now: datetime) -> tuple[Closing, CommandEvents]:
        conn.execute(_ONE_AT_A_TIME, [taken.day])
        cursor = conn.cursor(row_factory=dict_row)
        rows = cursor.execute("SELECT * FROM recon_closes WHERE day = %s ORDER BY close_no", [taken.day]).fetchall()
        done = _proposed if sha256 is None else _signed
        return done(conn, Standing.of(rows, now), taken, by, reason, sha256 or "", now), CommandEvents()

    return Command(("recon_close", taken.day.isoformat()), work)


def _proposed(conn: Connection, at: Standing, taken: Taken, by: str, reason: str, _: str, now: datetime) -> Closing:
    if at.signed is not None:
        return Closing(at.signed, replayed=True)
    waiting = at.proposal
    if waiting is not None and person_of(waiting["decided_by"]) != person_of(by):
        why = f"{waiting['decided_by']} has proposed a report: read it, and name its SHA-256, {waiting['sha256']}"
        raise Problem("missing_field", f"sha256: {why}", [FieldError("sha256", "missing_field", why)])
    if waiting is not None and waiting["reason"] == reason and taken.says_the_same(waiting["report"]):
        return Closing(waiting, replayed=True)
    _check(taken)
    return Closing(_insert(conn, at, taken.day, "proposed", (taken.sha256, taken.text), by, reason, now))


def _signed(conn: Connection, at: Standing, taken: Taken, by: str, reason: str, sha256: str, now: datetime) -> Closing:
    if at.signed is not None:
        if sha256 != at.signed["sha256"]:
            raise Problem("refused", f"{taken.day} is signed, with another report: {at.signed['sha256']}")
        return Closing(at.signed, replayed=True)
    if at.proposal is None:
        raise Problem("not_waiting", f"No report of {taken.day} waits to be signed: propose one.")
    if sha256 != at.proposal["sha256"]:
        raise Problem("approval_stale", f"The report that waits to be signed is {at.proposal['sha256']}.")
    if person_of(by) == person_of(at.proposal["decided_by"]):
        raise Problem("same_person", "Who has proposed the report does not sign it.")
    _check(taken)
    kept = (sha256, at.proposal["report"])
    return Closing(_insert(conn, at, taken.day, "signed", kept, by, reason, now))


def _check(taken: Taken) -> None:
    """Errors: Problem `refused`."""
    if taken.refusals:
        more = len(taken.refusals) - NAMED_MAX
        named = "; ".join(taken.refusals[:NAMED_MAX]) + (f"; and {more} more" if more > 0 else "")
        raise Problem("refused", f"{taken.day} cannot be signed: {named}")


def _insert(
    conn: Connection,
    at: Standing,
    day: date,
    decision: Decision,
    kept: tuple[str, str],
    by: str,
    reason: str,
    now: datetime,
) -> Row:
    sha256, report = kept
    row = {
        "day": day,
        "close_no": at.close_no + 1,
        "decision": decision,
        "sha256": sha256,
        "report": report,
        "decided_by": by,
        "reason": reason,
        "decided_at": now,
    }
    conn.execute(
        "INSERT INTO recon_closes (day, close_no, decision, sha256, report, decided_by, reason, decided_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        list(row.values()),
    )
    return row


def state_of(row: Mapping[str, Any], now: datetime) -> Literal["proposed", "signed", "expired"]:
    """A proposal that nobody has signed in time counts no more."""
    if row["decision"] == "signed":
        return "signed"
    return "proposed" if row["decided_at"] + LIFE > now else "expired"


def shown(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A decision for its readers."""
    names = ("day", "sha256", "decided_by", "reason", "decided_at")
    return {"state": state_of(row, now)} | {name: row[name] for name in names}


def report_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The report that a decision is about, as it was taken."""
    report: dict[str, Any] = orjson.loads(row["report"])
    return report
