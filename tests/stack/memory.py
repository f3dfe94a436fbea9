"""What servers of tests store → a folder in memory where there is room, else on disk.

A database copied and dropped takes a fifth of the processor there, and nothing waits for a disk.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
ROOM = 4 * 1024**3  # bytes; those of three workers take about half
PREFIX = "tally-servers-"


@contextmanager
def quick_folder() -> Iterator[Path]:
    """An empty folder, until the block ends or this process does: the next one then deletes it."""
    place = MEMORY if has_room(MEMORY) else Path(tempfile.gettempdir())
    for left in place.glob(f"{PREFIX}*"):
        delete_unless_locked(left)
    folder, lock = locked_folder(place)
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def locked_folder(place: Path) -> tuple[Path, int]:
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    if folder.exists():
        return folder, lock
    os.close(lock)  # another took it for one that was left
    return locked_folder(place)


def has_room(place: Path) -> bool:
    """What is written there takes memory from all that runs, so as much again is left to that."""
    if not os.access(place, os.W_OK):
        return False
    return shutil.disk_usage(place).free >= ROOM and psutil.virtual_memory().available >= 2 * ROOM


def delete_unless_locked(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:  # another's, or gone by now
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)
