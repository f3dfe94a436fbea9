"""The shape of a room: (state, event, cause) → Decision(changes, events, calls)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, get_args, get_type_hints

import psycopg

from schemas.envelope import EventId, header
from schemas.events import AnyEvent
from topics.catalog import Room, Topic
from topics.runtime.shape.limits import Retention, StuckLimits
from topics.runtime.shape.stuck import Stuck
from topics.settings import Settings

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]


class Message(NamedTuple):
    """One record: from Kafka, from a parked letter, or made of a PSP's reply (topic `calls`). Topic names have no prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


# The headers of a record whose compressed batch the client cannot unpack: over 100 MB, or an unknown compression.
OPAQUE: tuple[tuple[str, bytes], ...] = (("tally_opaque", b""),)


class Cause(NamedTuple):
    """The event that a decision follows from: its id, its origin, and the batch's one reading of the clock."""

    event_id: EventId
    topic: str
    upstream: str | None  # the service that the topic belongs to; None on our own topics
    now: datetime
    entered_ms: int  # when the first record of this chain of events was published
    traceparent: str | None = None
    headers: tuple[tuple[str, bytes], ...] = ()  # of the event's record
    partition: int = -1  # and where it lies; -1 of what is on no topic
    offset: int = -1

    @property
    def said_at(self) -> datetime:
        """When the event was published, by business time: the same however late or often it is read. A timer has no such time:
        `now`."""
        said = header(self.headers, "ce_time")
        return self.now if said is None else datetime.fromisoformat(said)


CallKind = Literal["charge", "capture", "void", "refund", "check", "payout", "payout_check"]
PAYOUT_KINDS: tuple[CallKind, ...] = ("payout", "payout_check")
Act = Literal["send", "ask"]


@dataclass(frozen=True, slots=True)
class Call:
    """An operation at a PSP or provider, to be sent after the commit. `id` is idempotency key and reference there.

    `subject` is the payment order's or pay-out's id. A check only ever asks: it never sends.
    """

    id: str  # 32 hex digits
    subject: str
    kind: CallKind
    psp: str  # the PSP's name, or the provider's
    request: bytes  # JSON that the client turns into the PSP's request
    deadline: datetime  # no first send after it
    act: Act = "send"
    due_at: datetime | None = None  # None: at once


@dataclass(frozen=True, slots=True)
class Retry:
    """An undecided call is due again: send it again, or ask the PSP by our reference."""

    call_id: str
    act: Act
    due_in_s: float  # from the batch's reading of the clock


@dataclass(frozen=True, slots=True)
class Ended:
    """A call is decided: nothing more is sent or asked."""

    call_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Timer:
    """The room gets one TimerFired at `due_at` (business time), however often the same timer is set before."""

    kind: str
    key: str
    due_at: datetime


class Decision(NamedTuple):
    """All effects of one event. Nothing leaves the process before the commit."""

    changes: Sequence[object] = ()  # folded into the room's state and saved by its store
    events: Sequence[AnyEvent] = ()
    calls: Sequence[Call | Retry | Ended] = ()
    revision: int = 0  # of the aggregate, for other consumers
    timers: Sequence[Timer] = ()
    traceparent: str | None = None  # of the trace to continue, if it is not the cause's


@dataclass(frozen=True, slots=True)
class Broken:
    """A readable message on a door topic that breaks the contract: a refusal, not a dead letter.

    `kind` is the event's type that it claims, `subject_id` the value of its topic's key, `ids` the fields whose names end in
    `_id` and that hold an id.
    """

    kind: type[AnyEvent]
    subject_id: str
    owner: str | None
    field: str
    code: str
    detail: str
    ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Latest:
    """The current record of one key on a compacted topic, or what saving says of one key."""

    key: str
    version: int
    event: AnyEvent


class State(Protocol):
    """The rows of a room's store that the events of one batch need."""

    def fold(self, change: Any, /) -> None:
        """Apply one event's change in memory, for the later events of the batch."""


S = TypeVar("S", bound=State)  # the room's own state
E = TypeVar("E")  # the union of the events that it consumes
Load = Callable[[Connection, Sequence[E], datetime], S]
Decide = Callable[[S, E, Cause], Decision]
Versions = Mapping[Topic, Mapping[str, int]]  # changed keys of a compacted topic → version


class Said(NamedTuple):
    """Events that only saving knows, since it counts under locks: published with the batch, their ids of topic, key, version."""

    events: Sequence[Latest]


Save = Callable[[Connection, Sequence[Any]], Versions | Said | None]
ReadLatest = Callable[[Connection, Sequence[str]], Sequence[Latest]]
FindStuck = Callable[[Connection, StuckLimits, datetime], Sequence[Stuck]]  # by business time, oldest first
Slice = Callable[
    [Connection, Retention, datetime], int
]  # does one slice of a chore in a transaction of its own → rows changed; 0: nothing is left


# Runs in its own thread until the first event is set. The second event is set after each commit of a batch with calls.
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
    trim: Slice | None = None  # deletes finished rows past their retention
    sum_up: Slice | None = None  # sums finished rows up
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
    """A room's decider and the catalogue disagree on the events that it consumes."""

    def __init__(self, room: str, missing: Sequence[type], not_read: Sequence[type]) -> None:
        lacks = [f"the catalogue lets it consume {kind.__name__}, and it does not decide on it" for kind in missing]
        extra = [f"it decides on {kind.__name__}, which the catalogue does not let it consume" for kind in not_read]
        super().__init__(f"{room}: {'; '.join([*lacks, *extra])}")


def _types_consumed(room: Room) -> tuple[type, ...]:
    broken = (Broken,) if any(topic.door for topic in room.reads) else ()
    return (*(kind for topic in room.reads for kind in topic.says), *broken)


AnyConsumer = Consumer[Any, Any]  # the runtime does not look into a room's state and events


def _types_decided(decide: Decide[Any, Any]) -> tuple[type, ...]:
    """The declared types of the decider's parameter `event`: mypy checks its `match` against them."""
    declared = get_type_hints(decide.func if isinstance(decide, partial) else decide)["event"]
    return get_args(declared) or (declared,)
