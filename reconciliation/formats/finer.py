"""Amounts with finer digits than minor units → minor units whose sum is the exact sum, rounded once."""

from __future__ import annotations

from collections.abc import Sequence

from reconciliation.formats.amounts import FINER, decimals_of
from reconciliation.formats.refusing import Unreadable

Name = tuple[str, ...]  # of what is added up: a settlement and its currency


def parts_of_a_minor_unit(currency: str) -> int:
    """How many units of 10⁻⁸ one minor unit has. Errors: Unreadable `currency_unknown`."""
    return int(10 ** (FINER - decimals_of(currency)[1]))


def whole(exact: int, currency: str) -> int:
    """Units of 10⁻⁸ → minor units. Errors: Unreadable `wrong_decimals`."""
    minor, rest = divmod(exact, parts_of_a_minor_unit(currency))
    if rest:
        raise Unreadable("wrong_decimals", f"not whole minor units of {currency}")
    return minor


class Rounding:
    """Rounds running sums, not amounts: what a line loses the next ones get, and a whole amount stays as it is.

    So lines of one settlement add up to its exact sum, rounded half up; of a single line up to a minor unit is off.
    """

    def __init__(self) -> None:
        self._sums: dict[Name, int] = {}

    def minor(self, name: Name, exact: int, currency: str) -> int:
        """Units of 10⁻⁸ → minor units."""
        size = parts_of_a_minor_unit(currency)
        before = self._sums.get(name, 0)
        self._sums[name] = after = before + exact
        return _half_up(after, size) - _half_up(before, size)


def shared(total: int, parts: Sequence[int], currency: str) -> list[int]:
    """A rounded total in minor units → its parts (units of 10⁻⁸), rounded; the largest one takes what is left."""
    size = parts_of_a_minor_unit(currency)
    rounded = [_half_up(part, size) for part in parts]
    largest = max(range(len(parts)), key=lambda place: abs(parts[place]))
    rounded[largest] += total - sum(rounded)
    return rounded


def _half_up(exact: int, size: int) -> int:
    return (2 * exact + size) // (2 * size)
