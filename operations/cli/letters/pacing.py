"""A run over letters with a progress bar; Ctrl-C or a kill leaves whole slices."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from topics.runtime.dead_letters.acts import ActResult
from topics.runtime.dead_letters.pacing import ActTotals


def with_bar(steps: Iterator[ActResult], total: int, tally: ActTotals, title: str) -> None:
    """Run all steps, with a bar if stderr is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from operations.cli.tables import console

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = sys.stderr.isatty()
    with Progress(*columns, console=console(stderr=True), disable=not shown, transient=True) as progress:
        task = progress.add_task(title, total=total)
        for acted in steps:
            tally.add(acted)
            progress.update(task, advance=len(acted.changed) + len(acted.unchanged))
