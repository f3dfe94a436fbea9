"""A command about one thing that doors keep → its rows and the events that say so, in one transaction; then on Kafka.

They are rare, and run one at a time: each locks its row, so that the events get their outbox ids in the order of the
changes, and a refused command rolls back no other.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from producers.doors.door import Door
from producers.doors.records import record_of
from producers.source import SOURCE
from schemas.envelope import EventId, derive_id
from schemas.events import Event
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import Row
from topics.runtime.shape.consumer import Connection
from topics.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class CommandEvents:
    """The events that say what a command came to."""

    events: Sequence[tuple[EventId, Event, int]] = ()  # id, event, revision


@dataclass(frozen=True, slots=True)
class Command(Generic[Result]):
    """A command about one endpoint or seller: `work` is done in the door's transaction.

    In the modules that make them the `owner` None is an operator, who may change those of all owners.
    """

    subject: tuple[str, str]  # kind, id
    work: Callable[[Connection, datetime], tuple[Result, CommandEvents]]

    def ids(self) -> list[tuple[str, str]]:
        return [self.subject]


def door(settings: Settings) -> Door[Command[Any], Any]:
    """The door of these commands. It takes them one by one, so that a refused command rolls back no other."""
    return Door(settings, "commands", claim, batch_max=1)


def claim(
    conn: Connection, batch: Sequence[Command[Any]], now: datetime
) -> tuple[Sequence[Any], Callable[[], list[Row]]]:
    done = [command.work(conn, now) for command in batch]
    return [result for result, _ in done], publish(conn, [said for _, said in done], now)


def publish(conn: Connection, said: Sequence[CommandEvents], now: datetime) -> Callable[[], list[Row]]:
    """Into the outbox. → its rows, read after the commit."""
    events = [event for each in said for event in each.events]
    return outbox.insert(conn, [record_of(event, id_, now, revision=revision) for id_, event, revision in events])


def id_of_revision(kind: str, id_: str, revision: int, now: datetime) -> EventId:
    """Of the event that says one revision of a thing."""
    return derive_id(f"{kind}|{id_}|{revision}", SOURCE, 0, _milliseconds(now))


def new_id(now: datetime) -> EventId:
    """Of a command that may be repeated: each is one of its own."""
    return derive_id(secrets.token_hex(16), SOURCE, 0, _milliseconds(now))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
