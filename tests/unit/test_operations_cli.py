"""What the command line says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest
import typer.main
from typer.testing import CliRunner

from operations.cli.main import build, failure_message, modules_for
from operations.stack.environment import as_text
from operations.stack.home import Home, write_json, write_private

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_version_said_is_the_projects() -> None:
    result = CliRunner().invoke(build(["wallet"]), ["--version"])
    assert (result.exit_code, result.stdout) == (
        0,
        f"tally {tomllib.loads(PROJECT.read_text())['project']['version']}\n",
    )


WITHOUT = {  # commands that need no stack
    *("up", "down", "status", "doctor", "run", "migrate"),
    *("schemas write", "schemas check", "topics map", "bench screening", "settlement formats", "settlement check"),
    *("clock show", "clock advance", "clock set", "clock reset"),
}
GIVEN = {
    "room": "payments",
    "psp": "all",
    "delivery_id": "0" * 36,
    "break_id": "0" * 32,
    "files": __file__,
    "folder": ".",
    "month": "2026-01",
}


ENTRY = ("--entry", "debit platform:losses 1.00 EUR", "--entry", "credit suspense 1.00 EUR")
CHOSEN = {"recon report": ("--json",), "recon breaks propose": ENTRY}  # of options one must be given


def leaves(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every command by its words, groups left out."""
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, each in command.commands.items():
        yield from leaves(each, *path, name)


ALL = typer.main.get_command(build(modules_for([])))  # Typer's own runner would make it anew for each test
NEEDY = {words: command for words, command in leaves(ALL) if words not in WITHOUT}


def called(words: str, command: Any) -> list[str]:
    """With a value for each parameter that must be given."""
    needed = [parameter for parameter in command.params if parameter.required]
    options = [
        (parameter.opts[0], GIVEN.get(parameter.name, "x")) for parameter in needed if parameter.opts[0][0] == "-"
    ]
    arguments = [GIVEN.get(parameter.name, "x") for parameter in needed if parameter.opts[0][0] != "-"]
    return [*words.split(), *arguments, *(part for option in options for part in option), *CHOSEN.get(words, ())]


@pytest.fixture(params=["never started", "ended"])
def no_stack(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home whose stack was never started, or has ended: then its settings are still there, and nobody listens."""
    for name in [name for name in os.environ if name.startswith("TALLY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    if request.param == "ended":
        write_json(Home(tmp_path).ports, {"kafka": 1, "postgres": 1})
        given = {"TALLY_KAFKA": "127.0.0.1:1", "TALLY_POSTGRES": "127.0.0.1:1", "TALLY_SECRET": "of the one that ended"}
        write_private(Home(tmp_path).environment, as_text(given))


@pytest.mark.usefixtures("no_stack")
@pytest.mark.parametrize("words", NEEDY)
def test_without_a_running_stack_every_command_says_so_and_exits_with_2(words: str) -> None:
    result = click.testing.CliRunner().invoke(ALL, called(words, NEEDY[words]))
    assert isinstance(result.exception, Exception), result.output
    assert failure_message(result.exception) == ("no stack is running here: start one with `tally up`", 2)
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["verify", "pay", "sim faults", "topics apply"])
def test_that_is_one_line(command: str, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    tally = [sys.executable, "-m", "operations.cli.main", *command.split()]
    where = env | {"TALLY_HOME": str(tmp_path / "nothing"), "PYTHONPATH": str(PROJECT.parent)}
    result = subprocess.run(tally, cwd=tmp_path, env=where, capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == "tally: no stack is running here: start one with `tally up`\n"
    assert (result.returncode, result.stdout) == (2, "")


def test_a_room_without_a_secret_is_told_of_its_setting(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    room = [sys.executable, "-m", "operations.cli.main", "run", "risk"]
    where = env | {"TALLY_HOME": str(tmp_path / "nothing"), "PYTHONPATH": str(PROJECT.parent)}
    result = subprocess.run(room, cwd=tmp_path, env=where, capture_output=True, text=True, timeout=60, check=False)
    assert "TALLY_SECRET is not set" in result.stderr
    assert result.returncode == 2


def test_a_line_of_the_log_in_a_command_is_not_amid_what_a_program_reads() -> None:
    program = "from operations.cli.door_commands import log_to_stderr as to\nto()\nimport structlog\n"
    program += "structlog.get_logger().warning('left to the sweep')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, "left to the sweep" in done.stderr) == ("", True)
