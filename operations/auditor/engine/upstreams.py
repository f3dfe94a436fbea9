"""The topics that upstreams publish to → the requests that are on them, or were until retention deleted them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from operations.auditor.engine.records import Partition, Reader
from topics import catalog
from topics.catalog import Topic
from topics.runtime.shape.decode import decode
from topics.runtime.shape.record import message_of

DOORS_SOURCE = "/tallystick/doors"  # the CloudEvents source of the HTTP doors
DAY_MS = 86_400_000
LATE_MS = DAY_MS  # a request may have waited for so long before its room read it


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests that are on the upstreams' own topics."""

    claims: frozenset[str]  # the ids of the inbox
    gone_until_ms: Mapping[str, int]  # owner → retention may have deleted what was read before this time

    def explain(self, owner: str, claim: str, received_ms: int) -> bool:
        """Whether the owner's request was on the owner's topic, or may have been."""
        return claim in self.claims or received_ms < self.gone_until_ms[owner]


def upstream_requests(
    reading: Reader, topic: Topic, owners: Collection[str], by_http: Collection[str], now_ms: int
) -> Requests:
    """The requests of these owners, present and former upstreams. An empty topic has had no request younger than its
    retention. So has a topic that does not exist, unless its owner is known `by_http`, and may never have had one.
    """
    assert topic.retention_days is not None
    kept_since = now_ms - topic.retention_days * DAY_MS
    upstreams = frozenset(owners)
    topics = {
        name: owner for owner in upstreams for name in catalog.names(topic, frozenset([owner])) if name != topic.name
    }
    ends = reading.ends_of(reading.existing(sorted(topics)))
    oldest: dict[Partition, int] = {}
    claims = set()
    for record in reading.records(ends):
        message = message_of(record, reading.prefix)
        claims.add(decode(message, upstreams, b"").claim)  # its digest is not needed
        if ends[message.topic, message.partition][0] > 0:
            oldest.setdefault((message.topic, message.partition), message.timestamp_ms)
    empty = {where: kept_since for where, (low, _) in ends.items() if low > 0 and where not in oldest}
    missing = upstreams - {topics[name] for name, _ in ends} - set(by_http)
    gone = dict.fromkeys(upstreams, 0) | dict.fromkeys(missing, kept_since)
    for (name, _), at_ms in (oldest | empty).items():
        gone[topics[name]] = max(gone[topics[name]], at_ms)
    return Requests(frozenset(claims), {owner: at_ms + LATE_MS if at_ms else 0 for owner, at_ms in gone.items()})
