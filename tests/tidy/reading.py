"""The checkout's own files, as tests read them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from operations.stack.home import CHECKOUT

PACKAGES = ("schemas", "topics", "psp", "producers", "consumers", "reconciliation", "operations", "simulator")
FOLDERS = (*PACKAGES, "tests", "docs", "deploy", ".ci", ".github", "benchmarks")


def files() -> Iterator[Path]:
    """Every file of the project, with its path below the checkout. Not what tools and stacks leave behind."""
    for folder in FOLDERS:
        found = (path for path in (CHECKOUT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        yield from (path.relative_to(CHECKOUT) for path in sorted(found))
    yield from (path.relative_to(CHECKOUT) for path in sorted(CHECKOUT.iterdir()) if path.is_file())


def python(*folders: str) -> list[Path]:
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in (folders or FOLDERS)]


@cache
def text(path: Path) -> str:
    return (CHECKOUT / path).read_text()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of the file's tree: to walk through hundreds of files again for each test would take seconds."""
    return tuple(ast.walk(tree(path)))
