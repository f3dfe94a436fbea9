"""A settlement file as the door stores it, and processes that read it and fold its lines."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

from operations.stack.settings import load_settings
from reconciliation import app, host
from reconciliation.consumer import build
from reconciliation.reader import FileReader
from schemas.envelope import TYPE_PREFIX
from schemas.events import AnyEvent
from schemas.settlements import SettlementFileStored
from tests.stack.forked import Forked, fork
from tests.store.hearing import KIND_OF
from topics.settings import Settings
from topics.settlement_sources import SettlementSource

MAIN = SettlementSource(name="adyen-main", psp="adyen", bank_account="main")
PIECE = 200_000


def run(settings: Settings, role: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.dsn(f"tally_{role}")) as conn:
        done = conn.execute(statement, values)  # type: ignore[call-overload]
        return done.fetchall() if done.description else []


def keep(settings: Settings, body: bytes, name: str, source: str) -> SettlementFileStored:
    """As the door stores it. → what it says then"""
    file_id = hashlib.sha256(body).hexdigest()
    pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
    for number, piece in enumerate(pieces):
        statement = "INSERT INTO doors.file_chunks VALUES (%s, %s, %s)"
        run(settings, "doors", statement, f"upload-{file_id}", number, zlib.compress(piece))
    about = (source, file_id, f"upload-{file_id}", name, len(body))
    statement = "INSERT INTO doors.files VALUES (%s, %s, %s, %s, %s, %s, 'test', now(), gen_random_uuid())"
    run(settings, "doors", statement, *about, len(pieces))
    names = ("source", "file_id", "upload_id", "name", "size")
    return SettlementFileStored(**dict(zip(names, about, strict=True)), received_at=datetime.now(UTC))


def store(settings: Settings, body: bytes, name: str = "report.csv") -> str:
    """As the door stores it and the room hears of it. → the file's id"""
    stored = keep(settings, body, name, MAIN.name)
    about = (stored.source, stored.file_id, stored.upload_id, stored.name, stored.size)
    statement = (
        "INSERT INTO reconciliation.files (source, file_id, upload_id, name, size, received_at, state, changed_at)"
        " VALUES (%s, %s, %s, %s, %s, '2026-02-12', 'received', now())"
    )
    run(settings, "reconciliation", statement, *about)
    return stored.file_id


class Told:
    """A publisher in process: what a reader says is heard at once, or kept."""

    unacknowledged, failing = 0, ""

    def __init__(self, hear: Callable[[AnyEvent], object]) -> None:
        self._hear = hear

    def produce(self, topic: str, key: bytes, headers: Sequence[tuple[str, bytes]], value: bytes) -> bool:
        name = dict(headers)["ce_type"].decode().removeprefix(TYPE_PREFIX).partition(".")[0]
        self._hear(KIND_OF[name].model_validate_json(value))
        return True

    def flush(self, seconds: float) -> None:
        """All is said."""


def row(settings: Settings, columns: str) -> tuple[Any, ...]:
    """Of the only file."""
    (found,) = run(settings, "reconciliation", f"SELECT {columns} FROM reconciliation.files")
    return found


@contextmanager
def started(settings: Settings, work: Callable[[], None], failpoints: str = "") -> Iterator[Forked]:
    """A process of its own, which dies as told."""
    variables = {
        "TALLY_HOME": str(settings.home),
        "TALLY_KAFKA": settings.kafka,
        "TALLY_POSTGRES": settings.postgres,
        "TALLY_DATABASE": settings.database,
        "TALLY_TOPIC_PREFIX": settings.topic_prefix,
        "TALLY_SECRET": settings.secret,
        "TALLY_SETTLEMENT_SOURCES": json.dumps([MAIN.model_dump(mode="json", exclude_unset=True)]),
        "TALLY_METRICS_PORT": "0",
        "TALLY_FAILPOINTS": failpoints,
    }
    process = fork(settings.home / f"{work.__name__}.log", variables, work)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def reader() -> None:
    """Reads one file."""
    FileReader(load_settings(), "reconciliation", threading.Event()).read_one()


def worker() -> None:
    """Folds lines until SIGTERM."""
    app.SESSION_S, app.BATCH = 2.0, 1
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    host.StreamLoop(load_settings(), build(load_settings()), stop).run()


def ended(settings: Settings, work: Callable[[], None], failpoints: str = "") -> int:
    """The same, waited for. → exit code, or minus the signal."""
    with started(settings, work, failpoints) as process:
        return process.wait(60)


def pass_a_minute(settings: Settings) -> None:
    """Leases of killed readers have run out."""
    run(settings, "reconciliation", "UPDATE reconciliation.files SET lease_until = now()")
