"""The changes of a batch → its rows: files, tallies by key, then settlements and their sums, then breaks."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import orjson
from pydantic import TypeAdapter

from reconciliation import archive, case_rows, case_work_rows, conversions, facts, fold, move_rows, order_rows
from reconciliation.case import CaseWorked, CorrectionMade
from reconciliation.fold import FoldedLine, SumChange
from reconciliation.formats.shape import NO_KEY, NOTED
from reconciliation.move import Move, MovesJudged
from reconciliation.state import (
    ApartMoved,
    Booked,
    Change,
    ChunkFolded,
    ChunkWithdrawn,
    ClaimsMade,
    FactFound,
    FactTakenBack,
    FileBegun,
    FileCame,
    FileMoved,
    ItemClosed,
    ItemOpened,
    Judged,
    LateJudged,
    NewFile,
    Swept,
    Told,
    UnexplainedMoved,
    Unmatched,
    UnmatchedMoved,
    Withdrawn,
)
from reconciliation.tally import DISPUTES
from schemas.settlement_keys import of_line
from schemas.settlements import LineColumns, SettlementLines
from topics.runtime.shape.consumer import Connection, Said
from topics.runtime.shape.store import int_array, text_array, uuid_array

Kind = TypeVar("Kind", bound=Change)
_COLUMNS = TypeAdapter(LineColumns)


def save(conn: Connection, changes: Sequence[Change]) -> Said:
    """All lock rows in one order: files, tallies by key, settlements, moves, breaks. → what is said of breaks"""
    _save_files(conn, changes)
    _save_judged(conn, changes)  # first: what follows may make a reference odd again
    sums = order_rows.set_apart(conn, _of(changes, ApartMoved))
    sums += [*_save_lines(conn, changes), *_save_facts(conn, changes)]
    _save_settlements(conn, changes, sums)
    if _of(changes, Swept):
        _merge_sums(conn)
    if moves := _of(changes, Move):
        move_rows.save(conn, moves)
    for judged in _of(changes, MovesJudged):
        move_rows.judged(conn, judged)
    _save_told(conn, _of(changes, Told))
    said = case_work_rows.save(conn, _of(changes, CaseWorked), _of(changes, CorrectionMade))
    said += case_rows.save(conn, _of(changes, ItemOpened), _of(changes, ItemClosed))
    return Said(said)


def _of(changes: Sequence[Change], kind: type[Kind]) -> list[Kind]:
    return [change for change in changes if isinstance(change, kind)]


_TOLD = """
INSERT INTO told (item, notification_id, at) SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[])
ON CONFLICT DO NOTHING
"""


def _save_told(conn: Connection, told: Sequence[Told]) -> None:
    if told:
        rows = [(each.item, each.event.notification_id, each.at) for each in told]
        conn.execute(_TOLD, [list(column) for column in zip(*rows, strict=True)])


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_NEW_FILES = """
INSERT INTO files (source, file_id, upload_id, name, size, stored_by, received_at, state, changed_at)
SELECT *, 'received', %s FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::timestamptz[])
ON CONFLICT (source, file_id) DO NOTHING
"""
_BEGUN = """
UPDATE files SET state = 'folding', changed_at = %s WHERE file_no = %s AND state IN ('received', 'reading', 'gated')
"""
_MOVED = """
UPDATE files SET state = %s, why = %s, ended = %s, chunks = coalesce(%s, chunks), lines = coalesce(%s, lines),
    released_by = %s, released = %s, release_reason = coalesce(%s, release_reason), changed_at = %s
WHERE file_no = %s
"""


def _save_files(conn: Connection, changes: Sequence[Change]) -> None:
    new = _of(changes, NewFile)
    if new:
        stored = [change.stored for change in new]
        named = [[getattr(each, name) for each in stored] for name in ("source", "file_id", "upload_id", "name")]
        rest = [[getattr(each, name) for each in stored] for name in ("size", "stored_by", "received_at")]
        conn.execute(_NEW_FILES, [new[0].at, *named, *rest])
    begun = {change.file.file_no: change.at for change in _of(changes, FileBegun)}
    for file_no, at in sorted(begun.items()):
        conn.execute(_BEGUN, (at, file_no))
    last = {change.file.file_no: change for change in _of(changes, FileMoved)}
    for file_no, (file, at, reason) in sorted(last.items()):
        moved = (file.state, file.why, file.ended, file.chunks, file.lines, file.released_by, list(file.released))
        conn.execute(_MOVED, (*moved, reason, at, file_no))


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_CHUNK = """
INSERT INTO line_chunks (file_no, chunk, reader, psp, first_line, first_byte, last_byte, settlements, currencies, columns)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (file_no, chunk) DO UPDATE SET reader = excluded.reader, first_line = excluded.first_line,
    first_byte = excluded.first_byte, last_byte = excluded.last_byte, settlements = excluded.settlements,
    currencies = excluded.currencies, columns = excluded.columns
"""


def _save_lines(conn: Connection, changes: Sequence[Change]) -> list[SumChange]:
    folded, withdrawn = _of(changes, ChunkFolded), _of(changes, ChunkWithdrawn)
    if not folded and not withdrawn:
        return []
    now = (folded or withdrawn)[0].at
    numbers = settlement_numbers(conn, _places((*folded, *withdrawn)), now)
    lines = [line for change in folded for line in _lines_of(conn, change, numbers)]
    sums = fold.fold(conn, lines, now)
    for change in withdrawn:
        back = lines_of_chunk(change.said, change.file_no, numbers)
        if len(change.said.currencies) > 1:
            conversions.take_back(conn, back, change.file_no)
        sums += fold.withdraw(conn, change.file_no, back, now)
    for file_no, said, _ in folded:
        columns = zlib.compress(_COLUMNS.dump_json(said.lines), 1)
        place = (said.first_line, said.first_byte, said.last_byte, list(said.settlements), list(said.currencies))
        conn.execute(_CHUNK, (file_no, said.chunk, said.reader, said.psp, *place, columns), binary=True)
    _save_shares(conn, {(numbers[place], change.file_no) for change in folded for place in _places([change])})
    return sums


def _lines_of(conn: Connection, change: ChunkFolded, numbers: Mapping[Place, int]) -> list[FoldedLine]:
    said = change.said
    lines = lines_of_chunk(said, change.file_no, numbers)
    if len(said.currencies) > 1:
        conversions.add(conn, lines, said)
    return lines


class Place(NamedTuple):
    """A settlement's name."""

    source: str
    settlement: str
    currency: str
    psp: str


def _places(changes: Iterable[ChunkFolded | ChunkWithdrawn]) -> set[Place]:
    """The settlements that lines of these chunks are in."""
    found = set()
    for change in changes:
        said = change.said
        pairs = set(zip(said.lines.settlements, said.lines.net_currencies, strict=True))
        found |= {
            Place(said.source, said.settlements[settlement], said.currencies[currency], said.psp)
            for settlement, currency in pairs
            if settlement >= 0
        }
    return found


_NEW_SETTLEMENTS = """
INSERT INTO settlements (source, settlement, currency, psp, changed_at)
SELECT *, %s FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) ON CONFLICT (source, settlement, currency) DO NOTHING
"""
_NUMBERS = """
SELECT s.source, s.settlement, s.currency, s.settlement_no FROM settlements s
JOIN unnest(%s::text[], %s::text[], %s::text[]) AS w (source, settlement, currency)
    ON s.source = w.source AND s.settlement = w.settlement AND s.currency = w.currency
"""


def settlement_numbers(conn: Connection, places: Iterable[Place], now: datetime) -> dict[Place, int]:
    """The numbers of these settlements; those that are new are made."""
    wanted = sorted(places)
    found = _known_numbers(conn, wanted)
    missing = [place for place in wanted if place not in found]
    if missing:
        conn.execute(_NEW_SETTLEMENTS, [now, *map(list, zip(*missing, strict=True))])
        found |= _known_numbers(conn, missing)
    return found


def _known_numbers(conn: Connection, places: Sequence[Place]) -> dict[Place, int]:
    if not places:
        return {}
    sources, settlements, currencies, _ = zip(*places, strict=True)
    rows = conn.execute(_NUMBERS, [text_array(sources), text_array(settlements), text_array(currencies)])
    numbers = {tuple(named): number for *named, number in rows}
    return {place: numbers[place[:3]] for place in places if place[:3] in numbers}


def lines_of_chunk(said: SettlementLines, file_no: int, numbers: Mapping[Place, int]) -> list[FoldedLine]:
    """A chunk's columns → its lines but those that are only noted. A line without a key is tallied under its digest. Both
    stages of a dispute are one tally: some formats call each a chargeback.
    """
    of, currencies = said.lines, said.currencies
    found = {
        (settlement, currency): numbers[
            Place(said.source, said.settlements[settlement], currencies[currency], said.psp)
        ]
        if settlement >= 0
        else 0
        for settlement, currency in set(zip(of.settlements, of.net_currencies, strict=True))
    }
    gross, fees = _disputed(of)
    columns = (
        of.kinds.replace("2", "b"),
        [of.keys[place : place + 32] for place in range(0, len(of.keys), 32)],
        of.gross_currencies,
        of.digests,
        gross,
        fees,
        of.net,
        of.net_currencies,
        of.settlements,
    )
    return [
        FoldedLine(
            key if key != NO_KEY else of_line(key, digest),
            kind,
            currencies[currency],
            said.psp,
            digest,
            gross,
            fee if currency == net_currency else _in_currency_of_gross(fee, gross, net),
            fee,
            net,
            found[settlement, net_currency],
            file_no,
        )
        for kind, key, currency, digest, gross, fee, net, net_currency, settlement in zip(*columns, strict=True)
        if kind != NOTED
    ]


def _disputed(of: LineColumns) -> tuple[list[int], list[int]]:
    """Gross and fees. The fee of a dispute is part of what is disputed: so the executor says it, and the ledger books it."""
    if DISPUTES.isdisjoint(of.kinds):
        return of.gross, of.fees
    same = [
        kind in DISPUTES and one == other
        for kind, one, other in zip(of.kinds, of.gross_currencies, of.net_currencies, strict=True)
    ]
    gross = [gross - fee if is_ else gross for is_, gross, fee in zip(same, of.gross, of.fees, strict=True)]
    return gross, [0 if is_ else fee for is_, fee in zip(same, of.fees, strict=True)]


def _in_currency_of_gross(fee: int, gross: int, net: int) -> int:
    """A fee at the row's own rate: gross is worth net and fee. Rounded half up."""
    worth = net + fee
    return 0 if not worth else (2 * fee * gross + worth) // (2 * worth)


_SHARES = """
INSERT INTO settlement_claims (settlement_no, file_no) SELECT * FROM unnest(%s::integer[], %s::integer[]) ON CONFLICT DO NOTHING
"""


def _save_shares(conn: Connection, shares: set[tuple[int, int]]) -> None:
    """Which files have lines of which settlements: these wait for those."""
    wanted = sorted(shares)
    if wanted:
        numbers, files = zip(*wanted, strict=True)
        conn.execute(_SHARES, [int_array(numbers), int_array(files)])


# ── facts, due days, judgements ──────────────────────────────────────────────────────────────────────────────────────


def _save_facts(conn: Connection, changes: Sequence[Change]) -> list[SumChange]:
    found, back = _of(changes, FactFound), _of(changes, FactTakenBack)
    late = [each.fact.reference for each in found if not each.is_new] + [each.fact.reference for each in back]
    archive.bring_back(conn, late)
    return (
        facts.save(conn, [each.fact for each in found], [each.fact for each in back], (found or back)[0].at)
        if (found or back)
        else []
    )


# BRIN finds the blocks of a day: facts are written in the order of their due days.
_LATE = """
INSERT INTO odd (file_no, key, kind, currency, psp, look_at)
SELECT 0, key, kind, currency, psp, %s FROM tallies
WHERE due BETWEEN %s AND %s AND psp = %s AND settled <> expected AND facts <> '{}' ORDER BY key, kind, currency
ON CONFLICT (file_no, key, kind, currency, psp) DO UPDATE SET look_at = least(odd.look_at, excluded.look_at)
"""
_WAKEN = "UPDATE odd SET look_at = %s WHERE file_no = 0 AND psp = %s AND look_at > %s"
_DONE = """
DELETE FROM odd USING (
    SELECT DISTINCT * FROM unnest(%s::integer[], %s::uuid[], %s::text[], %s::text[])) AS w (file_no, key, kind, psp)
WHERE odd.file_no = w.file_no AND odd.key = w.key AND odd.kind = w.kind AND odd.psp = w.psp
"""
_BROKEN = """
UPDATE tallies t SET broken = %s
FROM (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[]) OFFSET 0) AS w (key, kind, psp)
WHERE t.key = w.key AND t.kind = w.kind AND t.psp = w.psp AND t.broken <> %s
"""
_AGAIN = """
INSERT INTO odd (file_no, key, kind, currency, psp, look_at)
SELECT 0, t.key, t.kind, t.currency, t.psp, %s
FROM tallies t JOIN unnest(%s::uuid[], %s::text[], %s::text[]) AS w (key, kind, psp)
    ON t.key = w.key AND t.kind = w.kind AND t.psp = w.psp WHERE t.digests <> '{}' OR t.facts <> '{}'
ON CONFLICT (file_no, key, kind, currency, psp) DO UPDATE SET look_at = excluded.look_at
"""


def _save_judged(conn: Connection, changes: Sequence[Change]) -> None:
    for gone, saved in _of(changes, UnmatchedMoved):
        _save_unmatched(conn, gone, saved)
    for each in _of(changes, Judged):
        conn.execute(_DONE, [int_array([each.file_no] * len(each.references)), *_columns_of(each.references)])
        for found, is_broken in ((each.broken, True), (each.whole, False)):
            if found:
                conn.execute(_BROKEN, [is_broken, *_columns_of(found), is_broken])
        for found, again_at in ((each.again, each.again_at), (each.waiting, each.waiting_until)):
            if found:
                conn.execute(_AGAIN, [again_at, *_columns_of(found)])
    order_rows.save(conn, _of(changes, UnexplainedMoved))
    for psp, at in _of(changes, FileCame):
        conn.execute(_WAKEN, [at, psp, at])
    for psp, first, last, at in _of(changes, LateJudged):
        conn.execute(_LATE, [at, first, last, psp])


_GONE = """
DELETE FROM unmatched u USING unnest(%s::text[], %s::text[], %s::uuid[]) AS w (psp, currency, key)
WHERE u.psp = w.psp AND u.currency = w.currency AND u.key = w.key
"""
_WAITING = """
INSERT INTO unmatched (psp, currency, amount, key, is_line, counterparty, day, pair, together)
SELECT psp, currency, amount, key, is_line, counterparty, day::date, pair, together
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::uuid[], %s::boolean[], %s::text[], %s::text[], %s::uuid[], %s::boolean[])
    AS w (psp, currency, amount, key, is_line, counterparty, day, pair, together)
ON CONFLICT (psp, currency, key) DO UPDATE SET amount = excluded.amount, is_line = excluded.is_line,
    counterparty = excluded.counterparty, day = excluded.day, pair = excluded.pair, together = excluded.together
"""


def _save_unmatched(conn: Connection, gone: Sequence[Unmatched], saved: Sequence[Unmatched]) -> None:
    if gone:
        named = [(entry.psp, entry.currency, entry.key) for entry in gone]
        conn.execute(_GONE, [list(column) for column in zip(*named, strict=True)])
    if saved:
        rows = [entry._replace(day=entry.day.isoformat()) for entry in saved]  # type: ignore[arg-type]
        conn.execute(_WAITING, [list(column) for column in zip(*rows, strict=True)])


def _columns_of(references: Sequence[Any]) -> list[Any]:
    keys, kinds, psps = zip(*references, strict=True)
    return [uuid_array(keys), text_array(kinds), text_array(psps)]


# Of the sums that triggers add (migration 005). Rows that another process merges are left to it.
_MERGE = """
WITH parts AS (
    DELETE FROM tally_sums WHERE ctid = ANY (ARRAY(SELECT ctid FROM tally_sums FOR UPDATE SKIP LOCKED)) RETURNING *
)
INSERT INTO tally_sums (psp, kind, currency, known, due, tallies, plus, minus, expected, merged)
SELECT psp, kind, currency, known, due, sum(tallies), sum(plus), sum(minus), sum(expected), true FROM parts
GROUP BY 1, 2, 3, 4, 5 HAVING (sum(tallies), sum(plus), sum(minus), sum(expected)) <> (0, 0, 0, 0)
"""
_UNMERGED = "SELECT count(*) FROM (SELECT FROM tally_sums WHERE NOT merged LIMIT %s) s"
UNMERGED_MAX = 1000  # rows that a report adds up beside the merged ones


def _merge_sums(conn: Connection) -> None:
    (waiting,) = conn.execute(_UNMERGED, [UNMERGED_MAX]).fetchone() or (0,)
    if waiting == UNMERGED_MAX:
        conn.execute(_MERGE)


# ── settlements ──────────────────────────────────────────────────────────────────────────────────────────────────────

# The row is locked before its sums, and marked whether it is already or not: whoever settles it now reads its sums after.
_MARK = """
UPDATE settlements s SET to_settle = true
FROM (SELECT settlement_no FROM settlements WHERE settlement_no = ANY (%s::integer[]) ORDER BY settlement_no FOR UPDATE) AS w
WHERE s.settlement_no = w.settlement_no
"""
_ADD = """
INSERT INTO settlement_sums AS s (settlement_no, kind, gross_currency, lines, gross, unknown, fee, net)
SELECT * FROM unnest(%s::integer[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
ON CONFLICT (settlement_no, kind, gross_currency) DO UPDATE SET lines = s.lines + excluded.lines,
    gross = s.gross + excluded.gross, unknown = s.unknown + excluded.unknown, fee = s.fee + excluded.fee,
    net = s.net + excluded.net
"""
_CLAIM = """
INSERT INTO settlement_claims AS c (settlement_no, file_no, paid, opening, day, kept, payouts)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (settlement_no, file_no) DO UPDATE SET paid = excluded.paid, opening = excluded.opening, day = excluded.day,
    kept = excluded.kept, payouts = excluded.payouts
"""
_CLAIMED = "SELECT settlement_no FROM settlement_claims WHERE file_no = %s"
_BOOKED = """
UPDATE settlements SET revision = %s, booked = %s::jsonb, paid = %s::jsonb, ties = %s, to_settle = false, changed_at = %s
WHERE settlement_no = %s
"""


# Those that wait for their other half: their lines, or the total that is claimed.
_UNTIED = "SELECT settlement_no FROM settlements WHERE psp = ANY (%s) AND NOT ties AND NOT to_settle"


def _save_settlements(conn: Connection, changes: Sequence[Change], sums: Sequence[SumChange]) -> None:
    """What is settled is saved before what is changed since: a fact of the same batch marks it again."""
    for number, revision, booked, paid, ties, at in _of(changes, Booked):
        written = orjson.dumps({" ".join(side): amount for side, amount in booked.items()}).decode()
        conn.execute(_BOOKED, (revision, written, orjson.dumps(dict(paid)).decode(), ties, at, number))
    marked = [*_claimed(conn, changes), *(change.settlement_no for change in sums if change.settlement_no)]
    if late := [change.psp for change in _of(changes, LateJudged)]:
        marked += [number for (number,) in conn.execute(_UNTIED, [late])]
    if marked:
        conn.execute(_MARK, [sorted(set(marked))])
    _add_sums(conn, sums)


def _claimed(conn: Connection, changes: Sequence[Change]) -> list[int]:
    marked: list[int] = []
    for file_no, source, psp, claims, at in _of(changes, ClaimsMade):
        places = [Place(source, claim.settlement, claim.amount.currency, psp) for claim in claims]
        numbers = settlement_numbers(conn, set(places), at)
        for place, claim in sorted(zip(places, claims, strict=True), key=lambda each: each[0]):
            opening = claim.opening.minor if claim.opening else None
            kept = claim.kept.minor if claim.kept else 0
            payouts = orjson.dumps([(each.reference, each.amount.minor) for each in claim.payouts or ()]).decode()
            conn.execute(_CLAIM, (numbers[place], file_no, claim.amount.minor, opening, claim.day, kept, payouts))
        marked += numbers.values()
    for (file_no,) in _of(changes, Withdrawn):
        conn.execute("DELETE FROM odd WHERE file_no = %s", (file_no,))
        marked += [number for (number,) in conn.execute(_CLAIMED, (file_no,))]
    return marked


def _add_sums(conn: Connection, sums: Sequence[SumChange]) -> None:
    """One row for each sum, sorted."""
    added: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 5)
    for change in sums:
        if change.settlement_no:
            row = added[change[:3]]
            row[:] = [before + more for before, more in zip(row, change[3:], strict=True)]
    if added:
        rows = [(*key, *row) for key, row in sorted(added.items())]
        conn.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])
