"""Deliveries that ended long ago → deleted, with the log of their attempts.

A delivery's id keeps its event from being delivered twice. After its deletion nothing redelivers the event: Kafka's
retention and the inbox's are shorter. Unfinished deliveries, resent ones included, stay.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import Retention

SLICE = 2000

_OLD = """
SELECT delivery_id::text FROM deliveries
WHERE ended_at < %s AND state IN ('delivered', 'given_up', 'cancelled')
ORDER BY ended_at LIMIT %s FOR UPDATE SKIP LOCKED
"""


def trim(conn: Connection, retention: Retention, now: datetime) -> int:
    """Delete one slice. → number of deleted deliveries. `now` is business time."""
    before = now - timedelta(days=retention.webhook_deliveries_days)
    old = [delivery_id for (delivery_id,) in conn.execute(_OLD, [before, SLICE])]
    conn.execute("DELETE FROM attempts WHERE delivery_id = ANY(%s::uuid[])", [old])
    conn.execute("DELETE FROM deliveries WHERE delivery_id = ANY(%s::uuid[])", [old])
    return len(old)
