"""A PSP's webhook, genuine → its raw bytes in the store and the event that it makes, in one transaction; then on Kafka."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
import structlog
from prometheus_client import Counter

from producers.problems import RETRY_SOON, Problem
from producers.saying import Sayer
from producers.source import SOURCE
from psp.port import Notification, Psp
from psp.registry import make_psps
from psp.webhooks import genuine
from psp.wire import decline_code, is_reference
from schemas.envelope import Envelope, EventId, child_trace, derive_id, digest, event_type, record_headers
from schemas.events import NotificationReceived
from topics.catalog import PSP_NOTIFICATIONS
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import Unsaid
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import Store, verdict
from topics.settings import Settings

log = structlog.get_logger()

RECEIVED = Counter("tally_psp_notifications_total", "Webhooks of PSPs, by what became of them", ["psp", "what"])


@dataclass(frozen=True, slots=True)
class Given:
    """One genuine webhook. `contents` is the hash of its body: an id that comes with two bodies is two notifications."""

    psp: str
    id: str
    contents: str
    body: bytes
    event: NotificationReceived | None  # None: of a kind that we do not read

    @property
    def key(self) -> tuple[str, str, str]:
        return self.psp, self.id, self.contents

    def event_id(self, now: datetime) -> EventId:
        return derive_id("|".join(self.key), SOURCE, 0, int(now.timestamp() * 1000))


@dataclass(slots=True)
class Waiting:
    """A request's place in the next transaction."""

    given: Given
    done: bool = False
    problem: Problem | None = None


@dataclass(slots=True)
class Queue:
    waiting: list[Waiting] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, given: Given) -> Waiting:
        place = Waiting(given)
        with self.lock:
            self.waiting.append(place)
        return place

    def take(self) -> list[Waiting]:
        with self.lock:
            taken, self.waiting = self.waiting, []
        return taken


class Notifications:
    """What PSPs tell this process. `receive` blocks for a commit; it may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._psps: Mapping[str, Psp] = make_psps(settings.psps)
        self._clock = Clock(settings.clock_file)
        self._store = Store(settings, "doors")
        self._sayer = Sayer(settings, self._store)
        self._queue = Queue()
        self._lock = threading.Lock()

    def read(self, psp_name: str, headers: Mapping[str, str], body: bytes) -> Given:
        """Errors: Problem `not_found` for a PSP that we do not have, `invalid_signature`."""
        psp = self._psps.get(psp_name)
        if psp is None:
            raise Problem("not_found")
        if not genuine(psp.webhook_secrets, psp.signature(headers), body, self._clock.now().timestamp()):
            RECEIVED.labels(psp_name, "refused").inc()
            raise Problem("invalid_signature")
        return _given(psp_name, psp.read_notification(body), body)

    def receive(self, given: Given) -> None:
        """Returns once it is stored, now or before. Errors: Problem `unavailable`; then it was not."""
        place = self._queue.put(given)
        with self._lock:  # whoever gets in takes along all who wait
            if not place.done:
                self._store_all(self._queue.take())
        if place.problem is not None:
            raise place.problem

    def close(self) -> None:
        with self._lock:
            self._store.close()

    def _store_all(self, places: Sequence[Waiting]) -> None:
        batch = list({place.given.key: place.given for place in places}.values())
        problem = None
        try:
            self._commit_or_again(batch)
        except Exception as error:
            away = verdict(error) == "away"
            log.warning("notifications not taken", action="refuse", error=str(error).strip()[:200], away=away)
            problem = Problem("unavailable" if away else "internal", headers=RETRY_SOON)
        for place in places:
            place.done, place.problem = True, problem

    def _commit_or_again(self, batch: Sequence[Given]) -> None:
        """A connection that died while it was idle costs nobody a 503."""
        try:
            self._commit(batch)
        except psycopg.Error as error:
            if verdict(error) != "away":
                raise
            self._commit(batch)

    def _commit(self, batch: Sequence[Given]) -> None:
        now = self._clock.now()
        with self._store.transaction() as conn:
            fresh = _insert(conn, batch, now)
            rows = outbox.insert(conn, [_unsaid(given, now) for given in fresh if given.event is not None])()
        for given in batch:
            what = "repeated" if given not in fresh else "taken" if given.event is not None else "not_read"
            RECEIVED.labels(given.psp, what).inc()
            if what == "not_read":
                log.warning("notification not read", action="store", psp=given.psp, notification_id=given.id)
        if rows:
            self._sayer.say(rows)


def _given(psp: str, told: Notification | None, body: bytes) -> Given:
    contents = digest(body)
    if told is None:
        return Given(psp, f"unread:{contents}", contents, body, None)
    return Given(psp, told.id, contents, body, _event(psp, told))


def _event(psp: str, told: Notification) -> NotificationReceived | None:
    charge = told.charge
    if charge is None:
        return None
    return NotificationReceived(
        # without one that can be ours the executor keeps it under the PSP's own, and `tally stuck` shows it
        reference=charge.reference if is_reference(charge.reference) else charge.psp_reference,
        psp=psp,
        notification_id=told.id,
        source="webhook",
        status=charge.status,
        amount=charge.amount,
        psp_reference=charge.psp_reference,
        scheme=charge.scheme or None,
        code=None if charge.status == "succeeded" else decline_code(told.code),
    )


_INSERT = """
INSERT INTO notifications (psp, notification_id, contents, body, event_id, received_at)
SELECT psp, id, contents, body, event_id, %s
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[]) AS n(psp, id, contents, body, event_id)
ORDER BY psp, id, contents
ON CONFLICT DO NOTHING RETURNING psp, notification_id, contents
"""


def _insert(conn: Connection, batch: Sequence[Given], now: datetime) -> list[Given]:
    """Those that were not there."""
    columns: list[object] = [
        [given.psp for given in batch],
        [given.id for given in batch],
        [given.contents for given in batch],
        [given.body for given in batch],
        [given.event_id(now) if given.event is not None else None for given in batch],
    ]
    fresh = set(conn.execute(_INSERT, [now, *columns]).fetchall())
    return [given for given in batch if given.key in fresh]


def _unsaid(given: Given, now: datetime) -> Unsaid:
    assert given.event is not None
    event_id = given.event_id(now)
    trace = child_trace(None, event_id, event_id)  # its own, until the executor finds the order's
    envelope = Envelope(event_id, SOURCE, event_type(NotificationReceived), now, traceparent=trace)
    value = given.event.model_dump_json().encode()
    return Unsaid(PSP_NOTIFICATIONS.name, given.event.key.encode(), record_headers(envelope), value)
