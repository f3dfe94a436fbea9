"""`tally stuck`: money that is not through past its limit, how old, how much, and what the system does next."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.terminal import note, say_json

if TYPE_CHECKING:
    from datetime import datetime

    from topics.runtime.shape.consumer import FindStuck
    from topics.runtime.shape.stuck import Stuck
    from topics.settings import Settings

app = typer.Typer()


@app.command()
def stuck(as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False) -> None:
    """What is not finished past its limit (TALLY_STUCK): payments, orders, dead and parked letters, in every room."""
    from operations.stack.running import current_settings

    found = find_stuck(current_settings())
    _note_cut(found)
    if as_json:
        say_json([_as_dict(one) for one in found])
    elif found:
        _print(found)
    else:
        note("nothing is stuck")


def _note_cut(found: list[Stuck]) -> None:
    from collections import Counter

    from topics.runtime.shape.stuck import FOUND_MAX

    for room, number in Counter(one.room for one in found).items():
        if number >= FOUND_MAX:
            note(f"{room}: of each kind only the oldest {FOUND_MAX} are looked for, so there may be more")


def find_stuck(settings: Settings) -> list[Stuck]:
    """The findings of every room, oldest first. Errors: psycopg.OperationalError while a room's store is away."""
    from topics.catalog import CONSUMERS
    from topics.runtime.shape.clock import Clock

    now = Clock(settings.clock_file).now()
    found = [one for room in CONSUMERS for one in _stuck_in_room(settings, room.name, now)]
    return sorted(found, key=lambda one: -one.age_s)


def _stuck_in_room(settings: Settings, room: str, now: datetime) -> list[Stuck]:
    from topics.runtime.dead_letters.stuck import stuck_letters
    from topics.runtime.shape.reading import connect_reader

    with connect_reader(settings, room, name="tally stuck") as conn:
        found = stuck_letters(conn, room, settings, now)
        if (own := _own_finder(room)) is not None:
            found += own(conn, settings.stuck, now)
        return found


def _own_finder(room: str) -> FindStuck | None:
    """`stuck` of the room's `stuck.py`, if there is one: the query that its processes run, too."""
    import importlib
    from importlib.util import find_spec

    from topics.catalog import room as find_room

    name = f"{find_room(room).migrations}.stuck"
    return None if find_spec(name) is None else importlib.import_module(name).stuck


def _as_dict(one: Stuck) -> dict[str, Any]:
    return asdict(one) | {"amounts": [amount.wire() for amount in one.amounts]}


def _print(found: list[Stuck]) -> None:
    from datetime import timedelta

    from operations.cli.tables import Table

    table = Table("room", "what", "PSP", "state", "amount", "age", "next")
    for one in found:
        amounts, age = ", ".join(map(str, one.amounts)), str(timedelta(seconds=one.age_s))
        cells = (one.room, one.id, one.psp or "", one.state, amounts, age, one.next)
        table.add_row(*cells)
    table.show()
