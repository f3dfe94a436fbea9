"""A report of reconciliation → its answer, read from the rooms' views, and its rows as a table, CSV or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from operations.cli.csv_rows import say_csv
from operations.cli.terminal import note, say_json
from producers.recon_reports import Answer, Report
from topics.runtime.shape.reading import read
from topics.settings import Settings

Columns = Sequence[tuple[str, str]]  # a field of the rows, and its heading in the table


def answer(settings: Settings, report: Report) -> Answer:
    """Errors: psycopg.OperationalError while a store is away."""
    rows = {name: read(settings, ask.room, ask.statement, ask.values) for name, ask in report.asks.items()}
    return report.shape(rows)


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


def table(rows: Sequence[Answer], columns: Columns, title: str = "") -> None:
    from operations.cli.tables import Table, titled

    headings = [heading for _, heading in columns]
    shown = titled(title, *headings) if title else Table(*headings)
    for row in rows:
        shown.add_row(*(_text(row[field]) for field, _ in columns))
    shown.show()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%m-%d %H:%M:%S}"
    return "" if value is None else str(value)
