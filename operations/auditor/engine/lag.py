"""Each room's positions at two looks → the rooms that do not read on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from operations.auditor.engine.records import Partition, Reader, positions, topics_read
from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import Stores
from topics.catalog import CONSUMERS


@dataclass(frozen=True, slots=True)
class Lag:
    """Each room's positions, and the number of readable records after them."""

    at: dict[tuple[str, Partition], int]
    behind: dict[tuple[str, Partition], int]
    impossible: dict[tuple[str, Partition], str]
    held_back: dict[Partition, tuple[int, int]] = field(
        default_factory=dict
    )  # by an open transaction: first offset, end


def lag(stores: Stores, reading: Reader) -> Lag:
    found = Lag({}, {}, {})
    for room in CONSUMERS:
        topics = [topic for topic in room.reads if topic.on_kafka]
        stored, unread = positions(stores, room.name), {}
        ends = reading.ends(*topics)
        for where, (low, high) in ends.items():
            position = stored.get(where, low)
            found.at[room.name, where] = position
            if position < low:
                found.impossible[room.name, where] = f"stands at {position}, and Kafka has nothing before {low}"
            elif position > high:
                found.impossible[room.name, where] = f"stands at {position}, and Kafka ends at {high}"
            elif position < high:
                unread[where] = (position, high)
        ids = reading.topic_ids({name for name, _ in ends})
        for name, read in topics_read(stores, room.name).items():
            if name in ids and ids[name] not in read:
                found.impossible[room.name, (name, 0)] = (
                    "it was deleted and made anew since: `tally resume` names the ways out"
                )
        found.behind.update({(room.name, where): n for where, n in reading.count(unread).items() if n})
        written = reading.written(*topics)
        found.held_back.update(
            {where: (high, written[where]) for where, (_, high) in ends.items() if high < written[where]}
        )
    return found


def stuck_between(first: Lag, last: Lag) -> list[tuple[str, Partition]]:
    """The partitions with something to read at both looks, of which nothing was read."""
    return [key for key in last.behind if key in first.behind and first.at[key] == last.at[key]]


def check_lag(first: Lag, last: Lag) -> Check:
    """Fail for rooms that have read nothing between the two looks, though there was something to read."""
    stuck = stuck_between(first, last)
    wrong = [f"{room} {topic}[{p}]: {why}" for (room, (topic, p)), why in last.impossible.items()]
    wrong += [
        f"{room} stands still on {topic}[{p}], {last.behind[room, (topic, p)]} behind" for room, (topic, p) in stuck
    ]
    behind: dict[str, int] = {}
    for (room, _), number in last.behind.items():
        behind[room] = behind.get(room, 0) + number
    notes = [f"{room} has {number} to read" for room, number in behind.items()]
    notes += [
        f"an open transaction holds back {topic}[{p}] from offset {start} to {until}"
        for (topic, p), (start, until) in last.held_back.items()
        if first.held_back.get((topic, p), (None,))[0] == start
    ]
    return judged("rooms_read", len(last.at), wrong, expected=True, aside=notes)


def check_reading(run: Run, first: Lag, at: float) -> Check:
    """As `check_lag`, since the look `first` at the time `at` (monotonic); looks again after the time that a takeover takes."""
    last = lag(run.stores, run.reading)
    while stuck_between(first, last) and time.monotonic() < at + run.patience.still_s:
        time.sleep(0.5)
        last = lag(run.stores, run.reading)
    return check_lag(first, last)
