"""LICENSE, CONTRIBUTING, SECURITY ← the code: what a stranger is told is there, under the name that he is told."""

from __future__ import annotations

import ast
import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from operations.stack.home import CHECKOUT
from tests.tidy.reading import nodes, text

APACHE_2_0 = (
    "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # sha256 of the text as Apache publishes it
)
CONTRIBUTING = Path("CONTRIBUTING.md")
NAMED = re.compile(r"((?:`\w+`(?:, | and )?)+)\s+in\s+`([\w/]+\.py)`")


def places(page: Path) -> list[tuple[str, str]]:
    """(name, file) of all that the page says to be there."""
    return [
        (name, path)
        for names, path in NAMED.findall(text(page))
        for name in re.findall(r"\w+", names.replace(" and ", " "))
    ]


PLACES = places(CONTRIBUTING)
PAGES = (CONTRIBUTING, Path("docs/architecture.md"), Path("docs/calls.md"))


def defined(path: Path) -> set[str]:
    """Functions, classes, methods and constants of a file."""
    found = nodes(path)
    named = {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    assigned = (node for node in found if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return named | {node.id for node in assigned}


def test_the_licence_is_apaches_to_the_letter_and_the_package_says_so() -> None:
    assert hashlib.sha256((CHECKOUT / "LICENSE").read_bytes()).hexdigest() == APACHE_2_0
    project = tomllib.loads(text(Path("pyproject.toml")))["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])


def test_the_walk_goes_through_every_room() -> None:
    rooms = {path.split("/")[1] for _, path in PLACES if path.startswith("consumers/")}
    assert rooms == {"payments", "risk", "executor", "wallet", "ledger", "webhooks"}


@pytest.mark.parametrize(("name", "path"), sorted({place for page in PAGES for place in places(page)}))
def test_what_the_walk_and_the_tables_name_is_where_they_say(name: str, path: str) -> None:
    assert name in defined(Path(path))


def test_files_and_folders_that_a_stranger_is_sent_to_are_there() -> None:
    for page in (CONTRIBUTING, Path("SECURITY.md")):
        named = re.findall(r"`((?:[\w.-]+/)+(?:[\w.-]+\.\w+)?)`", text(page))
        assert [name for name in named if not (CHECKOUT / name).exists()] == []


def test_every_target_of_make_that_a_stranger_is_told_of_is_one() -> None:
    targets = set(re.findall(r"^([a-z]+):", text(Path("Makefile")), re.MULTILINE))
    assert set(re.findall(r"(?:`|^ {4})make ([a-z]+)", text(CONTRIBUTING), re.MULTILINE)) <= targets
