"""Moves that are not whole ⇄ their rows. What is whole within one batch, as nearly all is, costs no row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, LiteralString

from reconciliation.inside import COMPARED, MISSING_AFTER, PAST_BY, SETTLING_IN
from reconciliation.move import ROOMS, Heard, Move, MovesJudged
from reconciliation.state import ALWAYS
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import text_array

SLICE = 2000  # moves that one batch judges

_COLUMNS: LiteralString = (
    "link, subject, seller, psp, event_id, topic, partition, record_offset, said_at, wanted_wallet, wanted_ledger, wallet,"
    " ledger, counts"
)
# Both halves upsert the same row: they cannot cross in flight.
_UPSERT: LiteralString = f"""
INSERT INTO moves AS m ({_COLUMNS}, look_at)
SELECT {_COLUMNS}, said_at FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::uuid[], %s::text[], %s::integer[],
    %s::bigint[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[], %s::boolean[]) AS w ({_COLUMNS})
ORDER BY link
ON CONFLICT (link) DO UPDATE SET event_id = coalesce(m.event_id, excluded.event_id), topic = coalesce(m.topic, excluded.topic),
    partition = coalesce(m.partition, excluded.partition),
    record_offset = coalesce(m.record_offset, excluded.record_offset),
    seller = CASE WHEN m.event_id IS NULL AND excluded.event_id IS NOT NULL THEN excluded.seller ELSE m.seller END,
    psp = coalesce(nullif(m.psp, ''), excluded.psp),
    said_at = CASE WHEN m.event_id IS NOT NULL THEN m.said_at WHEN excluded.event_id IS NOT NULL THEN excluded.said_at
        ELSE least(m.said_at, excluded.said_at) END,
    counts = CASE WHEN m.event_id IS NOT NULL THEN m.counts WHEN excluded.event_id IS NOT NULL THEN excluded.counts
        ELSE m.counts AND excluded.counts END,
    wanted_wallet = coalesce(m.wanted_wallet, excluded.wanted_wallet),
    wanted_ledger = coalesce(m.wanted_ledger, excluded.wanted_ledger),
    wallet = coalesce(m.wallet, excluded.wallet), ledger = coalesce(m.ledger, excluded.ledger), look_at = excluded.look_at
RETURNING {_COLUMNS}, broken
"""
_DELETE = "DELETE FROM moves WHERE link = ANY (%s::text[])"
_UNTIL: LiteralString = """
INSERT INTO moves_heard AS h (room, topic, partition, until)
SELECT * FROM unnest(%s::text[], %s::text[], %s::integer[], %s::timestamptz[]) AS w (room, topic, partition, until)
ORDER BY room, topic, partition
ON CONFLICT (room, topic, partition) DO UPDATE SET until = excluded.until WHERE h.until < excluded.until
"""


def save(conn: Connection, heard: Sequence[Move]) -> None:
    """Join what one batch has heard with what is known. Whole moves are gone, unless a break is open for them."""
    joined: dict[str, Move] = {}
    for move in heard:
        before = joined.get(move.link)
        joined[move.link] = move if before is None else before.joined(move)
    rest = [move for move in joined.values() if not move.is_whole]
    seen = [move for move in joined.values() if move.is_whole]
    if rest:
        columns = [list(column) for column in zip(*rest, strict=True)]
        gone = []
        for *row, broken in conn.execute(_UPSERT, columns).fetchall():
            move = _move(row)
            seen.append(move)
            if move.is_whole and not broken:
                gone.append(move.link)
        if gone:
            conn.execute(_DELETE, [text_array(sorted(gone))])
    _save_until(conn, seen)


def _save_until(conn: Connection, moves: Iterable[Move]) -> None:
    """How far each room has come, by the executions of which it has spoken."""
    until: dict[tuple[str, str, int], datetime] = {}
    for move in moves:
        if move.topic is None or move.partition is None:
            continue
        for room in ROOMS:
            if move.heard(room) is not None:
                place = (room, move.topic, move.partition)
                until[place] = max(until.get(place, move.said_at), move.said_at)
    if until:
        rows = [(*place, at) for place, at in until.items()]
        conn.execute(_UNTIL, [list(column) for column in zip(*rows, strict=True)])


def _move(row: Sequence[Any]) -> Move:
    link, subject, seller, psp, event_id, *rest = row
    return Move(link, subject, seller, psp, None if event_id is None else str(event_id), *rest)


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_M: LiteralString = ", ".join(f"m.{name}" for name in _COLUMNS.split(", "))
_TO_JUDGE: LiteralString = f"""
SELECT {_M}, w.until, l.until, (SELECT until FROM heard)
FROM moves m
LEFT JOIN moves_heard w ON w.room = 'wallet' AND w.topic = m.topic AND w.partition = m.partition
LEFT JOIN moves_heard l ON l.room = 'ledger' AND l.topic = m.topic AND l.partition = m.partition
WHERE m.look_at <= %(now)s AND m.look_at < 'infinity' AND (m.broken
    OR m.event_id IS NOT NULL AND m.wallet IS NOT NULL AND m.wallet IS DISTINCT FROM m.wanted_wallet
    OR m.event_id IS NOT NULL AND m.ledger IS NOT NULL AND m.ledger IS DISTINCT FROM m.wanted_ledger
    OR m.said_at <= %(old)s AND CASE WHEN m.event_id IS NULL THEN (SELECT until FROM heard) >= m.said_at + %(past)s
        ELSE m.wanted_wallet IS NOT NULL AND m.wallet IS NULL AND w.until >= m.said_at + %(past)s
            OR m.wanted_ledger IS NOT NULL AND m.ledger IS NULL AND l.until >= m.said_at + %(past)s END)
ORDER BY m.link LIMIT %(slice)s FOR UPDATE OF m
"""


def load(conn: Connection, now: datetime) -> list[Heard]:
    """The moves that are to be judged, locked."""
    values = {"now": now, "old": now - MISSING_AFTER, "past": PAST_BY, "slice": SLICE}
    return [Heard(_move(row[:-3]), *row[-3:]) for row in conn.execute(_TO_JUDGE, values)]


def waiting(conn: Connection) -> bool:
    """Whether a move may still be judged later."""
    return conn.execute("SELECT FROM moves WHERE look_at < 'infinity' LIMIT 1").fetchone() is not None


def since(conn: Connection, events: Iterable[object]) -> datetime:
    """What was published before is not compared. Asked only where an event is compared."""
    if not any(isinstance(event, COMPARED) for event in events):
        return ALWAYS
    row = conn.execute("SELECT since FROM moves_since WHERE one").fetchone()
    return row[0] if row else ALWAYS


_JUDGED: LiteralString = """
UPDATE moves m SET broken = w.broken, look_at = CASE WHEN w.broken THEN 'infinity' ELSE m.look_at END
FROM unnest(%s::text[], %s::boolean[]) AS w (link, broken) WHERE m.link = w.link
"""


# Halves that stay alone since their other half was said before all this, or is not kept any more.
_FORGET = "DELETE FROM moves WHERE NOT counts AND NOT broken AND said_at < %s AND look_at < %s AND look_at < 'infinity'"


def judged(conn: Connection, change: MovesJudged) -> None:
    if change.gone:
        conn.execute(_DELETE, [text_array(sorted(change.gone))])
    named = sorted([*((link, True) for link in change.broken), *((link, False) for link in change.waiting)])
    if named:
        links, flags = zip(*named, strict=True)
        conn.execute(_JUDGED, [list(links), list(flags)])
    conn.execute(_FORGET, [change.at - SETTLING_IN, change.at - MISSING_AFTER])
