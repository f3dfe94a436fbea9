"""Facts → tallies. A fact counts once: its digest is on its tally. A fact that meets a line moves it out of suspense."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, LiteralString

from reconciliation.expected import Fact
from reconciliation.fold import SumChange
from reconciliation.tally import OUTCOMES, lines_of
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import LITERALS

_COLUMNS = "key, kind, currency, psp, amount, digest, fee, fee_slack, fee_since, scheme, due, outcome,"
_COLUMNS += " payment_order_id, seller"
_TYPES = ("uuid", "text", "text", "text", "int8", "int8", "int8", "int8", *["text"] * 6)
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _TYPES)
_FACTS = f"(SELECT * FROM unnest({_ARRAYS}) OFFSET 0) AS f ({_COLUMNS})"

_IN_ORDER = f"ARRAY[{', '.join(repr(outcome) for outcome in OUTCOMES)}]"
_LAST_OUTCOME = (
    f"({_IN_ORDER})[greatest(array_position({_IN_ORDER}, t.outcome), array_position({_IN_ORDER}, excluded.outcome))]"
)
# All is a sum, a greatest or a null that absorbs: the order of facts does not matter. A row without facts is judged anew.
_EXPECT: LiteralString = f"""
WITH expected AS (
    INSERT INTO tallies AS t (key, kind, currency, psp, expected, facts, fee_expected, fee_slack, fee_since, scheme,
        due, outcome, payment_order_id, seller, made_at)
    SELECT key, kind, currency, psp, amount, array_remove(ARRAY[digest], NULL), fee, fee_slack, fee_since::date, scheme,
        due::date, outcome, payment_order_id, seller, %s
    FROM {_FACTS}
    ON CONFLICT (key, kind, currency, psp) DO UPDATE SET expected = t.expected + excluded.expected,
        fee_expected = CASE WHEN t.facts = '{{}}' THEN excluded.fee_expected WHEN excluded.facts = '{{}}' THEN t.fee_expected
            ELSE t.fee_expected + excluded.fee_expected END,
        fee_slack = t.fee_slack + excluded.fee_slack, facts = t.facts || excluded.facts,
        fee_since = greatest(t.fee_since, excluded.fee_since), scheme = greatest(t.scheme, excluded.scheme),
        due = greatest(t.due, excluded.due), outcome = {_LAST_OUTCOME},
        payment_order_id = greatest(t.payment_order_id, excluded.payment_order_id), seller = greatest(t.seller, excluded.seller)
    WHERE (excluded.facts[1] = ANY (t.facts)) IS NOT TRUE
    RETURNING t.key, t.kind, t.currency, t.psp, cardinality(t.facts) = 1 AS first, t.broken, t.digests, t.lines, t.apart,
        t.payment_order_id
), judged AS (
    INSERT INTO odd (file_no, key, kind, currency, psp, look_at)
    SELECT 0, key, kind, currency, psp, %s FROM expected e WHERE broken OR kind = 's' OR digests <> '{{}}' OR EXISTS (
        SELECT 1 FROM tallies t WHERE t.key = e.key AND t.kind = e.kind AND t.currency <> e.currency AND t.psp = e.psp)
    UNION SELECT 0, u.key, u.kind, u.currency, u.psp, %s FROM expected e JOIN unexplained u USING (payment_order_id)
        WHERE e.kind = 'c'  -- what nobody knew is now a second capture, or no more one
    ON CONFLICT (file_no, key, kind, currency, psp) DO UPDATE SET look_at = least(odd.look_at, excluded.look_at)
)
SELECT kind, currency, digests, lines, apart FROM expected WHERE first AND digests <> '{{}}'
"""
_UNEXPECT: LiteralString = f"""
WITH expected AS (
    UPDATE tallies t SET expected = t.expected - f.amount, facts = array_remove(t.facts, f.digest)
    FROM {_FACTS} WHERE t.key = f.key AND t.kind = f.kind AND t.currency = f.currency AND t.psp = f.psp
        AND f.digest = ANY (t.facts)
    RETURNING t.key, t.kind, t.currency, t.psp, t.facts = '{{}}' AS last, t.digests, t.lines, t.apart
), judged AS (
    INSERT INTO odd (file_no, key, kind, currency, psp, look_at)
    SELECT 0, key, kind, currency, psp, %s FROM expected
    ON CONFLICT (file_no, key, kind, currency, psp) DO UPDATE SET look_at = least(odd.look_at, excluded.look_at)
)
SELECT kind, currency, digests, lines, apart FROM expected WHERE last AND digests <> '{{}}'
"""


def save(conn: Connection, found: Sequence[Fact], back: Sequence[Fact], now: datetime) -> list[SumChange]:
    """→ what settlements have to book elsewhere: lines that are known now, or no more"""
    changes: list[SumChange] = []
    for batch in _rounds(back):
        rows = conn.execute(_UNEXPECT, [*_arrays(batch), now])
        changes += _moved(rows, +1)
    for batch in _rounds([fact for fact in found if fact.digest is not None]):
        rows = conn.execute(_EXPECT, [now, *_arrays(batch), now, now])
        changes += _moved(rows, -1)
    for batch in _rounds([fact for fact in found if fact.digest is None]):  # a word that expects nothing moves nothing
        conn.execute(_EXPECT, [now, *_arrays(batch), now, now])
    return changes


def _moved(rows: Iterable[Sequence[Any]], sign: int) -> Iterator[SumChange]:
    for kind, currency, digests, lines, apart in rows:
        for line in (each for each in lines_of(digests, lines) if each.digest not in (apart or ())):
            yield SumChange(line.settlement_no, kind, currency, 0, 0, sign * line.gross, 0, 0)


def _rounds(facts: Sequence[Fact]) -> Iterator[list[tuple[Any, ...]]]:
    """First facts of each tally, then second ones, …; each sorted by key, since a statement touches a row once."""
    rounds: list[dict[tuple[str, ...], tuple[Any, ...]]] = []
    seen: dict[tuple[str, ...], int] = defaultdict(int)
    for fact in facts:
        key = (fact.reference.key, fact.reference.kind, fact.currency, fact.reference.psp)
        number = seen[key]
        seen[key] = number + 1
        if number == len(rounds):
            rounds.append({})
        rounds[number][key] = (*key, *_values(fact))
    for each in rounds:
        yield [each[key] for key in sorted(each)]


def _values(fact: Fact) -> tuple[Any, ...]:
    since, due = (day and day.isoformat() for day in (fact.fee_since, fact.due))
    rest = (fact.outcome, fact.payment_order_id, fact.seller)
    return (fact.amount, fact.digest, fact.fee, fact.fee_slack, since, fact.scheme, due, *rest)


def _arrays(batch: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [LITERALS[kind](column) for kind, column in zip(_TYPES, zip(*batch, strict=True), strict=True)]
