"""Lines of chunks → tallies and the sums of settlements, in a few statements a batch whatever the number of lines.

A line counts once: its digest is on its tally. Lines of one key are folded in rounds, since a statement touches a row once.
All lock rows in one order: tallies by key, then settlements, whose sums change last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from reconciliation import archive
from reconciliation.tally import JUDGED
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import LITERALS, int_array, text_array


class FoldedLine(NamedTuple):
    """A line as it is folded. Amounts are minor units; `charged` and `net` are in the settlement's currency."""

    key: str
    kind: str
    currency: str
    psp: str
    digest: int
    gross: int
    fee: int  # in the tally's currency
    charged: int
    net: int
    settlement_no: int  # 0: in none
    file_no: int


class SumChange(NamedTuple):
    """What one batch adds to a settlement's sum of a kind and currency."""

    settlement_no: int
    kind: str
    gross_currency: str
    lines: int
    gross: int
    unknown: int
    fee: int
    net: int


_TYPES = ("uuid", "text", "text", "text", "int8", "int8", "int8", "int8", "int8", "int4", "int4")
_COLUMNS = ", ".join(FoldedLine._fields)
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _TYPES)
# OFFSET 0 keeps the order of the arrays, which are sorted: processes that fold the same tallies do not deadlock.
_LINES = f"(SELECT * FROM unnest({_ARRAYS}) WITH ORDINALITY OFFSET 0) AS l ({_COLUMNS}, place)"
_OF_LINE = ", ".join(f"l.{column}" for column in FoldedLine._fields)
_SAME = "t.key = l.key AND t.kind = l.kind AND t.currency = l.currency AND t.psp = l.psp"
_KNOWN = "cardinality(t.facts) > 0 AND (l.digest = ANY (t.apart)) IS NOT TRUE AS known"  # else it stands in suspense
_EQUAL = """t.settled = t.expected AND cardinality(t.facts) > 0
        AND (t.fee_expected IS NULL OR t.fee - t.fee_expected BETWEEN 0 AND t.fee_slack)"""
_SUMS = """
SELECT settlement_no, kind, currency, count(*)::bigint, sum(gross)::bigint,
       coalesce(sum(gross) FILTER (WHERE NOT known), 0)::bigint, sum(charged)::bigint, sum(net)::bigint, array_agg(place)
FROM met GROUP BY settlement_no, kind, currency"""

# Tallies that exist: most lines, since a fact is heard days before its line comes.
_MEET: LiteralString = f"""
WITH met AS (
    UPDATE tallies t SET settled = t.settled + l.gross, fee = t.fee + l.fee, digests = t.digests || l.digest,
        lines = t.lines || ARRAY[l.gross, l.fee, l.settlement_no::bigint, l.file_no::bigint]
    FROM {_LINES} WHERE {_SAME} AND NOT l.digest = ANY (t.digests)
    RETURNING l.*, {_KNOWN}, {_EQUAL} AND NOT t.broken AS equal
), judged AS (
    INSERT INTO odd (file_no, key, kind, currency, psp, look_at)
    SELECT CASE WHEN %s THEN 0 ELSE file_no END, key, kind, currency, psp, %s FROM met
    WHERE NOT equal AND kind = ANY (%s::text[])
    ON CONFLICT DO NOTHING
) {_SUMS}
"""

# Tallies that do not exist. A fact may have made one since: then the line meets it.
_MAKE: LiteralString = f"""
WITH made AS (
    INSERT INTO tallies AS t (key, kind, currency, psp, settled, fee, digests, lines, made_at)
    SELECT key, kind, currency, psp, gross, fee, ARRAY[digest], ARRAY[gross, fee, settlement_no::bigint, file_no::bigint], %s
    FROM {_LINES} WHERE NOT EXISTS (SELECT 1 FROM tallies t WHERE {_SAME})
    ON CONFLICT (key, kind, currency, psp) DO UPDATE SET settled = t.settled + excluded.settled, fee = t.fee + excluded.fee,
        digests = t.digests || excluded.digests, lines = t.lines || excluded.lines
    WHERE NOT excluded.digests[1] = ANY (t.digests)
    RETURNING t.key, t.kind, t.currency, t.psp,
        cardinality(t.facts) > 0 AND (t.digests[cardinality(t.digests)] = ANY (t.apart)) IS NOT TRUE AS known,
        t.lines[cardinality(t.lines)]::integer AS file_no
), judged AS (
    INSERT INTO odd (file_no, key, kind, currency, psp, look_at)
    SELECT CASE WHEN %s THEN 0 ELSE file_no END, key, kind, currency, psp, %s FROM made
    WHERE kind = ANY (%s::text[])
    ON CONFLICT DO NOTHING
)
SELECT replace(key::text, '-', ''), kind, currency, psp, known FROM made
"""

_PLACE = "array_position(t.digests, l.digest)"
# Lines whose digest came in another file: kept, in case that file is withdrawn.
_REPEATED: LiteralString = f"""
INSERT INTO repeated_lines ({_COLUMNS}, counted_file_no, same)
SELECT {_OF_LINE}, t.lines[4 * {_PLACE}],
    (l.gross, l.fee, l.settlement_no) = (t.lines[4 * {_PLACE} - 3], t.lines[4 * {_PLACE} - 2], t.lines[4 * {_PLACE} - 1])
FROM {_LINES} JOIN tallies t ON {_SAME} AND l.digest = ANY (t.digests)
WHERE t.lines[4 * {_PLACE}] <> l.file_no
ON CONFLICT DO NOTHING
"""
# Lines of a file that does not count any more.
_WITHDRAW: LiteralString = f"""
WITH met AS (
    UPDATE tallies t SET settled = t.settled - l.gross, fee = t.fee - l.fee,
        digests = t.digests[:{_PLACE} - 1] || t.digests[{_PLACE} + 1:],
        lines = t.lines[:4 * {_PLACE} - 4] || t.lines[4 * {_PLACE} + 1:]
    FROM {_LINES}
    WHERE {_SAME} AND l.digest = ANY (t.digests) AND t.lines[4 * {_PLACE}] = l.file_no
    RETURNING l.*, {_KNOWN}, {_EQUAL} AS equal
), judged AS (
    INSERT INTO odd (file_no, key, kind, currency, psp, look_at)
    SELECT 0, key, kind, currency, psp, %s FROM met WHERE kind = ANY (%s::text[])
    ON CONFLICT DO NOTHING
) {_SUMS}
"""


def fold(conn: Connection, lines: Sequence[FoldedLine], now: datetime, settled: bool = False) -> list[SumChange]:
    """Fold lines of any number of files; `settled`: they are files that are settled already. → what settlements get"""
    changes: list[SumChange] = []
    judged = [settled, now, text_array(JUDGED)]
    for batch in _rounds(lines):
        rest = _meet(conn, batch, judged, changes)
        if rest and archive.bring_back(conn, map(_name, rest)):
            rest = _meet(conn, rest, judged, changes)
        rest = _make(conn, rest, now, judged, changes) if rest else rest
        rest = _meet(conn, rest, judged, changes) if rest else rest  # a fact has made a tally between the two
        if rest:
            conn.execute(_REPEATED, _arrays(rest))
    return changes


def _meet(
    conn: Connection, batch: Sequence[FoldedLine], judged: Sequence[Any], changes: list[SumChange]
) -> Sequence[FoldedLine]:
    """→ the lines that have no tally, or have been counted"""
    met: set[int] = set()
    for *sums, places in conn.execute(_MEET, [*_arrays(batch), *judged]):
        changes.append(SumChange(*sums))
        met.update(places)
    return [line for place, line in enumerate(batch, 1) if place not in met] if len(met) < len(batch) else ()


def _make(
    conn: Connection, batch: Sequence[FoldedLine], now: datetime, judged: Sequence[Any], changes: list[SumChange]
) -> Sequence[FoldedLine]:
    """→ the lines whose tally was there"""
    missing = {line[:4]: line for line in batch}
    for *key, known in conn.execute(_MAKE, [now, *_arrays(batch), *judged]):
        line = missing.pop(tuple(key))
        unknown = 0 if known else line.gross
        changes.append(
            SumChange(line.settlement_no, line.kind, line.currency, 1, line.gross, unknown, line.charged, line.net)
        )
    return list(missing.values())


def withdraw(conn: Connection, file_no: int, lines: Sequence[FoldedLine], now: datetime) -> list[SumChange]:
    """Take lines of a file back; where another file has the line too, that one counts. → what settlements lose and get"""
    changes: list[SumChange] = []
    archive.bring_back(conn, map(_name, lines))
    for batch in _rounds(lines):
        rows = conn.execute(_WITHDRAW, [*_arrays(batch), now, text_array(JUDGED)])
        changes += [SumChange(*row[:3], *(-amount for amount in row[3:-1])) for row in rows]
    repeated = conn.execute(_TAKE_REPEATED, [int_array(line.digest for line in lines)])
    others = [line for line in map(FoldedLine._make, repeated) if line.file_no != file_no]
    return [*changes, *fold(conn, sorted(others, key=_by_file), now, settled=True)]


_TAKE_REPEATED: LiteralString = f"""
DELETE FROM repeated_lines WHERE digest = ANY (%s::bigint[]) RETURNING replace(key::text, '-', ''), {_COLUMNS.partition(", ")[2]}
"""


def _name(line: FoldedLine) -> archive.Name:
    return line.key, line.kind, line.psp


def _by_file(line: FoldedLine) -> int:
    return line.file_no


def _rounds(lines: Sequence[FoldedLine]) -> Iterator[list[FoldedLine]]:
    """First appearances of each key, then second ones, …; each sorted by key."""
    rounds: list[dict[tuple[object, ...], FoldedLine]] = []
    seen: dict[tuple[object, ...], int] = defaultdict(int)
    for line in lines:
        key = line[:4]
        number = seen[key]
        seen[key] = number + 1
        if number == len(rounds):
            rounds.append({})
        rounds[number][key] = line
    for each in rounds:
        yield sorted(each.values())


def _arrays(batch: Sequence[FoldedLine]) -> list[Any]:
    return [LITERALS[kind](column) for kind, column in zip(_TYPES, zip(*batch, strict=True), strict=True)]
