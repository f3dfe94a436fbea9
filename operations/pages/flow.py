"""The catalogue → docs/flow.md: rooms, topics and doors as a Mermaid picture and a table."""

from __future__ import annotations

from collections.abc import Iterator

from topics.catalog import CALLS, DOORS, PAYMENT_REQUESTS, ROOMS, TOPICS, Room, Topic

HEAD = """# What flows

<!-- Made by `tally topics map` from topics/catalog.py; do not edit. -->

Round boxes are rooms, each with a PostgreSQL schema of its own; flat ones are topics; what has two bars is the outside
world. Dead letters of a room go to `<room>.dlq.v1`, which is not drawn.

"""


def page() -> str:
    return HEAD + "\n".join(["```mermaid", *picture(), "```", "", "## Topics", "", *table(), ""])


def picture() -> Iterator[str]:
    """Deterministic: everything in the catalogue's order, which is that of the money."""
    yield "flowchart LR"
    yield '    upstream[["upstream services"]]'
    yield '    psps[["PSPs"]]'
    yield '    readers[["dashboards, finance"]]'
    yield from (f"    {_room(room)}([{room.name}])" for room in ROOMS)
    yield from (f'    {_topic(topic)}["{topic.name}"]' for topic in TOPICS)
    yield f"    upstream -->|HTTP| {_room(DOORS)}"
    yield f'    upstream -->|"payment-requests.#lt;upstream#gt;.v1"| {_topic(PAYMENT_REQUESTS)}'
    for room in ROOMS:
        yield from (f"    {_topic(topic)} --> {_room(room)}" for topic in room.reads if topic.on_kafka)
        if CALLS in room.reads:
            yield f"    {_room(room)} <-->|calls| psps"
        yield from (f"    {_room(room)} --> {_topic(topic)}" for topic in room.writes)
    yield from (
        f"    {_topic(topic)} --> readers" for topic in TOPICS if not _heard_by(topic) or topic.retention_days is None
    )
    yield "    classDef compacted stroke-dasharray: 4 3"
    yield f"    class {','.join(_topic(topic) for topic in TOPICS if topic.compacted)} compacted"


def table() -> Iterator[str]:
    yield "| topic | key | says | spoken by | heard by | kept |"
    yield "|---|---|---|---|---|---|"
    for topic in TOPICS:
        says = ", ".join(event.__name__ for event in topic.says)
        heard = ", ".join(_heard_by(topic)) or "readers outside"
        name = f"`{topic.name}`" + (f"; `{topic.of('<upstream>')}`" if topic.per_upstream else "")
        yield f"| {name} | {topic.key} | {says} | {topic.spoken_by} | {heard} | {_kept(topic)} |"


def _heard_by(topic: Topic) -> list[str]:
    return [room.name for room in ROOMS if topic in room.reads]


def _kept(topic: Topic) -> str:
    if topic.compacted:
        return "the latest of each key"
    return "for ever" if topic.retention_days is None else f"{topic.retention_days} days"


def _room(room: Room) -> str:
    return f"room_{room.name}"


def _topic(topic: Topic) -> str:
    return "topic_" + topic.name.removesuffix(".v1").replace("-", "_").replace(".", "_")
