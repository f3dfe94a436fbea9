"""What a command imports is what it needs: most of a short command's time is imports, so these are what is counted."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from operations.cli import commands

HEAVY = {
    "pydantic",
    "pydantic_settings",
    "psycopg",
    "confluent_kafka",
    "fastapi",
    "sqlalchemy",
    "alembic",
    "aiohttp",
    "jgo",
    "structlog",
    "requests",
    "psutil",
    "uvicorn",
    "rich.progress",
    "rich.live",
    "schemas.events",  # a model for each event
    "operations.stack.up",
}
PROGRAM = """
import sys
from operations.cli.main import main
sys.argv = ["tally", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print("imported", *sys.modules, file=sys.stderr)
"""


def imported(home: Path, *words: str) -> set[str]:
    """Of what is heavy, what `tally WORDS` has imported by its end, where no stack runs."""
    away = {"TALLY_HOME": str(home), "TALLY_SECRET": "x", "TALLY_POSTGRES": "127.0.0.1:9", "TALLY_KAFKA": "127.0.0.1:9"}
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, env={**os.environ, **away}, capture_output=True, text=True, timeout=60, check=False)
    *_, line = done.stderr.splitlines()
    assert line.startswith("imported "), done.stderr
    return HEAVY & set(line.split()[1:])


def test_the_version_needs_nothing_heavy_not_even_what_draws_help(tmp_path: Path) -> None:
    assert imported(tmp_path, "--version") == set()


def test_help_on_commands_needs_no_server_s_client_and_no_settings(tmp_path: Path) -> None:
    names = {module.name for module in pkgutil.iter_modules(commands.__path__)}
    program = "import sys; from operations.cli.main import build; build(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) <= {"pydantic"}, "which typer itself takes to read options"


SETTINGS = {"pydantic", "pydantic_settings"}


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("status", {*SETTINGS, "psutil"}),
        ("pay", SETTINGS),
        ("wallet seller-1", {*SETTINGS, "psycopg", "schemas.events"}),
        ("keys list", {*SETTINGS, "psycopg", "schemas.events"}),
        ("keys create shop", {*SETTINGS, "psycopg", "schemas.events"}),
        ("show c-1", {*SETTINGS, "psycopg", "schemas.events"}),
        ("stuck", {*SETTINGS, "psycopg", "confluent_kafka", "schemas.events"}),
        ("doctor", {*SETTINGS, "psutil"}),
    ],
)
def test_a_command_imports_no_more_than_it_needs(tmp_path: Path, words: str, needed: set[str]) -> None:
    assert imported(tmp_path, *words.split()) <= needed
