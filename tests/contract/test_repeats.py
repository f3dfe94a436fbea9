"""A break that names an event of the executor's → the same record once more, from Kafka, byte for byte, once per break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from consumers.executor.consumer import build
from consumers.executor.repeating import Repeater
from schemas.breaks import BreakChanged, BreakOpened, BreakResolved, RecordPlace
from schemas.envelope import Envelope, EventId, derive_id, event_type, record_headers
from schemas.events import PaymentCaptured
from schemas.money import Money
from tests.captures import NOW, capture
from tests.store.hearing import Hearing
from topics.catalog import EXECUTIONS
from topics.runtime.outbox.outbox import OutboxRecord, load_record
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings

Kind = type[BreakOpened] | type[BreakChanged] | type[BreakResolved]
IDS = [derive_id(f"charge {number}", "executor", 0, 1_700_000_000_000) for number in range(3)]


@pytest.fixture
def settings(make_stack: Callable[..., Settings]) -> Settings:
    return make_stack(partitions=1)


@pytest.fixture
def room(settings: Settings) -> Iterator[Hearing]:
    found = Hearing(settings, build(settings))  # type: ignore[arg-type]
    yield found
    found.close()


@pytest.fixture
def repeater(settings: Settings) -> Iterator[Repeater]:
    found = Repeater(settings, "executor")
    yield found
    found.close()


@pytest.fixture
def published(settings: Settings) -> list[OutboxRecord]:
    """Three executions, as the room has published them."""
    producer = Producer(kafka_config(settings))
    records = []
    for number, event_id in enumerate(IDS):
        event = capture(f"order-{number}")
        headers = record_headers(Envelope(event_id, "/tallystick/executor", event_type(PaymentCaptured), NOW, 2))
        headers.append(("of-an-older-release", b"\x00\xff"))
        value = b" " + event.model_dump_json().encode()  # bytes that nobody would make of the event again
        record = OutboxRecord(EXECUTIONS.name, event.key.encode(), headers, value)
        producer.produce(settings.topic_prefix + record.topic, record.value, record.key, headers=list(headers))
        records.append(record)
    producer.flush(30)
    return records


def said(kind: Kind, number: int, revision: int = 1, **place: Any) -> Any:
    at = {"event_id": IDS[number], "topic": EXECUTIONS.name, "partition": 0, "offset": number, **place}
    return kind(
        break_id=f"{number + 1:032x}",
        revision=revision,
        code="WALLET_MISSING",
        break_class="A",
        subject=IDS[number],
        source="",
        psp="northpay",
        items=1,
        amount=Money(1200, "EUR"),
        sellers=("seller-1",),
        record=RecordPlace(**at),
        holds_payouts=True,
        opened_at=NOW,
    )


def outbox(room: Hearing) -> list[OutboxRecord]:
    with room.store.transaction() as conn:
        rows = conn.execute("SELECT records FROM outbox ORDER BY id").fetchall()
    return [load_record(record) for (records,) in rows for record in records]


def states(room: Hearing) -> list[str]:
    return [row["state"] for row in room.rows("SELECT state FROM repeat_view ORDER BY break_id")]


def test_the_record_goes_out_again_as_it_is_once_per_break(
    room: Hearing, repeater: Repeater, published: list[OutboxRecord]
) -> None:
    room.hears(said(BreakOpened, 1))
    assert (outbox(room), states(room)) == ([], ["wanted"])
    assert repeater.look()
    assert not repeater.look()
    assert outbox(room) == [published[1]]
    room.hears(said(BreakChanged, 1, 2))
    room.hears(said(BreakOpened, 1, 3))
    assert not repeater.look()
    assert (len(outbox(room)), states(room)) == (1, ["published"])


def test_several_are_read_where_each_lies(room: Hearing, repeater: Repeater, published: list[OutboxRecord]) -> None:
    room.hears(*[said(BreakOpened, number) for number in (2, 0, 1)])
    assert repeater.look_safely()
    assert sorted(outbox(room), key=lambda each: each.key or b"") == published


@pytest.mark.usefixtures("published")
def test_what_is_closed_meanwhile_needs_no_repeat(room: Hearing, repeater: Repeater) -> None:
    room.hears(said(BreakOpened, 1), said(BreakResolved, 1, 2))
    room.hears(said(BreakResolved, 2, 2), said(BreakOpened, 2, 1))
    assert not repeater.look()
    assert (outbox(room), states(room)) == ([], ["not_needed", "not_needed"])


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    "place",
    [{"offset": 2}, {"offset": 99}, {"event_id": EventId("01a2052a-5c54-833e-87ef-2784bb2af61d")}],
    ids=["another event lies there", "past the end", "an id of nobody"],
)
def test_nothing_but_that_very_event_goes_out(room: Hearing, repeater: Repeater, place: dict[str, Any]) -> None:
    room.hears(said(BreakOpened, 1, **place))
    assert repeater.look()
    assert (outbox(room), states(room)) == ([], ["gone"])


def test_a_break_about_another_room_s_topic_is_left_alone(room: Hearing, repeater: Repeater) -> None:
    room.hears(said(BreakOpened, 1, topic="payments.v1"))
    assert not repeater.look()
    assert states(room) == []
