"""A room's migrations on disk → those that its schema lacks. Without Alembic, since each process checks at its start."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psycopg

from topics.catalog import Room
from topics.runtime.shape.consumer import Connection
from topics.settings import SettingsError

RUNTIME = Path(__file__).parent / "migrations" / "versions"
_HEAD = re.compile(r'^(revision|down_revision|depends_on) = "(\w+)"', re.MULTILINE)

Predecessors = Mapping[str, set[str]]  # revision → those that come before it


def folders(room: Room) -> list[Path]:
    """The runtime's migrations, and the room's own."""
    spec = importlib.util.find_spec(room.migrations)
    assert spec is not None, f"{room.migrations} is not installed"
    assert spec.submodule_search_locations, f"{room.migrations} is not a package"
    return [RUNTIME, Path(spec.submodule_search_locations[0]) / "migrations"]


def predecessors(room: Room) -> Predecessors:
    """Each revision's predecessors, read from the heads of the files."""
    found = {}
    for path in (path for folder in folders(room) for path in folder.glob("*.py")):
        head = dict(_HEAD.findall(path.read_text()))
        revision = head.pop("revision")
        found[revision] = set(head.values())
    return found


class OlderSchema(SettingsError):
    """A room's schema is of an older release than its process."""

    def __init__(self, room: str, lacks: Sequence[str]) -> None:
        super().__init__(f"the schema of {room} lacks {', '.join(lacks)}: `tally migrate` brings it up to date")


def refuse_older(conn: Connection, room: Room) -> None:
    """Errors: OlderSchema; psycopg.Error."""
    if lacks := missing(conn, room):
        raise OlderSchema(room.name, lacks)


def missing(conn: Connection, room: Room) -> list[str]:
    """Migrations of this release that the room's schema lacks, oldest first. None if a later release has migrated it: that
    keeps what this release needs, so that processes can be replaced one by one."""
    wanted, had = predecessors(room), _heads(conn, room)
    if not had <= wanted.keys():
        return []
    return sorted(
        wanted.keys() - _with_earlier(had, wanted), key=lambda each: (len(_with_earlier({each}, wanted)), each)
    )


def _heads(conn: Connection, room: Room) -> set[str]:
    try:
        return {version for (version,) in conn.execute(f"SELECT version_num FROM {room.name}.alembic_version")}
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return set()


def _with_earlier(revisions: Iterable[str], wanted: Predecessors) -> set[str]:
    reached, rest = set[str](), set(revisions)
    while rest:
        reached |= rest
        rest = {before for each in rest for before in wanted[each]} - reached
    return reached
