"""Letters that wait → what is stuck in any room; and what rooms find stuck themselves → gauges and lines in the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from schemas.events import AnyEvent
from schemas.money import Money
from topics.runtime.shape.consumer import Broken, Connection, Message
from topics.runtime.shape.decode import decode
from topics.runtime.shape.record import load_headers
from topics.settings import Settings

log = structlog.get_logger()

FOUND_MAX = 2000  # of one kind in one room, oldest first: a look stays short however bad the day
LOGGED_MAX = 20  # of each look

_LABELS = ("room", "psp", "state")
NUMBER = Gauge("tally_stuck", "What is past its limit (of one kind the oldest 2,000)", _LABELS)
OLDEST_S = Gauge("tally_stuck_oldest_seconds", "Age of the oldest of them", _LABELS)
MINOR = Gauge("tally_stuck_minor_units", "Their amounts, in minor units", (*_LABELS, "currency"))


@dataclass(frozen=True, slots=True)
class Stuck:
    """One thing past its limit. `amounts` has one for each currency, none where the contents do not say.

    `id` is a payment order's, a checkout's, a letter's or a notification's reference, as `state` tells:
    calling | unknown | pending | unresolved (at a PSP) | notification | risk | review | executing | booking |
    dead | parked (letters).
    """

    room: str
    id: str
    checkout_id: str | None
    psp: str | None
    state: str
    amounts: tuple[Money, ...]
    age_s: int
    next: str


def age_s(since: datetime, now: datetime) -> int:
    return int((now - since).total_seconds())


# ── letters ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_LETTERS = """
SELECT letter_id::text, state, coalesce(code, ''), coalesce(first_failed_at, parked_at), due_at, topic, partition,
       kafka_offset, key, coalesce(CASE WHEN approved_by IS NOT NULL THEN edit END, value), headers, timestamp_ms,
       (SELECT count(*) FROM parked q WHERE p.holds AND q.holds AND q.state = 'parked'
           AND q.topic = p.topic AND q.key = p.key AND q.seq > p.seq)
FROM parked p WHERE state IN ('parked', 'dead') AND attempts > 0 AND (state = 'dead' OR first_failed_at < %s)
ORDER BY seq LIMIT %s
"""


def letters(conn: Connection, room: str, settings: Settings, now: datetime) -> list[Stuck]:
    """Dead letters at once, parked ones past their limit; oldest first. `now` is business time."""
    since = now - timedelta(seconds=settings.stuck.parked_s)
    found = []
    for row in conn.execute(_LETTERS, [since, FOUND_MAX]):
        letter, state, code, failed_at, due_at, topic, partition, offset, key, value, headers, stamp, behind = row
        message = Message(topic, partition, offset, key, value, tuple(load_headers(headers)), stamp)
        event = decode(message, settings.upstreams, settings.digest_key()).event
        told = _dead(room, letter, code) if state == "dead" else _parked(code, due_at, now)
        if behind:
            told += f"; {behind} of its key wait behind it"
        checkout_id = getattr(event, "checkout_id", None)
        found.append(Stuck(room, letter, checkout_id, None, state, _money(event), age_s(failed_at, now), told))
    return found


def _money(event: AnyEvent | Broken | None) -> tuple[Money, ...]:
    return () if event is None or isinstance(event, Broken) else event.money()


def _dead(room: str, letter: str, code: str) -> str:
    return f"nothing ({code}): tally dlq replay {room}/{letter} --reason WHY, or discard it"


def _parked(code: str, due_at: datetime, now: datetime) -> str:
    if due_at > now:
        return f"tried again at {due_at:%Y-%m-%d %H:%M:%S %Z} ({code})"
    return f"tried again as soon as the room runs ({code}, due since {due_at:%Y-%m-%d %H:%M:%S %Z})"


# ── what operators are told ──────────────────────────────────────────────────────────────────────────────────────────


class Watch:
    """Gauges of what is stuck in one room, and a line in the log for each when it becomes so."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._labels: set[tuple[str, ...]] = set()

    def look(self, found: Sequence[Stuck]) -> None:
        fresh = [one for one in found if (one.id, one.state) not in self._known]
        for one in fresh[:LOGGED_MAX]:
            facts = {"room": one.room, "id": one.id, "psp": one.psp, "state": one.state, "age_s": one.age_s}
            log.warning("stuck", action="alert", **facts, amounts=[str(each) for each in one.amounts], next=one.next)
        if len(fresh) > LOGGED_MAX:
            log.warning("more are stuck", action="alert", room=fresh[0].room, number=len(fresh) - LOGGED_MAX)
        self._known = {(one.id, one.state) for one in found}
        self._measure(found)

    def _measure(self, found: Sequence[Stuck]) -> None:
        numbers: Counter[tuple[str, ...]] = Counter()
        minor: Counter[tuple[str, ...]] = Counter()
        oldest: dict[tuple[str, ...], int] = {}
        for one in found:
            labels = (one.room, one.psp or "", one.state)
            numbers[labels] += 1
            oldest[labels] = max(one.age_s, oldest.get(labels, 0))
            for amount in one.amounts:
                minor[*labels, amount.currency] += amount.minor
        self._labels |= {*numbers, *minor}  # what is not stuck any more is said to be none
        for known in self._labels:
            if len(known) > len(_LABELS):
                MINOR.labels(*known).set(minor[known])
            else:
                NUMBER.labels(*known).set(numbers[known])
                OLDEST_S.labels(*known).set(oldest.get(known, 0))
