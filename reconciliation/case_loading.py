"""Breaks that persons act on → their rows, locked after the tallies that they are about, as everyone locks them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from reconciliation.case import Case, Done, Proposal, reference_of
from reconciliation.state import Reconciliation
from reconciliation.tally import Reference
from schemas.break_work import BreakWorked
from schemas.repairs import ITEMS_MAX, Repair, TallyChange
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import text_array, uuid_array

_ITEMS = """
SELECT replace(w.break_id::text, '-', ''), i.item FROM unnest(%s::uuid[]) AS w (break_id) CROSS JOIN LATERAL (
    SELECT item FROM break_items i WHERE i.break_id = w.break_id AND closed_at IS NULL ORDER BY item LIMIT %s) i
"""
_PROPOSED = "SELECT proposal FROM breaks WHERE break_id = ANY (%s::uuid[]) AND proposal IS NOT NULL"
_CASES = """
SELECT replace(break_id::text, '-', ''), code, state = 'open', work, assignee, proposal, amount, currency, worked_amount
FROM breaks WHERE break_id = ANY (%s::uuid[]) ORDER BY break_id FOR UPDATE
"""
_SEEN = "SELECT operation_id FROM break_actions WHERE operation_id = ANY (%s::text[])"
_DONE = """
SELECT replace(c.correction_id::text, '-', ''), replace(c.break_id::text, '-', ''), c.kind, c.entries, c.undoes,
    EXISTS (SELECT 1 FROM corrections u WHERE u.undoes = c.correction_id),
    coalesce((SELECT jsonb_agg(jsonb_build_array(f.psp, f.kind, replace(f.key::text, '-', ''), f.currency, f.amount)
                               ORDER BY f.psp, f.kind, f.key, f.currency)
              FROM correction_facts f WHERE f.correction_id = c.correction_id), '[]')
FROM corrections c WHERE c.correction_id = ANY (%s::uuid[])
"""


def references_of(conn: Connection, events: Sequence[BreakWorked]) -> tuple[list[str], set[Reference]]:
    """The corrections that these events name, and the tallies that they may be about. Nothing is locked yet."""
    breaks = uuid_array(sorted({event.subject for event in events}))
    asked = [*events, *(Proposal.read(told).asked for (told,) in conn.execute(_PROPOSED, [breaks]))]
    items = {item for items in _items(conn, breaks).values() for item in items}
    items |= {item for event in asked for item in event.expectations or ()}
    corrections = sorted({event.correction_id for event in asked if event.correction_id})
    found = {reference for item in items if (reference := reference_of(item))}
    for done in _done(conn, corrections):
        found |= {Reference(change.key, change.kind, change.psp) for change in done.repair.changes}
    return corrections, found


def load_cases(
    conn: Connection, state: Reconciliation, events: Sequence[BreakWorked], corrections: Sequence[str]
) -> None:
    """The tallies are locked. An item that has come since is missing among them: a repair of it is another one than was shown."""
    breaks = uuid_array(sorted({event.subject for event in events}))
    rows = conn.execute(_CASES, [breaks]).fetchall()
    items = _items(conn, breaks)
    for id_, code, is_open, work, assignee, proposal, amount, currency, worked in rows:
        listed = tuple(items.get(id_, ()))
        state.cases[id_] = Case(id_, code, is_open, work, assignee, proposal, amount, currency, listed, worked)
    state.corrections = {done.correction_id: done for done in _done(conn, corrections)}
    seen = conn.execute(_SEEN, [text_array(sorted({event.operation_id for event in events}))])
    state.operations = {row[0] for row in seen}


def _items(conn: Connection, breaks: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for id_, item in conn.execute(_ITEMS, [breaks, ITEMS_MAX + 1]):
        found[id_].append(item)
    return found


def _done(conn: Connection, corrections: Sequence[str]) -> Iterable[Done]:
    if not corrections:
        return
    for id_, break_id, kind, entries, undoes, is_undone, changes in conn.execute(_DONE, [uuid_array(corrections)]):
        told = {"kind": kind, "changes": changes, "entries": entries, "undoes": undoes, "about": ""}
        repair = Repair.read(told)._replace(changes=tuple(TallyChange(*change) for change in changes))
        yield Done(id_, break_id, repair, is_undone)
