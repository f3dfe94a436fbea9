"""Lines of CSV → records with their line, number and bytes; a header → the places of its columns.

    records = Records(blocks)
    columns = Columns(records.header(), required=…, optional=…, is_money=…)
    pick = columns.picker("type", "net debit nc", …)
    for row in records: kind, debit, … = pick(row)      # "" for an optional column that is not there

Columns are found by their normalised names (`normal`), never by place, and per file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter

from reconciliation.formats.blocks import Lines
from reconciliation.formats.shape import Refusal
from schemas.masking import masked

_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


def normal(name: str) -> str:
    """ " Gross Debit (GC)" → "gross debit gc"."""
    return _NOT_A_WORD.sub(" ", name.casefold()).strip()


FIELD_MAX = 131_072  # characters: no field of a report comes near; a quote that is never closed does


class Records:
    """Records that are not blank. Of the last one given: `number` (from 1), `line` (its last), `first_byte`, `last_byte`.

    Errors: Refusal as Lines, and `bad_row` or `truncated` (the file ends inside quotes) where it is not strict CSV.
    """

    def __init__(self, blocks: Iterable[bytes], delimiter: str = ",") -> None:
        self.number = 0
        self.first_byte = self.last_byte = 0
        self._lines = Lines(blocks)
        csv.field_size_limit(FIELD_MAX)  # of the process, whoever has changed it
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)

    @property
    def line(self) -> int:
        return self._reader.line_num

    def __iter__(self) -> Iterator[list[str]]:
        lines = self._lines
        try:
            for row in self._reader:
                self.first_byte, lines.record_from = lines.record_from, lines.offset
                if row and (len(row) > 1 or row[0].strip()):
                    self.number += 1
                    self.last_byte = lines.offset - 1
                    yield row
        except csv.Error as error:
            raise self._not_csv(error) from None

    def header(self) -> list[str]:
        """The first record. Errors: Refusal `empty`."""
        row = next(iter(self), None)
        if row is None:
            raise Refusal("empty", "the file has no line")
        return row

    def _not_csv(self, error: csv.Error) -> Refusal:
        if "end of data" in str(error):
            return Refusal("truncated", "the file ends inside a quoted field", self.line)
        return Refusal("bad_row", f"not CSV: {error}", self.line)


class Columns:
    """A file's columns by normalised name. `notes`: those that are read past.

    Errors: Refusal `schema_drift` where a required column is missing, a name stands there twice, or an unknown column
    holds money.
    """

    def __init__(
        self,
        header: Sequence[str],
        *,
        required: Iterable[str],
        optional: Iterable[str] = (),
        is_money: Callable[[str], bool] = lambda name: False,
        line: int = 1,
    ) -> None:
        self.width = len(header)
        self.names = list(header)
        self._places: dict[str, int] = {}
        for place, written in enumerate(header):
            name = normal(written)
            if name and name in self._places:
                raise _drift(f"two columns are called {masked(written)!r}", line, written)
            self._places[name] = place
        needed = list(required)
        for name in needed:
            if name not in self._places:
                raise _drift(f"there is no column {name!r}", line, name)
        unknown = [name for name in self._places if name and name not in {*needed, *optional}]
        for name in filter(is_money, unknown):
            raise _drift(f"an amount in an unknown column: {name[:60]!r}", line, name)
        self.notes = tuple(masked(name)[:60] for name in unknown)

    def place(self, name: str) -> int:
        """Behind the row's end for an optional column that is not there."""
        return self._places.get(name, self.width)

    def written(self, name: str) -> str:
        """As the file writes it."""
        return [*self.names, name][self.place(name)]

    def is_header(self, row: list[str]) -> bool:
        return row[0].lstrip("\ufeff") == self.names[0] and row[1 : self.width] == self.names[1:]

    def picker(self, *names: str) -> Callable[[list[str]], tuple[str, ...]]:
        """row → these columns of it; the row must have been checked by `has_width`."""
        return itemgetter(*map(self.place, names))

    def has_width(self, row: list[str]) -> bool:
        """Whether the row has all columns. It then gets one more, empty, for optional columns that are not there."""
        row.append("")
        return len(row) == self.width + 1


def _drift(detail: str, line: int, column: str) -> Refusal:
    return Refusal("schema_drift", detail, line, masked(column)[:60])
