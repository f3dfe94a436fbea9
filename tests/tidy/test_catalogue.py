"""topics/catalog.py ⇄ schemas/events.py: nothing that can be said is left out, nothing is said to nobody."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter

from operations.pages.flow import page
from schemas import events
from schemas.events import AnyEvent
from topics import catalog
from topics.catalog import CONSUMERS, PSEUDO_TOPICS, ROOMS, TOPICS, Room, Topic

BASES = {events.Event, events.RiskDecided, events.Terms}  # what several events share; never said themselves


def declared() -> set[type[AnyEvent]]:
    """Every event type of schemas/events.py."""
    classes = (kind for _, kind in inspect.getmembers(events, inspect.isclass))
    return {kind for kind in classes if kind.__module__ == events.__name__ and hasattr(kind, "version")} - BASES


def test_every_event_is_said_on_exactly_one_topic() -> None:
    assert Counter(kind for topic in (*TOPICS, *PSEUDO_TOPICS) for kind in topic.says) == dict.fromkeys(declared(), 1)


def test_every_topic_and_room_that_is_written_down_is_listed() -> None:
    written = [value for value in vars(catalog).values() if isinstance(value, Topic | Room)]
    assert {value for value in written if isinstance(value, Topic)} == {*TOPICS, *PSEUDO_TOPICS}
    assert {value for value in written if isinstance(value, Room)} == set(ROOMS)


def test_what_no_room_hears_is_drawn_for_readers_outside() -> None:
    heard = {topic for room in ROOMS for topic in room.reads}
    for topic in set(TOPICS) - heard:
        assert f"topic_{topic.name.removesuffix('.v1').replace('-', '_')} --> readers" in page()


def test_names_of_people_are_kept_for_a_week_at_most() -> None:
    personal = {"name", "email", "buyer_info"}
    with_names = [topic for topic in TOPICS if any(personal & set(kind.model_fields) for kind in topic.says)]
    assert [topic.name for topic in with_names] == ["payment-requests.v1", "screenings.v1"]
    assert {topic.retention_days for topic in with_names} == {7}


def test_every_room_has_the_same_floor_plan() -> None:
    for room in CONSUMERS:
        for part in ("decide", "store", "consumer"):
            assert importlib.import_module(f"consumers.{room.name}.{part}").__doc__
