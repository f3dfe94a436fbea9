"""Texts of amounts and rates → integers and exact fractions; each distinct text is checked once.

A reader remembers what it has read: `read = MajorUnits(2, 2)`, then `read["12.5"]` is 1250. `int` and `Decimal` take
`1_000`, blanks and digits of any script, so nothing is given to them unchecked. Errors: Unreadable `bad_row`,
`wrong_decimals`, `currency_unknown`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from fractions import Fraction

from reconciliation.formats.refusing import Unreadable
from schemas.currencies import DECIMALS
from schemas.money import DIGITS_MAX

REMEMBERED = 65_536  # texts; then a dict begins anew, so that memory stays flat
FINER = 8  # decimals of reports that count finer than minor units
_FINER_WHOLE_MAX = 12  # digits before the point
_NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_RATE = re.compile(r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,18})?")


class Remembered(dict[str, int], ABC):
    """Text → integer; each distinct text is parsed once. Subclasses say how."""

    def __missing__(self, text: str) -> int:
        if len(self) >= REMEMBERED:
            self.clear()
        value = self[text] = self.parse(text)
        return value

    @abstractmethod
    def parse(self, text: str) -> int: ...


class MajorUnits(Remembered):
    """Decimals of major units: "12.5" → minor units × 10^scale. An empty text is 0.

    `theirs`: as many decimals as the format may write; `ours`: as many as an integer of ours counts (scale included).
    """

    def __init__(self, theirs: int, ours: int, *, signed: bool = False) -> None:
        super().__init__()
        self._theirs, self._ours, self._signed = theirs, ours, signed

    def parse(self, text: str) -> int:
        whole, point, fraction = text.partition(".")
        if len(fraction) == self._ours == self._theirs and bool(point) == bool(fraction) and _is_plain(whole, fraction):
            return int(whole + fraction)
        return self._parse(text) if text else 0

    def _parse(self, text: str) -> int:
        match = _NUMBER.fullmatch(text)
        if match is None or (match[1] and not self._signed):
            raise Unreadable("bad_row", "not a plain decimal number")
        sign, whole, fraction = match[1], match[2], (match[3] or "").rstrip("0")
        if len(whole) + len(match[3] or "") > DIGITS_MAX:
            raise Unreadable("bad_row", f"an amount has at most {DIGITS_MAX} digits")
        if len(fraction) > min(self._theirs, self._ours):
            raise Unreadable("wrong_decimals", f"more than {min(self._theirs, self._ours)} decimals")
        minor = int(whole + fraction.ljust(self._ours, "0"))
        if sign and not minor:
            raise Unreadable("bad_row", "zero has no sign")
        return -minor if sign else minor


def _is_plain(whole: str, fraction: str) -> bool:
    digits = whole + fraction
    return (
        digits.isdigit()
        and digits.isascii()
        and len(digits) <= DIGITS_MAX
        and bool(whole)
        and (whole[0] != "0" or len(whole) == 1)
    )


class ImpliedUnits(Remembered):
    """Whole numbers of a report's own small unit: "1500" with `theirs` 2 decimals is 15.00. An empty text is 0."""

    def __init__(self, theirs: int, ours: int) -> None:
        super().__init__()
        self._ours = ours
        self._times, self._parts = int(10 ** max(ours - theirs, 0)), int(10 ** max(theirs - ours, 0))

    def parse(self, text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            if not text:
                return 0
            raise Unreadable("bad_row", "not a whole number")
        if len(text) > DIGITS_MAX:
            raise Unreadable("bad_row", f"an amount has at most {DIGITS_MAX} digits")
        minor, rest = divmod(int(text) * self._times, self._parts)
        if rest:
            raise Unreadable("wrong_decimals", f"more than {self._ours} decimals")
        return minor


class FinerUnits(Remembered):
    """Signed decimals of major units with up to eight digits behind the point, whatever the currency → units of 10⁻⁸."""

    def parse(self, text: str) -> int:
        if not text:
            return 0
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise Unreadable("bad_row", "not a plain decimal number")
        sign, whole, fraction = match[1], match[2], (match[3] or "").rstrip("0")
        if len(whole) > _FINER_WHOLE_MAX:
            raise Unreadable("bad_row", f"an amount has at most {_FINER_WHOLE_MAX} digits before the point")
        if len(fraction) > FINER:
            raise Unreadable("wrong_decimals", f"more than {FINER} decimals")
        exact = int(whole + fraction.ljust(FINER, "0"))
        if sign and not exact:
            raise Unreadable("bad_row", "zero has no sign")
        return -exact if sign else exact


class Rates(dict[str, Fraction]):
    """Text → exact rate, remembered: more than 0, at most 12 digits before and 18 behind the point."""

    def __missing__(self, text: str) -> Fraction:
        if len(self) >= REMEMBERED:
            self.clear()
        if _RATE.fullmatch(text) is None:
            raise Unreadable("bad_row", "not a plain decimal number")
        value = self[text] = Fraction(text)
        if not value:
            del self[text]
            raise Unreadable("bad_row", "an exchange rate is more than 0")
        return value


def decimals_of(currency: str, own: Mapping[str, int] | None = None) -> tuple[int, int]:
    """How many decimals they write, by their `own` exceptions, and how many our minor units have."""
    decimals = DECIMALS.get(currency)
    if decimals is None:
        raise Unreadable("currency_unknown", f"{currency[:12]!r} is not a currency of ISO 4217 that can be charged")
    return (own or {}).get(currency, decimals), decimals


class Units(dict[str, MajorUnits]):
    """Currency → how its amounts are read, with the decimals that the format has of its `own`. Errors: Unreadable."""

    def __init__(self, own: Mapping[str, int] | None = None, *, signed: bool = False) -> None:
        super().__init__()
        self._own, self._signed = own, signed

    def __missing__(self, currency: str) -> MajorUnits:
        units = self[currency] = MajorUnits(*decimals_of(currency, self._own), signed=self._signed)
        return units


def distance_at_rate(gross: int, gross_currency: str, worth: int, currency: str, rate: Fraction) -> Fraction:
    """How far `worth` is from gross at the rate, in minor units of `currency`."""
    unit = Fraction(10) ** (decimals_of(currency)[1] - decimals_of(gross_currency)[1])
    return abs(gross * unit * rate - worth)


def slack_at_rate(gross: int, gross_currency: str, currency: str, rate: str) -> Fraction:
    """What the rounding of a file's rate and amounts may move, in minor units of `currency`."""
    if gross_currency == currency:
        return Fraction(0)
    last_digit = Fraction(1, 10 ** len(rate.partition(".")[2]))
    return 1 + distance_at_rate(gross, gross_currency, 0, currency, last_digit)
