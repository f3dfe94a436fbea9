"""executions and requests → probe → wallet movements: a room that makes doubles, losses and overtaking visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from schemas.errors import Permanent, Transient
from schemas.events import (
    AnyEvent,
    Event,
    PaymentCaptured,
    PaymentRequested,
    TimerFired,
    WalletBalance,
    WalletCredited,
)
from schemas.money import Money
from topics import catalog
from topics.catalog import Room
from topics.runtime.shape.consumer import (
    AnyConsumer,
    Broken,
    Cause,
    Connection,
    Consumer,
    Decision,
    Latest,
    Timer,
    Versions,
)

ROOM = Room(
    "probe",
    (catalog.EXECUTIONS, catalog.PAYMENT_REQUESTS, catalog.TIMERS),
    (catalog.WALLET_MOVEMENTS, catalog.WALLET_BALANCES),
    "tests.contract.probe",
    ladder_s=(5, 30),
)
# Only one topic, all of whose partitions are busy, so that every process of a group surely has some; and nothing dies.
BUSY_ROOM = replace(ROOM, reads=(catalog.EXECUTIONS,), ladder_s=(3600,))
STREAMED_ROOM = replace(BUSY_ROOM, streamed=BUSY_ROOM.reads)
ZERO = Money(0, "EUR")


@dataclass(frozen=True, slots=True)
class Count:
    """One key's effects so far."""

    key: str
    count: int
    last_n: int


@dataclass(frozen=True, slots=True)
class Effect:
    """One message took effect. `told` is what the message told the store to do."""

    of: str
    place: int
    n: int
    cause: str
    told: str


@dataclass(slots=True)
class Counts:
    """What the probe knows of a batch's keys, and what is broken."""

    counts: dict[str, Count]
    broken: set[str]

    def fold(self, change: Count | Effect) -> None:
        if isinstance(change, Count):
            self.counts[change.key] = change


def load(conn: Connection, events: Sequence[AnyEvent | Broken], now: datetime) -> Counts:
    for told, _ in map(_told, events):
        if told.startswith("load:"):
            conn.execute("SELECT raise(%s)", [told.removeprefix("load:")])
    keys = sorted({_key(event) for event in events})
    conn.execute(
        "INSERT INTO counts SELECT unnest(%s::text[]), 0, 0 ON CONFLICT DO NOTHING",
        [keys],
    )
    rows = conn.execute(
        "SELECT key, count, last_n FROM counts WHERE key = ANY(%s) ORDER BY key FOR UPDATE", [keys]
    ).fetchall()
    counts = {key: Count(key, count, last_n) for key, count, last_n in rows}
    return Counts(counts, {what for (what,) in conn.execute("SELECT what FROM broken")})


def _key(event: AnyEvent | Broken) -> str:
    return event.subject_id if isinstance(event, Broken) else event.key


def decide(state: Counts, event: AnyEvent | Broken, cause: Cause) -> Decision:
    """Count the message; do as it says."""
    told, n = _told(event)
    match told.split(":")[0]:
        case "transient" if "world" in state.broken:
            raise Transient("told_transient")
        case "permanent" if "code" in state.broken:
            raise Permanent("told_permanent")
        case "foreign":
            raise Permanent("told_foreign", ours=False)
        case "bug" if "code" in state.broken:
            raise ValueError("told to")
    before = state.counts[_key(event)]
    after = Count(before.key, before.count + 1, n)
    changes = [after, Effect(after.key, after.count, n, cause.event_id, told if _works(told, state) else "")]
    timers = [Timer(kind, after.key, cause.now + timedelta(seconds=s)) for kind, s in _timers(told)]
    return Decision(changes, [said(after.key, n, after.count)], revision=after.count, timers=timers)


def _timers(told: str) -> list[tuple[str, int]]:
    """`timer:KIND:SECONDS` asks for one; KIND is what the probe is told when it fires."""
    return [
        (kind, int(s))
        for what, _, rest in [told.partition(":")]
        if what == "timer"
        for kind, _, s in [rest.partition(":")]
    ]


def _works(told: str, state: Counts) -> bool:
    """Whether the store's fault is still there; what needs no mending always is."""
    return not told.startswith("unless_mended ") or "store" in state.broken


def _told(event: AnyEvent | Broken) -> tuple[str, int]:
    match event:
        case PaymentCaptured():
            return event.scheme, int(event.psp_reference)
        case PaymentRequested():
            return event.description or "", int(event.metadata.get("n", "0"))
        case TimerFired():
            return event.kind, 0
        case _:
            return "", 0


def said(key: str, n: int, place: int) -> WalletCredited:
    return WalletCredited(
        payment_order_id=key,
        checkout_id=key,
        movement_id=str(n),
        seller_account=key,
        amount=ZERO,
        available=ZERO,
        pending=ZERO,
        reserved=ZERO,
        wallet_version=place,
    )


def save(conn: Connection, changes: Sequence[Any]) -> None:
    counts = {change.key: change for change in changes if isinstance(change, Count)}
    conn.execute(
        "UPDATE counts c SET count = u.count, last_n = u.last_n"
        " FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS u (key, count, last_n) WHERE c.key = u.key",
        [list(counts), [c.count for c in counts.values()], [c.last_n for c in counts.values()]],
    )
    effects = [change for change in changes if isinstance(change, Effect)]
    conn.execute(
        "INSERT INTO effects (key, place, n, cause)"
        " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::uuid[])",
        [[e.of for e in effects], [e.place for e in effects], [e.n for e in effects], [e.cause for e in effects]],
    )
    for effect in effects:
        if effect.told:
            _misbehave(conn, effect.told.removeprefix("unless_mended "))


def _misbehave(conn: Connection, told: str) -> None:
    """Make this transaction fail as the message says."""
    what, _, rest = told.partition(":")
    match what:
        case "sql":
            conn.execute("SELECT raise(%s)", [rest])
        case "hiccup":
            state, _, times = rest.partition(":")
            conn.execute("SELECT hiccup(%s, %s)", [state, int(times)])
        case "deferred":
            conn.execute("INSERT INTO once VALUES (1), (1)")
        case "nul":
            conn.execute("INSERT INTO texts VALUES (%s)", ["a\0b"])
        case "surrogate":
            conn.execute("INSERT INTO texts VALUES (%s)", ["\ud800"])
        case "oddity":
            raise KeyError("told to, in save")


def save_and_tell(conn: Connection, changes: Sequence[Any]) -> Versions:
    save(conn, changes)
    return {catalog.WALLET_BALANCES: {c.key: c.count for c in changes if isinstance(c, Count)}}


def latest(conn: Connection, keys: Sequence[str]) -> Sequence[Latest]:
    rows = conn.execute("SELECT key, count FROM counts WHERE key = ANY(%s)", [list(keys)])
    return [Latest(key, count, _balance(key, count)) for key, count in rows]


def _balance(key: str, count: int) -> WalletBalance:
    return WalletBalance(
        wallet=key,
        seller_account=key,
        available=Money(count, "EUR"),
        pending=ZERO,
        reserved=ZERO,
        balance_version=count,
    )


def decide_events(state: Counts, event: Event, cause: Cause) -> Decision:
    """As `decide`, of a room that hears no door."""
    return decide(state, event, cause)


def build(compacted: bool = True, room: Room = ROOM) -> AnyConsumer:
    """The probe, wired."""
    decider = decide if any(topic.door for topic in room.reads) else decide_events
    if not compacted:
        return Consumer(room, load, decider, save)
    return Consumer(room, load, decider, save_and_tell, {catalog.WALLET_BALANCES: latest})


def build_streamed() -> AnyConsumer:
    """The probe whose messages come through Faust; its processes publish no compacted topic."""
    return build(compacted=False, room=STREAMED_ROOM)
