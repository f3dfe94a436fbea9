"""The shape of a room: (state, event, cause) → Decision(changes, events, calls)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, get_args, get_type_hints

import psycopg

from schemas.envelope import EventId
from schemas.events import AnyEvent
from topics.catalog import Room, Topic
from topics.runtime.shape.limits import Retention, StuckLimits
from topics.runtime.shape.stuck import Stuck
from topics.settings import Settings

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]


class Message(NamedTuple):
    """One record as it came: from Kafka, from the parked, or from the caller (topic `calls`). Names carry no prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


# In place of the headers of a record whose batch the client cannot unpack: more than 100 MB, or no such compression at all.
OPAQUE: tuple[tuple[str, bytes], ...] = (("tally_opaque", b""),)


class Cause(NamedTuple):
    """Why we decide: the event's id, where it came from, and the batch's one reading of the clock."""

    event_id: EventId
    topic: str
    upstream: str | None  # the service whose own topic it is; None on the house's topics
    now: datetime
    entered_ms: int  # time of the record that first entered
    traceparent: str | None = None


CallKind = Literal["charge", "capture", "void", "refund", "check"]
Act = Literal["send", "ask"]


@dataclass(frozen=True, slots=True)
class Call:
    """An operation at a PSP, to be sent after the commit. `id` is idempotency key and reference there.

    `subject` is the payment order that it is about. A check begins, and goes on, with asking: it never sends.
    """

    id: str  # 32 hex digits
    subject: str
    kind: CallKind
    psp: str
    request: bytes  # JSON that the caller turns into the PSP's request
    deadline: datetime  # no first send after it
    act: Act = "send"


@dataclass(frozen=True, slots=True)
class Retry:
    """What becomes of a call that is not decided yet: send it again, or ask the PSP by our reference."""

    call_id: str
    act: Act
    due_in_s: float  # from the batch's reading of the clock


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that is decided: nothing more is sent or asked."""

    call_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Timer:
    """TimerFired comes to this room at `due_at` (business time), once, however often the same timer is set before."""

    kind: str
    key: str
    due_at: datetime


class Decision(NamedTuple):
    """All that follows from one event. Nothing of it happens before the commit."""

    changes: Sequence[object] = ()  # what the room's state folds in and its store saves
    events: Sequence[AnyEvent] = ()
    calls: Sequence[Call | Retry | Ended] = ()
    revision: int = 0  # the aggregate's, for foreign readers
    timers: Sequence[Timer] = ()
    traceparent: str | None = None  # of the trace that goes on, where that is not the cause's


@dataclass(frozen=True, slots=True)
class Broken:
    """A readable message on a door topic that breaks the contract: a refusal, not a dead letter.

    `kind` is the event that it should have been, `subject_id` what its topic is keyed by.
    """

    kind: type[AnyEvent]
    subject_id: str
    owner: str | None
    field: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Latest:
    """One row of a compacted topic as it is now."""

    key: str
    version: int
    event: AnyEvent


class State(Protocol):
    """What the events of a batch find in their room's store."""

    def fold(self, change: Any, /) -> None:
        """Take in what was decided on one event, for the events after it. What no event looks for is left out."""


S = TypeVar("S", bound=State)  # the room's own state
E = TypeVar("E")  # the union of all that it hears
Load = Callable[[Connection, Sequence[E], datetime], S]
Decide = Callable[[S, E, Cause], Decision]
Versions = Mapping[Topic, Mapping[str, int]]  # what is new on a compacted topic: key → version
Save = Callable[[Connection, Sequence[Any]], Versions | None]
ReadLatest = Callable[[Connection, Sequence[str]], Sequence[Latest]]
FindStuck = Callable[[Connection, StuckLimits, datetime], Sequence[Stuck]]  # by business time, oldest first
Slice = Callable[
    [Connection, Retention, datetime], int
]  # one slice of a chore, in a transaction of its own; 0: nothing left


# Runs in a thread of its own until the first event is set; the second one is set when a batch with calls was committed.
SideTask = Callable[[Settings, "AnyConsumer", threading.Event, threading.Event], None]


@dataclass(frozen=True, slots=True)
class Consumer(Generic[S, E]):
    """A room, wired. `load` locks rows in sorted order; `decide` is pure; `save` is set-based, in the same transaction."""

    room: Room
    load: Load[E, S]
    decide: Decide[S, E]
    save: Save
    compacted: Mapping[Topic, ReadLatest] = field(default_factory=dict)
    find_stuck: FindStuck | None = None
    trim: Slice | None = None  # deletes what is old enough
    sum_up: Slice | None = None  # adds up what is over
    side_tasks: Mapping[str, SideTask] = field(
        default_factory=dict
    )  # what its process runs beside the loop, by their names

    def __post_init__(self) -> None:
        """Errors: MiswiredRoom."""
        consumed, decided = _types_consumed(self.room), _types_decided(self.decide)
        missing = [kind for kind in consumed if not issubclass(kind, decided)]
        not_read = [kind for kind in decided if not any(issubclass(each, kind) for each in consumed)]
        if missing or not_read:
            raise MiswiredRoom(self.room.name, missing, not_read)

    @property
    def name(self) -> str:
        return self.room.name


class MiswiredRoom(Exception):
    """A room's decider and the catalogue disagree on what it hears."""

    def __init__(self, room: str, missing: Sequence[type], not_read: Sequence[type]) -> None:
        lacks = [f"the catalogue lets it hear {kind.__name__}, and it does not decide on it" for kind in missing]
        extra = [f"it decides on {kind.__name__}, which the catalogue does not let it hear" for kind in not_read]
        super().__init__(f"{room}: {'; '.join([*lacks, *extra])}")


def _types_consumed(room: Room) -> tuple[type, ...]:
    broken = (Broken,) if any(topic.door for topic in room.reads) else ()
    return (*(kind for topic in room.reads for kind in topic.says), *broken)


AnyConsumer = Consumer[Any, Any]  # to the runtime a room's state and events are the room's own business


def _types_decided(decide: Decide[Any, Any]) -> tuple[type, ...]:
    """What the decider's parameter `event` is declared to be: mypy holds its `match` to that."""
    declared = get_type_hints(decide.func if isinstance(decide, partial) else decide)["event"]
    return get_args(declared) or (declared,)
