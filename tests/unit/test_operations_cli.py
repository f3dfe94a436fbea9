"""What the command line says of itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

from typer.testing import CliRunner

from operations.cli.main import build

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_version_said_is_the_projects() -> None:
    result = CliRunner().invoke(build(["wallet"]), ["--version"])
    assert (result.exit_code, result.stdout) == (
        0,
        f"tally {tomllib.loads(PROJECT.read_text())['project']['version']}\n",
    )
