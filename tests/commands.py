"""Words → one of our commands, run in this process: to start one takes a second of a processor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from subprocess import CompletedProcess

from typer.testing import CliRunner

from operations.cli.main import build, failure_message, modules_for


def tally(environment: Mapping[str, str], *words: str) -> CompletedProcess[str]:
    """As `main` would run it with these variables, of ours with no others: what it says and its exit code."""
    variables: dict[str, str | None] = {name: None for name in os.environ if name.startswith("TALLY_")}
    variables |= {"COLUMNS": "200", **environment}
    done = CliRunner().invoke(build(modules_for(words)), words, env=variables)
    if isinstance(done.exception, Exception):
        message, code = failure_message(done.exception)
        return CompletedProcess(words, code, done.stdout, f"{done.stderr}tally: {message}\n")
    return CompletedProcess(words, done.exit_code, done.stdout, done.stderr)
