"""Our code ← other packages: what they do not promise to keep is known, and their versions are bounded above."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from tests.tidy.reading import PACKAGES, nodes, python, text

USED = {
    "aiokafka": {"_buffer", "_num_records", "_pos", "_read_msg"},
    "aiohttp": {"_factory"},
    "psycopg": {"_pipeline", "_communicate_gen"},
}


def is_private(name: str) -> bool:
    """Not what is documented in spite of its name: librdkafka's error codes, a named tuple's methods, os._exit."""
    documented = name.isupper() or name in {"_make", "_replace", "_exit"}
    return name.startswith("_") and not name.endswith("__") and not documented


def defined(path: Path) -> set[str]:
    """Names that this file gives to functions, classes, attributes of self and constants of its own."""
    found: set[str] = set()
    for node in nodes(path):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case _:
                pass
    return found


def borrowed(path: Path) -> set[str]:
    """Private names of things that are not self, and private modules."""
    found = nodes(path)
    reached = {node.attr for node in found if isinstance(node, ast.Attribute) and not is_own(node.value)}
    imported = {name for node in found if isinstance(node, ast.ImportFrom) for name in (node.module or "").split(".")}
    return {name for name in reached | imported if is_private(name)}


def is_own(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in {"self", "cls"}


def test_what_we_use_of_others_without_their_promise_is_written_down_here() -> None:
    paths = python(*PACKAGES)
    found = {name for path in paths for name in borrowed(path)} - {name for path in paths for name in defined(path)}
    overridden = {"_communicate_gen"}  # a method of ours in place of psycopg's, which no search finds
    assert found | overridden == {name for names in USED.values() for name in names}


def test_packages_used_so_have_an_upper_bound() -> None:
    project = tomllib.loads(text(Path("pyproject.toml")))["project"]
    bounded = {re.split(r"[\[<>=]", line)[0] for line in project["dependencies"] if "<" in line}
    assert set(USED) <= bounded


def test_the_lock_keeps_every_bound() -> None:
    locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", text(Path("requirements.lock")), re.MULTILINE))
    project = tomllib.loads(text(Path("pyproject.toml")))["project"]
    for line in project["dependencies"]:
        name = re.split(r"[\[<>=]", line)[0]
        for bound in re.findall(r"<([\d.]+)", line):
            assert numbers(locked[name]) < numbers(bound), line


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
