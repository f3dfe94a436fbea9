"""Compacted topics ⇄ their rows in the stores, by version and amounts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import orjson

from operations.auditor.engine.records import Bookmark, Reader, key_of
from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import Stores
from schemas.envelope import header
from schemas.money import Money
from topics.catalog import Topic
from topics.runtime.shape.record import headers_of


@dataclass(frozen=True, slots=True)
class Balance:
    """`statement` gives (key, version, currency, amounts…), in the order of `amounts`: their names in the event."""

    check: str
    topic: Topic
    statement: str
    amounts: tuple[str, ...]


@dataclass(slots=True)
class Latest:
    """The highest version of each key on a compacted topic so far."""

    balance: Balance
    records: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    place: Bookmark = field(init=False)

    def __post_init__(self) -> None:
        self.place = Bookmark(self.balance.topic)

    def read_on(self, reading: Reader) -> None:
        for record in self.place.read_on(reading):
            key = key_of(record)
            revision = header(headers_of(record), "ce_revision") or ""
            version = int(revision) if revision.isdecimal() else 0
            if version >= self.records.get(key, (-1, b""))[0]:
                self.records[key] = (version, record.value() or b"")

    def compare(self, stores: Stores) -> Comparison:
        """Compare, topic first, so that the store can only be newer."""
        rows = stores.rows(self.balance.topic.spoken_by, self.balance.statement)
        wrong = dict.fromkeys(self.records.keys() - {row[0] for row in rows}, "on the topic, and not in the store")
        behind = {}
        for key, version, currency, *amounts in rows:
            said, value = self.records.get(key, (0, b""))
            if said < version:
                behind[key] = version
            elif said > version:
                wrong[key] = f"version {said} was said, {version} is stored"
            elif self._told(value) != [Money(amount, currency) for amount in amounts]:
                wrong[key] = f"version {version} does not say what is stored"
        return Comparison(len(rows), wrong, behind)

    def said(self, key: str) -> int:
        """The version that was published last; 0 if none was."""
        return self.records.get(key, (0, b""))[0]

    def _told(self, value: bytes) -> list[Money] | None:
        try:
            body = orjson.loads(value)
            return [Money.from_wire(body[name]["amount"], body[name]["currency"]) for name in self.balance.amounts]
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`behind`: key → the version that is stored and not published yet."""

    examined: int
    wrong: dict[str, str]
    behind: dict[str, int]


def check_latest(run: Run, balance: Balance, *, expected: bool) -> Check:
    """A balance is published once the version of the first look, or a later one, is on the topic."""
    topic = Latest(balance)
    topic.read_on(run.reading)
    first = topic.compare(run.stores)
    owed, until = first.behind, time.monotonic() + run.patience.latest_s
    while owed and time.monotonic() < until:
        time.sleep(run.patience.pauses_s[0])
        topic.read_on(run.reading)
        owed = {key: version for key, version in owed.items() if topic.said(key) < version}
    wrong = [f"{key}: {why}" for key, why in sorted(first.wrong.items())]
    wrong += [
        f"{key}: version {version} is stored, {topic.said(key) or 'none'} was said" for key, version in owed.items()
    ]
    return judged(balance.check, first.examined, wrong, expected=expected)
