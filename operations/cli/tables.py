"""Rows → tables on the terminal. Cells are plain text without markup, with invisible characters escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich.table
from rich.console import Console, RenderableType
from rich.text import Text

from operations.cli.terminal import visible

if TYPE_CHECKING:
    from rich.status import Status


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """As wide as the screen if no width is given."""
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


class Table(rich.table.Table):
    """rich's table for untrusted text: a cell is a str, or a Text if it has a style."""

    def add_row(self, *cells: RenderableType | None, style: object = None, end_section: bool = False) -> None:
        """Styles are the cells' own."""
        super().add_row(*(_cell(cell) for cell in cells))

    def show(self) -> None:
        console().print(self)


def _cell(cell: RenderableType | None) -> Text:
    if isinstance(cell, Text):
        return Text(visible(cell.plain), cell.style)
    return Text(visible(str(cell)))


def titled(title: str, *columns: str) -> Table:
    return Table(*columns, title=Text(visible(title)), title_justify="left")


def working(what: str) -> Status:
    """A spinner on stderr, with what is being done."""
    shown = console(stderr=True)
    return shown.status(Text(visible(what)), spinner=spinner(shown))


def spinner(shown: Console) -> str:
    return "dots" if shown.encoding.startswith("utf") else "line"
