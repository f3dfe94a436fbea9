"""Verdicts, booking targets, due days, pairs and expectations, as pure values."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciliation.banking import pairs
from reconciliation.booking import Claim, LineSum, difference, paid_out, target, ties
from reconciliation.business_days import due_day, late_at
from reconciliation.expected import Sources, expected
from reconciliation.formats import keys
from reconciliation.matching import verdict
from reconciliation.settling import without_predecessor
from reconciliation.state import Statement, Unmatched
from reconciliation.tally import Tally, TallyLine
from schemas.events import OutcomeUnknown, OutcomeUnresolved, PaymentDeclined, PaymentPending
from schemas.money import Money
from schemas.money_back import AuthorisationExpired, Chargeback, Execution
from tests.captures import NOW, capture
from tests.money_back import (
    capture_failed,
    capture_reversed,
    opened,
    refund_failed,
    refund_reversed,
    refunded,
    share,
    voided,
    won,
)
from tests.payouts import failed, paid, refused, returned, submitted
from tests.reconciling import ADYEN, BANK, SOURCES

CURRENCIES = ("EUR", "USD")


@st.composite
def sums(draw: st.DrawFn) -> LineSum:
    """As lines add up: fee = gross − net, but where a rate lies between them."""
    kind, currency = draw(st.sampled_from("crRbB2fhHtxjiusq")), draw(st.sampled_from(CURRENCIES))
    gross, fee = draw(st.integers(-1000, 1000)), draw(st.integers(-50, 50))
    net = gross - fee if currency == "EUR" else draw(st.integers(-1000, 1000))
    return LineSum(kind, currency, 1, gross, draw(st.integers(-1000, 1000)), fee, net)


@given(st.lists(sums(), max_size=8), st.booleans())
def test_what_is_booked_of_a_settlement_balances_in_each_currency(lines: list[LineSum], bank: bool) -> None:
    totals: dict[str, int] = defaultdict(int)
    for (_, currency), amount in target(lines, "EUR", bank).items():
        totals[currency] += amount
    assert all(total == 0 for total in totals.values())


@given(st.lists(st.lists(sums(), max_size=5), min_size=1, max_size=5))
def test_revisions_add_up_to_what_should_be_booked_last(states: list[list[LineSum]]) -> None:
    targets = [{}, *(target(lines, "EUR", False) for lines in states)]
    added: dict[object, int] = defaultdict(int)
    for before, after in pairwise(targets):
        for side, amount in difference(after, before).items():
            added[side] += amount
    assert {side: amount for side, amount in added.items() if amount} == targets[-1]


def test_a_settlement_ties_when_one_total_is_claimed_and_its_lines_add_up_to_it() -> None:
    lines = [LineSum("c", "EUR", 2, 200, 0, 10, 190), LineSum("p", "EUR", 1, -190, 0, 0, -190)]
    assert ties(lines, [Claim(1, 190)])
    assert ties(lines, [Claim(1, 190), Claim(2, 190), Claim(3, None)])
    assert not ties(lines, [Claim(1, 190), Claim(2, 191)])
    assert not ties(lines, [Claim(1, 191)])
    assert not ties(lines, [Claim(1, None)])
    assert not ties([lines[0], replace(lines[1], net=-180)], [Claim(1, 190)])
    assert ties([LineSum("s", "EUR", 1, 50, 0, 0, 50)], [Claim(1, 150, opening=100)])


def test_what_is_not_paid_out_of_a_settlement_stays_in_the_balance_there() -> None:
    lines = [LineSum("c", "EUR", 2, 200, 0, 10, 190), LineSum("p", "EUR", 1, -150, 0, 0, -150)]
    assert ties(lines, [Claim(1, 190, kept=40)])
    assert not ties(lines, [Claim(1, 190, kept=41)])
    assert not ties(lines, [Claim(1, 190, kept=40), Claim(2, 190, kept=190)])
    assert target(lines, "EUR", bank=False, kept=40) == {
        ("receivable", "EUR"): -200, ("fees", "EUR"): 10, ("balance", "EUR"): 40, ("bank_clearing", "EUR"): 150,
    }  # fmt: skip


def test_payouts_are_expected_by_the_references_that_the_bank_shows_and_the_rest_by_the_settlement() -> None:
    assert paid_out([Claim(1, 190)], 190) == {"": 190}
    assert paid_out([Claim(1, 190, payouts=(("b1", 100), ("b2", 90)))], 190) == {"b1": 100, "b2": 90}
    assert paid_out([Claim(1, 190, payouts=(("b1", 100),)), Claim(2, None)], 150) == {"b1": 100, "": 50}


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────────────────

EXPECTED = Tally("0" * 31 + "1", "c", "EUR", "northpay", 1000, (7,), 10, 1, date(2026, 1, 5), None, "o", "s", 0, 0, ())
LINE = TallyLine(9, 1000, 10, 1, 1)
EQUAL = replace(EXPECTED, settled=1000, fee=10, lines=(LINE,))
UNKNOWN = replace(EQUAL, expected=0, facts=(), fee_expected=None, due=None)
OTHER = replace(UNKNOWN, currency="USD")


@pytest.mark.parametrize(
    ("tallies", "late", "code", "amount"),
    [
        ([], True, None, 0),
        ([EQUAL], True, None, 0),
        ([EXPECTED], False, None, 0),
        ([EXPECTED], True, "MISSING_AT_PSP", 1000),
        ([replace(EXPECTED, expected=0)], True, None, 0),  # a capture that was taken back
        ([replace(EXPECTED, kind="s")], True, "PAYOUT_MISSING", 1000),
        ([UNKNOWN], False, "MISSING_INTERNAL", 1000),
        ([replace(UNKNOWN, kind="r")], False, "UNEXPECTED_REVERSAL", 1000),
        ([replace(UNKNOWN, outcome="declined")], False, "STATUS_MISMATCH", 1000),
        ([replace(UNKNOWN, kind="s")], False, "UNEXPLAINED", 1000),
        ([replace(UNKNOWN, kind="j")], False, "UNEXPLAINED", 1000),
        ([replace(UNKNOWN, kind="f")], True, None, 0),
        ([EXPECTED, OTHER], True, "CURRENCY", 1000),
        ([EQUAL, OTHER], False, "CURRENCY", 1000),
        ([replace(EQUAL, settled=1001, fee=99)], False, "AMOUNT", 1),  # before FEE_VARIANCE
        ([replace(EQUAL, settled=999)], False, None, 0),  # the rest may come
        ([replace(EQUAL, settled=999)], True, "AMOUNT", -1),
        ([replace(EQUAL, settled=-1000)], False, "AMOUNT", -2000),
        ([replace(EQUAL, kind="s", settled=1001)], False, "BANK_AMOUNT", 1),
        ([replace(EQUAL, facts=(7, 8), expected=0)], False, None, 0),  # taken back since: its line may come
        ([replace(EQUAL, facts=(7, 8), expected=0)], True, "AMOUNT", 1000),
        ([replace(EQUAL, kind="s", facts=(7, 8), expected=0)], False, None, 0),
        ([replace(EQUAL, fee=11)], True, None, 0),  # within the slack
        ([replace(EQUAL, fee=12)], False, "FEE_VARIANCE", 1),
        ([replace(EQUAL, fee=9)], False, "FEE_VARIANCE", -1),
        ([replace(EQUAL, fee=99, fee_expected=None)], False, None, 0),
    ],
)
def test_the_ladder_of_verdicts(tallies: list[Tally], late: bool, code: str | None, amount: int) -> None:
    found = verdict(tallies, late)
    assert (found and found.code, found.amount if found else 0) == (code, amount)


# ── days ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_due_days_are_business_days_of_the_source() -> None:
    berlin = ADYEN.model_copy(update={"timezone": "Europe/Berlin", "cut_off": "18:00"})
    friday = datetime(2026, 1, 9, 16, 0, tzinfo=UTC)  # 17:00 there
    assert due_day(berlin, friday, 2) == date(2026, 1, 13)
    assert due_day(berlin, friday + timedelta(hours=2), 2) == date(2026, 1, 14)  # after the cut-off: Monday's
    closed = berlin.model_copy(update={"holidays": frozenset({date(2026, 1, 12)})})
    assert due_day(closed, friday, 2) == date(2026, 1, 14)
    assert late_at(berlin, date(2026, 1, 13)) == datetime(
        2026, 1, 15, 23, 0, tzinfo=UTC
    )  # two days of grace, then midnight


# ── expectations ─────────────────────────────────────────────────────────────────────────────────────────────────────

KNOWN = Sources(SOURCES)
TEN = share(1000, 10)
Dispute = TypeVar("Dispute", bound=Chargeback)


def named(dispute: Dispute) -> Dispute:
    return dispute.model_copy(update={"dispute_reference": "d-1"})


@pytest.mark.parametrize(
    ("event", "kind", "amount"),
    [
        (capture(), "c", 1234),
        (capture_reversed(None, TEN), "c", -1000),
        (refunded("r-1", TEN), "r", -1000),
        (refund_reversed("r-1", TEN), "R", 1000),
        (named(opened(TEN)), "b", -1000),
        (named(opened(TEN, Money(1500, "EUR"))), "b", -2500),
        (named(opened(TEN, Money(1500, "USD"))), "b", -1000),
        (named(opened(TEN, stage=2)), "b", -1000),
        (named(won(TEN)), "B", 1000),
        (named(won(TEN, Money(500, "EUR"))), "B", 1500),
        (submitted(), "s", -10_000),
        (failed(), "s", 10_000),
        (returned(returned=Money(9_900, "EUR")), "s", 9_900),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "key") else None,
)
def test_money_that_a_psp_or_a_bank_must_show_is_expected(event: object, kind: str, amount: int) -> None:
    fact = expected(event, KNOWN, NOW)  # type: ignore[arg-type]
    assert fact is not None
    assert (fact.reference.kind, fact.amount) == (kind, amount)


def test_a_dispute_is_expected_under_the_reference_that_the_psp_gives_it() -> None:
    fact = expected(named(opened(TEN)), KNOWN, NOW)
    assert fact is not None
    assert fact.reference.key == keys.theirs("northpay", "d-1")


def test_a_transfer_that_is_submitted_and_then_paid_is_one_fact_and_a_refused_one_is_none() -> None:
    first, second = expected(submitted(), KNOWN, NOW), expected(paid(), KNOWN, NOW)
    assert first == second
    assert expected(refused(), KNOWN, NOW) is None


CALL = {"psp": "northpay", "call_id": "1" * 32}
TERMS = capture().terms()


@pytest.mark.parametrize(
    ("event", "kind", "key", "outcome"),
    [
        (PaymentDeclined(**TERMS, **CALL, code="no"), "c", "1", "declined"),  # type: ignore[arg-type]
        (AuthorisationExpired(**TERMS, **CALL, released=Money(1234, "EUR")), "c", "1", "expired"),  # type: ignore[arg-type]
        (voided(), "c", "2", "voided"),  # a line of it would name the charge
        (capture_failed(), "c", "1", "failed"),
        (refund_failed(), "r", "1", "failed"),
        (OutcomeUnknown(**TERMS, **CALL, reason="timeout"), "c", "1", "unknown"),  # type: ignore[arg-type]
        (OutcomeUnresolved(**TERMS, **CALL, reason="timeout", operation="refund"), "r", "1", "unknown"),  # type: ignore[arg-type]
        (
            PaymentPending(**TERMS, **CALL, psp_reference="p", reason="3ds", operation="capture"),  # type: ignore[arg-type]
            "c", "1", "pending",
        ),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "terms") else None,
)  # fmt: skip
def test_of_what_ends_without_money_the_outcome_is_kept_and_nothing_expected(
    event: Execution, kind: str, key: str, outcome: str
) -> None:
    fact = expected(event, KNOWN, NOW)
    assert fact is not None
    assert (fact.reference, fact.outcome, fact.amount, fact.digest) == (
        (key * 32, kind, "northpay"), outcome, 0, None,
    )  # fmt: skip


def test_nothing_is_kept_of_a_psp_without_a_source_or_of_what_does_not_name_its_call() -> None:
    assert expected(capture(psp="eastpay"), KNOWN, NOW) is None
    assert expected(voided(charge_call_id=None), KNOWN, NOW) is None
    assert expected(capture_failed(psp=None, call_id=None), KNOWN, NOW) is None
    assert expected(OutcomeUnknown(**TERMS, **CALL, reason="timeout", operation="void"), KNOWN, NOW) is None  # type: ignore[arg-type]


# ── the bank ─────────────────────────────────────────────────────────────────────────────────────────────────────────

DAY = date(2026, 1, 5)


def waiting(key: int, *, is_line: bool, day: int = 0, counterparty: str = "a") -> Unmatched:
    return Unmatched("main", "EUR", 500, f"{key:032x}", is_line, counterparty, DAY + timedelta(days=day), None)


@given(st.permutations(range(6)))
def test_twins_are_paired_in_one_order_whatever_the_order_of_arrival(order: list[int]) -> None:
    entries = [
        *(waiting(n, is_line=True, day=n) for n in range(3)),
        *(waiting(9 - n, is_line=False, day=n) for n in range(3)),
    ]
    found = list(pairs([entries[place] for place in order], BANK))
    assert [(int(line, 16), int(other, 16)) for line, other in found] == [(0, 9), (1, 8), (2, 7)]


def test_nothing_is_paired_across_counterparties_or_long_after_the_due_day() -> None:
    line = waiting(1, is_line=True)
    two = [waiting(2, is_line=False), waiting(3, is_line=False, counterparty="b")]
    assert list(pairs([line, *two], BANK)) == []
    assert list(pairs([waiting(1, is_line=True, day=20), two[0]], BANK)) == []


def test_a_statement_needs_one_before_it_that_closes_with_its_opening_balance() -> None:
    first, second, third = (Statement(str(n), DAY + timedelta(days=n), 10 * n, 10 * n + 10) for n in range(3))
    assert without_predecessor([third, first, second]) == {}
    assert without_predecessor([third, first]) == {third: first}
    assert without_predecessor([]) == {}
