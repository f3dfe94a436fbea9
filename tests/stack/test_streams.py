"""`tally` on terminals that are not UTF-8, on full disks and with nobody who reads: exit codes say what docs/cli.md says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

OTHER_TERMINALS: dict[str, Mapping[str, str]] = {
    "C": {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "iso-8859-1"},
}
# A stand-in for a command: what each says goes through the same streams, tables and exits.
SAYS = """
import sys
from rich.text import Text
from operations.cli import streams
from operations.cli.tables import titled
from operations.cli.terminal import note, say
streams.replace_streams()
table = titled("checkout · ₫", "what", "")
table.add_row("EXECUTING → SUCCESS", Text("✓", "green"))
table.show()
say("12 ₫ → …")
note("東京")
sys.exit(int(sys.argv[1]))
"""


def python(script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", f"exec({script!a})", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, timeout=60, check=False)


def shell(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """With `$tally` as the command, in a home where no stack is."""
    environment = {
        **os.environ,
        "TALLY_HOME": str(tmp_path / "home"),
        "tally": f"{sys.executable} -m operations.cli.main",
    }
    command = ["bash", "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("terminal", OTHER_TERMINALS)
@pytest.mark.parametrize("code", [0, 1])
def test_a_terminal_without_our_letters_changes_no_exit_code(terminal: str, code: int) -> None:
    done = python(SAYS, str(code), **OTHER_TERMINALS[terminal])
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False), done.stderr
    shown = done.stdout.decode("iso-8859-1" if terminal == "latin-1" else "ascii")
    for seen in ("EXECUTING -> SUCCESS", "+", r"12 \u20ab -> ..."):
        assert seen in shown
    assert done.stderr.decode() == "\\u6771\\u4eac\n"


def test_a_utf_8_terminal_gets_the_letters_as_they_are() -> None:
    done = python(SAYS, "0", PYTHONIOENCODING="utf-8")
    assert "12 ₫ → …" in done.stdout.decode()
    assert done.stderr.decode() == "東京\n"


def test_a_full_stdout_is_one_line_and_a_code_of_its_own(tmp_path: Path) -> None:
    for words in ("clock show", "clock --help"):
        done = shell(f"$tally {words} > /dev/full", tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (4, 1), (words, done.stderr)
        assert "No space left" in done.stderr


def test_a_reader_that_has_gone_ends_a_command_without_a_word(tmp_path: Path) -> None:
    gone = "import os, subprocess, sys; read, write = os.pipe(); os.close(read); "
    gone += "sys.exit(subprocess.run([sys.executable, '-m', 'operations.cli.main', 'clock', 'show'], stdout=write).returncode)"
    ended = python(gone, TALLY_HOME=str(tmp_path))
    assert (ended.returncode, ended.stderr) == (4, b"")


@pytest.mark.parametrize(("words", "code"), [("clock show", 0), ("clock reset", 1)])
def test_streams_that_are_closed_or_full_leave_a_verdict_as_it_is(words: str, code: int, tmp_path: Path) -> None:
    shell("$tally clock advance 1d", tmp_path)
    for without in (">&-", "<&- >&- 2>&-", "2>/dev/full"):
        done = shell(f"$tally {words} {without}", tmp_path)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), (without, done.stderr)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = shell("mkdir -p $TALLY_HOME/clock; $tally clock advance 1d", tmp_path)
    assert (blocked.returncode, len(blocked.stderr.splitlines())) == (4, 1), blocked.stderr
    assert "Is a directory" in blocked.stderr


def test_a_bug_of_ours_is_no_verdict(tmp_path: Path) -> None:
    broken = "from operations.cli import main as cli; cli.build = lambda modules: lambda: 1 / 0; cli.main()"
    done = python(broken, TALLY_HOME=str(tmp_path))
    assert done.returncode == 70
    assert b"ZeroDivisionError" in done.stderr
