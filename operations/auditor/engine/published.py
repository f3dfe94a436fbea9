"""A room's records on a topic ⇄ the effects in its store, by event id."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from operations.auditor.engine.findings import Finding, Hop, published
from operations.auditor.engine.records import Bookmark, Reader, event_ids
from schemas.events import AnyEvent

Books = TypeVar("Books")


@dataclass(frozen=True, slots=True)
class Subject(Generic[Books]):
    """A topic's events that follow from stored effects, one each. `stored` gives (event id, key) of each due event."""

    check: str
    kinds: tuple[type[AnyEvent], ...]
    stored: Callable[[Books], Iterable[tuple[str, str]]]
    # Keys of which the store keeps the last effect only: more events may be on the topic.
    said_more: Callable[[Books], Collection[str]] = lambda _: ()

    @property
    def hop(self) -> Hop:
        return published(self.kinds[0])


@dataclass(slots=True)
class PublishedIds(Generic[Books]):
    """The ids that were read on one topic so far."""

    subject: Subject[Books]
    keys: dict[str, str] = field(default_factory=dict)  # event id → key
    place: Bookmark = field(init=False)

    def __post_init__(self) -> None:
        self.place = Bookmark(self.subject.hop.topic)

    def read_on(self, reading: Reader) -> None:
        self.keys.update(event_ids(self.place.read_on(reading), self.subject.kinds))

    def compare(self, books: Books, among: Collection[str] | None = None) -> Iterator[Finding]:
        """Findings: stored and not published; published and not stored. With `among` only about these orders."""
        stored = dict(self.subject.stored(books))
        topic, check = self.subject.hop.topic, self.subject.check
        if not self.place.trimmed:
            for event_id in stored.keys() - self.keys.keys():
                detail = f"event {event_id} is not on {topic.name}"
                yield Finding(check, stored[event_id], detail, self.subject.hop)
        more = self.subject.said_more(books)
        for event_id, key in self.keys.items():
            if event_id not in stored and (among is None or key in among) and key not in more:
                yield Finding(check, key, f"{topic.name} says {event_id}, and {topic.spoken_by} knows nothing of it")
