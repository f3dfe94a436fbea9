"""What a pay-out in another currency gets, and what is kept of it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.conversions import BPS, Conversion, Quote, convert
from schemas.money import Money, exponent
from topics.exchange_rates import FxRate, RateTable, pairs_once

PAIRS = st.sampled_from(
    [("EUR", "USD"), ("EUR", "JPY"), ("EUR", "BHD"), ("JPY", "BHD"), ("BHD", "JPY"), ("USD", "CLF")]
)


def _rate(units: int, decimals: int) -> str:
    digits = str(units).zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


rates = st.builds(_rate, st.integers(1, 10**12), st.integers(0, 12))


def done(amount: Money, to: str, rate: str, bps: int = 0) -> Conversion:
    conversion = convert(amount, to, Quote(rate, bps))
    assert isinstance(conversion, Conversion), conversion
    return conversion


@pytest.mark.parametrize(
    ("amount", "to", "rate", "bps", "target", "cost", "spread"),
    [
        # 100.00 × 0.995 × 1.0825 = 107.708…; 107.70 / 1.0825 = 99.4919…
        ("100.00", "USD", "1.0825", 50, "107.70", "99.50", "0.50"),
        # 100.00 × 0.995 × 162.35 = 16153.8…; 16153 / 162.35 = 99.4949…
        ("100.00", "JPY", "162.35", 50, "16153", "99.50", "0.50"),
        # 100.00 × 0.995 × 0.40815 = 40.6109…; 40.610 / 0.40815 = 99.4977…
        ("100.00", "BHD", "0.40815", 50, "40.610", "99.50", "0.50"),
        ("0.01", "JPY", "162.35", 0, "1", "0.01", "0.00"),
        ("33.33", "USD", "1", 0, "33.33", "33.33", "0.00"),
        ("0.99", "JPY", "1.5", 0, "1", "0.67", "0.32"),
    ],
)
def test_the_target_is_rounded_down_and_what_rounding_leaves_is_the_platforms(
    amount: str, to: str, rate: str, bps: int, target: str, cost: str, spread: str
) -> None:
    conversion = done(Money.parse(amount, "EUR"), to, rate, bps)
    assert (conversion.target, conversion.cost.amount, conversion.spread.amount) == (
        Money.parse(target, to),
        cost,
        spread,
    )


@given(st.integers(1, 10**12), PAIRS, rates, st.integers(0, BPS - 1))
def test_no_cent_is_lost_whatever_the_rate_and_the_decimals(
    minor: int, pair: tuple[str, str], rate: str, bps: int
) -> None:
    amount, to = Money(minor, pair[0]), pair[1]
    conversion = convert(amount, to, Quote(rate, bps))
    whole = Fraction(minor, 10 ** exponent(pair[0]))
    exact = whole * (1 - Fraction(bps, BPS)) * Fraction(rate) * 10 ** exponent(to)  # by other means than the code
    if exact < 1:
        assert conversion == "amount_too_small"
        return
    if exact >= 10**15:
        assert conversion == "amount_too_large"
        return
    assert isinstance(conversion, Conversion)
    assert conversion.target.minor <= exact < conversion.target.minor + 1, "rounded down, by less than one unit"
    assert conversion.cost + conversion.spread == amount
    assert conversion.spread.minor >= 0, "the platform pays nothing"
    worth = Fraction(conversion.target.minor, 10 ** exponent(to)) / Fraction(rate) * 10 ** exponent(pair[0])
    assert conversion.cost.minor - 1 < worth <= conversion.cost.minor, "rounded up, by less than one unit"


def test_what_is_too_little_or_too_much_for_the_other_currency_is_not_converted() -> None:
    assert convert(Money(1, "JPY"), "EUR", Quote("0.006", 0)) == "amount_too_small"
    assert convert(Money(1, "EUR"), "JPY", Quote("162.35", 9_999)) == "amount_too_small"
    assert convert(Money(10**14, "EUR"), "JPY", Quote("999999999", 0)) == "amount_too_large"
    assert convert(Money(1, "EUR"), "JPY", None) == "no_rate"


def test_a_rate_holds_for_one_way() -> None:
    table = RateTable([FxRate(currency="EUR", payout_currency="USD", rate="1.0825", spread_bps=50)])
    assert table.quote("EUR", "USD") == Quote("1.0825", 50)
    assert table.quote("USD", "EUR") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": "0"},
        {"rate": "0.000"},
        {"rate": "-1.08"},
        {"rate": "+1.08"},
        {"rate": ""},
        {"rate": "1,08"},
        {"rate": "1e3"},
        {"rate": "01.08"},
        {"rate": ".5"},
        {"rate": "NaN"},
        {"rate": "१"},
        {"rate": "1.08\n"},
        {"rate": 1.08},
        {"rate": 1},
        {"rate": "1.0000000000001"},
        {"rate": "1000000000"},
        {"payout_currency": "EUR"},
        {"payout_currency": "usd"},
        {"currency": "XXX"},
        {"spread_bps": -1},
        {"spread_bps": 10_000},
        {"spread_bps": 0.5},
        {"spread_bps": "50"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_table_with_a_broken_line_is_refused(changes: dict[str, object]) -> None:
    line = {"currency": "EUR", "payout_currency": "USD", "rate": "1.08", "spread_bps": 50}
    FxRate.model_validate(line)
    with pytest.raises(ValidationError):
        FxRate.model_validate(line | changes)


def test_a_pair_has_one_rate() -> None:
    lines = [{"currency": "EUR", "payout_currency": "USD", "rate": rate} for rate in ("1.08", "1.09")]
    table = TypeAdapter(tuple[FxRate, ...]).validate_python(lines)
    with pytest.raises(ValueError, match="EUR to USD has two rates"):
        pairs_once(table)
