"""Lines of payments in another currency than their settlement's → how far their rates are from the source's reference rates.

What a line is worth is compared at the reference rate of its value day. Within the band the difference is realised: it is
`platform:fx-spread`. Beyond, it stays where both legs are until a person claims it, and the lines are one break.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from reconciliation.booking import LineSum
from reconciliation.fold import FoldedLine
from reconciliation.state import FxSum
from reconciliation.tally import PAYMENTS
from schemas.money import exponent
from schemas.settlements import SettlementLines
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import int_array, text_array
from topics.settlement_sources import SettlementSource

_EPOCH = date(1970, 1, 1)
_ADD = """
INSERT INTO conversions (settlement_no, digest, file_no, currency, gross, worth, day)
SELECT settlement_no, digest, file_no, currency, gross, worth, day::date
FROM unnest(%s::integer[], %s::bigint[], %s::integer[], %s::text[], %s::bigint[], %s::bigint[], %s::text[])
    AS w (settlement_no, digest, file_no, currency, gross, worth, day)
ON CONFLICT DO NOTHING
"""
_TAKE_BACK = """
DELETE FROM conversions c USING unnest(%s::integer[], %s::bigint[]) AS w (settlement_no, digest)
WHERE c.settlement_no = w.settlement_no AND c.digest = w.digest AND c.file_no = %s
"""
# A line counts once, whichever files have it. A minor unit either way is rounding.
_SUMS = """
WITH rates AS (
    SELECT * FROM unnest(%s::integer[], %s::text[], %s::text[], %s::text[], %s::integer[])
        AS w (settlement_no, currency, valid_from, factor, band_bps)
), lines AS (
    SELECT DISTINCT ON (settlement_no, digest) settlement_no, currency, gross, worth, day FROM conversions
    WHERE settlement_no = ANY (%s::integer[]) ORDER BY settlement_no, digest, file_no
), compared AS (
    SELECT l.settlement_no, l.currency, l.worth - r.worth AS more,
        abs(l.worth - r.worth) > greatest(1, floor(abs(r.worth) * r.band_bps / 10000)) AS beyond
    FROM lines l CROSS JOIN LATERAL (
        SELECT round(l.gross * w.factor::numeric)::bigint AS worth, w.band_bps FROM rates w
        WHERE w.settlement_no = l.settlement_no AND w.currency = l.currency AND w.valid_from::date <= l.day
        ORDER BY w.valid_from DESC LIMIT 1) r
)
SELECT settlement_no, currency, count(*) FILTER (WHERE beyond), coalesce(sum(more) FILTER (WHERE beyond), 0)::bigint,
    coalesce(sum(more) FILTER (WHERE NOT beyond), 0)::bigint
FROM compared GROUP BY 1, 2
"""


def add(conn: Connection, lines: Iterable[FoldedLine], said: SettlementLines) -> None:
    """Keep what is needed of the converted lines of a chunk, of which not all need be folded."""
    of = said.lines
    places = zip(of.digests, of.gross_currencies, of.net_currencies, of.value_days, strict=True)
    days = {digest: day for digest, one, other, day in places if one != other}
    rows = [
        (*line_of(line), line.currency, line.gross, line.net + line.charged, _day(days[line.digest]))
        for line in lines
        if line.digest in days and line.kind in PAYMENTS and line.settlement_no
    ]
    if rows:
        conn.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])


def line_of(line: FoldedLine) -> tuple[int, int, int]:
    return line.settlement_no, line.digest, line.file_no


def take_back(conn: Connection, lines: Sequence[FoldedLine], file_no: int) -> None:
    if lines:
        numbers, digests = int_array(line.settlement_no for line in lines), int_array(line.digest for line in lines)
        conn.execute(_TAKE_BACK, [numbers, digests, file_no])


class Asked(NamedTuple):
    """A settlement with lines in other currencies than its own."""

    settlement_no: int
    source: SettlementSource
    currency: str


def asked(
    rows: Iterable[Sequence[Any]], sums: Mapping[int, Sequence[LineSum]], sources: Mapping[str, SettlementSource]
) -> Iterator[Asked]:
    """`rows` of settlements begin with number, source, name and currency."""
    for number, source, _, currency, *_ in rows:
        if any(each.currency != currency for each in sums.get(number, ())):
            yield Asked(number, sources[source], currency)


def load(conn: Connection, wanted: Iterable[Asked]) -> dict[int, dict[str, FxSum]]:
    """By settlement and currency of the lines."""
    rates = [rate for each in wanted for rate in _rates(each)]
    if not rates:
        return {}
    numbers, currencies, days, factors, bands = zip(*rates, strict=True)
    columns = [int_array(numbers), text_array(currencies), text_array(days), text_array(factors), int_array(bands)]
    found: dict[int, dict[str, FxSum]] = {}
    for number, currency, *sums in conn.execute(_SUMS, [*columns, int_array(sorted(set(numbers)))]):
        found.setdefault(number, {})[currency] = FxSum(*sums)
    return found


def spread(sums: Mapping[str, FxSum]) -> int:
    """What is realised: as much more than the reference as the lines within the band are worth."""
    return sum(each.within for each in sums.values())


def _rates(asked: Asked) -> Iterator[tuple[int, str, str, str, int]]:
    """The rates into the settlement's currency, from minor units to minor units."""
    for row in asked.source.rates:
        if row.settled_in == asked.currency:
            factor = Decimal(row.rate).scaleb(exponent(row.settled_in) - exponent(row.currency))
            yield asked.settlement_no, row.currency, row.valid_from.isoformat(), f"{factor:f}", row.band_bps


def _day(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).isoformat()
