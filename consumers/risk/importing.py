"""An operator's act: a list as its authority published it → a new version of it in risk's store, in one transaction.

Entries stand once, from the import that brought them to the one that changed or removed them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from consumers.risk.entries import Entry
from consumers.risk.readers import ListFile
from topics.runtime.dead_letters.acts import AuditNote, write_audit
from topics.runtime.dead_letters.listing import operator_reader, operator_transaction
from topics.runtime.shape.consumer import Connection
from topics.settings import Settings

_LOCK = 0x4C495354  # advisory: one process at a time stores lists


@dataclass(frozen=True, slots=True)
class Diff:
    """What a file has that the current version has not, by the authority's ids."""

    name: str
    version: str
    before: str | None  # the current version; None where there is none yet
    entries: int
    names: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def is_new(self) -> bool:
        return self.version != self.before

    def counts(self) -> dict[str, int]:
        return {
            "entries": self.entries,
            "names": self.names,
            "added": len(self.added),
            "changed": len(self.changed),
            "removed": len(self.removed),
        }


def compare(settings: Settings, file: ListFile) -> Diff:
    """Nothing is changed. Errors: psycopg.OperationalError while the store is away."""
    with operator_reader(settings, "risk") as conn:
        return _diff(conn, file)


def load(settings: Settings, file: ListFile, by: AuditNote) -> Diff:
    """Make this version the current one. The same again changes nothing."""
    with operator_transaction(settings, "risk") as conn:
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        diff = _diff(conn, file)
        if diff.is_new:
            _store(conn, file, diff)
            chosen = {"list": file.name, "version": file.version, "published": str(file.published or "")}
            write_audit(conn, by, "import list", chosen, diff.counts())
    return diff


def _diff(conn: Connection, file: ListFile) -> Diff:
    current = conn.execute("SELECT version FROM lists WHERE name = %s AND current", [file.name]).fetchone()
    stood = dict(
        conn.execute(
            "SELECT entry_id, content FROM list_entries WHERE list_name = %s AND until_no IS NULL", [file.name]
        ).fetchall()
    )
    now = {entry.entry_id: entry.content for entry in file.entries}
    return Diff(
        name=file.name,
        version=file.version,
        before=current[0] if current else None,
        entries=len(file.entries),
        names=sum(len(entry.names) for entry in file.entries),
        added=tuple(sorted(now.keys() - stood.keys())),
        changed=tuple(sorted(id_ for id_, content in now.items() if stood.get(id_, content) != content)),
        removed=tuple(sorted(stood.keys() - now.keys())),
    )


def _store(conn: Connection, file: ListFile, diff: Diff) -> None:
    made: Any = conn.execute(
        "INSERT INTO imports (list_name, version, published, entries, names, added, changed, removed)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING no",
        [file.name, file.version, file.published, *diff.counts().values()],
    ).fetchone()
    [no] = made
    gone = [*diff.changed, *diff.removed]
    conn.execute(
        "UPDATE list_entries SET until_no = %s WHERE list_name = %s AND until_no IS NULL AND entry_id = ANY(%s)",
        [no, file.name, gone],
    )
    fresh = {*diff.added, *diff.changed}
    _copy(conn, [entry for entry in file.entries if entry.entry_id in fresh], no)
    conn.execute("UPDATE lists SET current = false WHERE name = %s AND current", [file.name])
    conn.execute(
        "INSERT INTO lists (name, version, names, current, source) VALUES (%s, %s, %s, true, 'import')"
        " ON CONFLICT (name, version) DO UPDATE SET current = true, source = 'import'",
        [file.name, file.version, diff.names],
    )


def _copy(conn: Connection, entries: Sequence[Entry], no: int) -> None:
    columns = "list_name, entry_id, content, from_no, names, births, countries, programmes"
    with conn.cursor() as cur, cur.copy(f"COPY list_entries ({columns}) FROM STDIN") as copy:
        for entry in entries:
            said = [_array(each) for each in (entry.names, entry.births, entry.countries, entry.programmes)]
            copy.write_row((entry.list_name, entry.entry_id, entry.content, no, *said))


def _array(texts: Sequence[str]) -> str:
    return orjson.dumps(list(texts)).decode()
