"""A room on a full disk, and one whose clock jumps → it waits where it must, and each message has one effect, in order."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from operations.stack.postgres import give_to_server
from operations.stack.servers import Servers
from tests.contract.rooms import Books
from tests.contract.running import Nursery, Sender, advance_clock, kill, nursery, settled, violations, wait
from topics.settings import Settings

KEYS = [f"k{i}" for i in range(40)]
DAY_S = 86_400


@contextmanager
def two_processes(settings: Settings) -> Iterator[Nursery]:
    """Of one room; both must end by being asked to."""
    with nursery(settings) as processes:
        pids = [processes.start() for _ in range(2)]
        yield processes
        for pid in pids:
            kill(pid, signal.SIGTERM)
            assert processes.ended(pid) == 0, "it lived through it"


def feed(sender: Sender, rounds: int, told: str = "") -> int:
    """→ how many messages were sent in all."""
    for _ in range(rounds):
        for key in KEYS:
            sender.capture(key, told, twice=len(sender.sent.get(key, ())) % 5 == 0)
    sender.flush()
    return sum(map(len, sender.sent.values()))


@dataclass(frozen=True)
class Disk:
    """Where the probe's effects are stored."""

    fill: Callable[[], None]
    free: Callable[[], None]


@pytest.fixture
def disk(on_kafka: Settings, servers: Servers, tmp_path: Path) -> Iterator[Disk]:
    """One of 4 MB where this machine and its PostgreSQL can have that; else a table that says it has none left."""
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=on_kafka.database)
    with psycopg.connect(dsn, autocommit=True) as admin:
        if not mounted(folder):
            yield _fault(admin)
            return
        try:
            give_to_server(folder)
            yield from _small_disk(admin, folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mounted(folder: Path) -> bool:
    """Whether a small file system now lies there."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tally-test", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def _small_disk(admin: psycopg.Connection, folder: Path) -> Iterator[Disk]:
    name, ballast = f"small_{os.getpid()}", folder / "ballast"
    try:
        admin.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
    except psycopg.Error:  # a server elsewhere, which does not see this folder
        yield _fault(admin)
        return
    admin.execute("TRUNCATE probe.effects")
    admin.execute(f"ALTER TABLE probe.effects SET TABLESPACE {name}")
    try:
        yield Disk(lambda: fill(ballast), ballast.unlink)
    finally:
        admin.execute("TRUNCATE probe.effects")
        admin.execute("ALTER TABLE probe.effects SET TABLESPACE pg_default")
        admin.execute(f"DROP TABLESPACE {name}")


def fill(ballast: Path) -> None:
    """To the last byte."""
    space = os.statvfs(ballast.parent)
    ballast.write_bytes(bytes(space.f_bavail * space.f_frsize))


FULL = """
CREATE FUNCTION probe.full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON probe.effects EXECUTE FUNCTION probe.full_disk()
"""


def _fault(admin: psycopg.Connection) -> Disk:
    return Disk(lambda: void(admin.execute(FULL)), lambda: void(admin.execute("DROP FUNCTION probe.full_disk CASCADE")))


def void(_: object) -> None:
    """What a statement returns is of no interest."""


def test_on_a_full_disk_a_room_waits_and_loses_nothing(on_kafka: Settings, books: Books, disk: Disk) -> None:
    """Nobody is dead-lettered for it, and the room goes on by itself once there is space."""
    log, sender = on_kafka.home / "probe.log", Sender(on_kafka)
    with two_processes(on_kafka):
        sent = feed(sender, 2)
        wait("it works", lambda: settled(books, sent))
        disk.fill()
        sent = feed(sender, 20)
        wait("it says so", lambda: "No space left" in log.read_text())
        assert len(books.effects()) < sent
        disk.free()
        sent = feed(sender, 2)
        wait("all is done and said", lambda: settled(books, sent))
    assert violations(on_kafka, books, sender.sent) == set()
    assert books.letters() == []


def test_a_clock_that_jumps_both_ways_doubles_nothing(on_kafka: Settings, books: Books) -> None:
    """What was parked at a later time waits for that time to come again; those behind it wait too, the others do not."""
    sender = Sender(on_kafka)
    parked = KEYS[:3]
    with two_processes(on_kafka):
        books.breaks("world")
        advance_clock(on_kafka, DAY_S)
        for key in parked:
            sender.capture(key, "transient")
        sent = feed(sender, 2)
        held = sum(len(sender.sent[key]) for key in parked)
        wait("some are parked", lambda: len(books.letters()) == held)
        advance_clock(on_kafka, -DAY_S)
        books.mends("world")
        sent = feed(sender, 2)
        held = sum(len(sender.sent[key]) for key in parked)
        wait("the others go on", lambda: settled(books, sent - held))
        assert {key for key in parked if books.effects(key)} == set()
        advance_clock(on_kafka, 2 * DAY_S)
        wait("their time has come", lambda: settled(books, sent))
        advance_clock(on_kafka, 0)
        sent = feed(sender, 2)
        wait("all is done and said", lambda: settled(books, sent))
    assert violations(on_kafka, books, sender.sent) == set()
