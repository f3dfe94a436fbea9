"""A record → its event and its inbox id, or the failure that makes it unreadable. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import orjson
from pydantic import ValidationError

from schemas.envelope import TYPE_PREFIX, EventId, digest, event_type, is_event_id, time_ms_of
from schemas.events import AnyEvent
from schemas.requests import BODY_MAX, FieldError, field_errors, repeated_field
from schemas.text import looks_like_card_number
from topics import catalog
from topics.catalog import Topic
from topics.runtime.shape.consumer import OPAQUE, Broken, Message

RECORD_BYTES_MAX = 1_048_588  # max.message.bytes of our topics; a compressed record may be larger once unpacked
_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message is dead, or retried later. `ours` failures count towards the room's fault limit."""

    code: str
    detail: str
    stack: str = ""
    ours: bool = False
    retry: bool = False


Redacted = Literal["too_large", "card_number"]


@dataclass(slots=True)
class Incoming:
    """One message of a batch, with its state within the batch."""

    message: Message
    claim: str  # the inbox key, a UUID's text
    hash: str  # of key and value; keyed by the installation's secret if the message is redacted
    event: AnyEvent | Broken | None = None
    failure: Failure | None = None
    upstream: str | None = None
    entered_ms: int = 0
    traceparent: str | None = None
    letter: LetterHeaders | None = None
    door: bool = False
    redacted: Redacted | None = None  # why the message must not be stored as it came

    @property
    def too_large(self) -> bool:
        """Whether the record is larger than any valid one of its topic. Such a record is neither parsed nor stored."""
        _, _, _, key, value, headers, _ = self.message
        size = len(key or b"") + len(value or b"") + sum(len(name) + len(content or b"") for name, content in headers)
        return size > (BODY_MAX if self.door else RECORD_BYTES_MAX)

    @property
    def readable(self) -> bool:
        return self.event is not None and not isinstance(self.event, Broken)

    @property
    def holds(self) -> bool:
        """Whether later messages of its key wait for this one. A message that breaks the contract has no key to trust."""
        return self.readable and self.message.key is not None


@dataclass(frozen=True, slots=True)
class LetterHeaders:
    """The headers that identify a dead letter's copy when it is produced back to the topic."""

    id: str
    attempts: int


def decode(message: Message, upstreams: frozenset[str], digest_key: bytes) -> Incoming:
    """Never raises: an unreadable message carries its failure."""
    incoming = _decoded(message, upstreams)
    if not incoming.readable and (why := _redacted(incoming)):
        incoming.redacted, incoming.hash = why, _content_hash(message, digest_key)
    return incoming


def _redacted(incoming: Incoming) -> Redacted | None:
    """Why an unreadable record must be redacted, if it must. A readable event has passed its own checks: digits in its ids
    may look like a card number, and a retry needs its value."""
    if incoming.too_large:
        return "too_large"
    message = incoming.message
    parts = (message.key, message.value, *(content for _, content in message.headers))
    return "card_number" if any(map(holds_card_number, parts)) else None


def holds_card_number(content: bytes | None) -> bool:
    return content is not None and looks_like_card_number(content.decode("utf-8", "replace"))


def _decoded(message: Message, upstreams: frozenset[str]) -> Incoming:
    try:
        topic, upstream = catalog.find(message.topic, upstreams)
    except KeyError:
        return _unknown_topic(message)
    headers = dict(message.headers)
    trace = headers.get("traceparent")
    incoming = Incoming(
        message,
        "",
        _content_hash(message),
        upstream=upstream,
        traceparent=_text(trace) if trace else None,
        door=topic.door,
    )
    if "tally_letter" in headers:
        incoming.letter = _letter_headers(headers)
    incoming.failure = _identify(incoming, topic, headers) or _too_large(incoming) or _parse(incoming, topic, headers)
    return incoming


_Headers = Mapping[str, bytes]


def _text(value: bytes | None) -> str:
    """A header as text; empty if it has no value."""
    return value.decode("utf-8", "replace") if value else ""


def _content_hash(message: Message, key: bytes = b"") -> str:
    return digest(b"" if message.key is None else b"\1" + message.key, message.value or b"", key=key)


def _unknown_topic(message: Message) -> Incoming:
    """A letter of an upstream that has been removed from the settings since."""
    claim = digest(message.topic.encode(), b"%d:%d" % (message.partition, message.offset))
    failure = Failure("unknown_topic", f"{message.topic} is not in the catalogue, or its upstream not in the settings")
    return Incoming(message, claim, _content_hash(message), failure=failure, door=True)


def _letter_headers(headers: _Headers) -> LetterHeaders | None:
    attempts = _text(headers.get("tally_attempts"))
    letter_id = _text(headers["tally_letter"])
    return LetterHeaders(letter_id, int(attempts)) if is_event_id(letter_id) and _NUMBER.match(attempts) else None


def _identify(incoming: Incoming, topic: Topic, headers: _Headers) -> Failure | None:
    """Set the inbox key: the event's id on our own topics; on doors, where senders choose ids, a digest with topic and source."""
    message = incoming.message
    twice = _repeated(message.headers) if len(headers) < len(message.headers) else None
    event_id = "" if twice else _text(headers.get("ce_id"))
    if topic.door and event_id and len(event_id) <= 256:
        incoming.claim = door_claim(message.topic, _text(headers.get("ce_source")), event_id)
        incoming.entered_ms = message.timestamp_ms
        return None
    if not topic.door and is_event_id(event_id):
        incoming.claim = event_id
        incoming.entered_ms = time_ms_of(event_id)
        return None
    incoming.claim = digest(message.topic.encode(), b"%d:%d" % (message.partition, message.offset))
    if message.headers == OPAQUE:
        return Failure("cannot_unpack", "its compressed batch is broken, or unpacks to more than the client takes")
    return Failure("bad_headers", f"{twice} stands twice" if twice else "ce_id is missing or not an id")


def _repeated(headers: Sequence[tuple[str, bytes]]) -> str | None:
    """A repeated attribute of the envelope: readers would differ in which of the two they take."""
    names = sorted(name for name, _ in headers if name.startswith("ce_"))
    return next((name for name, following in pairwise(names) if name == following), None)


def door_claim(topic: str, source: str, event_id: str) -> str:
    """The inbox key of a message on a door topic. `topic` without the prefix."""
    return digest(topic.encode(), source.encode(), event_id.encode())


def _too_large(incoming: Incoming) -> Failure | None:
    """Our own records are measured by their value only: counting headers costs more than all else here."""
    if (incoming.door or len(incoming.message.value or b"") > BODY_MAX) and incoming.too_large:
        most = BODY_MAX if incoming.door else RECORD_BYTES_MAX
        return Failure("too_large", f"a record of this topic has at most {most} bytes; it is kept in Kafka alone")
    return None


def _parse(incoming: Incoming, topic: Topic, headers: _Headers) -> Failure | None:
    message = incoming.message
    if headers.get("ce_specversion") != b"1.0":
        return Failure("bad_headers", "ce_specversion is not 1.0")
    kind = _types_by_name(topic).get(headers.get("ce_type") or b"")
    if kind is None:
        return _unknown_type(topic, _text(headers.get("ce_type")))
    if message.value is None:
        return Failure("null_value", "the record has no value")
    if message.key is None:
        return Failure("null_key", f"the record has no key; it must be the {topic.key}")
    try:
        event: AnyEvent = kind.__pydantic_validator__.validate_json(message.value)
    except ValidationError as error:
        return _broken(incoming, topic, kind, field_errors(error)[0])
    if topic.door and (repeated := repeated_field(message.value)):
        return _broken(incoming, topic, kind, repeated)
    if event.key.encode() != message.key:
        return Failure("wrong_key", f"the record's key is not its {topic.key}")
    incoming.event = event
    return None


_TYPES: dict[str, dict[bytes, type[AnyEvent]]] = {}


def _types_by_name(topic: Topic) -> dict[bytes, type[AnyEvent]]:
    if topic.name not in _TYPES:
        _TYPES[topic.name] = {event_type(kind).encode(): kind for kind in topic.says}
    return _TYPES[topic.name]


def _unknown_type(topic: Topic, given: str) -> Failure:
    stem = given.rpartition(".v")[0]
    if any(stem == f"{TYPE_PREFIX}{kind.__name__}" for kind in topic.says):
        return Failure("unsupported_version", f"{_printable(given)} is not a version that this release reads")
    return Failure("unknown_type", f"{_printable(given)!r} is not said on {topic.name}")


def _broken(incoming: Incoming, topic: Topic, kind: type[AnyEvent], first: FieldError) -> Failure | None:
    """On a door a JSON object that breaks the contract is refused by an event; everything else is a dead letter."""
    where, why = _printable(first.field) or "body", _printable(first.detail)
    if first.code == "invalid_json" or not topic.door:
        return Failure("malformed", f"{where}: {why}")
    try:
        data = orjson.loads(incoming.message.value or b"")
    except orjson.JSONDecodeError as json_error:
        return Failure("malformed", str(json_error))
    if not isinstance(data, dict):
        return Failure("malformed", "the value is not an object")
    subject_id = _id(data.get(kind.keyed_by))
    if subject_id is None or subject_id.encode() != incoming.message.key:
        return Failure("malformed", f"{where}: {why}; and the key is not a {topic.key}")
    owner = incoming.upstream or _id(data.get("owner"))
    ids = {name: id_ for name in kind.model_fields if name.endswith("_id") and (id_ := _id(data.get(name)))}
    incoming.event = Broken(kind, subject_id, owner, where, first.code, why, ids)
    return None


def _printable(text: str) -> str:
    """A sender's text, safe to publish and store: names of unknown fields may hold anything, card numbers too."""
    if looks_like_card_number(text):
        return "a field that looks like a card number"
    return "".join(letter if letter.isprintable() else "?" for letter in text[:100])


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.match(value) else None


def cause_id(incoming: Incoming) -> EventId:
    return EventId(incoming.claim)
