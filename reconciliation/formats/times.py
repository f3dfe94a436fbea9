"""Texts of times → seconds since 1970 and days since 1970; each distinct text is checked once.

A Times remembers what it has read: `Times()["2026-02-10 10:25:36", "CET"]` is a When. Errors: Unreadable `bad_row`.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from reconciliation.formats.amounts import REMEMBERED, Remembered
from reconciliation.formats.refusing import Unreadable

# Abbreviations that mean one offset, in minutes: those that several countries share (CST, IST) are not among them.
ZONES = {
    "UTC": 0, "GMT": 0, "WET": 0, "WEST": 60, "BST": 60, "CET": 60, "CEST": 120, "EET": 120, "EEST": 180, "MSK": 180,
    "GST": 240, "SGT": 480, "HKT": 480, "AWST": 480, "JST": 540, "KST": 540, "AEST": 600, "AEDT": 660,
    "NZST": 720, "NZDT": 780, "BRT": -180, "EST": -300, "EDT": -240, "MST": -420, "MDT": -360, "PST": -480,
    "PDT": -420, "AKST": -540, "AKDT": -480, "HST": -600,
}  # fmt: skip
_TIME = re.compile(r"[ T]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.\d{1,9})?", re.ASCII)
_OFFSET = re.compile(r"(?:(Z)|([+-])([01]\d):?([0-5]\d))", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1), date(1970, 1, 1)  # noqa: DTZ001


class When(NamedTuple):
    at: int  # seconds since 1970, UTC
    day: int  # days since 1970, of the day as the text writes it


_when = tuple.__new__  # half the cost of When(…)


class Times:
    """(local time, zone) → When. A zone is one of ZONES, "Z", or an offset: "-0800", "+02:00"."""

    def __init__(self) -> None:
        self._days, self._clock, self._zones = _Days(), _Clock(), _Zones()

    def __getitem__(self, text: tuple[str, str]) -> When:
        local, zone = text
        day = self._days[local[:10]]
        return _when(When, (day * 86_400 + self._clock[local[10:]] - self._zones[zone], day))


class LocalTimes(dict[str, When]):
    """Local time by the rules of a zone ("Europe/Amsterdam") → When. Of an hour that comes twice the first is meant."""

    def __init__(self, zone: str) -> None:
        super().__init__()
        self._written, self._zone = Times(), ZoneInfo(zone)

    def __missing__(self, text: str) -> When:
        if len(self) >= REMEMBERED:
            self.clear()
        written = self._written[text, "UTC"]
        local = _EPOCH + timedelta(seconds=written.at)
        try:
            at = local.replace(tzinfo=self._zone).astimezone(UTC)
            is_there = at.astimezone(self._zone).replace(tzinfo=None) == local
        except OverflowError:
            is_there = False
        if not is_there:
            raise Unreadable("bad_row", "there is no such time in the source's zone")
        value = self[text] = When((at.replace(tzinfo=None) - _EPOCH) // timedelta(seconds=1), written.day)
        return value


class _Days(Remembered):
    """ "2026-01-31" → days since 1970."""

    def parse(self, text: str) -> int:
        return day_of(text.replace("/", "-"))


class _Clock(Remembered):
    """ " 23:59:59" → seconds."""

    def parse(self, text: str) -> int:
        match = _TIME.fullmatch(text)
        if match is None:
            raise Unreadable("bad_row", "not a time such as 2026-01-31 23:59:59")
        hours, minutes, seconds = map(int, match.groups())
        return 3600 * hours + 60 * minutes + seconds


class _Zones(Remembered):
    """ "CET" or "+01:00" → seconds."""

    def parse(self, text: str) -> int:
        if text in ZONES:
            return 60 * ZONES[text]
        match = _OFFSET.fullmatch(text)
        if match is None:
            raise Unreadable("bad_row", f"{text[:12]!r} is not a time zone that means one offset")
        if match[1]:
            return 0
        seconds = 3600 * int(match[3]) + 60 * int(match[4])
        return -seconds if match[2] == "-" else seconds


def day_of(text: str) -> int:
    """ "2026-01-31" → days since 1970."""
    try:
        if _DAY.fullmatch(text):
            return (date.fromisoformat(text) - _EPOCH_DAY).days
    except ValueError:
        pass
    raise Unreadable("bad_row", "not a day such as 2026-01-31, or there is no such day")


def iso_day(day: int) -> str:
    """Days since 1970 → "2026-01-31"."""
    return (_EPOCH_DAY + timedelta(days=day)).isoformat()
