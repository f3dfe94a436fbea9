"""What looks wrong, and the way by which what is missing may still come."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import AnyEvent
from topics import catalog
from topics.catalog import Topic


@dataclass(frozen=True, slots=True)
class Hop:
    """The way of an event from one room to another, or only onto its topic. Its key is the finding's."""

    speaker: str
    topic: Topic
    hearer: str | None


def published(event: type[AnyEvent]) -> Hop:
    """Onto the topic that says it, by the catalogue. Errors: LookupError where none does."""
    for topic in catalog.TOPICS:
        if event in topic.says:
            return Hop(topic.spoken_by, topic, None)
    raise LookupError(f"no topic says {event.__name__}")


def heard(event: type[AnyEvent], hearer: str) -> Hop:
    """To a room that hears it, by the catalogue. Errors: LookupError where it does not."""
    hop = published(event)
    if hop.topic not in catalog.room(hearer).reads:
        raise LookupError(f"{hearer} does not hear {event.__name__}")
    return Hop(hop.speaker, hop.topic, hearer)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that looks wrong. With a hop it is an effect that is not there yet, and may be on its way."""

    check: str
    key: str  # what it is about, as the topic of its hop is keyed: a checkout, an order
    detail: str
    hop: Hop | None = None

    def __str__(self) -> str:
        return f"{self.key}: {self.detail}"
