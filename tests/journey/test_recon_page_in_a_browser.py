"""The report of a day as a browser shows it: nothing runs, nothing is asked for, nothing is cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations.cli.recon_page import SECTIONS, page
from tests.journey.browsing import browsing, keep_picture
from tests.unit.test_recon_page import report


@pytest.mark.parametrize(("width", "media"), [(1280, "screen"), (800, "print")])
def test_a_browser_shows_all_tables_and_charts_and_asks_nobody(tmp_path: Path, width: int, media: str) -> None:
    by = {"state": "signed", "decided_by": "operator bob", "decided_at": "2026-01-06T09:30:00Z", "reason": "read it"}
    path = tmp_path / "day.html"
    path.write_text(page(report(), "b" * 64, [by]), encoding="utf-8")
    asked: list[str] = []
    said: list[str] = []
    with browsing() as browser:
        shown = browser.new_page(viewport={"width": width, "height": 900})
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: said.append(message.text))
        shown.emulate_media(media=media)  # type: ignore[arg-type]
        shown.goto(path.as_uri())
        keep_picture(shown, f"recon-day-{media}")
        assert asked == [path.as_uri()]
        assert said == []
        assert shown.get_by_role("heading", level=2).all_inner_texts() == [each.title for each in SECTIONS]
        assert shown.locator("svg rect").count() == 4  # two signs that are not due, one that is late, one code
        assert shown.evaluate("document.scripts.length") == 0
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
