"""Rows → CSV for spreadsheets (RFC 4180), in which no cell is a formula and nothing moves a terminal's cursor."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence

from operations.cli.terminal import say, visible

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_is_amount = re.compile(r"-?\d+(\.\d+)?").fullmatch


def cell(value: object) -> str:
    """Its text. One that a spreadsheet would run begins with an apostrophe; a negative amount is none (OWASP: CSV injection)."""
    text = "" if value is None else str(value)
    if text.startswith(_FORMULA) and not _is_amount(text):
        text = "'" + text
    return visible(text)


def say_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """With a header, on stdout."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows([cell(row[column]) for column in columns] for row in rows)
    say(*written.getvalue().splitlines())
