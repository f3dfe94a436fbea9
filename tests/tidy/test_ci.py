"""Workflow, pre-commit and `make help` ← .ci/run, Makefile, pyproject: each does what the others say that it does."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import yaml

from operations.stack.home import CHECKOUT
from tests.tidy.reading import text

TARGETS = re.findall(r"^([a-z]+):", text(Path("Makefile")), re.MULTILINE)


def read(path: str) -> Any:
    return yaml.safe_load(text(Path(path)))


def test_the_workflow_does_what_ci_run_does_and_nothing_of_its_own() -> None:
    (job,) = read(".github/workflows/check.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["sh .ci/run"]
    assert re.findall(r"^make ([a-z]+)$", text(Path(".ci/run")), re.MULTILINE) == ["check", "test"]


def test_the_workflow_runs_on_the_oldest_and_the_newest_python_that_we_promise() -> None:
    (job,) = read(".github/workflows/check.yml")["jobs"].values()
    project = tomllib.loads(text(Path("pyproject.toml")))["project"]
    promised = [name.rpartition(" ")[2] for name in project["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert job["strategy"]["matrix"]["python"] == [promised[0], promised[-1]]
    assert project["requires-python"] == f">={promised[0]}"


def test_pre_commit_runs_our_own_tools_and_make_check_before_a_push() -> None:
    (repo,) = read(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local", "versions are those of requirements.lock"
    assert all(hook["language"] == "system" for hook in repo["hooks"])
    checked = set(re.findall(r"^\t\$\(BIN\)/(\S+)", text(Path("Makefile")).split("\ncheck:")[1].split("\n\n")[0], re.M))
    programs = {hook["entry"].split()[0] for hook in repo["hooks"]} - {"make"}
    assert {program.removeprefix(".venv/bin/") for program in programs} <= checked
    assert [hook["entry"] for hook in repo["hooks"] if hook.get("stages") == ["pre-push"]] == ["make check"]


def test_make_help_says_what_each_target_is_for() -> None:
    done = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    shown = re.findall(r"^make ([a-z]+) +\S.+$", done.stdout, re.MULTILINE)
    assert shown == TARGETS
