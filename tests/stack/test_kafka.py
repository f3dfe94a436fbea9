"""The local Kafka: its storage, and its readers when it starts again."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import psutil
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from operations.auditor.engine.records import reader
from operations.stack import kafka
from operations.stack.home import Home
from operations.stack.jars import class_path
from operations.stack.settings import load_settings
from tests.contract.running import wait
from tests.stack.local import local_servers
from topics import catalog
from topics.runtime.making.topics import apply_topics
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings


def test_storage_is_made_under_any_cluster_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One random id in 64 begins with a dash."""
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xf8" * 16))
    home = Home(tmp_path)
    for folder in (home.kafka, home.logs):
        folder.mkdir(parents=True)
    kafka.format_storage(home, class_path(), 9092, 9192)
    assert "cluster.id=-Pj4" in (home.kafka / "data" / "meta.properties").read_text()


def brokers() -> set[int]:
    """Process ids of the brokers that this test run has started."""
    return {process.pid for process in psutil.Process().children(recursive=True) if "kafka.Kafka" in _argv(process)}


def _argv(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def answers(settings: Settings) -> bool:
    try:
        return bool(AdminClient(kafka_config(settings)).list_topics(timeout=1).topics)
    except KafkaException:
        return False


def test_the_auditor_reads_on_when_the_broker_has_started_again(tmp_path: Path) -> None:
    """A broker that starts again leads its partitions in a later epoch; who asks with the earlier one is refused once."""
    others = brokers()
    with local_servers(tmp_path / "home") as servers:
        settings = load_settings(kafka=servers.kafka, postgres=servers.postgres, secret="of a test", home=tmp_path)
        apply_topics(settings)
        with reader(settings) as reading:
            before = reading.ends(*catalog.TOPICS)
            (broker,) = brokers() - others
            os.kill(broker, signal.SIGKILL)
            wait("another broker answers", lambda: brokers() - others - {broker} and answers(settings))
            assert reading.ends(*catalog.TOPICS) == before
            assert list(reading.records(before)) == []
