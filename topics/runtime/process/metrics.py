"""What the runtime counts, by room; served by each process on its metrics port."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from topics.runtime.delivery.apply import Applied

MESSAGES = Counter("tally_messages_total", "Messages applied, drops included", ["room"])
DUPLICATES = Counter("tally_duplicates_total", "Messages dropped by the inbox", ["room"])
PARKED = Counter("tally_parked_total", "Messages put aside to be tried again", ["room"])
DEAD = Counter("tally_dead_letters_total", "Messages given up until an operator acts", ["room"])
EVENTS = Counter("tally_events_total", "Records to be said: each once, however often it is published", ["room"])
BATCH_SECONDS = Histogram("tally_batch_seconds", "From the first statement of a batch to its last record", ["room"])
STATE = Gauge("tally_room_state", "1 running, 0 paused, -1 stopped", ["room"])
REPARTITIONED = Gauge(
    "tally_topics_repartitioned", "Topics that have another number of partitions than at first", ["room"]
)


def count(room: str, applied: Applied) -> None:
    MESSAGES.labels(room).inc(applied.messages)
    DUPLICATES.labels(room).inc(applied.duplicates)
    PARKED.labels(room).inc(applied.parked)
    DEAD.labels(room).inc(applied.dead)
    EVENTS.labels(room).inc(sum(len(row.records) for row in applied.rows))
