"""Old webhooks of PSPs, endpoints with an expired lease, and pieces of files that were never stored → deleted.

The events of old webhooks were published, and their effect is in the executor's store. A PSP that repeats an old webhook makes
a new event with another id: the executor knows the charge, and does nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from producers.doors.endpoint_rows import delete_expired
from producers.doors.uploads import delete_ended, end_old
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import Retention

SLICE = 5000

_TRIM = """
DELETE FROM notifications WHERE (psp, notification_id, contents) IN
    (SELECT psp, notification_id, contents FROM notifications WHERE received_at < %s
     ORDER BY received_at LIMIT %s)
"""


def trim(conn: Connection, retention: Retention, now: datetime) -> int:
    """Delete one slice. → how many rows. `now` is business time."""
    run_out = delete_expired(conn, now) + end_old(conn) + delete_ended(conn)
    return run_out + conn.execute(_TRIM, [now - timedelta(days=retention.psp_notifications_days), SLICE]).rowcount
