"""Texts of times → seconds since 1970 and days since 1970; each distinct text is checked once.

A Times remembers what it has read: `Times()["2026-02-10 10:25:36", "CET"]` is a When. Errors: Unreadable `bad_row`.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from reconciliation.formats.amounts import REMEMBERED
from reconciliation.formats.refusing import Unreadable

# Abbreviations that mean one offset, in minutes: those that several countries share (CST, IST) are not among them.
ZONES = {
    "UTC": 0, "GMT": 0, "WET": 0, "WEST": 60, "BST": 60, "CET": 60, "CEST": 120, "EET": 120, "EEST": 180, "MSK": 180,
    "GST": 240, "SGT": 480, "HKT": 480, "AWST": 480, "JST": 540, "KST": 540, "AEST": 600, "AEDT": 660,
    "NZST": 720, "NZDT": 780, "BRT": -180, "EST": -300, "EDT": -240, "MST": -420, "MDT": -360, "PST": -480,
    "PDT": -420, "AKST": -540, "AKDT": -480, "HST": -600,
}  # fmt: skip
_LOCAL = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?", re.ASCII)
_OFFSET = re.compile(r"(?:(Z)|([+-])([01]\d):?([0-5]\d))", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1, tzinfo=UTC), date(1970, 1, 1)


class When(NamedTuple):
    at: int  # seconds since 1970, UTC
    day: int  # days since 1970, of the day as the text writes it


class Times(dict[tuple[str, str], When]):
    """(local time, zone) → When, remembered. A zone is one of ZONES, "Z", or an offset: "-0800", "+02:00"."""

    def __missing__(self, text: tuple[str, str]) -> When:
        if len(self) >= REMEMBERED:
            self.clear()
        value = self[text] = _when(*text)
        return value


def _when(local: str, zone: str) -> When:
    match = _LOCAL.fullmatch(local)
    if match is None:
        raise Unreadable("bad_row", "not a time such as 2026-01-31 23:59:59")
    try:
        at = datetime(*map(int, match.groups()), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        raise Unreadable("bad_row", "there is no such day or time") from None
    seconds = int((at - _EPOCH) / timedelta(seconds=1)) - 60 * _minutes(zone)
    return When(seconds, (at.date() - _EPOCH_DAY).days)


def _minutes(zone: str) -> int:
    if zone in ZONES:
        return ZONES[zone]
    match = _OFFSET.fullmatch(zone)
    if match is None:
        raise Unreadable("bad_row", f"{zone[:12]!r} is not a time zone that means one offset")
    if match[1]:
        return 0
    minutes = 60 * int(match[3]) + int(match[4])
    return -minutes if match[2] == "-" else minutes


def day_of(text: str) -> int:
    """ "2026-01-31" → days since 1970."""
    try:
        if _DAY.fullmatch(text):
            return (date.fromisoformat(text) - _EPOCH_DAY).days
    except ValueError:
        pass
    raise Unreadable("bad_row", "not a day such as 2026-01-31")


def iso_day(day: int) -> str:
    """Days since 1970 → "2026-01-31"."""
    return (_EPOCH_DAY + timedelta(days=day)).isoformat()
