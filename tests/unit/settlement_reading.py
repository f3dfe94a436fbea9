"""Bytes of a settlement file and a reader → its lines, what it says of itself, or the refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from reconciliation.formats.chunks import Line
from reconciliation.formats.shape import Chunk, Control, Reader, ReadFrom, Refusal

SOURCE = ReadFrom(name="main", psp="psp")


class Told(NamedTuple):
    lines: list[Line]
    control: Control
    chunks: list[Chunk]

    def kinds(self) -> str:
        return "".join(line.kind for line in self.lines)

    def digests(self) -> list[int]:
        return [line.digest for line in self.lines]


def in_blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[begin : begin + size] for begin in range(0, len(data), size))


def told(reader: Reader, data: bytes, source: ReadFrom = SOURCE, block: int = 65_536) -> Told:
    """Errors: Refusal."""
    *chunks, control = reader.read(in_blocks(data, block), source)
    assert isinstance(control, Control)
    found = [chunk for chunk in chunks if isinstance(chunk, Chunk)]
    assert len(found) == len(chunks)
    return Told([line for chunk in found for line in lines_of(chunk)], control, found)


def refused(reader: Reader, data: bytes, source: ReadFrom = SOURCE, block: int = 65_536) -> Refusal:
    with pytest.raises(Refusal) as error:
        told(reader, data, source, block)
    return error.value


def lines_of(chunk: Chunk) -> Iterator[Line]:
    columns = chunk.lines
    settlements, currencies = (*chunk.settlements, ""), chunk.currencies  # -1: none
    for place, kind in enumerate(columns.kinds):
        yield Line(
            kind,
            columns.keys[32 * place : 32 * place + 32],
            columns.psp_refs[place],
            columns.order_refs[place],
            settlements[columns.settlements[place]],
            columns.gross[place],
            currencies[columns.gross_currencies[place]],
            columns.net[place],
            currencies[columns.net_currencies[place]],
            columns.fees[place],
            columns.commissions[place],
            columns.markups[place],
            columns.scheme_fees[place],
            columns.interchange[place],
            columns.taxes[place],
            columns.rates[place],
            columns.at[place],
            columns.value_days[place],
            columns.digests[place],
        )
