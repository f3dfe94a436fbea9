"""Files that the doors have stored → their lines on Kafka, whole or not at all, whatever happens to their readers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from operations.auditor.engine.stores import Stores
from operations.auditor.settlements import FOLDED, compare, read_all
from reconciliation import gate
from reconciliation.formats import chunks
from reconciliation.formats.adyen_settlement_details import AdyenSettlementDetails
from reconciliation.reader import FileReader
from reconciliation.spool import Spool, delete_old
from schemas.events import AnyEvent
from schemas.settlements import SettlementLines, SettlementLinesEnded
from tests.contract import files_running
from tests.contract.files_running import MAIN, Told, ended, pass_a_minute, row, run, store
from tests.contract.running import heard
from tests.reconciling import Room
from tests.settlement_files import adyen, adyen_blocks, paid_out, settled
from topics.catalog import SETTLEMENT_LINES
from topics.settings import Settings

LINES = 1800


@pytest.fixture
def settings(make_stack: Callable[..., Settings]) -> Settings:
    return make_stack(settlement_sources=(MAIN,), partitions=2)


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


def test_a_file_waits_while_the_disk_is_full(settings: Settings, reader: FileReader) -> None:
    """Its sender is told of no fault, and nothing of it is said."""
    file_id = store(settings, adyen([settled(1), paid_out("98.80")]))
    part = Spool(settings.home / "run", MAIN.name, file_id, "adyen_settlement_details:1").path
    part.parent.mkdir(exist_ok=True)
    part.with_suffix(f".{os.getpid()}.part").symlink_to("/dev/full")
    assert reader.read_one()
    assert row(settings, "state, why, refusal") == ("reading", None, None)
    assert said(settings) == {}
    assert not reader.read_one(), "until the lease has run out"
    pass_a_minute(settings)
    assert reader.read_one(), "there is room again"
    assert len(said(settings)) == 2


def test_a_folder_that_another_process_tidies_at_the_same_time_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "gone.spool").symlink_to(tmp_path / "nothing")
    old = tmp_path / "old.spool"
    old.touch()
    os.utime(old, (0, 0))
    delete_old(tmp_path)
    assert not old.exists()


def test_two_readers_of_one_file_whose_lease_was_lost_say_what_one_says(settings: Settings, reader: FileReader) -> None:
    """The first one slept past its lease, and goes on in the middle of the second one's work."""
    store(settings, b"".join(adyen_blocks(LINES)))
    second = FileReader(settings, "reconciliation", threading.Event())
    publisher = reader._publisher
    say, count = publisher.produce, [0]

    def produce(*record: Any) -> bool:
        count[0] += 1
        if count[0] == 3:
            pass_a_minute(settings)
            assert second.read_one()
        return say(*record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publisher, "produce", produce)
        assert reader.read_one()
    second.close()
    publisher.flush(10)
    refs, (close,) = lines_of(said(settings))
    assert refs[:-1] == [f"P{number:015d}" for number in range(LINES - 1)], "and then the pay-out"
    assert row(settings, "state, chunks, chunks_said, lease_holder") == ("gated", close.chunks, close.chunks + 1, None)


# ── readers of another version ───────────────────────────────────────────────────────────────────────────────────────


class Broken(Exception):
    """A reader is killed here."""


def read_until_killed(reader: FileReader, hear: Callable[[AnyEvent], object], events: int) -> None:
    """It says so many; its lease and its spool are lost."""
    left = [events]

    def hear_some(event: AnyEvent) -> None:
        if not left[0]:
            raise Broken
        left[0] -= 1
        hear(event)

    reader._publisher = Told(hear_some)  # type: ignore[assignment]
    with suppress(Broken):
        assert reader.read_one()
    pass_a_minute(reader._settings)
    for path in (reader._settings.home / "run").glob("*.spool"):
        path.unlink()


def test_versions_of_a_reader_that_take_turns_count_each_line_once(
    settings: Settings, reader: FileReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while processes are replaced, and the new ones are taken back: each says the file anew, cut in another way."""
    room = Room(settings, (MAIN,))
    store(settings, b"".join(adyen_blocks(LINES)))
    late: list[AnyEvent] = []
    read_until_killed(reader, lambda event: (late if len(late) < 2 else [room.hear(event)]).append(event), 3)
    monkeypatch.setattr(AdyenSettlementDetails, "version", 2)
    monkeypatch.setattr(chunks, "CHUNK_LINES", 300)
    read_until_killed(reader, room.hear, 2)
    room.hear(*late)  # of the first one, which had slept
    monkeypatch.undo()
    read_until_killed(reader, room.hear, 99)
    room.settles()
    assert row(settings, "state, reader, chunks, lines") == ("folded", "adyen_settlement_details:1/3", 4, LINES)
    gross = sum(500 + number * 7919 % 100_000 for number in range(LINES - 1))
    assert room.rows("SELECT lines, gross::bigint FROM settlement_sum_view WHERE kind = 'c'") == [
        {"lines": LINES - 1, "gross": gross}
    ]
    assert room.rows("SELECT max(lines) AS most FROM tally_view") == [{"most": 1}]
    assert sum(room.booked()["adyen-main/7/EUR"].values()) == 0
    with Stores(settings.model_copy(update={"settlement_sources": (MAIN,)})) as stores:
        assert FOLDED not in {each.check for each in compare(read_all(stores, settings))}
    room.close()


def test_the_close_of_a_former_reading_ends_no_file(settings: Settings, reader: FileReader) -> None:
    """What it counts are chunks of its own, and the reader that has taken the file over has not said its last yet."""
    room = Room(settings, (MAIN,))
    store(settings, b"".join(adyen_blocks(LINES)))
    said_first: list[AnyEvent] = []
    read_until_killed(reader, said_first.append, 99)
    run(settings, "reconciliation", "UPDATE reconciliation.files SET chunks_said = 0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdyenSettlementDetails, "version", 2)
        patch.setattr(chunks, "CHUNK_LINES", 300)
        rest: list[AnyEvent] = []
        read_until_killed(reader, rest.append, 99)
    room.hear(*rest[:4])
    room.hear(*said_first)
    assert room.settles() == []
    assert row(settings, "state") == ("folding",)
    room.hear(*rest[4:])
    assert len(room.settles()) == 1
    room.close()


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
        assert ended(settings, files_running.reader, place) == -signal.SIGKILL
        pass_a_minute(settings)
        if spool == "lost":
            for path in (settings.home / "run").glob("*.spool"):
                path.unlink()
    assert reader.read_one()
    refs, closes = lines_of(said(settings))
    assert refs[:-1] == [f"P{number:015d}" for number in range(LINES - 1)], "and then the pay-out"
    assert [each.chunks for each in closes] == [4]
    assert row(settings, "state, chunks_said") == ("gated", 5)
