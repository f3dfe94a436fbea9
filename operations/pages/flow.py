"""The catalogue → docs/flow.md: rooms, topics and doors as a Mermaid picture and a table."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.events import AnyEvent
from topics.catalog import CONSUMERS, DOORS, PSEUDO_TOPICS, ROOMS, TOPICS, Outside, Room, Topic

HEAD = """# What flows

<!-- Made by `tally topics map` from topics/catalog.py; do not edit. -->

Round boxes are rooms, each with a PostgreSQL schema of its own; flat ones are topics, those with a broken line compacted.
The doors have six corners: they have a schema and an outbox as a room has, and read no topic. What has two bars is the
outside world. Dead letters of a room go to `<room>.dlq.v1`, which is not drawn.

"""


def page() -> str:
    return HEAD + "\n".join(["```mermaid", *picture(), "```", "", "## Topics", "", *table(), "", *pseudo_topics(), ""])


def picture() -> Iterator[str]:
    """Deterministic: everything in the catalogue's order, which is that of the money."""
    yield "flowchart LR"
    yield '    upstream[["upstream services"]]'
    yield '    psps[["PSPs, pay-out providers"]]'
    yield '    readers[["dashboards, finance"]]'
    yield f"    {_room(DOORS)}{{{{{DOORS.name}}}}}"
    yield from (f"    {_room(room)}([{room.name}])" for room in CONSUMERS)
    yield from (f'    {_topic(topic)}["{topic.name}"]' for topic in TOPICS)
    yield from (
        f'    upstream -->|"{topic.of("#lt;upstream#gt;")}"| {_topic(topic)}' for topic in TOPICS if topic.per_upstream
    )
    for room in ROOMS:
        yield from (f"    {_topic(topic)} --> {_room(room)}" for topic in room.reads if topic.on_kafka)
        yield from (_way(room, outside) for outside in room.outside)
        yield from (f"    {_room(room)} --> {_topic(topic)}" for topic in room.writes)
    yield from (f"    {_topic(topic)} --> readers" for topic in TOPICS if topic.for_readers)
    yield "    classDef compacted stroke-dasharray: 4 3"
    yield f"    class {','.join(_topic(topic) for topic in TOPICS if topic.compacted)} compacted"


def _way(room: Room, outside: Outside) -> str:
    match outside.says:
        case "to us":
            return f"    {outside.who} -->|{outside.over}| {_room(room)}"
        case "to them":
            return f"    {_room(room)} -->|{outside.over}| {outside.who}"
        case "both":
            return f"    {_room(room)} <-->|{outside.over}| {outside.who}"


def table() -> Iterator[str]:
    yield "| topic | key | says | spoken by | heard by | kept |"
    yield "|---|---|---|---|---|---|"
    for topic in TOPICS:
        says = ", ".join(event.__name__ for event in topic.says)
        heard = ", ".join(_consumers(topic))
        name = f"`{topic.name}`" + (f"; `{topic.of('<upstream>')}`" if topic.per_upstream else "")
        yield f"| {name} | {topic.key} | {says} | {', '.join(topic.speakers)} | {heard} | {_kept(topic)} |"


def pseudo_topics() -> Iterator[str]:
    """What the picture leaves out: it never leaves its room."""
    yield "## Within a room"
    yield ""
    yield "Rows of the room's own store, which it applies like messages, by the same path and each once. Not on Kafka, not drawn."
    yield ""
    yield "| pseudo-topic | key | says | heard by |"
    yield "|---|---|---|---|"
    for topic in PSEUDO_TOPICS:
        says = ", ".join(f"{event.__name__}: {_summary(event)}" for event in topic.says)
        yield f"| `{topic.name}` | {topic.key} | {says} | {', '.join(_consumers(topic))} |"


def _summary(event: type[AnyEvent]) -> str:
    """The first sentence of what the event says about itself."""
    return (event.__doc__ or "").partition(". ")[0].partition("\n")[0].rstrip(".")


def _consumers(topic: Topic) -> list[str]:
    return [room.name for room in ROOMS if topic in room.reads] + (["readers outside"] if topic.for_readers else [])


def _kept(topic: Topic) -> str:
    if topic.compacted:
        return "the latest of each key"
    return "for ever" if topic.retention_days is None else f"{topic.retention_days} days"


def _room(room: Room) -> str:
    return f"room_{room.name}"


def _topic(topic: Topic) -> str:
    return "topic_" + topic.name.removesuffix(".v1").replace("-", "_").replace(".", "_")
