"""Money: what is read, what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.currencies import DECIMALS
from schemas.money import DIGITS_MAX, MINOR_MAX, InvalidMoney, Money, exponent

currencies = st.sampled_from(sorted(DECIMALS))
minors = st.integers(-MINOR_MAX, MINOR_MAX)
monies = st.builds(Money, minors, currencies)
wire: TypeAdapter[Money] = TypeAdapter(Money)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("12.34", "EUR", 1234),
        ("0.01", "USD", 1),
        ("12", "JPY", 12),
        ("1.234", "BHD", 1234),
        ("1.0000", "CLF", 10000),
        ("5.00", "BGN", 500),  # withdrawn in 2026, still in old files
        ("1999", "ITL", 1999),
        ("9999999999999.99", "EUR", 999_999_999_999_999),
        ("999999999999999", "JPY", 999_999_999_999_999),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(amount: str, currency: str, minor: int) -> None:
    assert Money.parse(amount, currency) == Money(minor, currency)
    assert Money(minor, currency).amount == amount


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        ("12.3", "EUR", "wrong_decimals"),
        ("12.345", "EUR", "wrong_decimals"),
        ("12", "EUR", "wrong_decimals"),
        ("12.0", "JPY", "wrong_decimals"),
        ("1.23", "BHD", "wrong_decimals"),
        ("1.00", "EURO", "unknown_currency"),
        ("1.00", "eur", "unknown_currency"),
        ("1.00", "", "unknown_currency"),
        ("1.00", "XXX", "unknown_currency"),
        ("1.00", "XAU", "unknown_currency"),
        ("-1.00", "EUR", "negative_amount"),
        ("10000000000000.00", "EUR", "amount_too_large"),
        ("1" * 40 + ".00", "EUR", "amount_too_large"),
        ("1" * 5000 + ".00", "EUR", "amount_too_large"),
        ("1" * 40, "EUR", "wrong_decimals"),
    ]
    + [
        (amount, "EUR", "invalid_amount")
        for amount in (
            *("", " ", "1e2", "1.00e0", "NaN", "Infinity", "-inf", "+1.00", " 1.00", "1.00 ", "1.00\n", "01.00"),
            *(".50", "1.", "1,00", "1_0.00", "1.00\0", "0x1.00", "١.٠٠", "１.００", "-0.00", "--1.00", "1.00.00"),
        )
    ],
)
def test_what_is_not_an_amount_is_refused_with_a_stable_code(amount: str, currency: str, code: str) -> None:
    with pytest.raises(InvalidMoney) as refused:
        Money.parse(amount, currency)
    assert refused.value.code == code


def test_a_sign_is_read_where_it_is_allowed() -> None:
    assert Money.parse("-0.05", "EUR", signed=True) == Money(-5, "EUR")


@given(monies)
def test_every_amount_survives_the_wire(money: Money) -> None:
    assert wire.validate_json(wire.dump_json(money)) == money
    assert wire.validate_python(wire.dump_python(money)) == money
    assert wire.validate_python(money) is money


@given(st.integers(-(10**DIGITS_MAX) + 1, 10**DIGITS_MAX - 1), currencies)
def test_parsing_undoes_formatting(minor: int, currency: str) -> None:
    assert Money.parse(Money(minor, currency).amount, currency, signed=True).minor == minor


@given(st.text(max_size=20), currencies)
def test_parsing_refuses_or_reads_exactly_what_was_written(text: str, currency: str) -> None:
    try:
        money = Money.parse(text, currency, signed=True)
    except InvalidMoney:
        return
    assert money.amount == text


@given(st.integers(-(2**61), 2**61), st.integers(-(2**61), 2**61), currencies)
def test_adding_and_taking_away_are_those_of_integers(a: int, b: int, currency: str) -> None:
    left, right = Money(a, currency), Money(b, currency)
    assert (left + right) - right == left
    negated = -left
    assert -negated == left
    assert left + Money.zero(currency) == left
    assert (left < right, left <= right, left > right, left >= right) == (a < b, a <= b, a > b, a >= b)


def test_two_currencies_do_not_mix() -> None:
    euro, dollar = Money(1, "EUR"), Money(1, "USD")
    assert euro != dollar
    for operation in (
        lambda: euro + dollar,
        lambda: euro - dollar,
        lambda: euro < dollar,
        lambda: euro <= dollar,
        lambda: euro > dollar,
        lambda: euro >= dollar,
    ):
        with pytest.raises(InvalidMoney) as refused:
            operation()
        assert refused.value.code == "currency_mismatch"


def test_no_amount_outgrows_the_store() -> None:
    with pytest.raises(InvalidMoney):
        Money(MINOR_MAX, "EUR") + Money(1, "EUR")
    with pytest.raises(ValidationError):
        wire.validate_python({"amount": "92233720368547758.08", "currency": "EUR"})


def test_no_float_holds_money() -> None:
    for minor in (1.0, True, "1"):
        with pytest.raises(InvalidMoney):
            Money(minor, "EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        1,
        "1.00",
        None,
        [],
        {"amount": "1.00"},
        {"amount": 1, "currency": "EUR"},
        {"amount": "1.00", "currency": "EUR", "tip": "1"},
        {"amount": "1.0", "currency": "EUR"},
    ],
)
def test_money_on_the_wire_is_two_strings_and_nothing_else(value: object) -> None:
    with pytest.raises(ValidationError):
        wire.validate_python(value)


def test_every_currency_has_up_to_four_decimals() -> None:
    assert {exponent(currency) for currency in DECIMALS} == {0, 2, 3, 4}
    assert len(DECIMALS) > 200
    assert all(len(currency) == 3 and currency.isascii() and currency.isupper() for currency in DECIMALS)
