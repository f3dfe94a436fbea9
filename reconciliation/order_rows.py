"""Rows by order: which have their capture, and what of them no fact explains. Read before tallies are judged, saved after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciliation import line_names
from reconciliation.fold import SumChange
from reconciliation.state import ApartMoved, Reconciliation, UnexplainedMoved
from reconciliation.tally import PAYMENTS, Reference, Tally
from reconciliation.twice import CAPTURE, REFUND, Unexplained, charges_of, may_be_twice, order_of
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import text_array, uuid_array

# More unknown lines than these in a slice are worked as one break: nobody asks of which orders they are.
LOOKED_UP_MAX = 500

_UNEXPLAINED = """
SELECT payment_order_id, psp, currency, kind, replace(key::text, '-', ''), amount, again FROM unexplained u
WHERE payment_order_id = ANY (%s::text[]) OR (key, kind, psp) IN (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[]))
"""
_CHARGED = """
SELECT payment_order_id, replace(key::text, '-', '') FROM tallies
WHERE key = ANY (%(calls)s::uuid[]) AND kind = 'c' AND facts <> '{}' AND expected > 0
UNION SELECT payment_order_id, replace(key::text, '-', '') FROM tallies_done
WHERE key = ANY (%(calls)s::uuid[]) AND kind = 'c' AND facts <> '{}' AND expected > 0
"""
# Two processes could each explain a capture by the same refund.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('order ' || id, 0)) FROM unnest(%s::text[]) AS w (id)"


def load(conn: Connection, state: Reconciliation) -> None:
    """Of the loaded tallies: what their lines say where that decides, and what else of their orders is unexplained."""
    unknown = [tallies for tallies in state.tallies.values() if _is_unknown(tallies)]
    several = [tally for tallies in state.tallies.values() for tally in tallies if may_be_twice(tally)]
    nameless = [each for each in unknown if _is_open(each) or (_is_nameless(each) and state.has_heard(each))]
    looked_up = [*several, *(tally for tallies in nameless if len(nameless) <= LOOKED_UP_MAX for tally in tallies)]
    state.named = line_names.load(conn, (line for tally in looked_up for line in tally.lines))
    known = {tally.payment_order_id for tally in several if tally.payment_order_id}
    orders = sorted({order for tallies in unknown if (order := order_of(tallies, state.named))} | known)
    if orders:
        conn.execute(_LOCK, [text_array(orders)]).fetchall()
        calls = sorted(call for order in orders for call in charges_of(order))
        charges = conn.execute(_CHARGED, {"calls": uuid_array(calls)}).fetchall()
        state.charged, state.captured = {order for order, _ in charges}, {call for _, call in charges}
    _load_unexplained(conn, state, orders)


def _load_unexplained(conn: Connection, state: Reconciliation, orders: Sequence[str]) -> None:
    named = [each for each in state.tallies if each.kind in (CAPTURE, REFUND)]
    if not named:
        return
    keys, kinds, psps = zip(*named, strict=True)
    rows = conn.execute(_UNEXPLAINED, [text_array(orders), uuid_array(keys), text_array(kinds), text_array(psps)])
    found = [Unexplained(*row) for row in rows]
    others = sorted({each.payment_order_id for each in found} - set(orders))
    if others:  # of a reference whose order is not asked about any more: its others may be explained by it
        conn.execute(_LOCK, [text_array(others)]).fetchall()
        rows = conn.execute(_UNEXPLAINED, [text_array(others), uuid_array(keys), text_array(kinds), text_array(psps)])
        found += [Unexplained(*row) for row in rows]
    state.unexplained = {each.reference: each for each in found}


def _is_unknown(tallies: Sequence[Tally]) -> bool:
    settled = [tally for tally in tallies if tally.lines]
    return bool(settled) and settled[0].kind in PAYMENTS and not any(tally.facts for tally in tallies)


def _is_nameless(tallies: Sequence[Tally]) -> bool:
    """Whether nobody knows its order, but for what its lines say."""
    return not any(tally.payment_order_id for tally in tallies)


def _is_open(tallies: Sequence[Tally]) -> bool:
    """Whether the executor may be told what its lines say."""
    return any(tally.outcome in ("pending", "unknown") for tally in tallies)


_GONE = """
DELETE FROM unexplained u USING unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::uuid[])
    AS w (payment_order_id, psp, currency, kind, key)
WHERE (u.payment_order_id, u.psp, u.currency, u.kind, u.key) = (w.payment_order_id, w.psp, w.currency, w.kind, w.key)
"""
_SAVED = """
INSERT INTO unexplained (payment_order_id, psp, currency, kind, key, amount, again)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::uuid[], %s::bigint[], %s::boolean[])
ON CONFLICT (payment_order_id, psp, kind, key, currency) DO UPDATE SET amount = excluded.amount, again = excluded.again
"""
_AGAIN = """
INSERT INTO odd (file_no, key, kind, currency, psp, look_at)
SELECT 0, t.key, t.kind, t.currency, t.psp, %s
FROM tallies t JOIN unnest(%s::uuid[], %s::text[], %s::text[]) AS w (key, kind, psp)
    ON t.key = w.key AND t.kind = w.kind AND t.psp = w.psp
ON CONFLICT (file_no, key, kind, currency, psp) DO UPDATE SET look_at = least(odd.look_at, excluded.look_at)
"""


def save(conn: Connection, moved: Iterable[UnexplainedMoved]) -> None:
    for gone, saved, again, at in moved:
        if gone:
            conn.execute(_GONE, [list(column) for column in list(zip(*gone, strict=True))[:5]])
        if saved:
            conn.execute(_SAVED, [list(column) for column in zip(*saved, strict=True)])
        if again:
            keys, kinds, psps = zip(*again, strict=True)
            conn.execute(_AGAIN, [at, uuid_array(keys), text_array(kinds), text_array(psps)])


_APART = "UPDATE tallies SET apart = %s WHERE (key, kind, currency, psp) = (%s, %s, %s, %s)"


def set_apart(conn: Connection, moved: Iterable[ApartMoved]) -> list[SumChange]:
    """→ what settlements have to book elsewhere. Comes before the batch's lines and facts: the tally is as it was loaded."""
    changes: list[SumChange] = []
    for tally, apart in moved:
        conn.execute(_APART, [list(apart) or None, tally.key, tally.kind, tally.currency, tally.psp])
        for line in tally.lines:
            moves = (line.digest in apart) - (line.digest in tally.apart)
            if moves and tally.facts:
                unknown = moves * line.gross
                changes.append(SumChange(line.settlement_no, tally.kind, tally.currency, 0, 0, unknown, 0, 0))
    return changes


def references(entries: Iterable[Unexplained]) -> tuple[Reference, ...]:
    return tuple(sorted({each.reference for each in entries}))
