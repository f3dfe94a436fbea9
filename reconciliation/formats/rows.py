"""Records of a table with a header → chunks: the loop that readers of CSV share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.records import Columns, Records
from reconciliation.formats.refusing import Cell, Refusals, Unreadable, excerpt, refusal_of
from reconciliation.formats.shape import Chunk, Refusal


def chunked(
    records: Records,
    columns: Columns,
    chunks: Chunks,
    refusals: Refusals,
    line_of: Callable[[list[str]], Line],
    cells: Callable[[list[str]], Iterable[Cell]],
    rows: Iterable[list[str]] | None = None,
) -> Iterator[Chunk]:
    """All records that are left → chunks, until one is refused; the rest is still read, for the refusal that comes first.

    `line_of`: a row that has the header's width → its line, or Unreadable. `cells`: what names the column of the latter.
    `rows`: those of the records that hold lines, if not all do.
    """
    for row in records if rows is None else rows:
        if not columns.has_width(row):
            detail = f"{len(row) - 1} columns, not {columns.width}"
            refusals.add(Refusal("bad_row", detail, records.line, excerpt=excerpt(row)))
            continue
        try:
            line = line_of(row)
        except Unreadable as error:
            if columns.is_header(row):
                refusals.add(Refusal("bad_row", "the header comes again: the file is two files", records.line))
            else:
                refusals.add(refusal_of(error, row, records.line, cells(row)))
            continue
        chunk = chunks.add(line, records.number, records.first_byte, records.last_byte)
        if chunk is not None and not refusals:
            yield chunk
    if not refusals:
        yield from chunks.rest()
