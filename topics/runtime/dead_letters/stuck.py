"""Dead letters, and letters parked for too long → findings of `tally stuck`, in any room."""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.events import AnyEvent
from schemas.money import Money
from topics.runtime.shape.consumer import Broken, Connection, Message
from topics.runtime.shape.decode import decode
from topics.runtime.shape.record import load_headers
from topics.runtime.shape.stuck import FOUND_MAX, Stuck, age_s
from topics.settings import Settings

_LETTERS = """
SELECT letter_id::text, state, coalesce(code, ''), coalesce(first_failed_at, parked_at), due_at, topic, partition,
       kafka_offset, key, coalesce(CASE WHEN approved_by IS NOT NULL THEN edit END, value), headers, timestamp_ms,
       (SELECT count(*) FROM parked q WHERE p.holds AND q.holds AND q.state = 'parked'
           AND q.topic = p.topic AND q.key = p.key AND q.seq > p.seq)
FROM parked p WHERE state IN ('parked', 'dead') AND attempts > 0 AND (state = 'dead' OR first_failed_at < %s)
ORDER BY seq LIMIT %s
"""


def stuck_letters(conn: Connection, room: str, settings: Settings, now: datetime) -> list[Stuck]:
    """Dead letters, and parked ones past their limit; oldest first. `now` is business time."""
    since = now - timedelta(seconds=settings.stuck.parked_s)
    found = []
    for row in conn.execute(_LETTERS, [since, FOUND_MAX]):
        letter, state, code, failed_at, due_at, topic, partition, offset, key, value, headers, stamp, behind = row
        message = Message(topic, partition, offset, key, value, tuple(load_headers(headers)), stamp)
        event = decode(message, settings.upstreams, settings.digest_key()).event
        next_step = (
            _next_step_if_dead(room, letter, code) if state == "dead" else _next_step_if_parked(code, due_at, now)
        )
        if behind:
            next_step += f"; {behind} of its key wait behind it"
        checkout_id = getattr(event, "checkout_id", None)
        found.append(Stuck(room, letter, checkout_id, None, state, _money(event), age_s(failed_at, now), next_step))
    return found


def _money(event: AnyEvent | Broken | None) -> tuple[Money, ...]:
    return () if event is None or isinstance(event, Broken) else event.money()


def _next_step_if_dead(room: str, letter: str, code: str) -> str:
    return f"nothing ({code}): tally dlq replay {room}/{letter} --reason WHY, or discard it"


def _next_step_if_parked(code: str, due_at: datetime, now: datetime) -> str:
    if due_at > now:
        return f"retried at {due_at:%Y-%m-%d %H:%M:%S %Z} ({code})"
    return f"retried as soon as the room runs ({code}, due since {due_at:%Y-%m-%d %H:%M:%S %Z})"
