"""Lines of a file as events, kept in a local file until they are known to be said.

What it holds can be made again from the file's bytes: a reader that finds none reads the file once more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from reconciliation.formats.shape import Chunk, Refusal
from schemas.settlements import LineColumns, SettlementLines, SettlementLinesEnded

VALUE_BYTES_MAX = 900_000  # of a record, whose topic takes 1 MiB with its headers
KEPT_S = 86_400
_CHARACTERS = {"keys": 32}  # a line, in columns that are one text; 1 in the others


class Spooled(NamedTuple):
    """An event, to be said under its number."""

    number: int
    lane: str
    ended: bool  # SettlementLinesEnded; else SettlementLines
    value: bytes


class Spool:
    """The events of one file under one reader, in order."""

    def __init__(self, folder: Path, source: str, file_id: str, reader: str) -> None:
        self.path = folder / f"{source}-{file_id}-{reader.replace(':', '-').replace('/', '-')}.spool"
        self._part = self.path.with_suffix(
            f".{os.getpid()}.part"
        )  # a spool that a kill left half-written has another name

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def write(self, events: Iterator[Spooled]) -> int:
        """Whole or not at all. → how many. Errors: those of `events`."""
        self._part.parent.mkdir(parents=True, exist_ok=True)
        count = 0
        try:
            with self._part.open("wb") as file:
                for event in events:
                    file.write(msgpack.packb(event))
                    count += 1
                file.flush()
                os.fsync(file.fileno())
            self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)
        return count

    def read(self, first: int) -> Iterator[Spooled]:
        """The events from that number on."""
        with self.path.open("rb") as file:
            for packed in msgpack.Unpacker(file, max_buffer_size=4 * VALUE_BYTES_MAX):
                if packed[0] >= first:
                    yield Spooled(*packed)

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)


def delete_old(folder: Path) -> None:
    """What readers have left that were killed, or whose file nobody wants any more."""
    for path in (*folder.glob("*.spool"), *folder.glob("*.part")):
        with suppress(FileNotFoundError):  # another process of this home has deleted it
            if time.time() - path.stat().st_mtime > KEPT_S:
                path.unlink()


class Events:
    """Chunks of a file → its events, numbered. The same chunks always give the same."""

    def __init__(self, about: dict[str, Any], lanes: int) -> None:
        """`about`: the fields that all of them have."""
        self.count = 0
        self._about = about
        self._lanes = lanes

    def of(self, chunk: Chunk) -> Iterator[Spooled]:
        """One, or several where its texts are long. Errors: Refusal if a line alone is more than a record holds."""
        rest = [chunk]
        while rest:
            part = rest.pop(0)
            spooled = self._lines(part)
            if len(spooled.value) <= VALUE_BYTES_MAX:
                self.count += 1
                yield spooled
            else:
                rest[:0] = _halves(part)

    def end(self, lines: int, claims: tuple[Any, ...]) -> Spooled:
        """The close. Errors: Refusal if it claims more than a record holds."""
        lane = self._lane(0)
        ended = SettlementLinesEnded(lane=lane, chunks=self.count, lines=lines, claims=claims, **self._about)
        value = ended.__pydantic_serializer__.to_json(ended, exclude_none=True)
        if len(value) > VALUE_BYTES_MAX:
            raise Refusal("line_too_long", f"{len(claims)} settlements do not fit into a record")
        return Spooled(self.count, lane, True, value)

    def _lines(self, chunk: Chunk) -> Spooled:
        lane = self._lane(self.count)
        names = ("first_line", "first_byte", "last_byte", "scale", "settlements", "currencies", "lines")
        columns = {name: getattr(chunk, name) for name in names}
        said = SettlementLines.model_construct(lane=lane, chunk=self.count, **self._about, **columns)
        return Spooled(self.count, lane, False, said.__pydantic_serializer__.to_json(said, exclude_none=True))

    def _lane(self, number: int) -> str:
        return f"{self._about['source']}/{number % self._lanes}"


def _halves(chunk: Chunk) -> list[Chunk]:
    count = len(chunk.lines.kinds)
    if count < 2:
        raise Refusal("line_too_long", "a line does not fit into a record", chunk.first_line)
    return [_part(chunk, 0, count // 2), _part(chunk, count // 2, count)]


def _part(chunk: Chunk, start: int, end: int) -> Chunk:
    """Its bytes are still those of the whole chunk."""
    cut: dict[str, Sequence[Any]] = {}
    for column in fields(chunk.lines):
        width = _CHARACTERS.get(column.name, 1)
        cut[column.name] = getattr(chunk.lines, column.name)[start * width : end * width]
    return replace(chunk, first_line=chunk.first_line + start, lines=LineColumns(**cut))  # type: ignore[arg-type]
