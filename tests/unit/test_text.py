"""Free text: card numbers are found however they are written, and little else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.text import looks_like_card_number

CARDS = (
    "4111111111111111",
    "4222222222222",  # Visa of 13 digits
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "6200000000000005",
)


def luhn_check_digit(digits: str) -> str:
    total = sum(int(d) if i % 2 else sum(divmod(2 * int(d), 10)) for i, d in enumerate(reversed(digits)))
    return str(-total % 10)


@pytest.mark.parametrize("card", CARDS)
def test_a_card_number_is_found_however_it_is_written(card: str) -> None:
    groups = " ".join(card[i : i + 4] for i in range(0, len(card), 4))
    hyphens = groups.replace(" ", "-")
    arabic = card.translate({48 + digit: 0x660 + digit for digit in range(10)})
    for text in (
        card,
        groups,
        hyphens,
        groups.replace(" ", " - "),
        groups.replace(" ", "\u00a0"),
        hyphens.replace("-", "\u2013"),
        arabic,
        f"card {groups}, thanks",
        f"tok_{card}",
        f"order 12345 {groups} 123",
        f"1700000000000 and then {card}",
    ):
        assert looks_like_card_number(text), text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "an order of 3 pieces",
        "4111111111111112",  # Luhn does not hold
        "9999999999999995",  # no issuer starts so
        "378282246310005"[:-3],
        "41111111111111111111111111",
        "+49 30 1234567 ext 89",
        "4.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1",
        "2026-11-22 21:06:35",
        "3f6c1f0e-8a37-4b51-9d1c-2b9c6f0e7a11",
    ],
)
def test_other_text_is_let_through(text: str) -> None:
    assert not looks_like_card_number(text)


@given(st.integers(1_000_000_000_000, 1_999_999_999_999))
def test_no_millisecond_timestamp_is_taken_for_a_card(millisecond: int) -> None:
    assert not looks_like_card_number(str(millisecond))


@given(st.integers(10**14, 10**15 - 1))
def test_every_visa_number_is_found(body: int) -> None:
    digits = f"4{body % 10**14:014d}"
    assert looks_like_card_number(digits + luhn_check_digit(digits))


@given(st.text())
def test_any_text_is_looked_at_without_failing(text: str) -> None:
    assert looks_like_card_number(text) in (True, False)


@given(st.text(alphabet=st.characters(exclude_categories=["Nd"])))
def test_text_without_digits_holds_no_card(text: str) -> None:
    assert not looks_like_card_number(text)
