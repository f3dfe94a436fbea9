"""A moment and a source's calendar → the day on which money is due, and the moment from which it is late. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from topics.settlement_sources import SettlementSource

_DAY = timedelta(days=1)
_SATURDAY = 5


def due_day(source: SettlementSource, at: datetime, days: int) -> date:
    """The business day on which what happens at `at` is settled `days` business days later. After the cut-off counts as the
    next day."""
    local = at.astimezone(ZoneInfo(source.timezone))
    cut_off = time.fromisoformat(source.cut_off)
    after_cut_off = cut_off != time.min and local.time() >= cut_off
    return later(source, _open_on_or_after(source, local.date() + (_DAY if after_cut_off else 0 * _DAY)), days)


def late_at(source: SettlementSource, due: date) -> datetime:
    """The moment from which a line that is due on that day is missing: the start of the day after its grace."""
    day = later(source, due, source.grace_days) + _DAY
    return datetime.combine(day, time.min, ZoneInfo(source.timezone)).astimezone(UTC)


def next_boundary(now: datetime, every: timedelta) -> datetime:
    """The end of the interval that `now` is in: timers that are set for it are one."""
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return start + ((now - start) // every + 1) * every


def is_open(source: SettlementSource, day: date) -> bool:
    return day.weekday() < _SATURDAY and day not in source.holidays


def _open_on_or_after(source: SettlementSource, day: date) -> date:
    while not is_open(source, day):
        day += _DAY
    return day


def earlier(source: SettlementSource, day: date, days: int) -> date:
    for _ in range(days):
        day -= _DAY
        while not is_open(source, day):
            day -= _DAY
    return day


def later(source: SettlementSource, day: date, days: int) -> date:
    for _ in range(days):
        day = _open_on_or_after(source, day + _DAY)
    return day
