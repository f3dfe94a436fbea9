"""A watched folder: what is whole is taken once, whoever looks and whatever dies; what cannot be stored now stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.problems import Problem
from producers.watched_folder import STEADY_S, WatchedFolder


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.is_file())


class Dead(BaseException):
    """The process has died."""


def test_while_one_process_looks_another_takes_nothing(tmp_path: Path) -> None:
    first, second = (WatchedFolder(tmp_path, Path.read_bytes) for _ in range(2))
    (tmp_path / "a.xml").write_bytes(b"a")
    (tmp_path / "b.xml").write_bytes(b"b")
    assert [*first.look(0.0), *second.look(0.0)] == []
    looking = first.look(STEADY_S)
    assert next(looking).stored == b"a"
    assert list(second.look(STEADY_S)) == []
    assert [taken.stored for taken in looking] == [b"b"]
    assert list(second.look(2 * STEADY_S)) == []
    assert names(tmp_path / "done") == ["a.xml", "b.xml"]


def test_a_file_that_was_stored_and_not_moved_is_taken_again(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"a")
    stored: list[bytes] = []

    def dies(file: Path) -> None:
        stored.append(file.read_bytes())
        raise Dead

    dying, next_one = WatchedFolder(tmp_path, dies), WatchedFolder(tmp_path, Path.read_bytes)
    list(dying.look(0.0))
    with pytest.raises(Dead):
        list(dying.look(STEADY_S))
    assert (stored, names(tmp_path)) == ([b"a"], ["a.xml"])
    list(next_one.look(0.0))
    assert [taken.stored for taken in next_one.look(STEADY_S)] == [b"a"]
    assert (names(tmp_path), names(tmp_path / "done")) == ([], ["a.xml"])


def test_a_file_that_is_replaced_while_it_is_stored_is_taken_once_more(tmp_path: Path) -> None:
    """Else what has come in its place would lie in `done`, and nobody has read it."""
    file = tmp_path / "a.xml"
    file.write_bytes(b"old")

    def replaced(file: Path) -> bytes:
        read = file.read_bytes()
        if read == b"old":
            (file.parent / ".new.part").write_bytes(b"new")
            (file.parent / ".new.part").rename(file)
        return read

    watched = WatchedFolder(tmp_path, replaced)
    list(watched.look(0.0))
    assert [taken.stored for taken in watched.look(STEADY_S)] == [None]
    assert list(watched.look(2 * STEADY_S)) == []
    assert [taken.stored for taken in watched.look(3 * STEADY_S)] == [b"new"]


def test_a_file_that_cannot_be_stored_now_stays_and_holds_up_no_other(tmp_path: Path) -> None:
    away = True

    def store(file: Path) -> str:
        if away and file.name == "a.xml":
            raise Problem("unavailable")
        return file.name

    watched = WatchedFolder(tmp_path, store)
    (tmp_path / "a.xml").touch()
    (tmp_path / "b.xml").touch()
    list(watched.look(0.0))
    assert [taken.stored for taken in watched.look(STEADY_S)] == [None, "b.xml"]
    assert (names(tmp_path), names(tmp_path / "refused")) == (["a.xml"], [])
    away = False
    list(watched.look(2 * STEADY_S))
    assert [taken.stored for taken in watched.look(3 * STEADY_S)] == ["a.xml"]


def test_a_folder_that_is_away_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    """It may be a mount that comes back: what is put into it then must not lie under another one."""
    watched = WatchedFolder(tmp_path / "away", Path.read_bytes)
    with pytest.raises(OSError, match="away"):
        list(watched.look(0.0))
    assert names(tmp_path) == []
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "a.xml").write_bytes(b"a")
    list(watched.look(0.0))
    assert [taken.stored for taken in watched.look(STEADY_S)] == [b"a"]
