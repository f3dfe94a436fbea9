"""A PSP's fee schedule and a capture → the fee that we expect, and how far the charged one may be from it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Context, Decimal
from typing import NamedTuple

from schemas.money import Money, exponent
from topics.settlement_sources import FeeScheduleRow

_EXACT = Context(prec=60)  # amounts have up to 19 digits, percentages 8
_ROUNDINGS = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN, "up": ROUND_UP}


class ExpectedFee(NamedTuple):
    """In minor units of the capture's currency. A charged fee is as agreed where fee ≤ charged ≤ fee + slack."""

    fee: int
    slack: int
    since: date  # the first day of the terms that were in force


def expected_fee(
    schedule: Iterable[FeeScheduleRow], scheme: str | None, captured: Money, day: date
) -> ExpectedFee | None:
    """What the PSP may charge for a capture on a day; None where nothing is agreed for it.

    Interchange and scheme fees are not the PSP's to agree: a band says how much they add at most.
    """
    row = _row_in_force(schedule, scheme, captured.currency, day)
    if row is None:
        return None
    band = _whole(_share(row.band_percent, captured.minor), ROUND_CEILING)
    return ExpectedFee(_agreed(row, captured), band, row.valid_from)


def _row_in_force(
    schedule: Iterable[FeeScheduleRow], scheme: str | None, currency: str, day: date
) -> FeeScheduleRow | None:
    """The row that names most of scheme and currency, the scheme before the currency; of its versions the newest one."""
    in_force = [
        row
        for row in schedule
        if row.valid_from <= day and row.scheme in (None, scheme) and row.currency in (None, currency)
    ]
    return max(in_force, key=_rank, default=None)


def _rank(row: FeeScheduleRow) -> tuple[bool, bool, date]:
    return row.scheme is not None, row.currency is not None, row.valid_from


def _agreed(row: FeeScheduleRow, captured: Money) -> int:
    unit = exponent(captured.currency)
    fee = _EXACT.add(_share(row.percent, captured.minor), _in_minor(row.fixed, unit))
    if row.minimum is not None:
        fee = max(fee, _in_minor(row.minimum, unit))
    if row.maximum is not None:
        fee = min(fee, _in_minor(row.maximum, unit))
    return _whole(fee, _ROUNDINGS[row.rounding])


def _share(percent: str, minor: int) -> Decimal:
    return _EXACT.multiply(Decimal(percent), Decimal(minor)).scaleb(-2, _EXACT)


def _in_minor(amount: str, unit: int) -> Decimal:
    return Decimal(amount).scaleb(unit, _EXACT)


def _whole(amount: Decimal, rounding: str) -> int:
    return int(amount.quantize(Decimal(1), rounding, _EXACT))
