"""Files that the doors have stored → their lines on Kafka, whole or not at all, whatever happens to their readers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from reconciliation import gate
from reconciliation.reader import FileReader
from schemas.settlements import SettlementLines, SettlementLinesEnded
from tests.contract.files_running import MAIN, ended, pass_a_minute, row, run, store
from tests.contract.running import heard
from tests.settlement_files import adyen, adyen_blocks, paid_out, settled
from topics.catalog import SETTLEMENT_LINES
from topics.settings import Settings

LINES = 1800


@pytest.fixture
def settings(make_stack: Callable[..., Settings]) -> Settings:
    return make_stack(settlement_sources=(MAIN,))


@pytest.fixture
def reader(settings: Settings) -> Iterator[FileReader]:
    found = FileReader(settings, "reconciliation", threading.Event())
    yield found
    found.close()


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
    closes = [SettlementLinesEnded.model_validate_json(value) for value in values.values() if b'"claims"' in value]
    chunks.sort(key=lambda chunk: chunk.chunk)
    return [ref for chunk in chunks for ref in chunk.lines.psp_refs], closes


def test_the_lines_of_a_file_that_ties_are_said_once_and_then_its_close(settings: Settings, reader: FileReader) -> None:
    file_id = store(settings, b"".join(adyen_blocks(LINES)))
    assert reader.read_one()
    refs, (close,) = lines_of(said(settings))
    assert refs[:-1] == [f"P{number:015d}" for number in range(LINES - 1)], "and then the pay-out"
    assert (close.file_id, close.chunks, close.lines, len(close.claims)) == (file_id, 4, LINES, 1)
    assert row(settings, "state, chunks, chunks_said, lines, lease_holder") == ("gated", 4, 5, LINES, None)
    assert not reader.read_one(), "nothing of it is left to do"
    assert list((settings.home / "run").glob("*.spool")) == []


def test_a_file_that_the_gate_refuses_says_nothing_and_keeps_the_reason(settings: Settings, reader: FileReader) -> None:
    store(settings, adyen([settled(1), paid_out("98.79")]))
    assert reader.read_one()
    state, why, refusal = row(settings, "state, why, refusal")
    assert (state, why, refusal["code"]) == ("quarantined", "bad_total", "bad_total")
    assert said(settings) == {}
    assert not reader.read_one()


def test_a_refused_file_that_two_persons_release_is_read_without_that_refusal(
    settings: Settings, reader: FileReader
) -> None:
    store(settings, adyen([settled(1), paid_out("98.79")]))
    reader.read_one()
    run(settings, "reconciliation", "UPDATE reconciliation.files SET state = 'received', released = '{bad_total}'")
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
    pass_a_minute(settings)
    assert reader.read_one(), "its reader is gone"
    assert len(said(settings)) == 2


# ── readers that are killed ──────────────────────────────────────────────────────────────────────────────────────────

# With the spool, and without: then the file is read again.
PLACES = {
    "kept": (
        "file.after_spool=kill:1",
        "file.after_gated=kill:1",
        "file.between_chunks=kill:2",
        "file.before_end=kill:1",
    ),
    "lost": ("file.after_gated=kill:1", "file.between_chunks=kill:2"),
}


@pytest.mark.parametrize("spool", PLACES)
def test_readers_killed_at_every_step_say_what_one_says_undisturbed(
    spool: str, settings: Settings, reader: FileReader
) -> None:
    store(settings, b"".join(adyen_blocks(LINES)))
    for place in PLACES[spool]:
        assert ended(settings, "reader", place) == -signal.SIGKILL
        pass_a_minute(settings)
        if spool == "lost":
            for path in (settings.home / "run").glob("*.spool"):
                path.unlink()
    assert reader.read_one()
    refs, closes = lines_of(said(settings))
    assert refs[:-1] == [f"P{number:015d}" for number in range(LINES - 1)], "and then the pay-out"
    assert [each.chunks for each in closes] == [4]
    assert row(settings, "state, chunks_said") == ("gated", 5)
