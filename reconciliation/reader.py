"""Files that the doors have stored → the gate → their lines on Kafka: a side task of the room's processes.

A file is read under a lease. What passes the gate is spooled to the local disk, then committed as `gated`, and only then
said, straight to Kafka: no outbox holds what can be made again from the bytes. Events that are not known to be said are said
again, under the same ids; the room's inbox drops repeats.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psycopg
import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from reconciliation import file_rows, gate
from reconciliation.file_rows import LeasedFile, reading_of
from reconciliation.formats.shape import Chunk, Control, Reader, Refusal
from reconciliation.spool import Events, Spool, Spooled, delete_old
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.settlements import SettlementLines, SettlementLinesEnded
from topics import catalog
from topics.runtime.outbox.outbox import Publisher
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import AnyConsumer
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.kafka import kafka_config, partitions
from topics.runtime.shape.reading import connect_reader
from topics.runtime.shape.store import Store, error_kind
from topics.settings import Settings
from topics.settlement_sources import SettlementSource

log = structlog.get_logger()

IDLE_S = 1.0
RENEW_S = 15.0
SAID_EVERY = 50  # events whose acknowledgement is waited for, and noted, together
LANES_EACH = 16  # partition: keys are spread by their hash, and few would leave some partitions idle
FLUSH_S = 5.0  # between two looks at the lease while Kafka is away
SAYER = "reconciliation"


Refused = dict[str, object]  # code, detail, line, column, excerpt


class _Read(NamedTuple):
    """A file that passed the gate."""

    spool: Spool
    reader: Reader
    control: Control
    chunks: int


class _LeftFile(Exception):
    """Another reader has the file, nobody wants it any more, or this process ends."""


class DamagedBytes(Exception):
    """The doors' store does not hold what its file's name (the hash of its bytes) says."""


def run_reader(settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event) -> None:
    """Read files until `stop` is set. Raises only on a bug of ours: what a format's reader raises refuses its file."""
    reader = FileReader(settings, consumer.name, stop)
    delete_old(settings.home / "run")
    try:
        while not stop.is_set():
            if not reader.read_one():
                stop.wait(IDLE_S)
    finally:
        reader.close()


class FileReader:
    """One process's reader. Not thread-safe."""

    def __init__(self, settings: Settings, room: str, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._store = Store(settings, room)
        self._clock = Clock(settings.clock_file)
        self._publisher = Publisher(settings)
        self._admin = AdminClient(kafka_config(settings))
        self._sources = {source.name: source for source in settings.settlement_sources}
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._renewed_at = 0.0

    def close(self) -> None:
        self._publisher.flush(1)
        self._store.close()

    def read_one(self) -> bool:
        """Take the next file that waits, and go what is left of its way. → whether there was one"""
        try:
            with self._store.transaction() as conn:
                file = file_rows.lease(conn, self._holder, self._sources)
            if file is not None:
                self._renewed_at = time.monotonic()
                self._go(file, self._sources[file.source])
            return file is not None
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            log.warning("database away", action="read file", error=str(error).strip()[:200])
        except KafkaException as error:
            log.warning("kafka away", action="read file", error=str(error))
        return False

    def _go(self, file: LeasedFile, source: SettlementSource) -> None:
        given_back = True
        try:
            spool = self._spool(file, file.reader) if file.reader else None
            if spool is None or not spool.exists:
                spool, file = self._read(file, source)
            self._say(file, spool)
        except _LeftFile:
            log.info("left", action="read file", source=file.source, file_id=file.file_id)
        except (DamagedBytes, OSError) as error:  # a disk that is full, too, is no fault of the file
            given_back = False  # looked at again once the lease has run out
            trouble = "damaged" if isinstance(error, DamagedBytes) else "no spool"
            log.error(trouble, action="read file", source=file.source, file_id=file.file_id, error=str(error))
        finally:
            if given_back:
                self._give_back(file)

    def _spool(self, file: LeasedFile, reader: str) -> Spool:
        return Spool(self._settings.home / "run", file.source, file.file_id, reader)

    def _give_back(self, file: LeasedFile) -> None:
        with suppress(psycopg.Error), self._store.transaction() as conn:
            file_rows.give_back(conn, self._holder, file.file_no)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, file: LeasedFile, source: SettlementSource) -> tuple[Spool, LeasedFile]:
        """→ the spool, and the file as it is then. Errors: DamagedBytes, OSError, psycopg.Error, KafkaException, _LeftFile."""
        with connect_reader(self._settings, "doors", name="tally file reader", autocommit=True) as doors:
            blocks = self._blocks(doors, file)
            try:
                found = self._spooled(file, source, blocks)
            except (psycopg.Error, KafkaException, DamagedBytes, OSError, _LeftFile):
                raise
            except Refusal as refusal:
                names = ("code", "detail", "line", "column", "excerpt")
                found = {name: getattr(refusal, name) for name in names}
            except Exception as error:  # a bug of the format's reader stops no other file
                log.exception("reader failed", action="read file", source=file.source, file_id=file.file_id)
                found = {"code": "reader_failed", "detail": type(error).__name__}
            for _ in blocks:  # whether the bytes are whole is known at their end
                pass
        if isinstance(found, dict):
            self._quarantine(file, found)
            raise _LeftFile
        hit("file.after_spool")
        return found.spool, self._gate(file, found)

    def _spooled(self, file: LeasedFile, source: SettlementSource, blocks: Iterator[bytes]) -> _Read | Refused:
        """Errors: Refusal, and those of `_read`."""
        lanes = LANES_EACH * len(partitions(self._admin, [self._settings.topic_prefix + catalog.SETTLEMENT_LINES.name]))
        read_from = gate.reads_from(source, file.released)
        reader, parts = gate.opened(blocks, read_from, file.name)
        name = reading_of(reader, file.reader)
        about = {"source": file.source, "psp": read_from.psp, "file_id": file.file_id, "reader": name}
        events, controls = Events(about, lanes), list[Control]()
        spool = self._spool(file, name)
        spool.write(_events_of(parts, events, controls))
        return _Read(spool, reader, controls[0], events.count)

    def _gate(self, file: LeasedFile, read: _Read) -> LeasedFile:
        """→ the file as it is then. Errors: psycopg.Error, _LeftFile."""
        name = reading_of(read.reader, file.reader)
        if name == file.reader:  # gated before; its spool was lost
            return file
        with self._store.transaction() as conn:
            ours = file_rows.gated(conn, self._holder, file, read.reader, read.control, read.chunks, self._clock.now())
        if not ours:
            raise _LeftFile
        hit("file.after_gated")
        return file._replace(reader=name, chunks=read.chunks, chunks_said=0)

    def _quarantine(self, file: LeasedFile, refused: Refused) -> None:
        with self._store.transaction() as conn:
            file_rows.quarantined(conn, self._holder, file.file_no, refused, self._clock.now())
        log.warning("file refused", action="read file", source=file.source, file_id=file.file_id, code=refused["code"])

    def _blocks(self, doors: psycopg.Connection[tuple[bytes]], file: LeasedFile) -> Iterator[bytes]:
        """The file's bytes, a MiB at a time. Errors, at their end: DamagedBytes."""
        hashed, size, piece = hashlib.sha256(), 0, 0
        asked = "SELECT bytes FROM settlement_bytes WHERE upload_id = %s AND piece = %s"
        while row := doors.execute(asked, [file.upload_id, piece], binary=True).fetchone():
            block = zlib.decompress(row[0])
            hashed.update(block)
            size, piece = size + len(block), piece + 1
            yield block
            self._renew(file)
        if hashed.hexdigest() != file.file_id:
            raise DamagedBytes(f"{size} of {file.size} bytes")

    # ── saying ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _say(self, file: LeasedFile, spool: Spool) -> None:
        """Errors: psycopg.Error, _LeftFile."""
        said = file.chunks_said
        for event in spool.read(said):
            if event.ended:
                hit("file.before_end")
            produced = self._publisher.produce(*_record(file, event, self._clock))
            hit("file.between_chunks")
            if not produced or event.ended or event.number + 1 - said == SAID_EVERY:
                self._wait_until_said(file)
                said = event.number + 1
                self._hold(file, said)
        spool.delete()
        log.info("file said", action="read file", source=file.source, file_id=file.file_id, chunks=file.chunks)

    def _wait_until_said(self, file: LeasedFile) -> None:
        """Returns once all is acknowledged. Errors: psycopg.Error, _LeftFile."""
        while self._publisher.unacknowledged and not self._publisher.failing:
            self._publisher.flush(FLUSH_S)
            self._renew(file)
        if self._publisher.failing:
            self._publisher = Publisher(self._settings)
            raise _LeftFile

    def _renew(self, file: LeasedFile) -> None:
        """Hold the file longer, if it is time. Errors: psycopg.Error, _LeftFile."""
        if self._stop.is_set():
            raise _LeftFile
        if time.monotonic() - self._renewed_at > RENEW_S:
            self._hold(file)

    def _hold(self, file: LeasedFile, said: int | None = None) -> None:
        with self._store.transaction() as conn:
            ours = file_rows.renew(conn, self._holder, file.file_no, said)
        if not ours:
            raise _LeftFile
        self._renewed_at = time.monotonic()


def _events_of(found: Iterator[Chunk | Control], events: Events, controls: list[Control]) -> Iterator[Spooled]:
    for part in found:
        if isinstance(part, Control):
            controls.append(part)
        else:
            yield from events.of(part)
    yield events.end(controls[0].lines, controls[0].claims)


def _record(file: LeasedFile, event: Spooled, clock: Clock) -> tuple[str, bytes, list[tuple[str, bytes]], bytes]:
    """Ids derive from the file, its reader and the number: what is said twice counts once."""
    kind = SettlementLinesEnded if event.ended else SettlementLines
    entered_ms = int(file.received_at.timestamp() * 1000)
    id_ = derive_id(f"{file.source}/{file.file_id}/{file.reader}", SAYER, event.number, entered_ms)
    envelope = Envelope(id_, f"/tallystick/{SAYER}", event_type(kind), clock.now())
    return catalog.SETTLEMENT_LINES.name, event.lane.encode(), record_headers(envelope), event.value
