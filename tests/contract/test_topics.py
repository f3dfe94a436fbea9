"""The catalogue → Kafka: topics as they should be, made once, and never with another number of partitions."""

from __future__ import annotations

import os
import threading

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from operations.auditor.engine.stores import Stores
from operations.auditor.engine.unfinished import partitions_kept
from operations.stack import doctor
from operations.stack.home import Home, write_json
from operations.stack.prepare import prepare
from operations.stack.running import stack_status
from operations.stack.servers import Servers, hold
from tests.contract.running import wait
from topics import catalog
from topics.runtime.making.topics import Repartitioned, apply_topics
from topics.runtime.process.health import Health, write_report
from topics.runtime.process.upkeep import Upkeep
from topics.runtime.shape.kafka import kafka_config
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
    with pytest.raises(Repartitioned, match=r"has 4 partitions, not 5.*TALLY_PARTITIONS"):
        apply_topics(stack.model_copy(update={"partitions": 5}))
    assert counts(stack) == before


def add_partitions(settings: Settings, topic: str, count: int) -> None:
    """As somebody does with Kafka's own tools."""
    name, kafka = settings.topic_prefix + topic, AdminClient(kafka_config(settings))
    kafka.create_partitions([NewPartitions(name, count)])[name].result()
    wait("the broker knows", lambda: counts(settings)[topic] == count)


def test_who_adds_partitions_under_a_running_room_is_told_of_everywhere_and_the_room_goes_on(
    stack: Settings, servers: Servers, capfd: pytest.CaptureFixture[str]
) -> None:
    health, other = Health("payments", "running"), Health("wallet", "running")
    upkeep = Upkeep(stack, "payments", threading.Event(), health=health)
    upkeep.look_at_topics()
    assert health.notes == []
    add_partitions(stack, "executions.v1", 6)
    upkeep.look_at_topics()
    upkeep.look_at_topics()
    upkeep.look_at_topics()
    assert health.notes == ["executions.v1 has 6 partitions and had 4: see docs/stops.md"]
    assert capfd.readouterr().err.count("executions.v1 has 6") == 1, "the log says it once"
    Upkeep(stack, "payments", threading.Event(), health=other).look_at_topics()
    assert other.notes == health.notes, "a process that starts later says it too"

    home = Home(stack.home)
    write_report(home.run, "payments", [health], 0)
    entry = {"name": "payments-1", "pid": os.getpid(), "restarts": 0, "rooms": ["payments"], "alive": True}
    write_json(home.state, {"started": True, "api_url": "", "processes": [entry]})
    with hold(home):
        (process,) = stack_status(home).processes
        assert (process.state, process.reason) == ("running", health.notes[0])
        found = doctor.topics(home)
    assert (found.ok, found.detail) == (False, health.notes[0])

    with Stores(stack) as stores:
        check = partitions_kept(stores, stack)
    assert (check.ok, check.detail) == (True, health.notes[0])
    assert check.examined == len(catalog.TOPICS)

    with pytest.raises(Repartitioned, match=r"executions.v1 has 6 partitions, not 4"):
        apply_topics(stack.model_copy(update={"partitions": 4}))
    told = stack.model_copy(update={"partitions": 4, "postgres_admin": servers.postgres_admin})
    prepare(told, 4)
    assert "executions.v1 has 6 partitions, not 4" in capfd.readouterr().out, "a start says it, and goes on"


def test_a_topic_that_is_made_anew_has_the_number_that_it_was_made_with(stack: Settings) -> None:
    health, name = Health("payments"), stack.topic_prefix + "executions.v1"
    upkeep = Upkeep(stack, "payments", threading.Event(), health=health)
    upkeep.look_at_topics()
    kafka = AdminClient(kafka_config(stack))
    kafka.delete_topics([name])[name].result()
    wait("it is gone", lambda: "executions.v1" not in counts(stack))
    upkeep.look_at_topics()
    apply_topics(stack, 2)
    wait("it is there", lambda: counts(stack).get("executions.v1") == 2)
    upkeep.look_at_topics()
    assert health.notes == []
