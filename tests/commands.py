"""Words → one of our commands, run in this process where it can be: to start one takes a second of a processor."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from subprocess import CompletedProcess

from typer.testing import CliRunner

from operations.cli.main import build, failure_message, modules_for


def tally(environment: Mapping[str, str], *words: str) -> CompletedProcess[str]:
    """As `main` would run it with these variables, of ours with no others: what it says and its exit code.

    In the main thread alone: output and environment are the process's.
    """
    assert threading.current_thread() is threading.main_thread(), "`begin` is for what runs beside the test"
    variables: dict[str, str | None] = {name: None for name in os.environ if name.startswith("TALLY_")}
    variables |= {**environment, "COLUMNS": "200"}
    done = CliRunner().invoke(build(modules_for(words)), words, env=variables)
    if isinstance(done.exception, Exception):
        message, code = failure_message(done.exception)
        return CompletedProcess(words, code, done.stdout, f"{done.stderr}tally: {message}\n")
    return CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


def begin(environment: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    """The command in a process of its own, beside the test."""
    command = [sys.executable, "-m", "operations.cli.main", *words]
    given = {**environment, "COLUMNS": "200"}
    return subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
