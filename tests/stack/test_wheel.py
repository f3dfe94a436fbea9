"""The wheel, alone in an empty folder with an empty HOME: up, pay, verify, down; and what a checkout would be needed for."""

from __future__ import annotations

import os
import shlex
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from operations.pages.contract import files as schema_files
from operations.pages.flow import page
from operations.stack.jars import local_repository
from tests.stack.wheels import build, install
from tests.tidy.reading import PACKAGES


@dataclass(frozen=True)
class Installed:
    """A virtual environment where uv would keep it, and a person's folder and HOME, both empty."""

    wheel: Path
    bin: Path
    folder: Path
    home: Path

    def run(self, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """As a shell would, in that folder. The jars are where the tests have them: nothing is fetched."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("TALLY_", "UV"))}
        mine |= {"HOME": str(self.home), "M2_REPO": str(local_repository()), **environment}
        return subprocess.run(
            ["sh", "-c", line], cwd=self.folder, env=mine, capture_output=True, text=True, timeout=240, check=False
        )

    def tally(self, words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(f"{self.bin / 'tally'} {words}", **environment)


def command_in(shown: str) -> str:
    """What is said to try next, in the box or below it, on one line."""
    [line] = [line for line in shown.splitlines() if "pay --orders 3 --watch" in line]
    return line.strip("│ ").removeprefix("Try next").strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("wheel")
    wheel = build(root / "source", root / "dist")
    folder, home = root / "folder", root / "home"
    folder.mkdir()
    home.mkdir()
    return Installed(wheel, install(wheel, root / "archive-v0" / "x"), folder, home)


def test_the_wheel_holds_the_packages_and_the_licence_and_nothing_else(installed: Installed) -> None:
    inside = zipfile.ZipFile(installed.wheel).namelist()
    assert {name.split("/")[0] for name in inside if ".dist-info" not in name} == set(PACKAGES)
    assert [name for name in inside if name.endswith("licenses/LICENSE")]
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(inside)


def test_it_runs_from_the_wheel_and_not_from_the_checkout(installed: Installed) -> None:
    asked = installed.run(f"{installed.bin / 'python'} -c 'import operations; print(operations.__file__)'")
    assert str(installed.bin.parent) in asked.stdout


def test_up_pay_verify_and_down_work_in_an_empty_folder_with_an_empty_home(installed: Installed) -> None:
    not_up = installed.tally("status")
    named = not_up.stdout.split("`")[1]
    up = installed.run(f"{named} --detach", PATH=os.environ["PATH"])
    try:
        assert up.returncode == 0, up.stderr
        paid = installed.run(command_in(up.stdout))
        assert (paid.returncode, paid.stdout.count("captured")) == (0, 3), paid.stdout + paid.stderr
        verified = installed.tally("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "the books agree" in verified.stdout + verified.stderr
        by_uvx = installed.tally("up", UV="uv")
        said = f"uvx --from {shlex.quote(str(installed.wheel))} tally pay --orders 3 --watch"
        assert command_in(by_uvx.stdout) == said
    finally:
        assert installed.tally("down --purge").returncode == 0
    assert list(installed.folder.iterdir()) == []


def test_pages_of_a_checkout_are_written_where_one_says(installed: Installed, tmp_path: Path) -> None:
    for words in ("topics map", "topics map --check", "schemas write", "schemas check"):
        refused = installed.tally(words)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1), refused.stderr
        assert "this is no checkout" in refused.stderr
    assert installed.tally(f"topics map --to {tmp_path}/flow.md").returncode == 0
    assert (tmp_path / "flow.md").read_text() == page()
    assert installed.tally(f"schemas write --docs {tmp_path}/docs").returncode == 0
    written = {str(path.relative_to(tmp_path / "docs")) for path in (tmp_path / "docs").rglob("*.json")}
    assert written == set(schema_files())
    assert installed.tally(f"schemas check --docs {tmp_path}/docs").returncode == 0


def test_a_page_that_cannot_be_written_is_one_line(installed: Installed) -> None:
    for words in ("topics map --to /dev/null/flow.md", "schemas write --docs /dev/null"):
        refused = installed.tally(words)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
