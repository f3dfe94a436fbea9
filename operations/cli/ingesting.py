"""A file on disk → the doors' store, by the code of the HTTP door; and a folder whose files are taken as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producers.doors.settlement_files import StoredFile
    from topics.settings import Settings

BLOCK = 1 << 20
GZIP = b"\x1f\x8b"
DONE, REFUSED = "done", "refused"
STEADY_S = 5.0  # a file that has not changed for so long is whole

Moved = Callable[[int], None]  # told how many bytes of the file were read


def ingest(settings: Settings, source: str, file: Path, by: str, moved: Moved = lambda _: None) -> StoredFile:
    """Store the file for the source. A file of gzip is unpacked. Errors: Problem, OSError, psycopg.Error."""
    from operations.cli.door_commands import run_command
    from producers.doors.settlement_files import file_name, source_of, store
    from producers.doors.uploads import Upload

    source_of(settings, source)
    with file.open("rb") as opened:
        packed = opened.peek(len(GZIP)).startswith(GZIP)
        with closing(Upload(settings, packed=packed)) as upload:
            while block := opened.read(BLOCK):
                upload.feed(block)
                moved(len(block))
            name = file_name(file.name, packed=packed)
            return run_command(settings, store(source, name, upload.finish(), by))


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file of the folder: stored, or the problem that says why not."""

    file: Path
    stored: StoredFile | None
    why_not: str = ""


class WatchedFolder:
    """Files of a folder → stored and moved to `done`, or moved to `refused` beside a file that says why.

    A file is taken once it has not changed for STEADY_S; a name that begins with a dot, or ends in `.part` or `.tmp`, is one
    that is still written.
    """

    def __init__(self, settings: Settings, source: str, folder: Path, by: str) -> None:
        self._settings = settings
        self._source = source
        self._folder = folder
        self._by = by
        self._seen: dict[Path, tuple[tuple[int, int], float]] = {}  # size and time of change, since when
        for name in (DONE, REFUSED):
            (folder / name).mkdir(exist_ok=True)

    def look(self, now: float | None = None) -> Iterator[Taken]:
        """Take the files that are whole at `now`, of `time.monotonic`. Errors: OSError, psycopg.Error."""
        at = time.monotonic() if now is None else now
        found = {file: _stamp(file) for file in sorted(self._folder.iterdir()) if _is_whole_by_name(file)}
        kept = self._seen
        self._seen = {
            file: kept[file] if file in kept and kept[file][0] == stamp else (stamp, at)
            for file, stamp in found.items()
        }
        for file, (_, since) in list(self._seen.items()):
            if at - since >= STEADY_S:
                yield self._take(file)

    def _take(self, file: Path) -> Taken:
        from producers.problems import Problem

        try:
            stored = ingest(self._settings, self._source, file, self._by)
        except OSError as error:
            return self._later(file, error.strerror or str(error))
        except Problem as problem:
            if problem.status >= 500:
                return self._later(file, problem.detail)
            moved = _move(file, self._folder / REFUSED)
            moved.with_name(moved.name + ".reason").write_text(f"{problem.code}: {problem.detail}\n", encoding="utf-8")
            return Taken(moved, None, problem.detail)
        return Taken(_move(file, self._folder / DONE), stored)

    def _later(self, file: Path, why_not: str) -> Taken:
        """It stays, and is tried again when it has been steady once more."""
        del self._seen[file]
        return Taken(file, None, why_not)


def _is_whole_by_name(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.suffix.lower() not in (".part", ".tmp")


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _move(file: Path, folder: Path) -> Path:
    """→ where the file is now: beside an older one of its name if there is one."""
    target = folder / file.name
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{file.stem}-{number}{file.suffix}"
    return file.rename(target)
