"""schemas/golden/*.json → what this release makes of records that a release has said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from operations.pages.contract import event_schema, said, short_name
from operations.stack.home import CHECKOUT
from schemas.envelope import event_type
from schemas.events import AnyEvent, CallEnded, TimerFired
from schemas.payouts import PayoutCallEnded
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.decode import Incoming, decode

GOLDEN = sorted((CHECKOUT / "schemas" / "golden").glob("*.json"))
KINDS: dict[str, type[AnyEvent]] = {
    event_type(kind): kind for kind in (*said(), CallEnded, PayoutCallEnded, TimerFired)
}

BEFORE = {
    file.stem: json.loads(file.read_text())  # docs/schemas of the release before
    for file in (Path(__file__).parent / "schemas_before").glob("*.json")
}
AFTER_THE_DOORS = {  # what only doors of this release let in, and what follows from it
    "PaymentRequested.v1.hosted",
    "PaymentRequested.v1.manual",
    "OrderPlaced.v1.hosted",
    "PaymentStatusChanged.v1.next-action",
    "NotificationReceived.v1.authorised",
    "NotificationReceived.v1.reversed",
    "JournalPosted.v1.part",
    "JournalPosted.v1.payout",
    "JournalPosted.v1.settlement",
    "JournalPosted.v1.correction",
}

every_example = pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)


def read(file: Path) -> dict[str, Any]:
    example: dict[str, Any] = json.loads(file.read_text())
    return example


def as_received(example: dict[str, Any], **more: object) -> Incoming:
    """The example as a record that has come from Kafka, with further fields in its value."""
    headers = tuple((name, value.encode()) for name, value in example["headers"].items())
    value = json.dumps({**example["value"], **more}).encode()
    return decode(Message(example["topic"], 0, 0, example["key"].encode(), value, headers, 0), frozenset(), b"")


@every_example
def test_what_was_said_then_is_read_today(file: Path) -> None:
    incoming = as_received(read(file))
    assert incoming.failure is None
    assert type(incoming.event) is KINDS[read(file)["headers"]["ce_type"]]


@every_example
def test_what_is_read_loses_nothing_when_it_is_said_again(file: Path) -> None:
    event = as_received(read(file)).event
    assert isinstance(event, tuple(KINDS.values()))
    again = json.loads(event.model_dump_json(exclude_none=True))
    assert again.keys() == read(file)["value"].keys()
    assert as_received({**read(file), "value": again}).event == event


@every_example
def test_a_field_of_a_later_release_is_ignored_in_the_house_and_refused_at_the_door(file: Path) -> None:
    incoming = as_received(read(file), added_later=True)
    kind = KINDS[read(file)["headers"]["ce_type"]]
    assert incoming.failure is None
    assert (type(incoming.event) is kind) is not incoming.door


@every_example
def test_an_example_fits_its_published_schema(file: Path) -> None:
    example = read(file)
    jsonschema_rs.validate(event_schema(KINDS[example["headers"]["ce_type"]]), example["value"])


def test_rooms_of_the_release_before_read_what_this_one_says_until_its_doors_are_there() -> None:
    """Rooms are upgraded one after the other, and hear each other meanwhile; doors come last."""
    kinds = [(file, BEFORE[kind]) for file in GOLDEN if (kind := ".".join(file.stem.split(".")[:2])) in BEFORE]
    unread = {file.stem for file, schema in kinds if not jsonschema_rs.is_valid(schema, read(file)["value"])}
    assert unread == AFTER_THE_DOORS


@pytest.mark.parametrize("kind", KINDS.values(), ids=short_name)
def test_a_field_that_an_event_got_since_the_release_before_is_in_an_example(kind: type[AnyEvent]) -> None:
    shown = {name for file in GOLDEN if file.stem.startswith(short_name(kind)) for name in read(file)["value"]}
    assert {*kind.model_fields} - shown <= {
        *BEFORE.get(short_name(kind), {"properties": kind.model_fields})["properties"]
    }


def test_every_event_has_an_example() -> None:
    assert {file.stem for file in GOLDEN} >= {short_name(kind) for kind in KINDS.values()}
