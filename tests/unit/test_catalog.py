"""The map of the system, checked against itself: each topic has an owner, hearers and a use."""

from __future__ import annotations

import importlib.util
from dataclasses import fields

from schemas.envelope import event_type
from schemas.events import PaymentRequested
from topics import catalog

UPSTREAMS = frozenset({"shop", "market"})


def test_every_topic_has_one_name_and_speakers_that_are_rooms() -> None:
    names = [topic.name for topic in catalog.TOPICS]
    assert len(set(names)) == len(names)
    assert {room for topic in catalog.TOPICS for room in topic.speakers} <= {room.name for room in catalog.ROOMS}


def test_a_room_writes_exactly_the_topics_that_it_speaks() -> None:
    for room in catalog.ROOMS:
        spoken = {topic.name for topic in catalog.TOPICS if room.name in topic.speakers}
        assert {topic.name for topic in room.writes} == spoken


def test_nobody_hears_a_topic_that_does_not_exist() -> None:
    known = {topic.name for topic in (*catalog.TOPICS, *catalog.PSEUDO_TOPICS)}
    assert {topic.name for room in catalog.ROOMS for topic in room.reads} <= known


def test_every_event_is_said_on_one_topic_and_named_once() -> None:
    said = [kind for topic in catalog.TOPICS for kind in topic.says]
    assert len(set(said)) == len(said)
    assert len({event_type(kind) for kind in said}) == len(said)


def test_a_topics_key_is_a_field_of_each_of_its_events() -> None:
    for topic in (*catalog.TOPICS, *catalog.PSEUDO_TOPICS):
        for kind in topic.says:
            keyed_by = "checkout_id" if kind is PaymentRequested else kind.keyed_by
            assert keyed_by in kind.model_fields, (topic.name, kind)


def test_only_doors_take_strangers_ids_and_only_they_exist_per_upstream() -> None:
    doors = [topic for topic in catalog.TOPICS if topic.door]
    assert {topic.spoken_by for topic in doors} == {"doors"}
    assert all(topic.door for topic in catalog.TOPICS if topic.per_upstream)


def test_an_upstream_has_a_topic_of_its_own_that_names_it() -> None:
    topic, upstream = catalog.find("payment-requests.shop.v1", UPSTREAMS)
    assert (topic, upstream) == (catalog.PAYMENT_REQUESTS, "shop")
    assert catalog.names(catalog.PAYMENT_REQUESTS, UPSTREAMS) == [
        "payment-requests.v1",
        "payment-requests.market.v1",
        "payment-requests.shop.v1",
    ]


def test_every_consumer_has_a_dead_letter_topic_that_outlives_what_it_copies() -> None:
    everything = catalog.all_topics(UPSTREAMS)
    for room in catalog.CONSUMERS:
        letters = everything[f"{room.name}.dlq.v1"]
        assert letters.retention_days is not None
        assert letters.retention_days >= max(topic.retention_days or 0 for topic in room.reads)


def test_every_room_brings_its_own_tables() -> None:
    for room in catalog.ROOMS:
        spec = importlib.util.find_spec(room.migrations)
        assert spec is not None, room.name


def test_the_catalogue_cannot_be_changed_while_it_is_used() -> None:
    for kind in (catalog.Topic, catalog.Room):
        assert kind.__dataclass_params__.frozen, kind  # type: ignore[attr-defined]
        assert fields(kind)
