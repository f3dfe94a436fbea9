"""reconciliation/fees.py: what a PSP may charge for a capture, by the schedule that was agreed."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from reconciliation.fees import ExpectedFee, expected_fee
from schemas.money import Money
from topics.settlement_sources import FeeScheduleRow, SettlementSource

DAY = date(2026, 11, 29)


def row(valid_from: date = date(2026, 1, 1), **terms: object) -> FeeScheduleRow:
    return FeeScheduleRow.model_validate({"valid_from": valid_from, **terms})


def fee_of(minor: int, *schedule: FeeScheduleRow, currency: str = "EUR", scheme: str | None = "visa") -> int | None:
    expected = expected_fee(schedule, scheme, Money(minor, currency), DAY)
    return None if expected is None else expected.fee


def test_a_fee_is_a_percentage_and_a_fixed_amount() -> None:
    assert fee_of(100_00, row(percent="1.4", fixed="0.25")) == 1_65


def test_nothing_is_expected_where_nothing_is_agreed() -> None:
    assert fee_of(100_00, row(scheme="amex", percent="2"), row(currency="USD", percent="2")) is None


@pytest.mark.parametrize(
    ("rounding", "minor", "fee"),
    [
        ("half_up", 50, 1),  # 0.5
        ("half_even", 50, 0),
        ("half_even", 150, 2),  # 1.5
        ("half_up", 149, 1),  # 1.49
        ("up", 101, 2),  # 1.01
        ("up", 100, 1),  # 1.00 exactly
    ],
)
def test_a_fraction_of_a_cent_is_rounded_once_as_agreed(rounding: str, minor: int, fee: int) -> None:
    assert fee_of(minor, row(percent="1", rounding=rounding)) == fee


def test_the_parts_of_a_fee_are_added_before_they_are_rounded() -> None:
    assert fee_of(30, row(percent="1.5", fixed="0.005", rounding="half_up")) == 1  # 0.45 + 0.5 cents


def test_a_fee_has_a_least_and_a_greatest_amount() -> None:
    agreed = row(percent="1", minimum="0.10", maximum="5.00")
    assert [fee_of(minor, agreed) for minor in (5_00, 100_00, 10_000_00)] == [10, 1_00, 5_00]


def test_units_are_those_of_the_payments_currency() -> None:
    agreed = row(percent="1.5", fixed="10")
    assert fee_of(1_000, agreed, currency="JPY") == 25
    assert fee_of(10_000, agreed, currency="BHD") == 10_150


def test_a_row_of_the_scheme_goes_before_one_of_the_currency_and_that_before_the_rest() -> None:
    rest, currency = row(percent="4"), row(percent="3", currency="EUR")
    scheme, both = row(percent="2", scheme="visa"), row(percent="1", scheme="visa", currency="EUR")
    assert [
        fee_of(100_00, *rows)
        for rows in ([rest], [rest, currency], [currency, scheme, rest], [both, rest, scheme, currency])
    ] == [4_00, 3_00, 2_00, 1_00]
    assert fee_of(100_00, rest, currency, scheme, both, scheme=None) == 3_00


def test_a_row_is_in_force_from_its_first_day_until_one_of_the_same_scheme_and_currency_follows() -> None:
    schedule = [row(date(2026, 1, 1), percent="1"), row(date(2026, 11, 30), percent="2")]
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 11, 29), date(2026, 11, 30)]
    found = [expected_fee(schedule, None, Money(100_00, "EUR"), day) for day in days]
    assert [each and each.fee for each in found] == [None, 1_00, 1_00, 2_00]


def test_a_newer_general_row_does_not_end_what_is_agreed_for_a_scheme() -> None:
    assert fee_of(100_00, row(scheme="visa", percent="1"), row(date(2026, 6, 1), percent="3")) == 1_00


@pytest.mark.parametrize(("charged", "as_agreed"), [(59, False), (60, True), (85, True), (1_10, True), (1_11, False)])
def test_interchange_and_scheme_fees_may_add_up_to_their_band(charged: int, as_agreed: bool) -> None:
    expected = expected_fee([row(percent="0.6", band_percent="0.5")], "visa", Money(100_00, "EUR"), DAY)
    assert expected == ExpectedFee(60, 50, date(2026, 1, 1))
    assert (0 <= charged - expected.fee <= expected.slack) is as_agreed


def test_the_schedule_of_the_manual_means_what_the_manual_says() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "reconciliation.md").read_text()
    [written] = re.findall(r'"fees": (\[\{.*?\}\])', manual, re.DOTALL)
    schedule = [FeeScheduleRow.model_validate(each) for each in json.loads(written)]
    visa = expected_fee(schedule, "visa", Money(100_00, "EUR"), DAY)
    assert visa is not None
    assert (visa.fee, visa.fee + visa.slack) == (60, 1_10)
    assert expected_fee(schedule, "amex", Money(100_00, "EUR"), DAY) == ExpectedFee(1_65, 0, date(2026, 1, 1))


def test_without_a_band_a_fee_is_exact() -> None:
    assert expected_fee([row(percent="1")], None, Money(100_00, "EUR"), DAY) == ExpectedFee(1_00, 0, date(2026, 1, 1))


terms = st.fixed_dictionaries(
    {
        "scheme": st.sampled_from([None, "visa", "amex"]),
        "currency": st.sampled_from([None, "EUR", "JPY"]),
        "percent": st.decimals(0, 99, places=6).map(str),
        "fixed": st.decimals(0, 999, places=3).map(str),
        "band_percent": st.decimals(0, 9, places=3).map(str),
        "rounding": st.sampled_from(["half_up", "half_even", "up"]),
    }
)
schedules = st.lists(st.builds(lambda day, rest: row(day, **rest), st.dates(date(2026, 1, 1), DAY), terms), max_size=6)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(schedules, terms, st.integers(1, 500), st.integers(1, 10**15), st.randoms(use_true_random=False))
def test_a_row_of_a_later_day_and_the_order_of_rows_change_nothing(schedule, later, days, minor, random) -> None:  # type: ignore[no-untyped-def]
    captured = Money(minor, "EUR")
    rows = list({(each.scheme, each.currency, each.valid_from): each for each in schedule}.values())
    before = expected_fee(rows, "visa", captured, DAY)
    rows.append(row(DAY + timedelta(days=days), **later))
    random.shuffle(rows)
    assert expected_fee(rows, "visa", captured, DAY) == before


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.decimals(0, 99, places=6), st.integers(1, 10**15))
def test_a_fee_is_exact_to_the_last_unit_however_large_the_amount(percent: Decimal, minor: int) -> None:
    """In integers: percent × 10^6 × minor, half up."""
    parts = int(percent * 10**6) * minor
    assert fee_of(minor, row(percent=str(percent))) == (2 * parts + 10**8) // (2 * 10**8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum": "2.00", "maximum": "1.00"},
        {"minimum": "a bit"},
        {"maximum": "-1"},
        {"percent": "1,4"},
        {"percent": "1e1"},
        {"fixed": "1_0"},
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        row(**wrong)


@pytest.mark.parametrize("zone", ["", "Europe", "Mars/Phobos", "../UTC", "/etc/passwd"])
def test_a_source_in_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValidationError, match="time zone"):
        SettlementSource.model_validate({"name": "north", "psp": "northpay", "bank_account": "main", "timezone": zone})


@pytest.mark.parametrize(
    "wrong", [{"psp": ""}, {"kind": "bank", "psp": "northpay"}, {"psp": "northpay", "restate_limit": "a bit"}]
)
def test_a_source_of_nobody_or_of_two_or_with_no_amount_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SettlementSource.model_validate({"name": "north", "bank_account": "main", **wrong})


def test_two_fees_from_the_same_day_on_are_refused() -> None:
    rows = [{"valid_from": "2026-01-01", "percent": "1"}, {"valid_from": "2026-01-01", "percent": "2"}]
    with pytest.raises(ValidationError, match="same scheme, currency and first day"):
        SettlementSource.model_validate({"name": "north", "psp": "northpay", "bank_account": "main", "fees": rows})
