"""Closed tallies → an archive, by the month in which they are moved there; and back, when a late fact or line is of one.

Only a key of which the table of tallies knows nothing is asked of the archive: its partitions are large, and none of them is in
memory. What comes back is the row as it was, with the digests of its facts and lines, so that each of them still counts once. A
row is in one of the two: who moves it has its lock, and who finds none looks into the archive after that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, LiteralString

from reconciliation.tally import JUDGED, OUTCOMES
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.store import text_array, uuid_array

BLOCKS = 500  # of the table of tallies, that one transaction looks through: 4 MB
NAMED = ("key", "kind", "currency", "psp")
COLUMNS = (
    *NAMED, "expected", "facts", "fee_expected", "fee_slack", "due", "outcome", "payment_order_id", "seller", "settled", "fee",
    "digests", "lines", "broken", "made_at", "scheme", "fee_since", "apart",
)  # fmt: skip
_COLUMNS: LiteralString = ", ".join(COLUMNS)
_SAME: LiteralString = "d.key = t.key AND d.kind = t.kind AND d.currency = t.currency AND d.psp = t.psp"
# Closed: settled as expected, and in no break; or of a kind that needs no fact. What waits to be judged or paired stays. So does
# what has an older half in this month's partition.
_MOVE: LiteralString = f"""
WITH closed AS (
    SELECT t.ctid AS place FROM tallies t
    WHERE t.ctid >= %(first_block)s::tid AND t.ctid < %(next_block)s::tid
        AND t.made_at < %(before)s AND NOT t.broken AND (t.settled = t.expected OR t.kind <> ALL (%(judged)s::text[]))
        AND NOT EXISTS (SELECT FROM odd o WHERE o.key = t.key AND o.kind = t.kind AND o.psp = t.psp)
        AND NOT EXISTS (SELECT FROM unmatched u WHERE u.key = t.key AND u.psp = t.psp AND u.currency = t.currency)
        AND NOT EXISTS (SELECT FROM tallies_done d WHERE {_SAME} AND d.closed_on >= %(month)s AND d.closed_on <= %(today)s)
    FOR UPDATE OF t SKIP LOCKED
), gone AS (
    DELETE FROM tallies t USING closed WHERE t.ctid = closed.place RETURNING {", ".join(f"t.{name}" for name in COLUMNS)}
)
INSERT INTO tallies_done ({_COLUMNS}, closed_on) SELECT {_COLUMNS}, %(today)s FROM gone
"""
_LEASE: LiteralString = """
SELECT day, next_block, pg_relation_size('tallies') / current_setting('block_size')::bigint FROM archive_walk
FOR UPDATE SKIP LOCKED
"""
_WALKED: LiteralString = "UPDATE archive_walk SET day = %s, next_block = %s"
_OLDEST: LiteralString = "SELECT drop_archive(%s)"


def trim(conn: Connection, retention: Retention, now: datetime) -> int:
    """Look through the next blocks of tallies, once a day all of them, and move what is closed; then drop the oldest partition
    that is past its time. → 0: nothing is left, or another process does it. `now` is business time.
    """
    today = now.date()
    leased = conn.execute(_LEASE).fetchone()
    if leased is None:
        return 0
    day, first, blocks = leased
    first = 0 if day != today else first
    if first is None:
        return _drop_oldest(conn, retention, today)
    conn.execute("SELECT make_archive(%s)", [today])
    values = {
        "first_block": f"({first},0)",
        "next_block": f"({first + BLOCKS},0)",
        "before": now - timedelta(days=retention.tallies_days),
        "judged": list(JUDGED),
        "month": today.replace(day=1),
        "today": today,
    }
    conn.execute(_MOVE, values)
    conn.execute(_WALKED, [today, first + BLOCKS if first + BLOCKS < blocks else None])
    return 1


def _drop_oldest(conn: Connection, retention: Retention, today: date) -> int:
    months = today.year * 12 + today.month - 1 - retention.archive_months
    [(dropped,)] = conn.execute(_OLDEST, [date(months // 12, months % 12 + 1, 1)])
    return int(dropped is not None)


# ── back ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_WANTED: LiteralString = "(SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[]) OFFSET 0) AS w (key, kind, psp)"
# Rows that are here cannot be moved now. Those that another process moves at this moment are waited for, and are archived then.
_LOCK: LiteralString = f"""
SELECT FROM tallies t JOIN {_WANTED} ON t.key = w.key AND t.kind = w.kind AND t.psp = w.psp
ORDER BY t.key, t.kind, t.currency, t.psp FOR UPDATE OF t
"""
_TAKE: LiteralString = f"""
DELETE FROM tallies_done d USING {_WANTED} WHERE d.key = w.key AND d.kind = w.kind AND d.psp = w.psp
RETURNING {", ".join(f"d.{name}" for name in COLUMNS)}
"""
_ORDER: LiteralString = f"ARRAY[{', '.join(repr(outcome) for outcome in OUTCOMES)}]"
_LAST: LiteralString = (
    f"({_ORDER})[greatest(array_position({_ORDER}, t.outcome), array_position({_ORDER}, excluded.outcome))]"
)


def _union(what: LiteralString, names: LiteralString, add: LiteralString) -> LiteralString:
    """Of two halves of one tally: what the one adds whose facts (lines) include the other's; else both together."""
    return (
        f"{what} = CASE WHEN t.{names} <@ excluded.{names} THEN excluded.{what} WHEN excluded.{names} <@ t.{names} THEN t.{what}"
        f" ELSE t.{what} {add} excluded.{what} END"
    )


_PUT: LiteralString = f"""
INSERT INTO tallies AS t ({_COLUMNS}) VALUES ({", ".join("%s" for _ in COLUMNS)})
ON CONFLICT (key, kind, currency, psp) DO UPDATE SET
    {", ".join(_union(name, "facts", "+") for name in ("expected", "fee_expected", "fee_slack"))},
    {_union("facts", "facts", "||")}, {_union("settled", "digests", "+")}, {_union("fee", "digests", "+")},
    {_union("lines", "digests", "||")}, {_union("digests", "digests", "||")},
    due = greatest(t.due, excluded.due), outcome = {_LAST},
    payment_order_id = greatest(t.payment_order_id, excluded.payment_order_id), seller = greatest(t.seller, excluded.seller),
    scheme = greatest(t.scheme, excluded.scheme), fee_since = greatest(t.fee_since, excluded.fee_since),
    broken = t.broken OR excluded.broken, made_at = least(t.made_at, excluded.made_at)
"""
Name = tuple[str, str, str]  # key, kind, PSP or bank account


def bring_back(conn: Connection, names: Iterable[Name]) -> int:
    """Archived tallies of these references, in all currencies, become tallies again. → how many"""
    wanted = sorted(set(names))
    if not wanted:
        return 0
    keys, kinds, psps = zip(*wanted, strict=True)
    columns = [uuid_array(keys), text_array(kinds), text_array(psps)]
    conn.execute(_LOCK, columns)
    rows = conn.execute(_TAKE, columns).fetchall()
    for batch in _rounds(rows):
        conn.cursor().executemany(_PUT, batch)
    return len(rows)


def _rounds(rows: Sequence[Sequence[Any]]) -> list[list[Sequence[Any]]]:
    """Two months may each have a half of one tally: first halves, then second ones, each sorted."""
    seen: dict[tuple[Any, ...], int] = defaultdict(int)
    rounds: dict[int, list[Sequence[Any]]] = defaultdict(list)
    for row in sorted(rows, key=_name):
        rounds[seen[_name(row)]].append(row)
        seen[_name(row)] += 1
    return [rounds[number] for number in sorted(rounds)]


def _name(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(row[: len(NAMED)])
