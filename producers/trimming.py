"""PSPs' webhooks of long ago, and endpoints whose lease nobody renews → gone.

Events of such webhooks were said long since; what they meant is in the executor's store.
A PSP that repeats one after that is heard anew, under another event id: the executor knows the charge and does nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from producers.doors.endpoint_rows import delete_run_out
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import Retention

SLICE = 5000

_TRIM = """
DELETE FROM notifications WHERE (psp, notification_id, contents) IN
    (SELECT psp, notification_id, contents FROM notifications WHERE received_at < %s
     ORDER BY received_at LIMIT %s)
"""


def trim(conn: Connection, retention: Retention, now: datetime) -> int:
    """One slice. → how many went. `now` is business time."""
    run_out = delete_run_out(conn, now)
    return run_out + conn.execute(_TRIM, [now - timedelta(days=retention.psp_notifications_days), SLICE]).rowcount
