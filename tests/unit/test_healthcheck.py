"""A container's HEALTHCHECK: well while the process that reported last says so, and not when it has fallen silent."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from operations.stack.healthcheck import REPORT_S_MAX, main
from topics.runtime.process.health import Health, write_report
from topics.runtime.process.page import serve_page


def reported(home: Path, health: Health) -> None:
    write_report(home / "run", health.room, [health], serve_page("127.0.0.1", 0, [health]))


def test_a_room_that_runs_is_well_and_one_that_stopped_is_not_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    health = Health("wallet", state="running")
    reported(tmp_path, health)
    assert main(str(tmp_path)) == 0
    health.stopped("offset_gone", "the next message is gone")
    assert main(str(tmp_path)) == 1
    assert "offset_gone: the next message is gone" in capsys.readouterr().out


def test_a_process_that_no_longer_reports_is_not_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reported(tmp_path, Health("wallet", state="running"))
    long_ago = time.time() - REPORT_S_MAX - 5
    os.utime(next((tmp_path / "run").glob("*.json")), (long_ago, long_ago))
    assert main(str(tmp_path)) == 1
    assert "s old" in capsys.readouterr().out


def test_before_the_first_report_and_where_nobody_listens_it_is_not_well(tmp_path: Path) -> None:
    assert main(str(tmp_path)) == 1
    assert main("http://127.0.0.1:9/readyz") == 1
