"""Values that cannot be read → the one refusal of a file, with line, column and a masked excerpt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

from reconciliation.formats.shape import RELEASABLE, Refusal, RefusalCode
from schemas.masking import masked

_RANK = {code: rank for rank, code in enumerate(get_args(RefusalCode))}

Cell = tuple[str, int, Callable[[str], object]]  # a column's name, its place in the row, and what reads its text


class Unreadable(Exception):
    """A text is no amount, time, currency… of its format. The row that holds it becomes a Refusal: see `refusal_of`."""

    def __init__(self, code: RefusalCode, detail: str, column: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.column = column  # where whoever raises it knows


def excerpt(row: Sequence[str]) -> str:
    """What is shown of a record."""
    return masked(",".join(row[:100]).rstrip(","))


def refusal_of(error: Unreadable, row: Sequence[str], line: int, cells: Iterable[Cell]) -> Refusal:
    """The refusal of a row: its column is the first of `cells` that cannot be read by itself."""
    return Refusal(error.code, error.detail, line, error.column or _column(row, cells), excerpt(row))


def _column(row: Sequence[str], cells: Iterable[Cell]) -> str | None:
    for name, place, read in cells:
        try:
            read(row[place])
        except Unreadable:
            return name
    return None


class Refusals:
    """The refusals met in a file: of all of them the file gets the one whose code comes first in RefusalCode.

    A reader goes on behind a bad row, so that a file gets the same refusal whatever comes first in it:

        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            for row in …:
                try: …
                except Unreadable as error:
                    refusals.add(refusal_of(error, row, line, cells))
            if not refusals: …  # the sums
    """

    def __init__(self, released: frozenset[RefusalCode] = frozenset()) -> None:
        self._released = released & RELEASABLE
        self._first: Refusal | None = None

    def __bool__(self) -> bool:
        return self._first is not None

    def add(self, refusal: Refusal) -> None:
        if refusal.code in self._released:
            return
        if self._first is None or _RANK[refusal.code] < _RANK[self._first.code]:
            self._first = refusal

    @contextmanager
    def raised_at_the_end(self) -> Iterator[None]:
        """Errors: Refusal."""
        try:
            yield
        except Refusal as refusal:
            self.add(refusal)
            if self._first is None:
                raise
        if self._first is not None:
            raise self._first
