"""Findings, and the hops by which missing effects may still come."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import AnyEvent
from topics import catalog
from topics.catalog import Topic


@dataclass(frozen=True, slots=True)
class Hop:
    """The way of an event from one room to another, or onto its topic. The record's key is the finding's."""

    speaker: str
    topic: Topic
    hearer: str | None


def published(event: type[AnyEvent]) -> Hop:
    """The hop onto the event's topic, by the catalogue. Errors: LookupError if no topic has the event."""
    for topic in catalog.TOPICS:
        if event in topic.says:
            return Hop(topic.spoken_by, topic, None)
    raise LookupError(f"no topic says {event.__name__}")


def heard(event: type[AnyEvent], hearer: str) -> Hop:
    """The hop to a room that consumes the event, by the catalogue. Errors: LookupError if the room does not."""
    hop = published(event)
    if hop.topic not in catalog.room(hearer).reads:
        raise LookupError(f"{hearer} does not hear {event.__name__}")
    return Hop(hop.speaker, hop.topic, hearer)


@dataclass(frozen=True, slots=True)
class Finding:
    """A disagreement. With a hop: a missing effect that may be in flight."""

    check: str
    key: str  # its subject, in the key of the hop's topic: a checkout, an order
    detail: str
    hop: Hop | None = None

    def __str__(self) -> str:
        return f"{self.key}: {self.detail}"
