"""A form filled in by a buyer → the card, and what becomes of a payment with it. Numbers are used here and kept nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

_NUMBER = re.compile(r"[0-9]{12,19}")
_EXPIRY = re.compile(r"(0[1-9]|1[0-2])\s*/\s*(?:20)?([0-9]{2})")
_CVC = re.compile(r"[0-9]{3,4}")
_SCHEMES = (("4", "visa"), ("5", "mastercard"), ("2", "mastercard"), ("34", "amex"), ("37", "amex"), ("6", "discover"))

NEEDS_3DS = frozenset({"4000000000003220", "5200000000001096"})
DECLINED: Mapping[str, str] = {
    "4000000000000002": "do_not_honor",
    "4000000000009995": "insufficient_funds",
    "4000000000000069": "expired_card",
}
TEST_CARDS: tuple[tuple[str, str], ...] = (
    ("4242 4242 4242 4242", "paid"),
    ("5555 5555 5555 4444", "paid, Mastercard"),
    ("4000 0000 0000 3220", "asks for 3-D Secure"),
    ("4000 0000 0000 9995", "declined: insufficient funds"),
    ("4000 0000 0000 0002", "declined by the bank"),
)


@dataclass(frozen=True, slots=True)
class PageCard:
    """What the books may know of a card."""

    scheme: str
    decline_code: str | None = None
    needs_3ds: bool = False


def read_card(form: Mapping[str, str], now: datetime) -> PageCard | dict[str, str]:
    """The card, or what is wrong with which field."""
    number = re.sub(r"[\s-]", "", form.get("number", ""))
    faults = {
        "number": None if _NUMBER.fullmatch(number) and _luhn(number) else "This is not a card number.",
        "expiry": _expiry_fault(form.get("expiry", "").strip(), now),
        "cvc": None if _CVC.fullmatch(form.get("cvc", "").strip()) else "Three or four digits.",
    }
    wrong = {field: why for field, why in faults.items() if why is not None}
    if wrong:
        return wrong
    scheme = next((name for prefix, name in _SCHEMES if number.startswith(prefix)), "other")
    return PageCard(scheme, DECLINED.get(number), number in NEEDS_3DS)


def _expiry_fault(text: str, now: datetime) -> str | None:
    found = _EXPIRY.fullmatch(text)
    if found is None:
        return "As on the card: MM / YY."
    return "This card has expired." if (2000 + int(found[2]), int(found[1])) < (now.year, now.month) else None


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0
