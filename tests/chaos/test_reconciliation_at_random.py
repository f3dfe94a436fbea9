"""Files and captures through readers, Faust workers and rooms that are killed, paused and asked to end, and whose servers are
killed: tallies, settlements, bookings and breaks are in the end those of one process that nobody disturbs, to the cent.

`make chaos` goes on, round after round, each with a store of its own; a seed alone (CHAOS_SEED) runs a short slice.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
import pytest
from confluent_kafka import Producer

from operations.auditor.balances import SUMS as BALANCES
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.settlements import SUMS, compare, read_all
from operations.stack import kafka, postgres
from operations.stack.home import Home, write_private
from operations.stack.ports import PortClaims, choose_ports
from operations.stack.servers import Servers, start_servers
from operations.stack.settings import AllSettings, load_settings
from operations.stack.supervisor import Supervisor
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import AnyEvent
from schemas.settlements import (
    Settled,
    SettlementFileStored,
    SettlementMatched,
    SettlementReclassified,
    StatementMatched,
)
from tests.chaos.arena import SERVERS
from tests.chaos.reconciling import LATER, SOURCES, Day, day, differing, discard, end_of, said_in_sum, undisturbed
from tests.conftest import SECRET, await_topics
from tests.contract.files_running import keep
from tests.contract.running import Nursery, heard, kill, nursery
from tests.databases import copy_database
from tests.journey.books import lying_about, unheard
from tests.journey.whole import hurried, wait_until
from tests.stack import quick_servers
from tests.stack.memory import quick_folder
from tests.store.hearing import TOPIC_OF
from topics import catalog
from topics.runtime.making.migrate import migrate
from topics.runtime.making.topics import apply_topics
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings

LIMIT_S = 120.0
SLICE = (4, 550, 9.0, 0.9)  # batches, lines of each, seconds, between two faults
ROUND = (12, 2600, 45.0, 1.2)
SHARE = 0.25  # of a long run's minutes
ROUNDS = 6  # even if that takes longer: on a slow machine a round has time for a few steps only
SAID_AT = datetime(2026, 2, 12, tzinfo=UTC)
PAUSE_S = (2.5, 5.0)  # past the sessions of Faust and of the group, and past a reader's lease
STREAM, ROOM, LEDGER = "settlements", "reconciliation", "ledger"
PROCESSES = (STREAM, STREAM, ROOM, ROOM, LEDGER)
STEPS = ("after_load", "after_save", "before_commit", "after_commit", "before_publish", "before_offsets")
READING = ("file.after_spool", "file.after_gated", "file.between_chunks", "file.before_end")
# Where a process dies: the first of its kind at the first of these, and so on.
POINTS = {STREAM: STEPS, ROOM: (*READING, *STEPS), LEDGER: ()}
ENDED = {"folded", "superseded", "discarded", "quarantined"}
WAITING = {"odd": "true", "settlements": "to_settle", "timers": "due_at <= %(now)s"}
SAYS = {event_type(kind): kind for kind in (SettlementMatched, SettlementReclassified, StatementMatched)}


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))


@dataclass
class Machine:
    """Servers of its own, which may be killed. Whoever waits here keeps them alive, on the thread that started them."""

    home: Home
    servers: Servers
    supervisor: Supervisor
    template: str

    def kill(self, name: str) -> bool:
        found = next(each for each in self.supervisor.watched if each.command.name == name)
        if not found.alive or found.child.poll() is not None:
            return False
        found.child.kill()
        return True

    def beside(self, settings: AllSettings) -> AllSettings:
        """The same with another store."""
        name = f"{settings.database}_beside"
        copy_database(self.servers, self.template, name)
        return settings.model_copy(update={"database": name})

    def settings(self) -> AllSettings:
        """With an empty store and topics of its own."""
        name = f"r{secrets.token_hex(4)}"
        copy_database(self.servers, self.template, f"tally_{name}")
        home = self.home.path / name
        home.mkdir(mode=0o700)
        return self._settings(database=f"tally_{name}", topic_prefix=f"{name}.", home=home)

    def _settings(self, **own: object) -> AllSettings:
        where = {"kafka": self.servers.kafka, "postgres": self.servers.postgres, "secret": SECRET}
        return load_settings(**where, **own, settlement_sources=SOURCES, partitions=2)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(kafka, "properties", quick_servers.properties)
    monkeypatch.setattr(postgres, "SETTINGS", quick_servers.POSTGRES)
    with quick_folder() as folder:
        yield from started(Home(folder / "home"))


def started(home: Home) -> Iterator[Machine]:
    supervisor, claims = Supervisor(), PortClaims()
    home.prepare()
    try:
        servers = start_servers(supervisor, home, choose_ports(home, claims, {}), lambda what, done, of: None)
        template = "tally_template"
        migrate(load_settings(postgres=servers.postgres, database=template, secret=SECRET), servers.postgres_admin)
        yield Machine(home, servers, supervisor, template)
    finally:
        supervisor.stop()
        claims.release()


@dataclass
class Hurt:
    """The processes of one round, and what happens to them."""

    machine: Machine
    settings: AllSettings
    processes: Nursery
    chance: random.Random
    before: Counter[str]  # faults of rounds before: what was not among them comes first
    faults: Counter[str] = field(default_factory=Counter)
    ended_by_themselves: list[str] = field(default_factory=list)
    calm: bool = False
    _running: dict[int, tuple[str, str]] = field(default_factory=dict)  # pid → what it is, the point where it dies
    _waking: dict[int, float] = field(default_factory=dict)  # pid → when it goes on
    _killed: set[int] = field(default_factory=set)
    _points: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, points in POINTS.items():
            self._points[name] = sorted(points, key=lambda point, name=name: self.before[f"{name}: {point}"])  # type: ignore[misc]
        for name in PROCESSES:
            self._start(name)

    def _start(self, name: str) -> None:
        points = self._points[name]
        point = points.pop(0) if points and not self.calm else ""
        nth = self.chance.randint(1, 1 if point.startswith("file.") else 3)
        pid = self.processes.start(name, f"{point}=kill:{nth}" if point else "")
        self._running[pid] = name, point

    def keep(self) -> None:
        """Start again what has died, wake what has slept long enough."""
        self.machine.supervisor.tick()
        for pid, at in list(self._waking.items()):
            if time.monotonic() >= at or self.calm:
                kill(pid, signal.SIGCONT)
                del self._waking[pid]
        for pid, (name, point) in list(self._running.items()):
            if self.processes.has_ended(pid):
                self._note_end(pid, name, point)
                self._start(name)

    def _note_end(self, pid: int, name: str, point: str) -> None:
        status = self.processes.ended(pid)
        del self._running[pid]
        self._waking.pop(pid, None)
        if pid in self._killed:
            if point:
                self._points[name].insert(0, point)
        elif point and status == -signal.SIGKILL:
            self.faults[f"{name}: {point}"] += 1
        else:
            self.ended_by_themselves.append(f"{name} ended with {status}")

    def strike(self) -> None:
        """One fault, at random. What is asleep is let sleep."""
        kind = self.chance.choice(("kill", "kill", "term", "pause", "pause", "server"))
        if kind == "server":
            name = self.chance.choice(("kafka", "postgres", "postgres"))
            self.faults[f"kill: {name}"] += self.machine.kill(name)
            return
        awake = [pid for pid in self._running if pid not in self._waking and not self.processes.has_ended(pid)]
        if not awake:
            return
        pid = self.chance.choice(awake)
        self.faults[f"{kind}: {self._running[pid][0]}"] += 1
        if kind == "pause":
            kill(pid, signal.SIGSTOP)
            self._waking[pid] = time.monotonic() + self.chance.uniform(*PAUSE_S)
            return
        self._killed.add(pid)
        kill(pid, signal.SIGKILL if kind == "kill" else signal.SIGTERM)

    def is_enough(self) -> bool:
        """Whether each server was killed, and some process at a step of a file's way, and at one of a batch."""
        hit = {fault.partition(": ")[2] for fault in self.faults}
        return (
            all(self.faults[f"kill: {name}"] for name in SERVERS)
            and not hit.isdisjoint(READING)
            and not hit.isdisjoint(STEPS)
        )

    def end(self) -> None:
        for pid in self._running:
            with suppress(ProcessLookupError):
                kill(pid, signal.SIGCONT)
                kill(pid, signal.SIGTERM)


class Mouth:
    """What executor, doors and persons say, put on Kafka; some of it twice, under one id or under two."""

    def __init__(self, settings: Settings, chance: random.Random) -> None:
        self._prefix, self._chance = settings.topic_prefix, chance
        self._producer = Producer(kafka_config(settings) | {"enable.idempotence": True})

    def say(self, event: AnyEvent) -> None:
        ids = self._chance.choice((("1",), ("1",), ("1",), ("1", "1"), ("1", "2")))
        now = datetime.now(UTC)
        for each in ids:
            id_ = derive_id(f"{event.model_dump_json()} {each}", "tests", 0, int(SAID_AT.timestamp() * 1000))
            headers = record_headers(Envelope(id_, "/test", event_type(type(event)), now))
            value = event.model_dump_json(exclude_none=True).encode()
            topic = self._prefix + TOPIC_OF[type(event)]
            self._producer.produce(topic, value, event.key.encode(), headers=list(headers))
        self._producer.poll(0)

    def unsaid(self) -> list[str]:
        left = self._producer.flush(0)
        return [f"{left} records"] if left else []


def unfinished(settings: Settings, files: int) -> list[str]:
    """What is left to do."""
    with psycopg.connect(settings.dsn("tally_reconciliation"), options="-c search_path=reconciliation") as conn:
        states = Counter(state for (state,) in conn.execute("SELECT state FROM files"))
        left = [f"{count} files {state}" for state, count in states.items() if state not in ENDED]
        left += [] if states.total() == files else [f"{states.total()} files of {files}"]
        for table, which in WAITING.items():
            count = conn.execute(
                f"SELECT count(*) FROM {table} WHERE {which}", {"now": Clock(settings.clock_file).now()}
            )  # type: ignore[arg-type]
            left += [f"{number} {table}" for (number,) in count if number]
    heard_by = (f"{ROOM} ", f"{LEDGER} ")  # no other room runs here
    return left + lying_about(settings) + [line for line in unheard(settings) if line.startswith(heard_by)]


def said(settings: Settings) -> dict[str, dict[str, int]]:
    """What the ledger was told in sum; each revision of a subject once."""
    events: dict[str, Settled] = {}
    for message in heard(settings, catalog.SETTLEMENTS.name):
        headers = {name: value.decode() for name, value in message.headers() or ()}
        event = SAYS[headers["ce_type"]].model_validate_json(message.value() or b"")
        assert events.setdefault(headers["ce_id"], event) == event, "an id stands for one event"
    revisions = Counter((event.subject, event.revision) for event in events.values())
    assert set(revisions.values()) <= {1}, revisions
    return said_in_sum(events.values())


def timeline(told: Day, stored: Sequence[SettlementFileStored], chance: random.Random) -> list[tuple[float, AnyEvent]]:
    """When each thing is said: between 0 and 1."""
    found: list[tuple[float, AnyEvent]] = [(chance.uniform(0, 0.9), fact) for fact in told.facts]
    for number, (file, event) in enumerate(zip(told.files, stored, strict=True)):
        at = 0.8 * number / len(stored)
        found.append((at, event))
        if file.discarded:
            found.append((at + chance.uniform(0.01, 0.2), discard(event.file_id)))
    return sorted(found, key=lambda each: each[0])


def suffer(hurt: Hurt, mouth: Mouth, to_say: list[tuple[float, AnyEvent]], seconds: float, gap_s: float) -> None:
    """Say all that while fault follows fault; the due days pass in the middle of it."""
    settings, started = hurt.settings, time.monotonic()
    next_s, jumped = 1.0, False
    while (passed := time.monotonic() - started) < seconds or (passed < 4 * seconds and not hurt.is_enough()):
        while to_say and to_say[0][0] <= passed / seconds:
            mouth.say(to_say.pop(0)[1])
        if passed >= next_s:
            hurt.strike()
            next_s = passed + hurt.chance.uniform(0.4, 1.6) * gap_s
        if passed >= 0.6 * seconds and not jumped:
            write_private(settings.clock_file, f"{LATER.total_seconds():.6f}\n")
            jumped = True
        hurt.keep()
        mouth.unsaid()
        time.sleep(0.02)
    hurt.calm = True
    for _, event in to_say:
        mouth.say(event)


def one_round(
    machine: Machine, seed: int, before: Counter[str], batches: int, lines: int, seconds: float, gap_s: float
) -> Counter[str]:
    """→ the faults."""
    chance, told = random.Random(seed), day(seed, batches, lines)
    settings = machine.settings()
    apply_topics(settings)
    await_topics(settings)
    wanted = undisturbed(machine.beside(settings), told)
    stored = [keep(settings, file.body, file.name, file.source) for file in told.files]
    mouth = Mouth(settings, chance)
    with nursery(settings) as processes:
        hurt = Hurt(machine, settings, processes, chance, before)
        suffer(hurt, mouth, timeline(told, stored, chance), seconds, gap_s)
        left = hurried(settings, lambda: mouth.unsaid() or unfinished(settings, len(stored)), by_s=61)
        for _ in range(2):  # what is expected is heard; then it is late
            wait_until(
                left, LIMIT_S, hurt.keep, lambda: (settings.home / "probe.log").read_text(errors="replace")[-3000:]
            )
            later = Clock(settings.clock_file).offset() + LATER
            write_private(settings.clock_file, f"{later.total_seconds():.6f}\n")
        wait_until(left, LIMIT_S, hurt.keep, lambda: "")
        hurt.end()
    found = end_of(settings) | {"said": said(settings)}
    print(json.dumps({"seed": seed, "files": len(stored), "facts": len(told.facts), "faults": hurt.faults}), flush=True)
    unlike = list(differing(wanted, found))
    assert not unlike, "\n".join(unlike)
    assert found["breaks"], "what is odd is found"
    assert wrong(settings) == []
    assert hurt.ended_by_themselves == []
    assert hurt.is_enough(), hurt.faults
    return hurt.faults


def wrong(settings: AllSettings) -> list[str]:
    """What the auditor says."""
    with Stores(settings) as stores:
        found = [str(each) for each in compare(read_all(stores, settings))]
        return found + [str(each) for each in check_sums(stores, (*SUMS, *BALANCES), expected=False) if not each.ok]


@pytest.mark.skipif("not config.getoption('--chaos-minutes') and 'CHAOS_SEED' not in os.environ", reason="make chaos")
@pytest.mark.timeout(0)
def test_whoever_is_killed_the_end_is_that_of_an_undisturbed_run(
    machine: Machine, seed: int, pytestconfig: pytest.Config
) -> None:
    print(f"CHAOS_SEED={seed}", flush=True)
    minutes = pytestconfig.getoption("--chaos-minutes")
    if not minutes:
        one_round(machine, seed, Counter(), *SLICE)
        return
    faults, end, rounds = Counter[str](), time.monotonic() + minutes * 60 * SHARE, 0
    points = {f"{name}: {point}" for name, listed in POINTS.items() for point in listed}
    while time.monotonic() < end or (rounds < ROUNDS and not points <= set(faults)):
        faults += one_round(machine, seed + rounds, faults, *ROUND)
        rounds += 1
    print(json.dumps({"rounds": rounds, "faults": dict(sorted(faults.items()))}), flush=True)
    assert points <= set(faults), "somebody has died at each step"
