"""Reports whose next question depends on earlier answers: generators that yield what to ask, and are sent the rows."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, NamedTuple, TypeVar

from producers.recon_reports import Answer, Ask, Report, Rows

Found = TypeVar("Found")
Steps = Generator[Ask, Rows, Found]


class Ended(NamedTuple, Generic[Found]):
    """What the steps have come to."""

    found: Found


def step(steps: Steps[Found], rows: Rows | None) -> Ask | Ended[Found]:
    """The next question, or the end. `rows`: the answer to the one before; None at the beginning."""
    try:
        return next(steps) if rows is None else steps.send(rows)
    except StopIteration as ended:
        return Ended(ended.value)


def walk(steps: Steps[Found], ask: Callable[[Ask], Rows]) -> Found:
    """To the end."""
    rows: Rows | None = None
    while True:
        asked = step(steps, rows)
        if isinstance(asked, Ended):
            found: Found = asked.found
            return found
        rows = ask(asked)


def steps_of(report: Report) -> Steps[Answer]:
    rows = {}
    for name, ask in report.asks.items():
        rows[name] = yield ask
    return report.shape(rows)
