"""The rows that a batch needs: files first, then tallies by key, then settlements, each locked in sorted order."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter

from reconciliation import archive, bank_rows, conversions, move_rows, order_rows
from reconciliation.booking import Claim, LineSum
from reconciliation.case_loading import load_cases, references_of
from reconciliation.decide import Heard
from reconciliation.files import (
    CHUNKS_A_SLICE,
    FOLD,
    LOOK,
    MISSED,
    SETTLE,
    SWEEP,
    WITHDRAW,
    is_judged_on,
    restated_item,
    settled_file,
)
from reconciliation.inside import INSIDE, items_of
from reconciliation.schedule import LOOK_BACK
from reconciliation.state import (
    COUNTED,
    File,
    OddLines,
    OpenItem,
    Progress,
    Reconciliation,
    Restatement,
    Settlement,
    Span,
    Statement,
)
from reconciliation.tally import Reference, Tally, lines_of
from schemas.break_work import BreakWorked
from schemas.events import TimerFired
from schemas.settlements import (
    LineColumns,
    SettlementFileDiscarded,
    SettlementFileReleased,
    SettlementFileStored,
    SettlementLines,
    SettlementLinesEnded,
)
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import int_array, text_array, uuid_array
from topics.settlement_sources import SettlementSource

SLICE = 5000  # tallies that one batch judges
SETTLEMENTS_A_SLICE = 200
_COLUMNS = TypeAdapter(LineColumns)


def load(
    conn: Connection, events: Sequence[Heard], now: datetime, *, sources: Mapping[str, SettlementSource]
) -> Reconciliation:
    """`sources`: those of the settings. Executions need no rows: what they add is an upsert."""
    state = Reconciliation()
    fired = [event for event in events if isinstance(event, TimerFired)]
    _load_files(conn, state, events, fired)
    if fired:
        _load_fired(conn, state, fired, now, sources)
    discarded = [(event.source, event.file_id) for event in events if isinstance(event, SettlementFileDiscarded)]
    if discarded:
        _load_items(conn, state, [restated_item(state.files[name]) for name in discarded if name in state.files])
    state.moves_since = move_rows.since(conn, events)
    worked = [event for event in events if isinstance(event, BreakWorked)]
    if worked:
        _load_worked(conn, state, worked)
    return state


def _load_worked(conn: Connection, state: Reconciliation, worked: Sequence[BreakWorked]) -> None:
    """Tallies are locked before breaks, as by whoever judges them. What a person undoes may be archived."""
    corrections, references = references_of(conn, worked)
    archive.bring_back(conn, references)
    _lock_tallies(conn, state, sorted(references))
    load_cases(conn, state, worked, corrections)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_FILE = "f.file_no, f.source, f.file_id, f.state, f.why, f.reader, f.mode, f.identity, f.version, f.chunks, f.lines"
_FILES = f"""
SELECT {_FILE}, f.ended, f.released_by, f.released, f.received_at, f.name
FROM files f WHERE (f.source, f.file_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
    OR f.file_no = ANY (%s::integer[]) ORDER BY f.file_no
"""
# Lines lock their file against its withdrawal alone, so that the workers of one file do not wait for each other.
_OF_LINES, _TO_MOVE = f"{_FILES} FOR KEY SHARE OF f", f"{_FILES} FOR UPDATE OF f"
_Named = (SettlementFileStored, SettlementFileReleased, SettlementFileDiscarded, SettlementLinesEnded, SettlementLines)


def _load_files(conn: Connection, state: Reconciliation, events: Sequence[Heard], fired: Sequence[TimerFired]) -> None:
    named = {(event.source, event.file_id) for event in events if isinstance(event, _Named)}
    named |= {_name(event.timer_key) for event in fired if event.kind == LOOK}
    numbers = {number for event in fired for number in _numbers(event)}
    if not named and not numbers:
        return
    lines_alone = all(isinstance(event, SettlementLines) for event in events)
    wanted = sorted(named)
    rows = conn.execute(
        _OF_LINES if lines_alone else _TO_MOVE,
        [text_array(source for source, _ in wanted), text_array(id_ for _, id_ in wanted), int_array(sorted(numbers))],
    )
    state.files = {file.name: file for file in (File(*row) for row in rows)}


def _numbers(event: TimerFired) -> list[int]:
    """The files that a timer is about."""
    match event.kind:
        case "settle":
            return [settled_file(event.timer_key)]
        case "withdraw" | "fold":
            return [int(number) for number in event.timer_key.split(":")[::2]]
        case _:
            return []


def _name(key: str) -> tuple[str, str]:
    source, _, file_id = key.partition("/")
    return source, file_id


# ── timers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _load_fired(
    conn: Connection,
    state: Reconciliation,
    fired: Sequence[TimerFired],
    now: datetime,
    sources: Mapping[str, SettlementSource],
) -> None:
    kinds = defaultdict(list)
    for event in fired:
        kinds[event.kind].append(event.timer_key)
    for key in (*kinds[WITHDRAW], *kinds[FOLD]):
        state.chunks[key] = list(_chunks(conn, key))
    beginning = {settled_file(key) for key in kinds[SETTLE] if not is_judged_on(key)}
    for file in state.files.values():
        state.progress[file.file_no] = _progress(conn, file, file.file_no in beginning)
    _load_items(conn, state, [restated_item(file) for file in state.files.values()])
    wanted = {settled_file(key) for key in kinds[SETTLE]}
    settling = [file.file_no for file in state.files.values() if file.file_no in wanted]
    slices = [*([0] if SWEEP in kinds else []), *settling]
    _load_sequences(conn, state, settling)
    for file_no in slices:
        _load_odd(conn, state, file_no, SLICE // len(slices), now)
    _load_tallies(conn, state, now)
    if kinds.keys() & {LOOK, MISSED, WITHDRAW}:
        _load_missing(conn, state, now)
    if SWEEP in kinds:
        _load_settlements(conn, state, sources)
    if INSIDE in kinds:
        state.moves, state.moves_wait = move_rows.load(conn, now), move_rows.waiting(conn)
        _load_items(conn, state, items_of(state.moves))
    _load_items(conn, state, [f"file|{key}" for key in kinds[LOOK]])


_CHUNKS = """
SELECT f.source, f.file_id, c.chunk, c.reader, c.first_line, c.first_byte, c.last_byte, c.settlements, c.currencies,
       c.columns, c.psp
FROM line_chunks c JOIN files f USING (file_no) WHERE c.file_no = %s AND c.chunk >= %s ORDER BY c.chunk LIMIT %s
"""


def _chunks(conn: Connection, key: str) -> Iterator[SettlementLines]:
    file_no, first, _ = map(int, key.split(":"))
    for row in conn.execute(_CHUNKS, [file_no, first, CHUNKS_A_SLICE], binary=True):
        source, file_id, chunk, reader, first_line, first_byte, last_byte, settlements, currencies, columns, psp = row
        yield SettlementLines(
            lane=source,
            source=source,
            psp=psp,
            file_id=file_id,
            reader=reader,
            chunk=chunk,
            first_line=first_line,
            first_byte=first_byte,
            last_byte=last_byte,
            scale=0,
            settlements=tuple(settlements),
            currencies=tuple(currencies),
            lines=_COLUMNS.validate_json(zlib.decompress(columns)),
        )


_FOLDED_CHUNKS = "SELECT count(*) FROM line_chunks WHERE file_no = %s AND reader = %s"
_ODD_LINES = """
SELECT count(*) FILTER (WHERE t.facts = '{}') AS unknown,
    count(*) FILTER (WHERE t.facts <> '{}' AND t.settled <> t.expected) AS amounts,
    count(*) FILTER (WHERE t.facts <> '{}' AND t.settled = t.expected
        AND t.fee - t.fee_expected NOT BETWEEN 0 AND t.fee_slack) AS fees
FROM odd JOIN tallies t USING (key, kind, currency, psp) WHERE odd.file_no = %s
"""
_VERSIONS = """
SELECT v.older, v.superseded, v.unfolded, v.newest
FROM files f CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(m.file_no ORDER BY m.file_no) FILTER (WHERE m.older AND m.state IN ('held', 'folded')), '{}')
            AS older,
        (array_agg(m.file_no ORDER BY m.version DESC, m.file_no DESC) FILTER (WHERE m.state = 'superseded'))[1] AS superseded,
        count(*) FILTER (WHERE m.older AND m.state IN ('gated', 'folding')) AS unfolded,
        (array_agg(m.file_no ORDER BY m.version DESC, m.file_no DESC) FILTER (WHERE NOT m.older AND m.state = 'folded'))[1]
            AS newest
    FROM (
        SELECT m.file_no, m.version, m.state, (m.version, m.file_no) < (f.version, f.file_no) AS older FROM files m
        WHERE m.source = f.source AND m.identity = f.identity AND m.file_no <> f.file_no
            AND f.mode = 'replace' AND m.mode = 'replace') m) v
WHERE f.file_no = %s
"""
_MOVED = """
SELECT s.currency, sum(CASE WHEN c.file_no = %(new)s THEN c.paid ELSE -c.paid END)::bigint
FROM settlement_claims c JOIN settlements s USING (settlement_no) WHERE c.file_no IN (%(old)s, %(new)s) AND c.paid IS NOT NULL
GROUP BY s.settlement_no, s.currency HAVING sum(CASE WHEN c.file_no = %(new)s THEN c.paid ELSE -c.paid END) <> 0
ORDER BY s.settlement_no
"""
# Whichever of the two was folded first has counted the lines that both have.
_RESTATED = """
SELECT min(a.file_id), min(b.file_id), count(r.digest) = min(a.lines) AND min(a.lines) = min(b.lines)
FROM files a JOIN files b ON b.file_no = %(new)s
LEFT JOIN repeated_lines r ON r.same AND r.file_no IN (%(old)s, %(new)s) AND r.counted_file_no IN (%(old)s, %(new)s)
WHERE a.file_no = %(old)s
"""


def _progress(conn: Connection, file: File, beginning: bool) -> Progress:
    """Lines are counted once, before the first slice of them is judged: for each slice again it would be quadratic."""
    is_whole, odd = _counted(conn, file) if beginning else (True, None)
    [(older, superseded, unfolded, newest)] = conn.execute(_VERSIONS, [file.file_no])
    restated = None
    if newest or older:
        old, new = (file.file_no, newest) if newest else (older[0], file.file_no)
        restated = _restatement(conn, old, new)
    return Progress(is_whole, odd, tuple(older), superseded, unfolded, newest, restated)


def _counted(conn: Connection, file: File) -> tuple[bool, OddLines | None]:
    """→ whether all its lines are folded; if they are, what the brake compares"""
    [(chunks,)] = conn.execute(_FOLDED_CHUNKS, [file.file_no, file.reader])
    if file.chunks is None or chunks < file.chunks:
        return False, None
    [(unknown, amounts, fees)] = conn.execute(_ODD_LINES, [file.file_no])
    return True, OddLines((file.lines or 0) - unknown, amounts, fees)


def _restatement(conn: Connection, old: int, new: int) -> Restatement | None:
    """What a newer version of a file changes; None: nothing."""
    moved = conn.execute(_MOVED, {"old": old, "new": new}).fetchall()
    [(of_old, of_new, same)] = conn.execute(_RESTATED, {"old": old, "new": new})
    return None if same and not moved else Restatement(of_old, of_new, tuple(moved))


_SEQUENCES = """
SELECT f.source, n.number, min(coalesce(m.first_day, m.received_at::date)), max(coalesce(m.last_day, m.received_at::date))
FROM files f JOIN files m ON m.source = f.source CROSS JOIN LATERAL (
    SELECT m.sequence WHERE m.sequence IS NOT NULL UNION
    SELECT s.settlement::bigint FROM settlement_claims c JOIN settlements s USING (settlement_no)
    WHERE c.file_no = m.file_no AND m.sequence IS NULL AND s.settlement ~ '^[0-9]{1,12}$') n (number)
WHERE f.file_no = ANY (%s::integer[]) AND m.state IN ('gated', 'folding', 'held', 'folded', 'superseded')
    AND m.reader LIKE 'adyen%%'
GROUP BY 1, 2
"""
SEQUENCE_MAX = 400  # numbers back in which a missing one is looked for


def _load_sequences(conn: Connection, state: Reconciliation, settling: Sequence[int]) -> None:
    """Of readers whose files are numbered without end: numbers of parts, or of a year's statements, start again."""
    found: dict[str, dict[int, Span]] = defaultdict(dict)
    for source, number, first, last in conn.execute(_SEQUENCES, [list(settling)]) if settling else ():
        found[source][number] = Span(first, last)
    for source, days in found.items():
        recent = {number: span for number, span in days.items() if number > max(days) - SEQUENCE_MAX}
        state.sequences[source] = recent
        _load_items(conn, state, [f"sequence|{source}/{number}" for number in range(min(recent), max(recent))])


# Days of files, those that touch each other as one.
_CAME = """
SELECT source, lower(days), upper(days) - 1 FROM (
    SELECT source, unnest(range_agg(daterange(first_day, last_day, '[]'))) AS days FROM files
    WHERE state = ANY (%s) AND first_day <= last_day AND last_day >= %s GROUP BY source) f ORDER BY 1, 2
"""
_MISSING = """
SELECT i.item, replace(b.break_id::text, '-', ''), i.amount, b.source, i.detail->>'first_day', i.detail->>'last_day'
FROM breaks b JOIN break_items i USING (break_id)
WHERE b.code = 'FILE_MISSING' AND b.state = 'open' AND i.closed_at IS NULL
"""
_FOLDED = ["folded", "superseded"]


def _load_missing(conn: Connection, state: Reconciliation, now: datetime) -> None:
    """The days of all files of some time, and the files that are missed."""
    since = (now - LOOK_BACK).date()
    for spans, states in ((state.came, [*COUNTED, "superseded"]), (state.folded, _FOLDED)):
        for source, first, last in conn.execute(_CAME, [states, since]):
            spans.setdefault(source, []).append(Span(first, last))
    for item, break_id, amount, source, first, last in conn.execute(_MISSING):
        state.items[item] = OpenItem(break_id, amount)
        state.missing.setdefault(source, []).append(Span(date.fromisoformat(first), date.fromisoformat(last)))


_ODD = """
SELECT replace(key::text, '-', ''), kind, psp FROM odd
WHERE file_no = %s AND look_at <= %s ORDER BY key, kind, currency, psp LIMIT %s
"""


def _load_odd(conn: Connection, state: Reconciliation, file_no: int, most: int, now: datetime) -> None:
    rows = conn.execute(_ODD, [file_no, now, most]).fetchall()
    state.odd[file_no] = list(dict.fromkeys(Reference(*row) for row in rows))
    if len(rows) == most:
        state.more_odd.add(file_no)


_TALLIES = """
SELECT replace(t.key::text, '-', ''), t.kind, t.currency, t.psp, t.expected, t.facts, t.fee_expected, t.fee_slack, t.due,
       t.outcome, t.payment_order_id, t.seller, t.settled, t.fee, t.apart, t.digests, t.lines
FROM tallies t JOIN (SELECT DISTINCT * FROM unnest(%s::uuid[], %s::text[], %s::text[])) AS w (key, kind, psp)
    ON t.key = w.key AND t.kind = w.kind AND t.psp = w.psp
ORDER BY t.key, t.kind, t.currency, t.psp FOR UPDATE OF t
"""


def _load_tallies(conn: Connection, state: Reconciliation, now: datetime) -> None:
    """All currencies of each reference, what their lines are in, and what is open for them."""
    wanted = sorted({reference for slice_ in state.odd.values() for reference in slice_})
    if not wanted:
        return
    _lock_tallies(conn, state, wanted)
    lines = [line for tally in _all(state) for line in tally.lines]
    state.arrived = _arrived(conn, {line.file_no for line in lines})
    state.names = _names(conn, {line.settlement_no for line in lines})
    heard = conn.execute("SELECT until FROM heard").fetchone()
    state.heard_until = heard[0] if heard else None
    if any(each.due and each.due <= now.date() and each.settled != each.expected for each in _all(state)):
        _load_missing(conn, state, now)
    bank_rows.load(conn, state)
    order_rows.load(conn, state)
    items = [str(reference) for reference in wanted]
    _load_items(conn, state, items)
    state.told = {item for (item,) in conn.execute(_TOLD, [text_array(items)])}


_TOLD = "SELECT item FROM told WHERE item = ANY (%s::text[])"


def _lock_tallies(conn: Connection, state: Reconciliation, wanted: Sequence[Reference]) -> None:
    """All currencies of each reference, in the one order in which tallies are locked."""
    if wanted:
        keys, kinds, psps = zip(*wanted, strict=True)
        rows = conn.execute(_TALLIES, [uuid_array(keys), text_array(kinds), text_array(psps)])
        for reference, tallies in groupby(sorted(map(_tally, rows), key=_reference), key=_reference):
            state.tallies[reference] = tuple(tallies)


def _all(state: Reconciliation) -> Iterator[Tally]:
    return (tally for tallies in state.tallies.values() for tally in tallies)


def _reference(tally: Tally) -> Reference:
    return tally.reference


def _tally(row: Sequence[Any]) -> Tally:
    digests, lines = row[-2:]
    key, kind, currency, psp, expected, facts, *rest = row[:-2]
    fee_expected, fee_slack, due, outcome, order, seller, settled, fee, apart = rest
    return Tally(
        key=key,
        kind=kind,
        currency=currency,
        psp=psp,
        expected=expected,
        facts=tuple(facts),
        fee_expected=fee_expected,
        fee_slack=fee_slack,
        due=due,
        outcome=outcome,
        payment_order_id=order,
        seller=seller,
        settled=settled,
        fee=fee,
        lines=tuple(lines_of(digests, lines)),
        apart=tuple(apart or ()),
    )


def _arrived(conn: Connection, file_nos: set[int]) -> dict[int, datetime]:
    rows = conn.execute(
        "SELECT file_no, received_at FROM files WHERE file_no = ANY (%s::integer[])", [sorted(file_nos)]
    )
    return dict(rows.fetchall())


def _names(conn: Connection, settlement_nos: set[int]) -> dict[int, str]:
    rows = conn.execute(
        "SELECT settlement_no, source || '/' || settlement || '/' || currency FROM settlements"
        " WHERE settlement_no = ANY (%s::integer[])",
        [sorted(settlement_nos)],
    )
    return dict(rows.fetchall())


# What is only recorded is closed at once, and would be recorded again.
_ITEMS = """
SELECT item, replace(break_id::text, '-', ''), amount FROM break_items
WHERE item = ANY (%s::text[]) AND (closed_at IS NULL OR item LIKE 'duplicate|%%')
"""


def _load_items(conn: Connection, state: Reconciliation, items: Iterable[str]) -> None:
    rows = conn.execute(_ITEMS, [list(items)])
    state.items |= {item: OpenItem(break_id, amount) for item, break_id, amount in rows}


# ── settlements ──────────────────────────────────────────────────────────────────────────────────────────────────────

# Not before all its files are folded, and none of them is held; of a source that the settings lack, once it is back.
# Sums are read after the lock: only its holder changes them.
_TO_SETTLE = """
SELECT s.settlement_no, s.source, s.settlement, s.currency, s.psp, s.revision, s.booked, s.paid FROM settlements s
WHERE s.to_settle AND s.source = ANY (%s) AND NOT EXISTS (
    SELECT 1 FROM settlement_claims c JOIN files f USING (file_no)
    WHERE c.settlement_no = s.settlement_no AND f.state NOT IN ('folded', 'superseded', 'discarded'))
ORDER BY s.settlement_no LIMIT %s FOR UPDATE OF s
"""
_SUMS = """
SELECT settlement_no, kind, gross_currency, lines, gross, unknown, fee, net FROM settlement_sums
WHERE settlement_no = ANY (%s::integer[]) ORDER BY settlement_no, kind, gross_currency
"""
_CLAIMS = """
SELECT c.settlement_no, c.file_no, c.paid, c.opening, c.kept, c.payouts, c.day, f.file_id, f.received_at
FROM settlement_claims c JOIN files f USING (file_no)
WHERE c.settlement_no = ANY (%s::integer[]) AND f.state = 'folded' ORDER BY c.settlement_no, f.file_id
"""
# Lines that two files of mode replace have which are no versions of one file.
_DUPLICATES = """
SELECT r.settlement_no, count(DISTINCT r.digest), sum(abs(r.gross))::bigint FROM repeated_lines r
JOIN files a ON a.file_no = r.file_no JOIN files b ON b.file_no = r.counted_file_no
WHERE r.settlement_no = ANY (%s::integer[]) AND a.mode = 'replace' AND b.mode = 'replace' AND a.identity <> b.identity
    AND a.state = 'folded' AND b.state = 'folded'
GROUP BY r.settlement_no
"""


def _load_settlements(conn: Connection, state: Reconciliation, sources: Mapping[str, SettlementSource]) -> None:
    rows = conn.execute(_TO_SETTLE, [list(sources), SETTLEMENTS_A_SLICE]).fetchall()
    state.more_settlements = len(rows) == SETTLEMENTS_A_SLICE
    numbers = [row[0] for row in rows]
    if not numbers:
        return
    sums, claims, files = defaultdict(list), defaultdict(list), defaultdict(list)
    for settlement_no, *amounts in conn.execute(_SUMS, [numbers]):
        sums[settlement_no].append(LineSum(*amounts))
    for settlement_no, file_no, paid, opening, kept, payouts, day, *file in conn.execute(_CLAIMS, [numbers]):
        named = tuple((reference, minor) for reference, minor in payouts)
        claims[settlement_no].append(Claim(file_no, paid, opening, kept, named, day))
        files[settlement_no].append(file)
    duplicates = {number: (lines, gross) for number, lines, gross in conn.execute(_DUPLICATES, [numbers])}
    fx = conversions.load(conn, conversions.asked(rows, sums, sources))
    for number, source, settlement, currency, psp, revision, booked, paid in rows:
        state.settlements[number] = Settlement(
            settlement_no=number,
            source=source,
            settlement=settlement,
            currency=currency,
            psp=psp,
            revision=revision,
            booked={tuple(side.split(" ")): amount for side, amount in booked.items()},
            paid=paid,
            sums=tuple(sums[number]),
            claims=tuple(claims[number]),
            file_ids=tuple(file_id for file_id, _ in files[number]),
            came_at=max((at for _, at in files[number]), default=None),
            duplicates=duplicates.get(number, (0, 0))[0],
            duplicates_gross=duplicates.get(number, (0, 0))[1],
            fx=fx.get(number, {}),
        )
    _load_statements(conn, state)
    subjects = [settlement.subject for settlement in state.settlements.values()]
    _load_items(
        conn, state, [f"{of}|{subject}" for subject in subjects for of in ("settlement", "duplicate", "returned")]
    )
    _load_items(conn, state, [item for each in state.settlements.values() for item in each.rate_items.values()])


_STATEMENTS = """
SELECT DISTINCT s.source, s.currency, s.settlement, c.day, c.opening, c.paid
FROM settlements s JOIN settlement_claims c USING (settlement_no) JOIN files f USING (file_no)
WHERE s.source = ANY (%s::text[]) AND c.opening IS NOT NULL AND c.day IS NOT NULL AND f.state = 'folded'
"""


def _load_statements(conn: Connection, state: Reconciliation) -> None:
    """All statements of the bank accounts of which some are to be settled: each opens where another has closed."""
    sources = {each.source for each in state.settlements.values() if any(c.opening is not None for c in each.claims)}
    for source, currency, *statement in conn.execute(_STATEMENTS, [sorted(sources)]) if sources else ():
        state.statements.setdefault((source, currency), []).append(Statement(*statement))
    chains = state.statements.items()
    _load_items(conn, state, [f"gap|{s}/{each.settlement}/{c}" for (s, c), chain in chains for each in chain])
