"""Requests of people and tests → days settled, their files told and handed out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from simulator.http import Answer
from simulator.settlements.books import Closed, SettlementBooks
from simulator.settlements.files import Files, SettlementFile
from simulator.settlements.model import CannotWrite
from simulator.settlements.terms import Format, read_terms
from simulator.wire import Problem, Refused, iso_time, json_answer, sub_object

_FORMATS: tuple[Format, ...] = get_args(Format)


PIECE = 8 << 20  # bytes of an answer


class SettlementRequests:
    """Errors: Refused INVALID with a text for people."""

    def __init__(self, books: SettlementBooks, files: Files) -> None:
        self._books = books
        self._files = files

    async def settle(self, body: object) -> Answer:
        """Settle a day: `date` (today), `terms` (those of the day before). → what it came to"""
        asked = sub_object(body, "body", frozenset(), frozenset({"date", "terms"}))
        day, terms = asked.get("date"), asked.get("terms")
        if not (day is None or isinstance(day, str)):
            raise Refused(Problem.INVALID, "date: must be a day (YYYY-MM-DD)")
        closed = await self._books.close(day, None if terms is None else read_terms(terms))
        batches = [batch.told() for batch in self._books.batches(closed.day)]
        told = {"date": closed.day, "until": iso_time(closed.until_us), "settlements": batches}
        return json_answer(200, {**told, "files": [file.told() for file in self._files.of(closed)]})

    def listed(self, query: Mapping[str, str]) -> Answer:
        """The files of a settled day: `date`; only those of `psp`, in `format`."""
        return json_answer(200, {"files": [file.told() for file in self._found(query)]})

    def file(self, query: Mapping[str, str]) -> Answer:
        """Bytes of one of them, `source` and `name` besides: up to PIECE of them, `from` so many on. None: it has ended."""
        wanted = query.get("source"), query.get("name")
        file = next((each for each in self._found(query) if (each.source, each.name) == wanted), None)
        if file is None:
            raise Refused(Problem.INVALID, f"no file {wanted[1]} of {wanted[0]} on that day")
        try:
            piece = _piece(file.write(), _start(query.get("from", "0")))
            return Answer(200, piece, content_type="application/octet-stream")
        except CannotWrite as error:
            raise Refused(Problem.INVALID, f"format: {error}") from None

    def _found(self, query: Mapping[str, str]) -> list[SettlementFile]:
        wanted = next((each for each in _FORMATS if each == query.get("format")), None)
        if "format" in query and wanted is None:
            raise Refused(Problem.INVALID, f"format: must be one of {', '.join(_FORMATS)}")
        return list(self._files.of(self._closed(query.get("date", "")), query.get("psp"), wanted))

    def _closed(self, day: str) -> Closed:
        closed = self._books.closed(day)
        if closed is None:
            raise Refused(Problem.INVALID, f"date: {day or 'no day'} is not settled")
        return closed


def _piece(lines: Iterator[bytes], start: int) -> bytes:
    """Up to PIECE bytes from there on."""
    made = bytearray()
    for line in lines:
        if start >= len(line):
            start -= len(line)
            continue
        made += line[start:]
        start = 0
        if len(made) >= PIECE:
            break
    return bytes(made[:PIECE])


def _start(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Refused(Problem.INVALID, "from: must be a number of bytes")
    return int(text)
