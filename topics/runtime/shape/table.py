"""A table's columns, declared once → its select lists and set-based statements, built at import.

Migrations create the tables; a test compares each declaration with the migrated database.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, LiteralString

from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import LITERALS, PackedArray, insert_text


@dataclass(frozen=True, slots=True)
class Column:
    """One column, and where a saved object holds its value.

    `source` is the path from that object ("placed.gross.minor"); empty: the column's name. `write` converts the
    object's value to the stored one.
    """

    name: str
    type: str  # one of LITERALS
    source: str = ""
    key: bool = False  # part of the primary key
    null: bool = False
    fixed: bool = False  # never changes after the insert
    by_sql: bool = False  # set by a default or a statement of its own, not from the object
    write: Callable[[Any], object] | None = None

    @property
    def path(self) -> str:
        return self.source or self.name

    def within(self, parts: Sequence[str]) -> bool:
        """Whether the object holds the column's value under one of these attributes; under any if none is named."""
        return not self.by_sql and (not parts or self.path.partition(".")[0] in parts)


class Table:
    """Columns in the order in which they are inserted."""

    def __init__(self, name: str, *columns: Column) -> None:
        self.name = name
        self.columns = columns

    def select(self, shape: type, part: str = "", alias: str = "", without: Sequence[str] = ()) -> LiteralString:
        """The select list of the fields of `shape`, in their order: `shape(*row)` is the saved object.

        `part` is the path of `shape` within the saved object. Errors, at import: KeyError if a field has no column.
        """
        found = {column.path if part else column.name: column for column in self.columns}
        wanted = [f"{part}.{name}" if part else name for name in _fields(shape) if name not in without]
        return ", ".join(_read(found[each], alias) for each in wanted)

    def insert(self, *parts: str, otherwise: str = "") -> Statement:
        """Inserts all columns of the saved object; with `parts`, those under these attributes."""
        columns = [column for column in self.columns if column.within(parts)]
        into = f"{self.name} ({', '.join(column.name for column in columns)})"
        return Statement(insert_text(into, [column.type for column in columns], otherwise), columns)

    def upsert(self) -> Statement:
        """Inserts; on an existing key it updates every column that may change."""
        moved = ", ".join(f"{column.name} = excluded.{column.name}" for column in self._changing(()))
        keys = ", ".join(column.name for column in self._keys)
        return self.insert(otherwise=f"ON CONFLICT ({keys}) DO UPDATE SET {moved}")

    def update(self, *parts: str) -> Statement:
        """Updates, by key, every column that may change; with `parts`, those under these attributes."""
        changing = self._changing(parts)
        columns = [*self._keys, *changing]
        moved = ", ".join(f"{column.name} = new.{column.name}" for column in changing)
        found = " AND ".join(f"{self.name}.{column.name} = new.{column.name}" for column in self._keys)
        arrays = ", ".join(f"%s::{column.type}[]" for column in columns)
        names = ", ".join(column.name for column in columns)
        text = f"UPDATE {self.name} SET {moved} FROM unnest({arrays}) AS new ({names}) WHERE {found}"
        return Statement(text, columns)

    @property
    def _keys(self) -> list[Column]:
        return [column for column in self.columns if column.key]

    def _changing(self, parts: Sequence[str]) -> list[Column]:
        return [column for column in self.columns if column.within(parts) and not column.key and not column.fixed]


class Statement:
    """One statement for many rows: one array of values for each column, taken from the saved objects."""

    def __init__(self, text: LiteralString, columns: Sequence[Column]) -> None:
        self.text = text
        self._arrays = [_array_of(column) for column in columns]
        self._literals = [(column.name, LITERALS[column.type]) for column in columns]

    def run(self, conn: Connection, saved: Sequence[Any]) -> None:
        if saved:
            conn.execute(self.text, [array(saved) for array in self._arrays])

    def run_columns(self, conn: Connection, **values: Sequence[Any]) -> None:
        """As `run`, from one sequence of values for each column: for rows without objects."""
        assert values.keys() == {name for name, _ in self._literals}
        assert len({len(column) for column in values.values()}) == 1, "columns of one length"
        conn.execute(self.text, [literal(values[name]) for name, literal in self._literals])


def part_of(path: str) -> Callable[[Any], object]:
    """For `write`: the value at this path of an object that may be None."""
    read = attrgetter(path)
    return lambda held: None if held is None else read(held)


def _array_of(column: Column) -> Callable[[Sequence[Any]], str | PackedArray]:
    held, literal, write = attrgetter(column.path), LITERALS[column.type], column.write
    if write is None:
        return lambda saved: literal(list(map(held, saved)))
    return lambda saved: literal([write(held(each)) for each in saved])


def _fields(shape: type) -> Sequence[str]:
    """The field names of a dataclass or a NamedTuple."""
    if dataclasses.is_dataclass(shape):
        return [field.name for field in dataclasses.fields(shape)]
    names: tuple[str, ...] = shape._fields  # type: ignore[attr-defined]
    return names


def _read(column: Column, alias: str) -> str:
    name = f"{alias}.{column.name}" if alias else column.name
    return f"{name}::text" if column.type == "uuid" else name
