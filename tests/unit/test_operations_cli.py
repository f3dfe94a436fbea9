"""What the command line says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operations.cli.main import build

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_version_said_is_the_projects() -> None:
    result = CliRunner().invoke(build(["wallet"]), ["--version"])
    assert (result.exit_code, result.stdout) == (
        0,
        f"tally {tomllib.loads(PROJECT.read_text())['project']['version']}\n",
    )


@pytest.mark.parametrize("command", ["verify", "pay", "show x", "wallet s", "dlq list", "keys list", "stuck"])
def test_a_command_without_a_stack_says_that_none_runs_here(command: str, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    tally = [sys.executable, "-m", "operations.cli.main", *command.split()]
    where = env | {"TALLY_HOME": str(tmp_path / "nothing"), "PYTHONPATH": str(PROJECT.parent)}
    result = subprocess.run(tally, cwd=tmp_path, env=where, capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == "tally: no stack is running here: start one with `tally up`\n"
    assert result.returncode in (1, 2)
    assert command != "verify" or result.returncode == 2, "1 would say that the books are wrong"


def test_a_room_without_a_secret_is_told_of_its_setting(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    room = [sys.executable, "-m", "operations.cli.main", "run", "risk"]
    where = env | {"TALLY_HOME": str(tmp_path / "nothing"), "PYTHONPATH": str(PROJECT.parent)}
    result = subprocess.run(room, cwd=tmp_path, env=where, capture_output=True, text=True, timeout=60, check=False)
    assert "TALLY_SECRET is not set" in result.stderr
    assert result.returncode == 2
