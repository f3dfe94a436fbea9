"""Unfinished work → what is past its limit, and what waits for a person.

Two clocks: `now` is business time, for deadlines and ladders; leases and outboxes use PostgreSQL's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from confluent_kafka.admin import AdminClient

from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.stores import Stores
from topics.catalog import CONSUMERS, ROOMS, TIMERS
from topics.runtime.outbox.outbox import load_record
from topics.runtime.process import partition_counts
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings

OUTBOX_S = 60  # the sweep runs every 5 s
LEASE_S = 60  # after its end
OVERDUE = timedelta(minutes=10)  # after the due time of a call or letter, in business time


@dataclass(slots=True)
class LookResult:
    """One look: the number of things examined, and those past their limit."""

    examined: int = 0
    wrong: dict[str, str] = field(default_factory=dict)  # subject → what is wrong with it
    aside: list[str] = field(default_factory=list)


Look = Callable[[Stores, datetime], LookResult]


def outboxes(stores: Stores, now: datetime) -> LookResult:
    """No outbox holds old rows."""
    seen = LookResult()
    for room in ROOMS:
        (waiting,) = stores.one(room.name, "SELECT coalesce(sum(cardinality(keys)), 0)::bigint FROM outbox")
        seen.examined += 1
        if waiting:
            seen.aside.append(f"{waiting} records in {room.name}")
        old = stores.rows(
            room.name,
            "SELECT id, place, extract(epoch FROM clock_timestamp() - created_at)::bigint, record FROM outbox"
            " CROSS JOIN LATERAL unnest(records) WITH ORDINALITY AS r (record, place)"
            f" WHERE created_at < clock_timestamp() - interval '{OUTBOX_S} seconds' ORDER BY id, place LIMIT 100",
        )
        for row_id, place, age, packed in old:
            record = load_record(packed)
            key = (record.key or b"").decode(errors="replace")
            seen.wrong[f"{room.name} {row_id}.{place}"] = f"not on {record.topic} after {age} s (key {key})"
    return seen


def parked(stores: Stores, now: datetime) -> LookResult:
    """Each parked message that is the first of its key is retried when it is due."""
    seen = LookResult()
    for room in CONSUMERS:
        seen.examined += 1
        number = stores.one(room.name, "SELECT count(*) FROM parked WHERE state = 'parked'")[0]
        seen.aside.append(f"{number} in {room.name}" if number else "")
        rows = stores.rows(
            room.name,
            "SELECT letter_id::text, topic, coalesce(code, ''), due_at::text FROM parked p WHERE state = 'parked'"
            " AND due_at < %s AND NOT EXISTS (SELECT 1 FROM parked q WHERE p.holds AND q.holds"
            " AND q.state IN ('parked', 'dead') AND q.topic = p.topic AND q.key = p.key AND q.seq < p.seq) LIMIT 100",
            [now - OVERDUE],
        )
        seen.wrong |= {f"{room.name}/{id_}": f"{code} on {topic}, due since {due}" for id_, topic, code, due in rows}
    return seen


def rooms(stores: Stores, now: datetime) -> LookResult:
    """No room has stopped."""
    seen = LookResult()
    for room in CONSUMERS:
        seen.examined += 1
        rows = stores.rows(room.name, "SELECT code, reason FROM stops WHERE lifted_at IS NULL")
        for code, reason in rows:
            seen.wrong[room.name] = f"stopped: {code}, {reason}"
    return seen


def timers(stores: Stores, now: datetime) -> LookResult:
    """Every timer fires when it is due."""
    result = LookResult()
    for room in CONSUMERS:
        if TIMERS not in room.reads:
            continue
        result.examined += stores.one(room.name, "SELECT count(*) FROM timers")[0]
        rows = stores.rows(
            room.name,
            "SELECT id::text, kind, key, due_at::text FROM timers WHERE due_at < %s ORDER BY due_at LIMIT 100",
            [now - OVERDUE],
        )
        result.wrong |= {f"{room.name}/{id_}": f"{kind} of {key}, due since {due}" for id_, kind, key, due in rows}
    return result


OUTBOXES: dict[str, Look] = {"outboxes_young": outboxes}
ROOMS_LOOKS: dict[str, Look] = {"parked_tried": parked, "timers_fire": timers, "rooms_run": rooms}


def check_looks(looks: Mapping[str, Look], stores: Stores, clock: Clock, pause_s: float) -> Iterator[Check]:
    """Fail for what is past its limit at two looks."""
    first = {name: look(stores, clock.now()) for name, look in looks.items()}
    if any(seen.wrong for seen in first.values()):
        time.sleep(pause_s)
    for name, look in looks.items():
        seen = first[name]
        if seen.wrong:
            again = look(stores, clock.now())
            seen.wrong = {key: why for key, why in again.wrong.items() if key in seen.wrong}
        wrong = [f"{key}: {why}" for key, why in seen.wrong.items()]
        yield judged(name, seen.examined, wrong, expected=False, aside=seen.aside)


def dead_letters(stores: Stores) -> Check:
    """Report dead letters, which wait for an operator. Not a failure."""
    notes = []
    examined = 0
    for room in CONSUMERS:
        rows = stores.rows(
            room.name, "SELECT coalesce(code, ''), count(*) FROM parked WHERE state = 'dead' GROUP BY 1 ORDER BY 2 DESC"
        )
        examined += sum(number for _, number in rows)
        notes += [f"{number} in {room.name}: {code}" for code, number in rows]
    return judged("dead_letters", examined, [], expected=False, aside=notes)


def partitions_kept(stores: Stores, settings: Settings) -> Check:
    """Report changed numbers of partitions. Not a failure: the books may be right, but the order of keys may be broken."""
    kafka, examined, notes = AdminClient(kafka_config(settings)), set[str](), set[str]()
    for room in ROOMS:
        found = partition_counts.find(kafka, settings, room.name)
        examined |= {each.topic for each in found}
        notes |= set(partition_counts.changes(stores.connection(room.name), found))
    return judged("partitions_kept", len(examined), [], expected=True, aside=sorted(notes))
