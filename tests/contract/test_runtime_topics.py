"""A topic is deleted and made anew, or records are gone: the room stops, and an operator says where it begins."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.contract.rooms import EXECUTIONS, Books
from tests.contract.running import KEYS, Sender, heard, members, send, settled, violations, wait
from topics import catalog
from topics.runtime.dead_letters import acts as operators
from topics.runtime.dead_letters.acts import ActRefused, AuditNote, WayOut
from topics.runtime.delivery.positions import _stop_replaced
from topics.runtime.making import topics as topics_of
from topics.runtime.shape.kafka import kafka_config, topic_ids
from topics.runtime.shape.store import Store
from topics.settings import Settings


def make_anew(settings: Settings) -> None:
    """As somebody does by hand: the topic under the same name, and empty."""
    admin, name = AdminClient(kafka_config(settings)), settings.topic_prefix + EXECUTIONS
    (before,) = topic_ids(admin, [name]).values()
    for done in admin.delete_topics([name]).values():
        done.result(15)
    topics_of._make(admin, {name: catalog.EXECUTIONS}, catalog.PARTITIONS, 1)
    wait("the broker knows the new one", lambda: id_of(admin, name) not in ("", before))


def id_of(admin: AdminClient, name: str) -> str:
    """Empty while the broker knows of none."""
    try:
        return topic_ids(admin, [name])[name]
    except KafkaException:
        return ""


def resume(settings: Settings, begin: WayOut | None = None) -> None:
    operators.resume(settings, "probe", AuditNote("ann", "looked at it"), begin)


def test_a_topic_made_anew_is_read_from_its_start_once_an_operator_says_so(on_kafka: Settings, books: Books) -> None:
    """It holds more than the old one did by the time that the room comes back: the old position would be within it."""
    sender = Sender(on_kafka)
    with members(on_kafka, 1):
        sent = send(sender, 1)
        wait("the first are done", lambda: settled(books, sent))
    make_anew(on_kafka)
    sender = Sender(on_kafka, sender.sent)
    sent = send(sender, 3)
    with members(on_kafka, 2) as found:
        wait("the room has stopped", lambda: books.stops() == ["topic_replaced"])
        wait("both processes say so", lambda: [member.state for member in found] == ["stopped"] * 2)
        assert len(books.effects()) == len(KEYS)
        with pytest.raises(ActRefused, match=r"begin=start: begin at the start of the new topic.* begin=position: "):
            resume(on_kafka)
        assert books.stops() == ["topic_replaced"]
        resume(on_kafka, "start")
        wait("all is done and said", lambda: settled(books, sent))
    assert violations(on_kafka, books, sender.sent) == set()
    assert books.stops() == []


@pytest.mark.parametrize("rounds", [0, 3], ids=["and empty", "and longer than the old one"])
def test_a_topic_made_anew_under_a_running_room_loses_and_doubles_nothing(
    rounds: int, on_kafka: Settings, books: Books
) -> None:
    """What the client reads on in it, before the room knows, comes again from the start, and is dropped."""
    sender = Sender(on_kafka)
    with members(on_kafka, 1):
        sent = send(sender, 1)
        wait("the first are done", lambda: settled(books, sent))
        make_anew(on_kafka)
        sender = Sender(on_kafka, sender.sent)
        sent = send(sender, rounds)
        wait("the room has stopped", lambda: books.stops() == ["topic_replaced"])
        resume(on_kafka, "start")
        sent = send(sender, 1)
        wait("all is done and said", lambda: settled(books, sent))
    assert violations(on_kafka, books, sender.sent) <= {"overtaken", "said: overtaken"}


def test_an_answer_that_is_just_being_given_is_waited_for(on_kafka: Settings, books: Books) -> None:
    """Seen once: the room stored its stop again while the answer to the first was not committed yet, and stood still."""
    where, id_ = (EXECUTIONS, 0), "the new topic"
    with closing(Store(on_kafka, "probe")) as store, closing(Store(on_kafka, "probe")) as operator:
        with store.transaction() as conn:
            _stop_replaced(conn, where, id_)
        with ThreadPoolExecutor(1) as pool:
            with operator.transaction() as answer:
                answer.execute("UPDATE stops SET lifted_at = now(), lifted_by = 'ann', way = 'start'")
                again = pool.submit(_stopped_again, store, where, id_)
                wait("the room waits for the answer", lambda: books.rows(_WAITING))
            again.result(10)
    assert books.stops() == []
    assert books.rows("SELECT code, way FROM stops") == [("topic_replaced", "start")]


def _stopped_again(store: Store, where: tuple[str, int], id_: str) -> None:
    with store.transaction() as conn:
        _stop_replaced(conn, where, id_)


_WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def test_a_copy_with_the_same_offsets_is_read_on_at_the_stored_position(on_kafka: Settings, books: Books) -> None:
    sender = Sender(on_kafka)
    with members(on_kafka, 1):
        sent = send(sender, 1)
        wait("the first are done", lambda: settled(books, sent))
    old = heard(on_kafka, EXECUTIONS)
    make_anew(on_kafka)
    sender = Sender(on_kafka, sender.sent)
    for record in old:  # the same keys, so the same partitions, in the same order
        sender.send(EXECUTIONS, record.key(), record.value(), record.headers())
    sent = send(sender, 1)
    with members(on_kafka, 1):
        wait("the room has stopped", lambda: books.stops() == ["topic_replaced"])
        resume(on_kafka, "position")
        wait("all is done and said", lambda: settled(books, sent))
    assert violations(on_kafka, books, sender.sent) == set()
    assert books.rows("SELECT sum(duplicates)::integer FROM positions") == [(0,)]


def test_a_room_whose_next_records_are_gone_begins_at_the_earliest_once_an_operator_says_so(
    on_kafka: Settings, books: Books
) -> None:
    sender = Sender(on_kafka)
    with members(on_kafka, 1):
        sent = send(sender, 1)
        wait("the first are done", lambda: settled(books, sent))
    (place,) = books.rows(
        "SELECT partition, next_offset FROM positions WHERE topic = %s AND next_offset > 0 ORDER BY partition LIMIT 1",
        EXECUTIONS,
    )
    send(sender, 2)
    gone = retention_takes(on_kafka, place, 3)
    with members(on_kafka, 1):
        wait("the room has stopped", lambda: books.stops() == ["offset_gone"])
        with pytest.raises(ActRefused, match="begin=start: begin at the earliest record that Kafka still has"):
            resume(on_kafka)
        resume(on_kafka, "start")
        wait("the rest is done and said", lambda: settled(books, 3 * len(KEYS) - gone))
    assert books.stops() == []


def retention_takes(settings: Settings, place: Sequence[int], count: int) -> int:
    """So many records after a position, and all before. → `count`"""
    partition, position = place
    admin = AdminClient(kafka_config(settings))
    up_to = TopicPartition(settings.topic_prefix + EXECUTIONS, partition, position + count)
    for done in admin.delete_records([up_to]).values():
        done.result(15)
    return count
