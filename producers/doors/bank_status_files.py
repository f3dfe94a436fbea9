"""A bank's report about a file of ours → kept as it came; an event for each line of ours that it tells of.

A line is ours by its EndToEndId and, where the bank names one, its amount; anything else is kept and shown, and moves
nothing. A line that is not named keeps its status. A file that is rejected as a whole is told line by line, so that whatever
becomes of a pay-out comes to the executor in one way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString, NamedTuple

import orjson

from producers.doors.commands import Command, CommandEvents
from producers.problems import Problem
from producers.reading import Row
from producers.source import SOURCE
from psp import pain002
from psp.pain002 import OUTCOMES, LineStatus, StatusFile, StatusFileError
from schemas.envelope import EventId, derive_id
from schemas.events import Event
from schemas.money import Money
from schemas.payouts import BankFileNotified, PayoutNotified
from topics.runtime.shape.consumer import Connection

FILE: LiteralString = "SELECT file_id, provider, currency, total_minor FROM bank_file_view WHERE file_id = %s"
LINES: LiteralString = (
    "SELECT call_id, position, amount_minor FROM bank_file_line_view WHERE file_id = %s ORDER BY position"
)
NO_REASON = "unspecified"


@dataclass(frozen=True, slots=True)
class BankReport:
    """A report as it came."""

    provider: str
    sha256: str
    body: bytes
    told: StatusFile


@dataclass(frozen=True, slots=True)
class Taken:
    """What a report came to."""

    file_id: str
    matched: int
    unknown: int
    replayed: bool = False


class OddLine(NamedTuple):
    """A line of a report that moves nothing."""

    line: LineStatus
    why: str  # not_ours, other_amount

    def shown(self) -> dict[str, object]:
        money = {} if self.line.amount is None else self.line.amount.wire()
        told = {"end_to_end_id": self.line.end_to_end_id, "status": self.line.status, "code": self.line.code}
        return {**told, **money, "why": self.why}


class FileLine(NamedTuple):
    """A line of our file."""

    call_id: str
    position: int
    amount: Money


class Match(NamedTuple):
    """The lines of a report: of ours with their new statuses, and others."""

    ours: Sequence[tuple[FileLine, LineStatus]]
    odd: Sequence[OddLine]


def read(provider: str, body: bytes) -> BankReport:
    """Errors: Problem `invalid_xml`."""
    try:
        told = pain002.read(body)
    except StatusFileError as error:
        raise Problem("invalid_xml", str(error)) from None
    return BankReport(provider, hashlib.sha256(body).hexdigest(), body, told)


def check_file(report: BankReport, found: Sequence[Row]) -> Row:
    """The row of FILE. Errors: Problem `unknown_file`, `wrong_provider`."""
    if not found:
        raise Problem("unknown_file", "OrgnlMsgId: no file of ours has this MsgId.")
    if found[0]["provider"] != report.provider:
        raise Problem("wrong_provider", f"OrgnlMsgId: this file went to {found[0]['provider']}.")
    return found[0]


def match(told: StatusFile, lines: Sequence[FileLine]) -> Match:
    """Pure."""
    known = {line.call_id: line for line in lines}
    ours: dict[str, tuple[FileLine, LineStatus]] = {}
    odd = []
    for status in told.lines:
        line = known.get(status.end_to_end_id)
        if line is None:
            odd.append(OddLine(status, "not_ours"))
        elif status.amount not in (None, line.amount):
            odd.append(OddLine(status, "other_amount"))
        else:
            ours[line.call_id] = (line, status)
    if told.group_status == "RJCT":
        named = ours.keys() | {each.line.end_to_end_id for each in odd}
        rest = (line for line in lines if line.call_id not in named)
        ours |= {line.call_id: (line, LineStatus(line.call_id, "RJCT")) for line in rest}
    return Match(list(ours.values()), odd)


def store(report: BankReport, file: Row, lines: Sequence[FileLine], by: str) -> Command[Taken]:
    """Keep the report and tell what it says. The same bytes again say nothing new."""
    matched = match(report.told, lines)

    def work(conn: Connection, now: datetime) -> tuple[Taken, CommandEvents]:
        taken = Taken(report.told.message_id, len(matched.ours), len(matched.odd))
        if not _insert(conn, report, matched, by, now):
            return Taken(*_fields(taken), replayed=True), CommandEvents()
        return taken, CommandEvents(
            [(_event_id(report, event, now), event, 0) for event in _events(report, file, matched)]
        )

    return Command(("bank_status_file", f"{report.provider}/{report.sha256}"), work)


def _fields(taken: Taken) -> tuple[str, int, int]:
    return taken.file_id, taken.matched, taken.unknown


def _insert(conn: Connection, report: BankReport, matched: Match, by: str, now: datetime) -> bool:
    """→ whether it is new."""
    told = report.told
    inserted = conn.execute(
        "INSERT INTO bank_status_files (provider, sha256, file_id, group_status, lines, matched, odd, body, stored_by,"
        " received_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
        [
            *(report.provider, report.sha256, told.message_id, told.group_status, len(told.lines), len(matched.ours)),
            *(orjson.dumps([each.shown() for each in matched.odd]).decode(), report.body, by, now),
        ],
    )
    return inserted.fetchone() is not None


def _events(report: BankReport, file: Row, matched: Match) -> Iterator[Event]:
    """First that the bank has the file: it may not be known yet."""
    told = report.told
    rejected = told.group_status == "RJCT"
    yield BankFileNotified(
        reference=told.message_id,
        provider=report.provider,
        notification_id=report.sha256,
        source="bank_file",
        status="rejected" if rejected else "taken",
        amount=Money(file["total_minor"], file["currency"]),
    )
    for line, status in matched.ours:
        outcome = OUTCOMES[status.status]
        yield PayoutNotified(
            reference=line.call_id,
            provider=report.provider,
            notification_id=f"{report.sha256}-{line.position}",
            source="bank_file",
            status=outcome,
            amount=line.amount,
            provider_reference=f"{told.message_id}-{line.position}",
            code=(status.code or NO_REASON) if outcome == "failed" else None,
        )


def _event_id(report: BankReport, event: Event, now: datetime) -> EventId:
    return derive_id(f"{report.provider}|{report.sha256}|{event.key}", SOURCE, 0, int(now.timestamp() * 1000))


def lines_of(file: Row, rows: Sequence[Mapping[str, int | str]]) -> list[FileLine]:
    """The rows of LINES."""
    currency = str(file["currency"])
    return [
        FileLine(str(row["call_id"]), int(row["position"]), Money(int(row["amount_minor"]), currency)) for row in rows
    ]
