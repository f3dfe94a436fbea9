"""The catalogue → Kafka: topics as they should be, made once, and never with another number of partitions."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from topics import catalog
from topics.runtime.making.topics import apply_topics, kafka_config
from topics.settings import Settings


def counts(settings: Settings) -> dict[str, int]:
    """Partitions of each topic of these settings, without the prefix."""
    topics, cut = AdminClient(kafka_config(settings)).list_topics(timeout=15).topics, len(settings.topic_prefix)
    return {n[cut:]: len(t.partitions) for n, t in topics.items() if n.startswith(settings.topic_prefix)}


def test_topics_are_made_once_with_as_many_partitions_as_the_setting_says(stack: Settings) -> None:
    found = counts(stack)
    assert found.keys() == catalog.all_topics(stack.upstreams).keys()
    assert found["ledger-entries.v1"] == catalog.PARTITIONS
    assert found["ledger.dlq.v1"] == 3
    assert apply_topics(stack, catalog.PARTITIONS + 1) == [], "what is there keeps its number"


def test_another_number_of_partitions_is_refused_and_the_setting_named(stack: Settings) -> None:
    before = counts(stack)
    with pytest.raises(ValueError, match=r"has 4 partitions, not 5.*TALLY_PARTITIONS"):
        apply_topics(stack.model_copy(update={"partitions": 5}))
    assert counts(stack) == before
