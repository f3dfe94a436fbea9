"""The rooms' stores, each through its read-only role → rows, a chunk at a time.

Each chunk is a snapshot of its own: a long one would slow the rooms down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from topics.catalog import ROOMS
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.reading import connect_reader
from topics.settings import Settings

CHUNK = 20_000
AT_ONCE = 5000  # keys of one look
FIRST_UUID = "00000000-0000-0000-0000-000000000000"
T = TypeVar("T")


class Stores:
    """A connection to each room's views by its reading role. Each statement is its own snapshot."""

    def __init__(self, settings: Settings) -> None:
        self._exits = ExitStack()
        self._connections: dict[str, Connection] = {}
        try:
            for room in ROOMS:
                self._connections[room.name] = self._exits.enter_context(_connect(settings, room.name))
        except BaseException:
            self._exits.close()
            raise

    def __enter__(self) -> Stores:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def rows(self, room: str, statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        return self._connections[room].execute(statement, values, binary=True).fetchall()

    def connection(self, room: str) -> Connection:
        return self._connections[room]

    def one(self, room: str, statement: str, values: Any = ()) -> tuple[Any, ...]:
        return self.rows(room, statement, values)[0]


def _connect(settings: Settings, room: str) -> Connection:
    return connect_reader(settings, room, name="tally verify", options="-c jit=off", autocommit=True)


def scan(stores: Stores, room: str, select: str, key: str, after: str, place: int = 0) -> Iterator[tuple[Any, ...]]:
    """The rows of a view in the order of its key, chunk by chunk. `place` is the key's index in a row."""
    statement = f"{select} WHERE {key} > %s ORDER BY {key} LIMIT {CHUNK}"
    while rows := stores.rows(room, statement, [after]):
        yield from rows
        after = rows[-1][place]


def scan_by(
    stores: Stores, room: str, select: str, keys: Sequence[str], after: tuple[Any, ...]
) -> Iterator[tuple[Any, ...]]:
    """As `scan`, for a key of several columns, which are the first ones of each row in this order."""
    named, marks = ", ".join(keys), ", ".join(["%s"] * len(keys))
    statement = f"{select} WHERE ({named}) > ({marks}) ORDER BY {named} LIMIT {CHUNK}"
    while rows := stores.rows(room, statement, after):
        yield from rows
        after = rows[-1][: len(keys)]


def grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def slices(keys: Sequence[T], size: int = AT_ONCE) -> Iterator[Sequence[T]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
