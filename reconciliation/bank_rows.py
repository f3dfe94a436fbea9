"""Of the bank tallies that are judged: the entries and expectations that wait for their other half, or are paired with one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reconciliation.banking import group_of, paired, unmatched
from reconciliation.state import Reconciliation, Unmatched
from reconciliation.tally import BANK_ENTRY
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import int_array, text_array, uuid_array

_UNMATCHED = """
SELECT u.psp, u.currency, u.amount, replace(u.key::text, '-', ''), u.is_line, u.counterparty, u.day,
    replace(u.pair::text, '-', ''), u.together
FROM unmatched u
"""
_BY_KEY = f"""{_UNMATCHED} JOIN unnest(%s::text[], %s::text[], %s::uuid[]) AS w (psp, currency, key)
    ON u.psp = w.psp AND u.currency = w.currency AND u.key = w.key"""
_BY_AMOUNT = f"""{_UNMATCHED} JOIN unnest(%s::text[], %s::text[], %s::bigint[]) AS w (psp, currency, amount)
    ON u.psp = w.psp AND u.currency = w.currency AND u.amount = w.amount"""
# What explains these lines; and what may explain a sum: a healthy account has little of it.
_BY_PAIR = f"""{_UNMATCHED} JOIN unnest(%s::text[], %s::text[], %s::uuid[]) AS w (psp, currency, key)
    ON u.psp = w.psp AND u.currency = w.currency AND u.pair = w.key"""
_LEFT = f"""{_UNMATCHED} JOIN (SELECT DISTINCT * FROM unnest(%s::text[], %s::text[])) AS w (psp, currency)
    ON u.psp = w.psp AND u.currency = w.currency
WHERE (u.pair IS NULL OR u.together) AND (u.is_line OR u.counterparty LIKE '%%/')"""
# One process pairs the entries of a bank account at a time: two could each miss what the other has just found.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('unmatched ' || psp, 0)) FROM unnest(%s::text[]) AS w (psp)"
_DAYS = """
SELECT settlement_no, max(day) FROM settlement_claims
WHERE settlement_no = ANY (%s::integer[]) AND day IS NOT NULL GROUP BY settlement_no
"""


def load(conn: Connection, state: Reconciliation) -> None:
    """Of the bank tallies of the slice: what of their amounts waits for its other half."""
    bank = [tally for tallies in state.tallies.values() for tally in tallies if tally.kind == BANK_ENTRY]
    if not bank:
        return
    conn.execute(_LOCK, [sorted({tally.psp for tally in bank})]).fetchall()
    state.statement_days = dict(
        conn.execute(_DAYS, [[line.settlement_no for tally in bank for line in tally.lines]]).fetchall()
    )
    named = [(tally.psp, tally.currency, tally.key) for tally in bank]
    for statement in (_BY_KEY, _BY_PAIR):
        _add_unmatched(state, conn.execute(statement, _unnest(named, uuid_array)))
    _add_unmatched(state, conn.execute(_LEFT, _unnest(named, uuid_array)[:2]))
    present = paired(state.unmatched.values())
    groups = {group_of(entry) for entry in state.unmatched.values()}
    for tally in bank:
        before = state.unmatched.get((tally.psp, tally.currency, tally.key))
        entry = unmatched(tally, before, present, state.statement_days)
        groups |= {group_of(entry)} if entry else set()
    if groups:
        _add_unmatched(state, conn.execute(_BY_AMOUNT, _unnest(sorted(groups), int_array)))


def _unnest(rows: Sequence[Sequence[Any]], last: Callable[[Any], Any]) -> list[Any]:
    psps, currencies, rest = zip(*rows, strict=True)
    return [text_array(psps), text_array(currencies), last(rest)]


def _add_unmatched(state: Reconciliation, rows: Iterable[Sequence[Any]]) -> None:
    for entry in (Unmatched(*row) for row in rows):
        state.unmatched[entry.psp, entry.currency, entry.key] = entry
