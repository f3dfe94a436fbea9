"""A file with seconds → business time that is that far ahead of the machine's."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from topics.runtime.shape.clock import Clock


def moved(clock: Clock) -> timedelta:
    """How far ahead it is, to the second."""
    return timedelta(seconds=round((clock.now() - datetime.now(UTC)).total_seconds()))


def test_without_a_file_it_is_the_machines_time(tmp_path: Path) -> None:
    assert moved(Clock()) == moved(Clock(tmp_path / "clock")) == timedelta()


def test_all_who_share_a_file_move_together_and_at_once(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    one, other = Clock(file), Clock(file)
    assert moved(one) == timedelta()
    for days in (1, 3):
        (tmp_path / "new").write_text(str(days * 86_400))
        os.replace(tmp_path / "new", file)
        assert moved(one) == moved(other) == timedelta(days=days)


def test_an_empty_file_and_a_file_that_goes_away_move_nothing(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = Clock(file)
    file.write_text("60\n")
    assert moved(clock) == timedelta(minutes=1)
    file.write_text("")
    assert moved(clock) == timedelta()
    file.unlink()
    assert moved(clock) == timedelta()


def test_time_has_a_zone() -> None:
    assert Clock().now().tzinfo is UTC
