"""Money is integers inside and decimal strings outside: where it is handled there are no floats, and elsewhere each float
says in its name what it measures."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.reading import PACKAGES, nodes, python

# Whole modules in which a float has no business: amounts are made, added, compared, booked or written here.
MONEY = (
    "schemas",
    "consumers/payments",
    "consumers/risk/checkout_limits.py",
    "consumers/risk/decide.py",
    "consumers/risk/reviewing.py",
    "consumers/risk/settings.py",
    "consumers/risk/store.py",
    "consumers/wallet",
    "consumers/ledger",
    "consumers/executor/routing.py",
    "producers/replies.py",
    "producers/routes",
    "operations/cli/commands/wallet.py",
    "operations/cli/commands/ledger.py",
    "simulator/memory.py",
    "simulator/wire.py",
    "simulator/currencies.py",
)
AMOUNT = re.compile(r"amount|gross|net\b|fee|balance|debit|credit|available|pending|reserved|minor|money|price|total")
# Quantities of which a fraction makes sense: durations, rates (of the simulator's faults too), shares, moments.
MEASURES = re.compile(
    r"_(s|ms|mb|per_s|share|at|until)$|^(seconds|share|now|clock|since|started|created|due|cpu|memory|slow|timeout|unavailable|rates)$"
)

money_modules = [path for path in python(*PACKAGES) if str(path).startswith(MONEY)]


def floats(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of whatever is or makes a float."""
    for node in nodes(path):
        match node:
            case ast.Constant(value=float()):
                yield node.lineno, ast.unparse(node)
            case ast.Name(id="float") | ast.Attribute(attr="REAL" | "Float" | "Double"):
                yield node.lineno, ast.unparse(node)
            case ast.BinOp(op=ast.Div()) if not isinstance(node.right, ast.Constant | ast.JoinedStr):
                yield node.lineno, ast.unparse(node)


def annotated_floats(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each argument and field that may be a float."""
    for node in nodes(path):
        match node:
            case ast.arg(arg=name, annotation=ast.expr() as kind):
                pass
            case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), annotation=kind):
                pass
            case _:
                continue
        if re.search(r"\bfloat\b", ast.unparse(kind)):
            yield node.lineno, name


def test_the_list_of_money_modules_is_no_list_of_ghosts() -> None:
    for start in MONEY:
        assert any(str(path).startswith(start) for path in money_modules), start


@pytest.mark.parametrize("path", money_modules, ids=str)
def test_where_money_is_handled_there_is_no_float(path: Path) -> None:
    assert list(floats(path)) == []


def test_nowhere_is_an_amount_declared_as_a_float() -> None:
    named = [(str(path), *found) for path in python(*PACKAGES) for found in annotated_floats(path)]
    assert len(named) > 50  # else we look in the wrong place
    assert [each for each in named if AMOUNT.search(each[2]) and not MEASURES.search(each[2])] == []


def test_no_column_is_a_floating_point_number() -> None:
    kinds = re.compile(r"\b(real|double precision|float[48]?)\b", re.IGNORECASE)
    migrations = [path for path in python(*PACKAGES) if "migrations" in path.parts]
    statements = [
        (str(path), node.value)
        for path in migrations
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert len(statements) > 20
    assert [path for path, statement in statements if kinds.search(statement)] == []
