"""Files for banks as rows: calls → a closed file and its lines → delivering → delivered, or unresolved.

Each function runs inside its caller's transaction. `now` is business time; leases are machine time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, NamedTuple

from consumers.executor.bank_file import BankFile, FileState, file_id_of, holder_of, reply_of
from topics.runtime.calls import held
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import int_array, text_array

LEASE_S = 60.0  # to write a file; after that another process may
PAGE = 500


class DueCall(NamedTuple):
    """A call that waits for its cut-off, locked."""

    id: str
    payout_id: str
    request: bytes
    amount: int  # minor units


class Group(NamedTuple):
    """Calls that may share a file."""

    cut_off: datetime
    currency: str


class ClosedFile(NamedTuple):
    """A file that is to be written."""

    file_id: str
    provider: str
    currency: str
    cut_off: datetime
    transactions: int
    total: int  # minor units
    closed_at: datetime


_DUE: LiteralString = """
FROM calls c JOIN payouts p ON p.payout_id = c.subject AND p.call_id = c.id
WHERE c.state = 'due' AND c.act = 'send' AND c.psp = %(provider)s AND c.due_at <= %(now)s AND c.deadline > %(now)s
"""


def lock_provider(conn: Connection, provider: str) -> None:
    """One process at a time closes files of a bank: else two could give theirs one number."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('bank file ' || %s, 0))", (provider,))


def due_group(conn: Connection, provider: str, now: datetime) -> Group | None:
    """The oldest cut-off for which calls wait, and one of their currencies."""
    found = conn.execute(
        "SELECT c.due_at, p.sent_currency " + _DUE + " ORDER BY c.due_at, p.sent_currency LIMIT 1",
        {"provider": provider, "now": now},
    ).fetchone()
    return None if found is None else Group(*found)


def lock_due(conn: Connection, provider: str, group: Group, most: int, now: datetime) -> list[DueCall]:
    """Calls of the group, in the order in which all lock calls. A withdrawal of one either comes first, or is too late."""
    values = {"provider": provider, "now": now, "cut_off": group.cut_off, "currency": group.currency, "most": most}
    rows = conn.execute(
        "SELECT c.id, c.subject, c.request, p.sent_minor "
        + _DUE
        + " AND c.due_at = %(cut_off)s AND p.sent_currency = %(currency)s ORDER BY c.id LIMIT %(most)s FOR UPDATE OF c",
        values,
    )
    return [DueCall(*row) for row in rows]


def close(
    conn: Connection, provider: str, bank_account: str, group: Group, lines: Sequence[DueCall], now: datetime
) -> str:
    """Insert a file with these lines, whose calls wait for it from now on. → its id"""
    number = _next_number(conn, provider, group)
    file_id = file_id_of(provider, group.cut_off, group.currency, number)
    conn.execute(
        "INSERT INTO bank_files (file_id, provider, bank_account, currency, cut_off, number, transactions, total_minor,"
        " state, closed_at, changed_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'closed', %s, %s)",
        (
            *(file_id, provider, bank_account, group.currency, group.cut_off, number),
            *(len(lines), sum(line.amount for line in lines), now, now),
        ),
    )
    conn.execute(
        "INSERT INTO bank_file_lines (call_id, file_id, position, payout_id, amount_minor)"
        " SELECT call_id, %s, position, payout_id, amount"
        " FROM unnest(%s::text[], %s::int[], %s::text[], %s::bigint[]) AS l (call_id, position, payout_id, amount)",
        (
            file_id,
            text_array(line.id for line in lines),
            int_array(range(1, len(lines) + 1)),
            text_array(line.payout_id for line in lines),
            int_array(line.amount for line in lines),
        ),
    )
    held.hold(conn, [line.id for line in lines], holder_of(file_id), now)
    return file_id


def _next_number(conn: Connection, provider: str, group: Group) -> int:
    [(last,)] = conn.execute(
        "SELECT coalesce(max(number), 0) FROM bank_files WHERE provider = %s AND cut_off = %s AND currency = %s",
        (provider, group.cut_off, group.currency),
    ).fetchall()
    return int(last) + 1


def refuse(conn: Connection, codes: Mapping[str, dict[str, object]], now: datetime) -> None:
    """Answer locked calls that no file can hold; nothing of them has left."""
    held.hold(conn, sorted(codes), "refused", now)
    held.answer(conn, "refused", codes, datetime.now(UTC))


# ── from closed to delivered ─────────────────────────────────────────────────────────────────────────────────────────


def lease_closed(conn: Connection, providers: Sequence[str], by: str) -> ClosedFile | None:
    """The oldest file that is to be written, for this process alone."""
    found = conn.execute(
        "UPDATE bank_files SET leased_by = %s, lease_until = clock_timestamp() + %s WHERE file_id = ("
        " SELECT file_id FROM bank_files WHERE state = 'closed' AND provider = ANY(%s)"
        " AND (lease_until IS NULL OR lease_until < clock_timestamp()) ORDER BY closed_at, file_id LIMIT 1"
        " FOR UPDATE SKIP LOCKED)"
        " RETURNING file_id, provider, currency, cut_off, transactions, total_minor, closed_at",
        (by, timedelta(seconds=LEASE_S), list(providers)),
    ).fetchone()
    return None if found is None else ClosedFile(*found)


def requests(conn: Connection, file_id: str) -> Iterator[Sequence[Any]]:
    """The lines of a file in their order: call id, pay-out id, request. Read in pages: a file may be long."""
    last = 0
    while True:
        page = conn.execute(
            "SELECT l.position, c.id, c.subject, c.request FROM bank_file_lines l JOIN calls c ON c.id = l.call_id"
            " WHERE l.file_id = %s AND l.position > %s ORDER BY l.position LIMIT %s",
            (file_id, last, PAGE),
        ).fetchall()
        yield from (line for _, *line in page)
        if len(page) < PAGE:
            return
        last = page[-1][0]


def begin_delivery(conn: Connection, file_id: str, sha256: str, size: int, by: str, now: datetime) -> bool:
    """From here on nobody writes the file again. → False if this process has lost its lease."""
    moved = conn.execute(
        "UPDATE bank_files SET state = 'delivering', sha256 = %s, bytes = %s, delivering_at = %s, changed_at = %s,"
        " lease_until = clock_timestamp() + %s WHERE file_id = %s AND state = 'closed' AND leased_by = %s RETURNING 1",
        (sha256, size, now, now, timedelta(seconds=LEASE_S), file_id, by),
    ).fetchone()
    return moved is not None


def lock_open(conn: Connection, providers: Sequence[str]) -> list[tuple[BankFile, str]]:
    """Files of which nobody knows whether the bank has them, and their digests: left by a process that has died, or
    unresolved.
    """
    rows = conn.execute(
        "SELECT file_id, provider, state, changed_at, code, sha256 FROM bank_files WHERE provider = ANY(%s)"
        " AND (state = 'unresolved' OR (state = 'delivering' AND lease_until < clock_timestamp()))"
        " ORDER BY file_id FOR UPDATE SKIP LOCKED",
        (list(providers),),
    )
    return [(BankFile(*file), sha256) for *file, sha256 in rows]


_LOCK: LiteralString = """
SELECT file_id, provider, state, changed_at, code FROM bank_files WHERE file_id = ANY(%s::text[])
ORDER BY file_id FOR UPDATE
"""
_HELD_OF: LiteralString = """
SELECT l.call_id FROM bank_file_lines l JOIN bank_files f USING (file_id)
WHERE l.file_id = ANY(%s::text[]) AND f.state = ANY(%s::text[])
"""


def lock(conn: Connection, file_ids: Sequence[str]) -> dict[str, BankFile]:
    return {row[0]: BankFile(*row) for row in conn.execute(_LOCK, (text_array(file_ids),))}


def waiting_calls(conn: Connection, file_ids: Sequence[str]) -> set[str]:
    """The calls of those of these files whose outcome is not known."""
    unknown: Sequence[FileState] = ("delivering", "unresolved")
    return {row[0] for row in conn.execute(_HELD_OF, (text_array(file_ids), list(unknown)))}


def settle(conn: Connection, file: BankFile) -> None:
    """Save a file's state, and answer its calls by it; those that the bank has spoken of need no answer any more."""
    conn.execute(
        "UPDATE bank_files SET state = %s, code = %s, changed_at = %s, lease_until = NULL, leased_by = NULL"
        " WHERE file_id = %s",
        (file.state, file.code, file.changed_at, file.file_id),
    )
    lines = conn.execute("SELECT call_id, position FROM bank_file_lines WHERE file_id = %s", (file.file_id,)).fetchall()
    replies = {call_id: reply_of(file.state, file.file_id, position) for call_id, position in lines}
    known = {call_id: reply for call_id, reply in replies.items() if reply is not None}
    if known:
        held.answer(conn, holder_of(file.file_id), known, datetime.now(UTC))
