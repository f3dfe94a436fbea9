"""docs/flow.md ← topics/catalog.py: the picture shows every room and topic."""

from __future__ import annotations

from operations.pages.flow import page
from operations.stack.home import CHECKOUT
from topics.catalog import CONSUMERS, DOORS, TOPICS


def test_the_flow_page_is_what_tally_topics_map_would_draw() -> None:
    assert (CHECKOUT / "docs" / "flow.md").read_text() == page()


def test_every_topic_is_drawn_with_its_speaker_and_every_hearer() -> None:
    drawn = page()
    for topic in TOPICS:
        assert f'["{topic.name}"]' in drawn
    for room in CONSUMERS:
        assert f"([{room.name}])" in drawn
    assert f"{{{{{DOORS.name}}}}}" in drawn
