"""A partition given to a room while Kafka or the database is away waits, paused; then it is read."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.contract import probe
from tests.contract.rooms import Books
from tests.contract.running import Sender, settled, violations, wait
from tests.contract.test_runtime_loop import members, send
from topics.runtime.delivery import positions
from topics.runtime.making.revisions import OlderSchema
from topics.runtime.process import kafka_loop as loop
from topics.runtime.process.kafka_loop import RoomLoop
from topics.settings import Settings

KAFKA_AWAY = KafkaException(KafkaError(KafkaError._TIMED_OUT))


@pytest.mark.parametrize("away", [KAFKA_AWAY, psycopg.OperationalError("gone")], ids=["kafka", "database"])
def test_what_could_not_be_placed_at_first_is_not_silent_for_ever(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch, away: Exception
) -> None:
    """A pause outlives its assignment (librdkafka): it must be taken back."""
    failures = [away]
    place: Callable[..., object] = positions.start_offsets

    def failing_once(*told: object) -> object:
        if failures:
            raise failures.pop()
        return place(*told)

    monkeypatch.setattr(loop, "start_offsets", failing_once)
    sender = Sender(on_kafka)
    sent = send(sender, 1)
    with members(on_kafka, 1):
        wait("it is read", lambda: settled(books, sent), limit_s=20)
    assert not failures
    assert violations(on_kafka, books, sender.sent) == set()


def test_a_database_that_was_away_and_has_an_older_schema_ends_the_process(
    on_kafka: Settings, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was away at the start, or has come back from a backup."""

    def away(*_: object) -> object:
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(loop, "start_offsets", away)
    ((head,),) = books.rows("SELECT max(version_num) FROM alembic_version WHERE version_num LIKE 'runtime_%%'")
    books.run("UPDATE alembic_version SET version_num = 'runtime_001' WHERE version_num = %s", head)
    try:
        with pytest.raises(OlderSchema, match=f"the schema of probe lacks runtime_002, .*{head}: `tally migrate`"):
            RoomLoop(on_kafka, probe.build(), threading.Event()).run()
    finally:
        books.run("UPDATE alembic_version SET version_num = %s WHERE version_num = 'runtime_001'", head)
