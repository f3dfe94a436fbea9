"""Comments, docstrings and the docs ← the code: a name that they cite is one that a reader can look up."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.reading import PACKAGES, nodes, python, text

ELSEWHERE = {"rebootstrap"}  # a word of librdkafka's
CITED = re.compile(r"`([A-Za-z_][\w.]*)(?:\(\))?`")


def docstrings(path: Path) -> set[tuple[int, int]]:
    """Where they begin: line and column."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = [node for node in nodes(path) if isinstance(node, documented) and ast.get_docstring(node, False)]
    return {(node.body[0].lineno, node.body[0].col_offset) for node in found}


def prose_and_names(path: Path) -> Iterator[tuple[str, bool]]:
    """Tokens of a file; True with those in which names are cited, False with those that are the code's own."""
    begins = docstrings(path)
    for token in tokenize.generate_tokens(io.StringIO(text(path)).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.start in begins):
            yield token.string, True
        elif token.type in (tokenize.NAME, tokenize.STRING):
            yield token.string, False


def test_names_in_comments_and_docstrings_are_names_of_the_code() -> None:
    """A renamed function leaves no comment behind that sends its reader after the old name."""
    known, cited = set(PACKAGES) | ELSEWHERE, set()
    for path in python(*PACKAGES, "tests"):
        for words, prose in prose_and_names(path):
            if prose:
                cited |= {(str(path), name) for name in CITED.findall(words)}
            else:
                known.update(re.findall(r"\w+", words))
    assert [each for each in sorted(cited) if not set(each[1].rstrip(".").split(".")) <= known] == []


def test_tests_that_the_page_of_calls_names_are_there() -> None:
    rows = re.findall(r"^\|.+\| ([^|]+) \|$", text(Path("docs/calls.md")).split("## Every way")[1], re.MULTILINE)
    named = {
        name for row in rows for name in re.findall(r"`([a-z]+(?:_[a-z]+){2,})`", row) if not name.startswith("tok")
    }
    written = " ".join(found for path in python("tests") for found in re.findall(r"def (test_\w+)", text(path)))
    assert len(named) > 15
    assert [name for name in sorted(named) if name not in written] == []


def test_the_decider_that_the_page_of_style_shows_is_the_wallet_s() -> None:
    shown = text(Path("docs/style.md")).split("```python")[1].split("```")[0]
    lines = [line.strip() for line in shown.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert [line for line in lines if line not in text(Path("consumers/wallet/decide.py"))] == []
