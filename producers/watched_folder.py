"""A folder into which others put files → each is taken once it is whole, and moved by what became of it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from producers.problems import Problem

DONE, REFUSED = "done", "refused"
STEADY_S = 5.0  # a file that has not changed for so long is whole

Result = TypeVar("Result")
Stamp = tuple[int, int, int]  # inode, size, time of change


@dataclass(frozen=True, slots=True)
class Taken(Generic[Result]):
    """What became of a file of the folder: stored, or the problem that says why not."""

    file: Path
    stored: Result | None
    why_not: str = ""


class WatchedFolder(Generic[Result]):
    """Files of a folder → stored and moved to `done`, or moved to `refused` beside a file that says why.

    A file is taken once it has not changed for STEADY_S; a name that begins with a dot, or ends in `.part` or `.tmp`, is one
    that is still written. A file that was stored and not moved, since the process died, is taken again: storing the same
    bytes twice must be harmless. One process looks at a time: another one could move a new file by an old one's name.
    """

    def __init__(self, folder: Path, store: Callable[[Path], Result]) -> None:
        """`store` raises Problem: of 500 and above the file stays and is tried again, of others it is refused."""
        self._folder = folder
        self._store = store
        self._seen: dict[Path, tuple[Stamp, float]] = {}  # since when

    def look(self, now: float | None = None) -> Iterator[Taken[Result]]:
        """Take the files that are whole at `now`, of `time.monotonic`. Errors: OSError where the folder is away; those of
        `store`.
        """
        at = time.monotonic() if now is None else now
        with _alone(self._folder) as alone:
            if not alone:
                return
            for name in (DONE, REFUSED):
                (self._folder / name).mkdir(exist_ok=True)
            self._see(at)
            for file, (stamp, since) in list(self._seen.items()):
                if at - since >= STEADY_S:
                    yield self._take(file, stamp)

    def _see(self, at: float) -> None:
        found = {file: _stamp(file) for file in sorted(self._folder.iterdir()) if _is_whole_by_name(file)}
        kept = self._seen
        self._seen = {
            file: kept[file] if file in kept and kept[file][0] == stamp else (stamp, at)
            for file, stamp in found.items()
        }

    def _take(self, file: Path, stamp: Stamp) -> Taken[Result]:
        try:
            stored, problem = self._stored(file)
            if problem is not None and problem.status >= 500:
                return self._later(file, problem.detail)
            if _stamp(file) != stamp:
                return self._later(file, "it has changed meanwhile")
            if problem is not None:
                return Taken(_refuse(file, self._folder / REFUSED, problem), None, problem.detail)
            return Taken(file.rename(_free(file, self._folder / DONE)), stored)
        except OSError as error:
            return self._later(file, error.strerror or str(error))

    def _stored(self, file: Path) -> tuple[Result | None, Problem | None]:
        try:
            return self._store(file), None
        except Problem as problem:
            return None, problem

    def _later(self, file: Path, why_not: str) -> Taken[Result]:
        """It stays, and is tried again when it has been steady once more."""
        del self._seen[file]
        return Taken(file, None, why_not)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """→ whether no other process looks. The lock of one that dies is gone. Errors: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    try:
        yield alone
    finally:
        os.close(descriptor)


def _is_whole_by_name(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.suffix.lower() not in (".part", ".tmp")


def _stamp(file: Path) -> Stamp:
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _refuse(file: Path, folder: Path, problem: Problem) -> Path:
    """→ where the file is now. The reason is there first."""
    target = _free(file, folder)
    target.with_name(target.name + ".reason").write_text(f"{problem.code}: {problem.detail}\n", encoding="utf-8")
    return file.rename(target)


def _free(file: Path, folder: Path) -> Path:
    """A place in the folder: beside an older file of its name if there is one."""
    target = folder / file.name
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{file.stem}-{number}{file.suffix}"
    return target
