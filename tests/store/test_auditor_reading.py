"""Upstreams that write with Kafka's transactions → what the auditor finds to be read: records, not offsets."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from operations.auditor.engine.lag import check_lag, lag
from operations.auditor.engine.records import reader
from operations.auditor.engine.report import Check
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.upstreams import upstream_requests
from operations.stack.servers import Servers
from topics.catalog import PAYMENT_REQUESTS
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings

NOW_MS = 1_767_268_800_000
NAME = "payment-requests.shop.v1"
OPEN = "an open transaction holds back payment-requests.shop.v1[0] from offset"


class Upstream:
    """Writes to the one partition of its topic, in transactions; the payments room stands where it is told to."""

    def __init__(self, settings: Settings, admin: str) -> None:
        self._settings = settings
        self._admin = psycopg.conninfo.make_conninfo(admin, dbname=settings.database)
        self._topic = settings.topic_prefix + NAME
        self._producer = Producer(kafka_config(settings) | {"transactional.id": self._topic})
        self._producer.init_transactions(30)

    def begin(self, records: int) -> None:
        self._producer.begin_transaction()
        for n in range(records):
            self._producer.produce(self._topic, b"{}", b"k%d" % n, partition=0)
        self._producer.flush(30)

    def commit(self, records: int = 0) -> None:
        if records:
            self.begin(records)
        self._producer.commit_transaction(30)

    def abort(self, records: int) -> None:
        self.begin(records)
        self._producer.abort_transaction(30)

    def forget_before(self, offset: int) -> None:
        """As retention does."""
        admin = AdminClient(kafka_config(self._settings))
        for done in admin.delete_records([TopicPartition(self._topic, 0, offset)]).values():
            done.result(15)

    def gone_until_ms(self, now_ms: int) -> int:
        """What payments read before this may have been on the topic, as the auditor sees it."""
        with reader(self._settings) as reading:
            asked = upstream_requests(reading, PAYMENT_REQUESTS, ["shop"], ["shop"], now_ms)
        return asked.gone_until_ms["shop"]

    def payments_stand_at(self, offset: int, topic_id: str | None = None) -> None:
        with psycopg.connect(self._admin) as conn:
            conn.execute(
                "INSERT INTO payments.positions (topic, partition, next_offset, topic_id) VALUES (%s, 0, %s, %s)"
                " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
                [NAME, offset, topic_id],
            )

    def rooms_read(self) -> Check:
        """Of two looks between which no room has moved."""
        with Stores(self._settings) as stores, reader(self._settings) as reading:
            return check_lag(lag(stores, reading), lag(stores, reading))


@pytest.fixture
def upstream(make_stack: Callable[..., Settings], servers: Servers) -> Upstream:
    return Upstream(make_stack(upstreams=frozenset({"shop"}), partitions=1), servers.postgres_admin)


def test_a_room_that_has_read_every_record_of_a_transactional_writer_is_not_behind(upstream: Upstream) -> None:
    upstream.commit(2)
    upstream.payments_stand_at(2)  # the mark of the commit has offset 2
    assert (upstream.rooms_read().ok, upstream.rooms_read().detail) == (True, "")


def test_aborted_records_are_nothing_to_be_read_and_what_comes_after_them_is(upstream: Upstream) -> None:
    upstream.commit(2)
    upstream.abort(5)
    upstream.payments_stand_at(2)
    assert (upstream.rooms_read().ok, upstream.rooms_read().detail) == (True, "")
    upstream.commit(3)
    check = upstream.rooms_read()
    assert not check.ok
    assert f"payments stands still on {NAME}[0], 3 behind" in check.detail


def test_an_open_transaction_is_named_and_no_room_is_blamed_for_it(upstream: Upstream) -> None:
    upstream.commit(1)
    upstream.begin(4)
    upstream.payments_stand_at(1)
    check = upstream.rooms_read()
    assert (check.ok, check.detail) == (True, f"{OPEN} 2 to 6")
    upstream.commit()
    check = upstream.rooms_read()
    assert not check.ok
    assert f"payments stands still on {NAME}[0], 4 behind" in check.detail


def test_a_topic_whose_records_are_gone_is_empty_though_a_mark_is_left(upstream: Upstream) -> None:
    """Payments that came by it were asked for, and the auditor must not miss the records that retention has taken."""
    upstream.commit(2)
    upstream.forget_before(2)
    assert PAYMENT_REQUESTS.retention_days is not None
    days = PAYMENT_REQUESTS.retention_days - 1  # and a day that a request may have waited
    assert upstream.gone_until_ms(NOW_MS) == NOW_MS - days * 86_400_000


def test_a_topic_that_is_not_the_one_that_was_read_is_named_though_no_room_runs(upstream: Upstream) -> None:
    upstream.commit(2)
    upstream.payments_stand_at(2, topic_id="the old one's")
    check = upstream.rooms_read()
    assert not check.ok
    assert f"payments {NAME}[0]: it was deleted and made anew since" in check.detail
