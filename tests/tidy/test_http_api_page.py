"""docs/http-api.md ← producers: codes, scopes and paths are those of the code."""

from __future__ import annotations

from operations.stack.home import CHECKOUT
from producers.keys import SCOPES
from producers.problems import table

PAGE = (CHECKOUT / "docs" / "http-api.md").read_text()


def test_the_page_lists_every_code() -> None:
    assert table() in PAGE, "python -m producers.problems prints the table for docs/http-api.md"


def test_the_page_names_every_scope() -> None:
    assert all(f"| `{scope}` |" in PAGE for scope in SCOPES)
