"""The catalogue and its events → docs/schemas/*.json and docs/asyncapi.json, for readers that are not ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from schemas.envelope import event_type
from schemas.events import AnyEvent
from topics.catalog import DAYS, ROOMS, TOPICS, Room, Topic

Json = dict[str, Any]

DRAFT_07 = "http://json-schema.org/draft-07/schema#"  # the version that AsyncAPI 3 requires of every tool
ASYNCAPI = "asyncapi.json"
SCHEMAS = "schemas"
ROOT = "#/definitions/{model}"

TRACEPARENT = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"

ABOUT = """Money that comes in from buyers for sellers, every cent accounted for in wallets and a double-entry ledger.
Records are CloudEvents 1.0 in binary mode: JSON in the value, attributes in `ce_` headers. Delivery is at least once:
drop repeats by `ce_id`. Order holds within one key of one topic. Amounts are decimal strings. Ignore fields and types
that you do not know. Topic names get the installation's prefix in front."""


def files() -> dict[str, str]:
    """Path below docs/ → its text. Deterministic: everything in the catalogue's order."""
    made = {f"{SCHEMAS}/{short_name(event)}.json": event_schema(event) for event in said()}
    made[ASYNCAPI] = document()
    return {path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in made.items()}


def stale(docs: Path) -> list[str]:
    """Paths below `docs` that differ from `files`, obsolete ones included."""
    wanted = files()
    present = {f"{SCHEMAS}/{file.name}" for file in (docs / SCHEMAS).glob("*.json")}
    wrong = [
        path
        for path, text in wanted.items()
        if not (docs / path).exists() or (docs / path).read_text(encoding="utf-8") != text
    ]
    return sorted([*wrong, *(present - set(wanted))])


def write(docs: Path) -> list[str]:
    """Write stale files, delete obsolete ones. → their paths"""
    wanted, changed = files(), stale(docs)
    (docs / SCHEMAS).mkdir(parents=True, exist_ok=True)
    for path in changed:
        if path in wanted:
            (docs / path).write_text(wanted[path], encoding="utf-8")
        else:
            (docs / path).unlink()
    return changed


# ── one event ────────────────────────────────────────────────────────────────────────────────────────────────────────


def said() -> Iterator[type[AnyEvent]]:
    """Every event that is ever on Kafka."""
    for topic in TOPICS:
        yield from topic.says


def short_name(event: type[AnyEvent]) -> str:
    """`PaymentCaptured.v1`."""
    return f"{event.__name__}.v{event.version}"


def event_schema(event: type[AnyEvent]) -> Json:
    """The schema of the value, for readers. Only doors forbid unknown fields; a missing field is null."""
    schema = event.model_json_schema(ref_template=ROOT)
    schema["description"] = _flat(schema.get("description", ""))
    parts = schema.pop("$defs", None)
    head: Json = {"$schema": DRAFT_07, "$comment": "Made by `tally schemas write`; do not edit."}
    return head | schema | ({"definitions": parts} if parts else {})


def _flat(text: str) -> str:
    return " ".join(text.split())


# ── all topics ───────────────────────────────────────────────────────────────────────────────────────────────────────


def document() -> Json:
    """AsyncAPI 3.0.0: topics are channels, rooms send and receive."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tallystick",
            "version": version("tallystick"),
            "description": f"{_flat(ABOUT)}\n\nMade by `tally schemas write`; do not edit.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": dict(_operations()),
        "components": {
            "messages": {short_name(event): _message(event) for event in said()},
            "messageTraits": {"cloudevent": _envelope()},
        },
    }


def _channel(topic: Topic) -> Json:
    own_topics = f" An upstream that writes itself does so on `{topic.of('<upstream>')}`." if topic.per_upstream else ""
    return {
        "address": topic.name,
        "description": f"Spoken by {' and '.join(topic.speakers)}; the key is {topic.key}.{own_topics}",
        "messages": {short_name(event): {"$ref": f"#/components/messages/{short_name(event)}"} for event in topic.says},
        "bindings": {"kafka": _kafka(topic)},
    }


def _kafka(topic: Topic) -> Json:
    """AsyncAPI's Kafka binding, version 0.5.0."""
    kept = -1 if topic.retention_days is None else topic.retention_days * DAYS * 1000
    configuration: Json = {"cleanup.policy": ["compact"]} if topic.compacted else {"retention.ms": kept}
    count: Json = {"partitions": topic.partitions} if topic.partitions else {}  # else a setting
    return {**count, "topicConfiguration": configuration, "bindingVersion": "0.5.0"}


def _operations() -> Iterator[tuple[str, Json]]:
    for room in ROOMS:
        yield from (_operation(room, topic, "receive") for topic in room.reads if topic.on_kafka)
        yield from (_operation(room, topic, "send") for topic in room.writes)


def _operation(room: Room, topic: Topic, action: str) -> tuple[str, Json]:
    channel = f"#/channels/{topic.name}"
    messages = [{"$ref": f"{channel}/messages/{short_name(event)}"} for event in topic.says]
    operation = {"action": action, "channel": {"$ref": channel}, "messages": messages}
    return f"{room.name}.{action}.{topic.name.rpartition('.')[0]}", operation


def _message(event: type[AnyEvent]) -> Json:
    return {
        "name": event_type(event),
        "summary": _flat(event.__doc__ or ""),
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-07",
            "schema": {"$ref": f"./{SCHEMAS}/{short_name(event)}.json"},
        },
        "examples": [{"name": "golden", "payload": _golden(event)["value"]}],
    }


def _golden(event: type[AnyEvent]) -> Json:
    """The example that this release ships and decodes."""
    from schemas import golden

    example: Json = json.loads((Path(golden.__path__[0]) / f"{short_name(event)}.json").read_text(encoding="utf-8"))
    return example


def _envelope() -> Json:
    """CloudEvents 1.0, Kafka protocol binding, binary content mode."""
    text: Json = {"type": "string"}
    fields: Json = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {**text, "description": "the same event always has the same id; ours are UUIDv8"},
        "ce_source": {**text, "description": "who says it: /tallystick/<room>, or the upstream's own URI"},
        "ce_type": {**text, "description": "tallystick.<Event>.v<version>"},
        "ce_time": {**text, "format": "date-time", "description": "when it was decided"},
        "ce_revision": {**text, "pattern": "^[0-9]+$", "description": "the aggregate's revision, as digits"},
        "content-type": {"type": "string", "const": "application/json"},
        "traceparent": {**text, "pattern": TRACEPARENT, "description": "W3C Trace Context"},
    }
    required = ["ce_specversion", "ce_id", "ce_source", "ce_type"]
    return {"headers": {"type": "object", "properties": fields, "required": required}}
