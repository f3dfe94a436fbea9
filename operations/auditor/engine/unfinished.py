"""What is not finished → is it known, and younger than its limit? And what waits for a person.

Two clocks: `now` is business time (deadlines, ladders); leases and outboxes go by PostgreSQL's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from confluent_kafka.admin import AdminClient

from operations.auditor.engine.records import Partition, Reader, positions, topics_read
from operations.auditor.engine.report import Check, judged
from operations.auditor.pay_in.books import Stores
from topics.catalog import CONSUMERS, ROOMS
from topics.runtime.outbox.outbox import load_record
from topics.runtime.process import partition_counts
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings

# From the last question of the ladder (5 s … 6 h, 24 h: 31 h 13 min) after a payment's deadline, with room to spare.
ENDED_AFTER = timedelta(hours=36)
OUTBOX_S = 60  # the sweep comes every 5 s
LEASE_S = 60  # past its end
OVERDUE = timedelta(minutes=10)  # past a call's or a letter's due time, by business time


@dataclass(slots=True)
class Seen:
    """One look: how many were looked at, and which are beyond their limit."""

    examined: int = 0
    wrong: dict[str, str] = field(default_factory=dict)  # what it is → why it is wrong
    aside: list[str] = field(default_factory=list)


Look = Callable[[Stores, datetime], Seen]


def outboxes(stores: Stores, now: datetime) -> Seen:
    """Every room's outbox empties."""
    seen = Seen()
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


def calls(stores: Stores, now: datetime) -> Seen:
    """Every call that is not ended is being worked at."""
    seen = Seen(stores.one("executor", "SELECT count(*) FROM call_view")[0])
    open_ = stores.one("executor", "SELECT count(*) FROM call_view WHERE state <> 'ended'")[0]
    seen.aside.append(f"{open_} at a PSP" if open_ else "")
    rows = stores.rows(
        "executor",
        "SELECT call_id, payment_order_id, state, CASE WHEN deadline < %s THEN 'its deadline was ' || deadline"
        " WHEN state = 'due' THEN 'due since ' || due_at ELSE 'its lease ended ' || lease_until END FROM call_view"
        " WHERE state <> 'ended' AND (deadline < %s OR (state = 'due' AND due_at < %s)"
        f" OR (state <> 'due' AND lease_until < clock_timestamp() - interval '{LEASE_S} seconds')) LIMIT 100",
        [now - ENDED_AFTER, now - ENDED_AFTER, now - OVERDUE],
    )
    seen.wrong = {call_id: f"{state} for {order_id}: {why}" for call_id, order_id, state, why in rows}
    unresolved = stores.one("executor", "SELECT count(*) FROM attempt_view WHERE state = 'unresolved'")[0]
    seen.aside.append(f"{unresolved} unresolved: a person must say" if unresolved else "")
    return seen


def payments(stores: Stores, now: datetime) -> Seen:
    """Every payment ends within its deadline and the time that asking may take, unless it waits for a person."""
    seen = Seen(stores.one("payments", "SELECT count(*) FROM payment_view")[0])
    open_ = stores.one("payments", "SELECT count(*) FROM payment_view WHERE NOT is_payment_done")[0]
    seen.aside.append(f"{open_} not done yet" if open_ else "")
    rows = stores.rows(
        "payments",
        "SELECT checkout_id, status, deadline::text FROM payment_view p WHERE NOT is_payment_done AND deadline < %s"
        " AND NOT EXISTS (SELECT 1 FROM order_view o WHERE o.checkout_id = p.checkout_id AND o.detail = 'unresolved')"
        " ORDER BY deadline LIMIT 100",
        [now - ENDED_AFTER],
    )
    seen.wrong = {checkout_id: f"{status}, and its deadline was {deadline}" for checkout_id, status, deadline in rows}
    return seen


def parked(stores: Stores, now: datetime) -> Seen:
    """Every parked message that heads its key is tried again when it is due."""
    seen = Seen()
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


def rooms(stores: Stores, now: datetime) -> Seen:
    """No room has stopped."""
    seen = Seen()
    for room in CONSUMERS:
        seen.examined += 1
        rows = stores.rows(room.name, "SELECT code, reason FROM stops WHERE lifted_at IS NULL")
        for code, reason in rows:
            seen.wrong[room.name] = f"stopped: {code}, {reason}"
    return seen


LOOKS: dict[str, Look] = {
    "outboxes_young": outboxes,
    "calls_young": calls,
    "payments_end": payments,
    "parked_tried": parked,
    "rooms_run": rooms,
}


def dead_letters(stores: Stores) -> Check:
    """Reported, not judged: they are known, and wait for an operator."""
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
    """Reported, not judged: the books may be right, but keys may have been heard out of order when it happened."""
    kafka, examined, notes = AdminClient(kafka_config(settings)), set[str](), set[str]()
    for room in ROOMS:
        found = partition_counts.find(kafka, settings, room.name)
        examined |= {each.topic for each in found}
        notes |= set(partition_counts.changes(stores.connection(room.name), found))
    return judged("partitions_kept", len(examined), [], expected=True, aside=sorted(notes))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Lag:
    """Where each room stands on what it reads, and how many records past that it can read."""

    at: dict[tuple[str, Partition], int]
    behind: dict[tuple[str, Partition], int]
    impossible: dict[tuple[str, Partition], str]
    held_back: dict[Partition, tuple[int, int]] = field(default_factory=dict)  # by an open transaction: from, up to


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
    """Who had something to read at both looks, and has read nothing of it."""
    return [key for key in last.behind if key in first.behind and first.at[key] == last.at[key]]


def check_lag(first: Lag, last: Lag) -> Check:
    """A room that stood still between the two looks, with something to read, is not reading."""
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
