"""`tally clock`: forward only, and said in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from operations.cli.commands.clock import app
from topics.runtime.shape.clock import Clock


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    return tmp_path / "clock"


def tally_clock(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def ahead(file: Path) -> timedelta:
    return Clock(file).offset()


@pytest.mark.parametrize(
    ("words", "moved"),
    [
        ("3d", timedelta(days=3)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("90s", timedelta(seconds=90)),
        ("2w", timedelta(14)),
    ],
)
def test_advancing_moves_the_clock_by_just_that(file: Path, words: str, moved: timedelta) -> None:
    assert tally_clock("advance", words).exit_code == 0
    assert ahead(file) == moved


def test_advancing_twice_adds_up(file: Path) -> None:
    tally_clock("advance", "3d")
    tally_clock("advance", "1h")
    assert ahead(file) == timedelta(days=3, hours=1)


@pytest.mark.parametrize("words", ["", "3", "d", "-3d", "3 d", "1.5h", "3y", "soon"])
def test_what_is_no_duration_moves_nothing(file: Path, words: str) -> None:
    assert tally_clock("advance", "--", words).exit_code == 2
    assert not file.exists()


def test_the_clock_can_be_set_to_a_moment_to_come(file: Path) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(days=40)
    assert tally_clock("set", moment.isoformat()).exit_code == 0
    assert moment <= Clock(file).now() < moment + timedelta(minutes=1)


def test_the_clock_never_goes_back(file: Path) -> None:
    tally_clock("advance", "3d")
    refused = tally_clock("set", datetime.now(UTC).isoformat())
    assert refused.exit_code == 1
    assert "never goes back" in refused.stderr
    assert ahead(file) == timedelta(days=3)


def test_a_time_without_an_offset_is_refused(file: Path) -> None:
    assert tally_clock("set", "2099-01-01T00:00:00").exit_code == 2


def test_only_a_person_who_says_yes_resets_it(file: Path) -> None:
    tally_clock("advance", "3d")
    assert tally_clock("reset").exit_code == 1
    assert ahead(file) == timedelta(days=3)
    assert tally_clock("reset", "--yes").exit_code == 0
    assert ahead(file) == timedelta()


def test_resetting_a_clock_that_nobody_moved_does_nothing(file: Path) -> None:
    done = tally_clock("reset", "--yes")
    assert done.exit_code == 0
    assert "nothing to do" in done.stderr


def test_show_says_how_far_ahead_it_is(file: Path) -> None:
    tally_clock("advance", "3d")
    assert "3 days, 0:00:00 ahead" in tally_clock("show").stdout
