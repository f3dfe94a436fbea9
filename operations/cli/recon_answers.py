"""A report of reconciliation → its answer, read from the rooms' views, and its rows as a table, CSV or JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import dict_row

from operations.cli.csv_rows import say_csv
from operations.cli.terminal import note, say, say_json, visible
from producers.recon_reports import Answer, Ask, Report, Rows
from producers.recon_steps import Found, Steps, walk
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.reading import connect_reader, read
from topics.settings import Settings

Columns = Sequence[tuple[str, str]]  # a field of the rows, and its heading in the table


def answer(settings: Settings, report: Report) -> Answer:
    """Errors: psycopg.OperationalError while a store is away."""
    rows = {name: read(settings, ask.room, ask.statement, ask.values) for name, ask in report.asks.items()}
    return report.shape(rows)


def walked(settings: Settings, steps: Steps[Found]) -> Found:
    """What the steps come to, through one connection to each room. Errors: psycopg.OperationalError while a store is away."""
    with ExitStack() as exits:
        rooms: dict[str, Connection] = {}

        def ask(asked: Ask) -> Rows:
            if asked.room not in rooms:
                conn = connect_reader(settings, asked.room, name="tally", autocommit=True)
                rooms[asked.room] = exits.enter_context(conn)
            return rooms[asked.room].cursor(row_factory=dict_row).execute(asked.statement, asked.values).fetchall()

        return walk(steps, ask)


def show(rows: Sequence[Answer], name: str, columns: Columns, as_json: bool, as_csv: bool, none: str) -> None:
    """`none`: what is said of an empty table."""
    if as_json:
        say_json({name: list(rows)})
    elif as_csv:
        say_csv([field for field, _ in columns], rows)
    elif rows:
        table(rows, columns)
    else:
        note(none)


FOLDED_MIN = 14  # characters of a text column that is folded


def table(rows: Sequence[Answer], columns: Columns, title: str = "") -> None:
    """Nothing is cut off: numbers stand whole, long texts are folded; where the screen is too narrow a row is a line of text."""
    from operations.cli.tables import Table, console, titled

    cells = [[_text(row[field]) for field, _ in columns] for row in rows]
    headings = [heading for _, heading in columns]
    kinds = [_Column(heading, [visible(row[place]) for row in cells]) for place, heading in enumerate(headings)]
    spare = console().width - sum(each.narrowest + 3 for each in kinds) - 1
    if spare < 0:
        say(*([title] if title else []), *(_line(headings, row) for row in cells))
        return
    shown = titled(title) if title else Table()
    for each in kinds:
        justify: Literal["left", "right"] = "right" if each.is_number else "left"
        grown = min(spare, each.widest - each.narrowest)
        spare -= grown
        shown.add_column(each.heading, justify=justify, overflow="fold", width=each.narrowest + grown)
    for row in cells:
        shown.add_row(*row)
    shown.show()


class _Column:
    def __init__(self, heading: str, cells: Sequence[str]) -> None:
        self.heading = heading
        self.is_number = all(_is_number(cell) for cell in cells if cell) and any(cells)
        widest = max(map(len, cells), default=0)
        word = max(map(len, heading.split()))
        self.widest = max(widest, len(heading))
        self.narrowest = max(word, widest if self.is_number else min(widest, FOLDED_MIN))


_is_number = re.compile(r"-?[0-9]+(\.[0-9]+)?").fullmatch


def _line(headings: Sequence[str], row: Sequence[str]) -> str:
    return ", ".join(f"{heading} {cell}" for heading, cell in zip(headings, row, strict=True) if cell)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
