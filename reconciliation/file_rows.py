"""The rows of settlement files, as their readers take and move them: under a lease, by the database's clock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import LiteralString, NamedTuple

import orjson

from reconciliation.formats.shape import Control, Reader, RefusalCode
from topics.runtime.shape.consumer import Connection

LEASE_S = 60


class LeasedFile(NamedTuple):
    """A file that a reader holds."""

    file_no: int
    source: str
    file_id: str  # SHA-256 of its bytes
    upload_id: str
    name: str
    size: int
    received_at: datetime
    reader: str | None  # the reading that has gated it (`reading_of`); None: it is to be read
    chunks: int | None
    chunks_said: int  # the close counts as one more
    released: Collection[RefusalCode]  # two persons take it in spite of these


# Files to be read, or whose lines are not all known to be said; a lease that has run out was of a reader that is gone.
_LEASE: LiteralString = """
WITH wanted AS (
    SELECT file_no FROM files
    WHERE state IN ('received', 'reading', 'gated', 'folding', 'held') AND source = ANY(%(sources)s)
      AND (state IN ('received', 'reading') OR chunks_said <= chunks)
      AND (lease_until IS NULL OR lease_until < clock_timestamp())
    ORDER BY file_no LIMIT 1 FOR UPDATE SKIP LOCKED)
UPDATE files f SET state = CASE f.state WHEN 'received' THEN 'reading' ELSE f.state END,
    lease_holder = %(holder)s, lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM wanted WHERE f.file_no = wanted.file_no
RETURNING f.file_no, f.source, f.file_id, f.upload_id, f.name, f.size, f.received_at,
    CASE WHEN f.state <> 'reading' THEN f.reader END, f.chunks, f.chunks_said, f.released
"""
_HELD: LiteralString = (
    "WHERE file_no = %(file_no)s AND lease_holder = %(holder)s AND state <> ALL('{discarded,superseded}')"
)


def lease(conn: Connection, holder: str, sources: Collection[str]) -> LeasedFile | None:
    """The oldest file that waits, of these sources."""
    row = conn.execute(_LEASE, {"sources": list(sources), "holder": holder, "lease": LEASE_S}).fetchone()
    return LeasedFile(*row) if row else None


def renew(conn: Connection, holder: str, file_no: int, chunks_said: int | None = None) -> bool:
    """Hold a file longer; `chunks_said` where more are known to be said. → False if another reader has it, or nobody wants it."""
    row = conn.execute(
        "UPDATE files SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s),"
        f" chunks_said = coalesce(%(said)s, chunks_said) {_HELD} RETURNING 1",
        {"lease": LEASE_S, "said": chunks_said, "file_no": file_no, "holder": holder},
    ).fetchone()
    return row is not None


def gated(
    conn: Connection, holder: str, file: LeasedFile, reader: Reader, control: Control, chunks: int, now: datetime
) -> bool:
    """The file is whole: its lines may be said. → False if it is ours no more."""
    row = conn.execute(
        "UPDATE files SET state = CASE state WHEN 'reading' THEN 'gated' ELSE state END, reader = %(reader)s,"
        " mode = %(mode)s, identity = %(identity)s, version = %(version)s, sequence = %(sequence)s,"
        " first_day = %(first_day)s, last_day = %(last_day)s, chunks = %(chunks)s, chunks_said = 0, lines = %(lines)s,"
        f" control = %(control)s, changed_at = %(now)s {_HELD} RETURNING 1",
        {
            "reader": reading_of(reader, file.reader),
            "mode": reader.mode,
            "identity": control.identity,
            "version": control.version,
            "sequence": control.sequence,
            "first_day": control.first_day or None,
            "last_day": control.last_day or None,
            "chunks": chunks,
            "lines": control.lines,
            "control": orjson.dumps(
                asdict(control) | {"sums": [dict(zip(each._fields, each, strict=True)) for each in control.sums]}
            ).decode(),
            "now": now,
            "file_no": file.file_no,
            "holder": holder,
        },
    ).fetchone()
    return row is not None


def quarantined(conn: Connection, holder: str, file_no: int, refusal: dict[str, object], now: datetime) -> None:
    """The file is refused as a whole; nothing of it is said. `why` is the refusal's code: some may be released by persons."""
    conn.execute(
        "UPDATE files SET state = 'quarantined', why = %(code)s, refusal = %(refusal)s, changed_at = %(now)s,"
        f" lease_holder = NULL, lease_until = NULL {_HELD} AND state = 'reading'",
        {
            "code": refusal["code"],
            "refusal": orjson.dumps(refusal).decode(),
            "now": now,
            "file_no": file_no,
            "holder": holder,
        },
    )


def give_back(conn: Connection, holder: str, file_no: int) -> None:
    """Another reader need not wait until the lease runs out."""
    conn.execute(
        f"UPDATE files SET lease_holder = NULL, lease_until = NULL {_HELD}", {"file_no": file_no, "holder": holder}
    )


def reading_of(reader: Reader, before: str | None) -> str:
    """The name of a reading, "<name>:<version>": its events count, and those of former ones no more.

    Where another version has gated the file before, one number more: while processes are replaced versions may take turns, and
    what a version said in its first turn must not pass for what it says in its second.
    """
    name = f"{reader.name}:{reader.version}"
    if before is None:
        return name
    version, _, turn = before.partition("/")
    return before if version == name else f"{name}/{int(turn or 1) + 1}"
