"""Reconciliation's views → what a person may do about a break. Computed when somebody looks; nothing is ever done by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any, LiteralString, NamedTuple

from producers import recon_explained
from producers.recon_lines import with_digests
from producers.recon_reports import Answer, Ask, Row
from producers.recon_steps import Steps, steps_of
from producers.recon_work import by_item
from schemas.envelope import charge_call_id
from schemas.money import Money
from schemas.repairs import BANK_ENTRY, TallyState

LOOKED_AT = 10  # open items of a break, the largest first
WINDOW = timedelta(days=10)  # around the day on which the break was opened
COVER_MAX = 12  # open tallies among which a covering set is looked for
FOUND_MAX = 5
CHARGES = range(1, 10)  # of one order: each failover begins another
is_id = re.compile(r"[A-Za-z0-9._~-]{1,64}").fullmatch
_ITEMS: LiteralString = """
SELECT item FROM break_item_view WHERE break_id = %(id)s::uuid::text AND closed_at IS NULL
ORDER BY abs(amount) DESC, item LIMIT %(limit)s
"""
_TALLIES: LiteralString = """
SELECT psp, kind, replace(key::text, '-', '') AS key, currency, expected, settled, facts > 0 AS known
FROM tally_by_key_view WHERE key = ANY (%(keys)s::uuid[])
"""
# The BRIN index on due days finds the blocks; those that are exactly as much come first, then the nearest in time.
_WAITING: LiteralString = """
SELECT psp, kind, replace(key::text, '-', '') AS key, currency, expected, settled, facts > 0 AS known
FROM tally_by_key_view
WHERE due BETWEEN %(first)s AND %(last)s AND psp = %(psp)s AND kind = %(kind)s AND currency = %(currency)s AND facts > 0
    AND expected <> settled AND sign(expected - settled) = sign(%(minor)s::bigint)
    AND abs(expected - settled) <= abs(%(minor)s::bigint)
ORDER BY expected - settled <> %(minor)s, abs(due - %(day)s), key LIMIT %(limit)s
"""
# Lines that nothing explains have breaks of their own.
_UNEXPLAINED: LiteralString = """
SELECT i.item FROM break_view b JOIN break_item_view i ON i.break_id = b.break_id
WHERE b.state = 'open' AND b.code = ANY ('{MISSING_INTERNAL,UNEXPECTED_REVERSAL,UNEXPLAINED,STATUS_MISMATCH}')
    AND b.psp = %(psp)s AND i.closed_at IS NULL AND i.currency = %(currency)s AND i.amount = %(minor)s
    AND starts_with(i.item, %(of)s) AND b.opened_at BETWEEN %(first)s AND %(last)s ORDER BY i.item LIMIT %(limit)s
"""
_CORRECTED: LiteralString = """
SELECT replace(f.correction_id::text, '-', '') AS correction_id, c.kind FROM correction_fact_view f
JOIN correction_view c USING (correction_id)
WHERE f.key = %(key)s::uuid AND f.kind = %(kind)s AND f.psp = %(psp)s AND c.undoes IS NULL
    AND NOT EXISTS (SELECT 1 FROM correction_view u WHERE u.undoes = c.correction_id) ORDER BY c.at DESC
"""


class Suggested(NamedTuple):
    action: str
    fields: dict[str, Any]
    because: str


def suggestions(found: Answer) -> Steps[list[Answer]]:
    """Of an open break, as `recon_reports.one_break` shows it."""
    if found["state"] != "open":
        return []
    rows = yield Ask("reconciliation", _ITEMS, {"id": found["break_id"], "limit": LOOKED_AT})
    keys = sorted({row["item"].rpartition("|")[2] for row in rows if row["item"].count("|") == 2})
    keys = [key for key in keys if len(key) == 32 and set(key) <= set("0123456789abcdef")]
    tallies = by_item((yield Ask("reconciliation", _TALLIES, {"keys": keys})) if keys else [])
    told: list[Suggested] = []
    for item in [row["item"] for row in rows if row["item"] in tallies]:
        for tally in tallies[item]:
            told += yield from _of_tally(tally, found["code"], found["opened_at"])
    return [{"action": each.action, "fields": each.fields, "because": each.because} for each in told]


def _of_tally(tally: TallyState, code: str, at: datetime) -> Steps[list[Suggested]]:
    told: list[Suggested] = []
    if tally.settled and not tally.known:
        told += yield from _explained(tally, at)
    elif tally.known and not tally.settled and tally.expected:
        told += yield from _lines(tally, at)
    if tally.known and tally.open:
        told += yield from _undone(tally)
    short = tally.expected - tally.settled
    if code == "BANK_AMOUNT" and tally.kind == BANK_ENTRY and 0 < short < tally.expected and tally.settled > 0:
        because = f"{Money(short, tally.currency)} less has come than was paid out"
        told.append(Suggested("write-off", {"items": [tally.item], "account": "bank:fees"}, because))
    return told


def _explained(line: TallyState, at: datetime) -> Steps[list[Suggested]]:
    """What the line may be: what is expected of the order that it names; else an expectation of exactly as much, or the fewest
    that come to it.
    """
    if named := (yield from _of_its_order(line)):
        return named
    waiting = by_item((yield Ask("reconciliation", _WAITING, _around(line, at, line.settled, COVER_MAX))))
    states = [state for of_item in waiting.values() for state in of_item]
    same = [state for state in states if -state.open == line.settled][:FOUND_MAX]
    if same:
        because = f"exactly {Money(line.settled, line.currency)} is still expected of it"
        return [Suggested("match", {"items": [line.item], "expectations": [state.item]}, because) for state in same]
    cover = smallest_cover([-state.open for state in states], line.settled)
    if not cover:
        return []
    because = f"these {len(cover)} come to exactly {Money(line.settled, line.currency)}, and no fewer do"
    return [
        Suggested("match", {"items": [line.item], "expectations": [states[place].item for place in cover]}, because)
    ]


def _of_its_order(line: TallyState) -> Steps[list[Suggested]]:
    """A line without our call id may name the order, or the PSP's own reference of a dispute."""
    shown = yield from steps_of(recon_explained.tallies([line.key]))
    told: list[Suggested] = []
    for found in [each for tally in shown["tallies"] for each in tally["lines"] if each["file_id"]][:FOUND_MAX]:
        places = yield from with_digests(found, [found["digest"]])
        reference = places.get(found["digest"], {}).get("order_ref")
        if not reference or not is_id(reference):
            continue
        keys = yield from recon_explained.keys_of(reference, ())
        keys = sorted({*keys, *(charge_call_id(reference, number) for number in CHARGES)})
        waiting = by_item((yield Ask("reconciliation", _TALLIES, {"keys": keys})))
        told += [
            Suggested("match", {"items": [line.item], "expectations": [state.item]}, f"its file names {reference}")
            for state in (state for of_item in waiting.values() for state in of_item)
            if _may_be(line, state)
        ]
    return told[:FOUND_MAX]


def _may_be(line: TallyState, other: TallyState) -> bool:
    same = (line.psp, line.kind, line.currency) == (other.psp, other.kind, other.currency) and line.key != other.key
    left = other.expected - other.settled
    return same and other.known and left * line.settled > 0 and abs(line.settled) <= abs(left)


def _lines(expected: TallyState, at: datetime) -> Steps[list[Suggested]]:
    asked = _around(expected, at, expected.expected, FOUND_MAX) | {"of": f"{expected.psp}|{expected.kind}|"}
    asked |= {"first": at - WINDOW, "last": at + WINDOW}
    rows: Sequence[Row] = yield Ask("reconciliation", _UNEXPLAINED, asked)
    because = f"exactly {Money(expected.expected, expected.currency)} has come that nothing explains"
    fields = [{"items": [row["item"]], "expectations": [expected.item]} for row in rows]
    return [Suggested("match", each, because) for each in fields]


def _undone(tally: TallyState) -> Steps[list[Suggested]]:
    named = {"key": tally.key, "kind": tally.kind, "psp": tally.psp}
    rows = yield Ask("reconciliation", _CORRECTED, named)
    because = "what was {} has come since, or was changed"
    return [
        Suggested("undo", {"correction_id": row["correction_id"]}, because.format(row["kind"].replace("_", " ")))
        for row in rows
    ]


def _around(tally: TallyState, at: datetime, minor: int, limit: int) -> dict[str, Any]:
    day = at.date()
    of = {"psp": tally.psp, "kind": tally.kind, "currency": tally.currency, "minor": minor, "limit": limit}
    return of | {"day": day, "first": day - WINDOW, "last": day + WINDOW}


def smallest_cover(amounts: Sequence[int], wanted: int) -> tuple[int, ...]:
    """The places of the fewest of these amounts that add up to exactly `wanted`, the first such; () if none do. At most
    COVER_MAX amounts are looked at: 4,096 sets.
    """
    listed = range(min(len(amounts), COVER_MAX))
    for size in range(1, len(listed) + 1):
        for places in combinations(listed, size):
            if sum(amounts[place] for place in places) == wanted:
                return places
    return ()
