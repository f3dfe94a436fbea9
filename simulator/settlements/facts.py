"""The PSPs' books → what has happened with money until a moment, each once and by its time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from simulator.currencies import ISO
from simulator.memory import Memory
from simulator.settlements.model import Fee, Kind, Row, converted
from simulator.settlements.terms import Terms
from simulator.shape import Kind as IdKind
from simulator.shape import Shape

# Not settled yet, whatever day it is of: what comes late in the books comes with the next settlement.
_FACTS = """
SELECT * FROM (
    SELECT 'charge:' || seq AS fact, 'capture' AS kind, max(created_at, decided_at) AS at, amount, 0 AS fee,
        'charge' AS id_kind, id, reference AS our_ref, reference AS charge_our_ref, id AS charge_id, order_id, currency, scheme
    FROM charges WHERE psp=:psp AND capture_until=0 AND decline_code IS NULL
    UNION ALL
    SELECT 'operation:' || seq, kind, max(created_at, decided_at), CASE kind WHEN 'refund' THEN -amount ELSE amount END,
        0, kind, id, reference, (SELECT reference FROM charges WHERE charges.seq=charge_seq), charge_id, order_id,
        currency, scheme
    FROM operations WHERE psp=:psp AND kind<>'void' AND decline_code IS NULL
        AND NOT EXISTS (SELECT 1 FROM changes WHERE was_declined AND subject_seq=operations.seq)
    UNION ALL
    SELECT 'change:' || changes.seq, changes.kind, changes.at, changes.amount, changes.fee,
        CASE WHEN dispute_id<>'' THEN 'dispute' ELSE coalesce(operations.kind, 'charge') END,
        CASE WHEN dispute_id<>'' THEN dispute_id ELSE coalesce(operations.id, charges.id) END,
        CASE WHEN dispute_id<>'' THEN '' ELSE coalesce(operations.reference, charges.reference) END,
        charges.reference, charges.id, charges.order_id, charges.currency, charges.scheme
    FROM changes JOIN charges ON charges.seq=changes.charge_seq
        LEFT JOIN operations ON operations.seq=changes.subject_seq AND changes.subject_seq>0
    WHERE charges.psp=:psp
) AS facts
WHERE at<:until AND NOT EXISTS (SELECT 1 FROM settled WHERE settled.psp=:psp AND settled.fact=facts.fact)
ORDER BY at, fact
"""


class Draft(NamedTuple):
    """A row of a settlement to be, and the name of the fact behind it; no name if it is invented."""

    fact: str
    row: Row


class _Fact(NamedTuple):
    fact: str
    kind: Kind
    at: int
    amount: int  # by the PSP's own exponents, as the fee
    fee: int
    id_kind: IdKind
    id: str
    our_ref: str
    charge_our_ref: str
    charge_id: str
    order_ref: str
    currency: str
    scheme: str | None


def unsettled(memory: Memory, shape: Shape, terms: Terms, until_us: int) -> Iterator[Draft]:
    """What no settlement of the PSP has yet, as the open transaction sees it, in the order of time."""
    for values in memory.writing.execute(_FACTS, {"psp": shape.name, "until": until_us}):
        fact = _Fact(*values)
        yield Draft(fact.fact, _row(fact, shape, terms))


def _row(fact: _Fact, shape: Shape, terms: Terms) -> Row:
    gross = _iso(fact.amount, fact.currency, shape.exponents)
    settled_in, rate = terms.settlement_currency(fact.currency)
    amount, scheme = converted(gross, fact.currency, rate, settled_in), fact.scheme or ""
    fee = _fee(fact, amount, settled_in, shape, terms)
    return Row(
        fact.kind,
        fact.at,
        fact.currency,
        gross,
        settled_in,
        amount - fee.total,
        fee,
        fact.our_ref,
        shape.shown_id(fact.id_kind, fact.id),
        fact.charge_our_ref,
        shape.shown_id("charge", fact.charge_id),
        fact.order_ref,
        scheme,
        rate,
    )


def _fee(fact: _Fact, amount: int, currency: str, shape: Shape, terms: Terms) -> Fee:
    """A fee of a dispute is the dispute's own; one of an amount that goes the other way is given back."""
    match fact.kind:
        case "capture":
            fee = terms.of_capture(abs(amount), currency, fact.scheme or "")
            return fee if amount > 0 else fee.returned()
        case "refund":
            return terms.of_refund(currency)
        case "refund_reversed":
            return terms.of_refund(currency).returned()
    _, rate = terms.settlement_currency(fact.currency)
    own = _iso(fact.fee, fact.currency, shape.exponents)
    return Fee(converted(own, fact.currency, rate, currency))


def _iso(amount: int, currency: str, exponents: Mapping[str, int]) -> int:
    """The amount in ISO 4217's minor units. Whatever a PSP counts in finer ones is rounded down: callers order whole ones."""
    return amount // int(10 ** (exponents[currency] - ISO[currency]))
