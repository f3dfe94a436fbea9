"""Chunks of a file → events that fit into a record each."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from reconciliation.formats.shape import Chunk, Refusal
from reconciliation.spool import VALUE_BYTES_MAX, Events, Spool
from schemas.settlements import LineColumns, SettlementLines

ABOUT = {"source": "main", "psp": "adyen", "file_id": "0" * 64, "reader": "plain:1"}


def chunk(refs: list[str]) -> Chunk:
    """Lines that differ in the PSP's reference alone."""
    count = len(refs)
    texts = {"kinds": "c" * count, "keys": "".join(f"{n:032x}" for n in range(count))}
    lists = {column.name: [0] * count for column in fields(LineColumns)}
    lines = LineColumns(**(lists | texts | {"psp_refs": refs, "order_refs": refs, "rates": [""] * count}))  # type: ignore[arg-type]
    return Chunk(2, 100, 900, 0, ("7",), ("EUR",), lines)


def test_lines_with_long_texts_are_said_in_several_events_in_order() -> None:
    refs = [f"{number}".rjust(2000, "x") for number in range(500)]
    events = Events(ABOUT, lanes=2)
    spooled = list(events.of(chunk(refs)))
    assert [each.number for each in spooled] == list(range(events.count))
    assert [each.lane for each in spooled][:3] == ["main/0", "main/1", "main/0"]
    assert all(len(each.value) <= VALUE_BYTES_MAX for each in spooled)
    said = [SettlementLines.model_validate_json(each.value) for each in spooled]
    assert [ref for each in said for ref in each.lines.psp_refs] == refs
    assert "".join(each.lines.keys for each in said) == chunk(refs).lines.keys
    assert [each.first_line for each in said] == [
        2 + sum(len(e.lines.kinds) for e in said[:n]) for n in range(len(said))
    ]


def test_a_line_that_fits_into_no_record_refuses_its_file() -> None:
    with pytest.raises(Refusal, match="line_too_long"):
        list(Events(ABOUT, lanes=1).of(chunk(["x" * VALUE_BYTES_MAX])))


def test_a_spool_is_whole_or_not_there(tmp_path: Path) -> None:
    events = Events(ABOUT, lanes=1)
    spool = Spool(tmp_path, "main", "0" * 64, "plain:1")

    def broken_off() -> object:
        yield from events.of(chunk(["a"]))
        raise Refusal("truncated", "in the middle")

    with pytest.raises(Refusal):
        spool.write(broken_off())  # type: ignore[arg-type]
    assert not spool.exists
    assert list(tmp_path.iterdir()) == []
    events = Events(ABOUT, lanes=1)
    assert spool.write(iter([*events.of(chunk(["a"])), *events.of(chunk(["b"])), events.end(2, ())])) == 3
    assert [event.number for event in spool.read(1)] == [1, 2]
    assert [event.ended for event in spool.read(0)] == [False, False, True]
