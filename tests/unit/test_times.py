"""A time is RFC 3339 with an offset, or a calendar day; nothing else is taken for one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from operations.cli.letters.choosing import parse_time
from schemas.times import day, instant, moment

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31t12:00:00z", NOON),
        ("2026-01-31T13:30:00+01:30", NOON),
        ("2026-01-31T12:00:00-00:00", NOON),
        ("2026-01-31T12:00:00.1Z", NOON.replace(microsecond=100_000)),
        ("2026-01-31T12:00:00.123456Z", NOON.replace(microsecond=123_456)),
        ("2026-01-31T12:00:00.1234567Z", NOON.replace(microsecond=123_456)),  # .NET
        ("2026-01-31T12:00:00.123456789Z", NOON.replace(microsecond=123_456)),  # Go, Java
        ("2026-12-31T23:59:60Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-12-31T15:59:60.5-08:00", datetime(2027, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_a_time_is_taken_as_dotnet_go_and_java_write_it(text: str, at: datetime) -> None:
    assert (instant(text), instant(text).tzinfo) == (at, UTC)


NO_TIMES = [
    "", "2030", "20300101", "1893456000", "2030-01", "2030-W01-1", "2030-1-1", "yesterday", "-1", "1e9", "2030-02-30",
    "2030-01-31T12:00", "2030-01-31T12:00:00", "2030-01-31 12:00:00Z", "2030-01-31T24:00:00Z", "2030-01-31T12:60:00Z",
    "2030-01-31T12:00:61Z", "2030-01-31T12:00:00.Z", "2030-01-31T12:00:00.1234567890Z", "2030-01-31T12:00:00,5Z",
    "2030-01-31T12:00:00+0100", "2030-01-31T12:00:00+24:00", "2030-01-31T12:00:00+01:60", "2030-01-31T12:00:00Z ",
    "２０３０-01-31", "9999-12-31T23:59:60Z", "0001-01-01T00:00:00+00:01", "0000-01-01T00:00:00Z", "2030-01-31Z",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_TIMES)
def test_numbers_bare_years_and_local_times_are_no_times(text: str) -> None:
    for read in (instant, moment, day):
        with pytest.raises(ValueError, match="2026-01-31"):
            read(text)
    with pytest.raises(typer.BadParameter, match="--from"):
        parse_time("--from", text)


def test_a_day_is_its_first_moment_in_utc_and_no_instant() -> None:
    assert moment("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC) == parse_time("--from", "2026-01-31")
    assert day("2026-01-31") == day("2026-01-31T01:00:00+01:00") == date(2026, 1, 31)
    with pytest.raises(ValueError, match="offset"):
        instant("2026-01-31")
    with pytest.raises(ValueError, match="a day"):
        day("2026-01-31T12:00:00Z")


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),  # noqa: DTZ001
    st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_every_time_that_python_writes_is_read_as_itself(naive: datetime, zone: timezone) -> None:
    at = naive.replace(tzinfo=zone)
    assert instant(at.isoformat()) == at
