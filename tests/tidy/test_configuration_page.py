"""docs/configuration.md ← topics/settings.py: the page says what the code says."""

from __future__ import annotations

from operations.pages.configuration import page
from operations.stack.home import CHECKOUT


def test_the_configuration_page_is_what_make_docs_would_write() -> None:
    assert (CHECKOUT / "docs" / "configuration.md").read_text() == page()
