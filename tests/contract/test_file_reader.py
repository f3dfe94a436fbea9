"""Files that the doors have stored → their lines on Kafka, whole or not at all, whatever happens to their readers."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from reconciliation import gate
from reconciliation.reader import FileReader
from schemas.settlements import SettlementLines, SettlementLinesEnded
from tests.contract.running import heard
from tests.settlement_files import adyen, adyen_blocks, paid_out, settled
from topics.catalog import SETTLEMENT_LINES
from topics.settings import Settings
from topics.settlement_sources import SettlementSource

MAIN = SettlementSource(name="adyen-main", psp="adyen", bank_account="main")
PIECE = 200_000
LINES = 1800
READ_ONE = """
import sys, threading
from operations.stack.settings import load_settings
from reconciliation.reader import FileReader
FileReader(load_settings(), "reconciliation", threading.Event()).read_one()
"""


@pytest.fixture
def settings(make_stack: Callable[..., Settings]) -> Settings:
    return make_stack(settlement_sources=(MAIN,))


@pytest.fixture
def reader(settings: Settings) -> Iterator[FileReader]:
    found = FileReader(settings, "reconciliation", threading.Event())
    yield found
    found.close()


def run(settings: Settings, role: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.dsn(f"tally_{role}")) as conn:
        done = conn.execute(statement, values)  # type: ignore[call-overload]
        return done.fetchall() if done.description else []


def store(settings: Settings, body: bytes, name: str = "report.csv") -> str:
    """As the door stores it and the room hears of it. → the file's id"""
    file_id = hashlib.sha256(body).hexdigest()
    pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
    for number, piece in enumerate(pieces):
        statement = "INSERT INTO doors.file_chunks VALUES (%s, %s, %s)"
        run(settings, "doors", statement, f"upload-{file_id}", number, zlib.compress(piece))
    about = (MAIN.name, file_id, f"upload-{file_id}", name, len(body))
    statement = "INSERT INTO doors.files VALUES (%s, %s, %s, %s, %s, %s, 'test', now(), gen_random_uuid())"
    run(settings, "doors", statement, *about, len(pieces))
    statement = (
        "INSERT INTO reconciliation.files (source, file_id, upload_id, name, size, received_at, state, changed_at)"
        " VALUES (%s, %s, %s, %s, %s, '2026-02-12', 'received', now())"
    )
    run(settings, "reconciliation", statement, *about)
    return file_id


def row(settings: Settings, columns: str) -> tuple[Any, ...]:
    (found,) = run(settings, "reconciliation", f"SELECT {columns} FROM reconciliation.files")
    return found


def said(settings: Settings) -> dict[str, bytes]:
    """What is on the topic, repeats by event id dropped: id → value."""
    found: dict[str, bytes] = {}
    for message in heard(settings, SETTLEMENT_LINES.name):
        id_ = dict(message.headers() or ())["ce_id"]
        value = message.value() or b""
        assert found.setdefault(str(id_), value) == value, "an id stands for one event"
    return found


def lines_of(values: dict[str, bytes]) -> tuple[list[str], list[SettlementLinesEnded]]:
    """The references of the lines, in the file's order, and the closes."""
    chunks = [SettlementLines.model_validate_json(value) for value in values.values() if b'"first_line"' in value]
    ended = [SettlementLinesEnded.model_validate_json(value) for value in values.values() if b'"claims"' in value]
    chunks.sort(key=lambda chunk: chunk.chunk)
    return [ref for chunk in chunks for ref in chunk.lines.psp_refs], ended


def test_the_lines_of_a_file_that_ties_are_said_once_and_then_its_close(settings: Settings, reader: FileReader) -> None:
    file_id = store(settings, b"".join(adyen_blocks(LINES)))
    assert reader.read_one()
    refs, (ended,) = lines_of(said(settings))
    assert refs[:-1] == [f"P{number:015d}" for number in range(LINES - 1)], "and then the pay-out"
    assert (ended.file_id, ended.chunks, ended.lines, len(ended.claims)) == (file_id, 4, LINES, 1)
    assert row(settings, "state, chunks, chunks_said, lines, lease_holder") == ("gated", 4, 5, LINES, None)
    assert not reader.read_one(), "nothing of it is left to do"
    assert list((settings.home / "run").glob("*.spool")) == []


def test_a_file_that_the_gate_refuses_says_nothing_and_keeps_the_reason(settings: Settings, reader: FileReader) -> None:
    store(settings, adyen([settled(1), paid_out("98.79")]))
    assert reader.read_one()
    state, refusal = row(settings, "state, refusal")
    assert (state, refusal["code"]) == ("quarantined", "bad_total")
    assert said(settings) == {}
    assert not reader.read_one()


def test_a_refused_file_that_two_persons_release_is_read_without_that_refusal(
    settings: Settings, reader: FileReader
) -> None:
    store(settings, adyen([settled(1), paid_out("98.79")]))
    reader.read_one()
    run(settings, "reconciliation", "UPDATE reconciliation.files SET state = 'received', released_by = 'a, b'")
    assert reader.read_one()
    assert row(settings, "state") == ("gated",)
    assert len(said(settings)) == 2


def test_a_bug_in_a_format_refuses_its_file_and_stops_no_other(
    settings: Settings, reader: FileReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("of a bug")

    store(settings, adyen([settled(1), paid_out("98.80")]))
    with monkeypatch.context() as patched:
        patched.setattr(type(gate.READERS[0]), "read", fail)
        assert reader.read_one()
    assert row(settings, "state, refusal->>'code'") == ("quarantined", "reader_failed")


def test_a_file_whose_bytes_are_damaged_here_is_neither_refused_nor_said(
    settings: Settings, reader: FileReader
) -> None:
    """It is not its sender's fault: the file waits, and the log says so."""
    store(settings, b"".join(adyen_blocks(LINES)))
    run(settings, "doors", "DELETE FROM doors.file_chunks WHERE piece = 1")
    assert reader.read_one()
    assert row(settings, "state, refusal, chunks_said") == ("reading", None, 0)
    assert said(settings) == {}
    assert not reader.read_one(), "until the lease has run out"


def test_a_file_is_one_readers(settings: Settings, reader: FileReader) -> None:
    store(settings, adyen([settled(1), paid_out("98.80")]))
    held = "UPDATE reconciliation.files SET lease_holder = 'another', lease_until = now() + interval '60 seconds'"
    run(settings, "reconciliation", held)
    assert not reader.read_one()
    run(settings, "reconciliation", "UPDATE reconciliation.files SET lease_until = now()")
    assert reader.read_one(), "its reader is gone"
    assert len(said(settings)) == 2


# ── readers that are killed ──────────────────────────────────────────────────────────────────────────────────────────

PLACES = ("file.after_spool=kill:1", "file.after_gated=kill:1", "file.between_chunks=kill:2", "file.before_end=kill:1")


def kill_reader_at(settings: Settings, place: str) -> None:
    variables = {
        "TALLY_HOME": str(settings.home),
        "TALLY_KAFKA": settings.kafka,
        "TALLY_POSTGRES": settings.postgres,
        "TALLY_DATABASE": settings.database,
        "TALLY_TOPIC_PREFIX": settings.topic_prefix,
        "TALLY_SECRET": settings.secret,
        "TALLY_SETTLEMENT_SOURCES": json.dumps([MAIN.model_dump(mode="json", exclude_unset=True)]),
        "TALLY_FAILPOINTS": place,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    done = subprocess.run([sys.executable, "-c", READ_ONE], env=inherited | variables, check=False)
    assert done.returncode == -signal.SIGKILL
    run(settings, "reconciliation", "UPDATE reconciliation.files SET lease_until = now()")  # a minute later


@pytest.mark.parametrize("spool", ["kept", "lost"])
def test_readers_killed_at_every_step_say_what_one_says_undisturbed(
    spool: str, settings: Settings, reader: FileReader
) -> None:
    store(settings, b"".join(adyen_blocks(LINES)))
    for place in PLACES:
        kill_reader_at(settings, place)
        if spool == "lost":
            for path in (settings.home / "run").glob("*.spool"):
                path.unlink()
    assert reader.read_one()
    refs, ended = lines_of(said(settings))
    assert refs[:-1] == [f"P{number:015d}" for number in range(LINES - 1)], "and then the pay-out"
    assert [each.chunks for each in ended] == [4]
    assert row(settings, "state, chunks_said") == ("gated", 5)
