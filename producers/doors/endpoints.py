"""An owner's wish about webhooks → the endpoint's row and an event that says so, in one transaction; then on Kafka."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, TypeVar

import psycopg
from psycopg.rows import dict_row
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from producers.bodies import parsed
from producers.problems import RETRY_SOON, Problem, broken
from producers.reading import Row
from producers.saying import Sayer
from producers.source import SOURCE
from schemas.envelope import Envelope, EventId, child_trace, derive_id, event_type, record_headers
from schemas.events import Event, WebhookEndpointSet, WebhookResendRequested, WebhookTestRequested
from schemas.requests import FieldError
from schemas.webhooks import EVENT_TYPES, EVERYTHING, delivery_id
from topics.catalog import WEBHOOK_ENDPOINTS
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import Unsaid
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import Store, verdict
from topics.settings import Settings
from topics.webhooks.addresses import url_fault
from topics.webhooks.signing import secret_text

SECRETS_MAX = 5
ENDPOINTS_MAX = 50  # each hears of every payment of its owner
_TAKEN = [FieldError("endpoint_id", "id_taken", "this id is taken")]
Result = TypeVar("Result")


def _known_types(types: tuple[str, ...]) -> tuple[str, ...]:
    if not types:
        raise PydanticCustomError("no_event_types", "at least one, or none named: all")
    if not set(types) <= {*EVENT_TYPES, EVERYTHING}:
        raise PydanticCustomError("unknown_event", "the types are {types}", {"types": ", ".join(EVENT_TYPES)})
    return (EVERYTHING,) if EVERYTHING in types else tuple(sorted(set(types)))


class EndpointRequest(BaseModel):
    """Where to send, and what of. Without `event_types`: `["*"]`, everything, types that are yet to come included.

    With `lease_s` it is deleted when that many seconds have passed since it was last put.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    url: str
    event_types: Annotated[tuple[str, ...], AfterValidator(_known_types)] = (EVERYTHING,)
    lease_s: Annotated[int, Field(ge=10, le=86_400)] | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as doors have it: the truth, of which the room hears."""

    endpoint_id: str
    owner: str
    url: str
    event_types: tuple[str, ...]
    secret_versions: tuple[int, ...]
    last_version: int
    revision: int
    deleted: bool
    created_at: datetime
    changed_at: datetime

    def shown(self) -> dict[str, object]:
        """As its owner sees it."""
        names = ("endpoint_id", "url", "event_types", "secret_versions", "created_at", "changed_at")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Made:
    """An endpoint, and the secret that was made for it now, if one was. It is shown this once."""

    endpoint: Endpoint
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What a transaction comes to, and the events that say so."""

    events: Sequence[tuple[EventId, Event, int]] = ()  # id, event, revision


def parse(body: bytes, settings: Settings) -> EndpointRequest:
    """Errors: Problem that names the field."""
    request = parsed(EndpointRequest, body)
    fault = url_fault(request.url, settings.webhooks.http_allowed, settings.webhooks.allowed_networks)
    if fault:
        raise broken([FieldError("url", "invalid_url", fault)])
    return request


class Endpoints:
    """What owners and operators may do. Each call blocks for a commit and Kafka's acknowledgement; from any thread.

    An `owner` of None is an operator, who may touch everybody's. Errors of all: Problem; `unavailable` while the store
    is away, then nothing was done.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = Clock(settings.clock_file)
        self._store = Store(settings, "doors")
        self._sayer = Sayer(settings, self._store)
        self._lock = threading.Lock()

    def put(self, owner: str, endpoint_id: str, request: EndpointRequest) -> Made:
        """Made, or changed to this. The same again changes nothing."""

        def work(conn: Connection, now: datetime) -> tuple[Made, Said]:
            made = self._put(conn, now, owner, endpoint_id, request)
            conn.execute(_LEASE, {"s": request.lease_s, "endpoint_id": endpoint_id})
            return made

        return self._do(work)

    def delete(self, owner: str | None, endpoint_id: str) -> Endpoint:
        """What is still owed to it is not sent any more."""

        def work(conn: Connection, now: datetime) -> tuple[Endpoint, Said]:
            return _change(conn, now, replace(_own(conn, owner, endpoint_id), deleted=True))

        return self._do(work)

    def add_secret(self, owner: str, endpoint_id: str) -> Made:
        """One more that signs, beside those that do: receivers take any of them until the old ones are retired."""

        def work(conn: Connection, now: datetime) -> tuple[Made, Said]:
            known = _own(conn, owner, endpoint_id)
            if len(known.secret_versions) >= SECRETS_MAX:
                raise Problem("too_many_secrets")
            version = known.last_version + 1
            wanted = replace(known, secret_versions=(*known.secret_versions, version), last_version=version)
            changed, said = _change(conn, now, wanted)
            return Made(changed, self._secret(changed, version)), said

        return self._do(work)

    def retire_secret(self, owner: str, endpoint_id: str, version: int) -> Endpoint:
        """It signs nothing from now on, and never will again."""

        def work(conn: Connection, now: datetime) -> tuple[Endpoint, Said]:
            known = _own(conn, owner, endpoint_id)
            if version not in known.secret_versions:
                raise Problem("not_found")
            if len(known.secret_versions) == 1:
                raise Problem("last_secret")
            left = tuple(each for each in known.secret_versions if each != version)
            return _change(conn, now, replace(known, secret_versions=left))

        return self._do(work)

    def test(self, owner: str | None, endpoint_id: str) -> str:
        """Have a test event sent. → the id of its delivery."""

        def work(conn: Connection, now: datetime) -> tuple[str, Said]:
            known = _own(conn, owner, endpoint_id)
            event_id = _new_id(now)
            event = WebhookTestRequested(endpoint_id=endpoint_id, owner=known.owner)
            return delivery_id(event_id, endpoint_id), Said([(event_id, event, 0)])

        return self._do(work)

    def resend(self, owner: str | None, endpoint_id: str, delivery: str) -> None:
        """Have a delivery sent once more. Whether there is such a one is asked of the room's view before."""

        def work(conn: Connection, now: datetime) -> tuple[None, Said]:
            known = _own(conn, owner, endpoint_id)
            event = WebhookResendRequested(endpoint_id=endpoint_id, owner=known.owner, delivery_id=delivery)
            return None, Said([(_new_id(now), event, 0)])

        self._do(work)

    def close(self) -> None:
        with self._lock:
            self._store.close()

    # ── one at a time ────────────────────────────────────────────────────────────────────────────────────────────────

    def _do(self, work: Callable[[Connection, datetime], tuple[Result, Said]]) -> Result:
        with self._lock:
            try:
                return self._commit(work)
            except psycopg.Error as error:
                if verdict(error) != "away":
                    raise
            try:  # a connection that died while it was idle costs nobody a 503
                return self._commit(work)
            except psycopg.Error as error:
                if verdict(error) != "away":
                    raise
                raise Problem("unavailable", headers=RETRY_SOON) from error

    def _commit(self, work: Callable[[Connection, datetime], tuple[Result, Said]]) -> Result:
        now = self._clock.now()
        with self._store.transaction() as conn:
            result, said = work(conn, now)
            rows = outbox.insert(conn, [_unsaid(*event, now) for event in said.events])()
        if rows:
            self._sayer.say(rows)
        return result

    def _put(
        self, conn: Connection, now: datetime, owner: str, endpoint_id: str, request: EndpointRequest
    ) -> tuple[Made, Said]:
        made = conn.execute(
            "INSERT INTO webhook_endpoints (endpoint_id, owner, url, event_types, secret_versions, last_version,"
            " revision, created_at, changed_at) VALUES (%s, %s, %s, %s, '{1}', 1, 1, %s, %s) ON CONFLICT DO NOTHING",
            [endpoint_id, owner, request.url, list(request.event_types), now, now],
        )
        known = _locked(conn, endpoint_id)
        assert known is not None
        if made.rowcount:
            _room_for_it(conn, owner, endpoint_id)
            return Made(known, self._secret(known, 1)), Said([_set(known, now)])
        if known.owner != owner:
            raise Problem("id_taken", "endpoint_id: this id is taken", _TAKEN)
        wanted = replace(known, url=request.url, event_types=request.event_types)
        if known.deleted:
            _room_for_it(conn, owner, endpoint_id)
            version = known.last_version + 1
            wanted = replace(wanted, deleted=False, secret_versions=(version,), last_version=version)
            changed, said = _change(conn, now, wanted)
            return Made(changed, self._secret(changed, version)), said
        if wanted == known:
            return Made(known), Said()
        changed, said = _change(conn, now, wanted)
        return Made(changed), said

    def _secret(self, endpoint: Endpoint, version: int) -> str:
        return secret_text(self._settings.webhook_key(endpoint.owner, endpoint.endpoint_id, version))


# ── rows and events ──────────────────────────────────────────────────────────────────────────────────────────────────

SELECT = (
    "SELECT endpoint_id, owner, url, event_types, secret_versions, last_version, revision, deleted, created_at,"
    " changed_at FROM webhook_endpoints"
)


def endpoint_of(row: Row) -> Endpoint:
    lists = {"event_types": tuple(row["event_types"]), "secret_versions": tuple(row["secret_versions"])}
    return Endpoint(**(row | lists))


_LEASE = """
UPDATE webhook_endpoints SET leased_until = clock_timestamp() + make_interval(secs => %(s)s::int)
WHERE endpoint_id = %(endpoint_id)s AND (leased_until IS NOT NULL OR %(s)s::int IS NOT NULL)
"""
_RUN_OUT = SELECT + " WHERE leased_until < clock_timestamp() AND NOT deleted LIMIT 100 FOR UPDATE SKIP LOCKED"


def delete_run_out(conn: Connection, now: datetime) -> int:
    """Endpoints whose lease nobody has renewed. The sweep of an API process says so. → how many."""
    found = [endpoint_of(row) for row in conn.cursor(row_factory=dict_row).execute(_RUN_OUT).fetchall()]
    said = [_change(conn, now, replace(known, deleted=True))[1] for known in found]
    outbox.insert(conn, [_unsaid(*event, now) for each in said for event in each.events])()
    return len(found)


def _locked(conn: Connection, endpoint_id: str) -> Endpoint | None:
    cursor = conn.cursor(row_factory=dict_row)
    row = cursor.execute(SELECT + " WHERE endpoint_id = %s FOR UPDATE", [endpoint_id]).fetchone()
    return endpoint_of(row) if row else None


def _room_for_it(conn: Connection, owner: str, endpoint_id: str) -> None:
    """Errors: Problem `too_many_endpoints`. Two at once may go past it by one, which hurts nobody."""
    others = conn.execute(
        "SELECT count(*) FROM webhook_endpoints WHERE owner = %s AND endpoint_id <> %s AND NOT deleted",
        [owner, endpoint_id],
    ).fetchone()
    if others and others[0] >= ENDPOINTS_MAX:
        raise Problem("too_many_endpoints")


def _own(conn: Connection, owner: str | None, endpoint_id: str) -> Endpoint:
    """Locked: its events get their outbox ids in the order of its changes. Errors: Problem `not_found`."""
    known = _locked(conn, endpoint_id)
    if known is None or known.deleted or (owner is not None and known.owner != owner):
        raise Problem("not_found")
    return known


def _change(conn: Connection, now: datetime, wanted: Endpoint) -> tuple[Endpoint, Said]:
    """The row as it is wanted, its next revision, and the event that says so."""
    changed = replace(wanted, revision=wanted.revision + 1, changed_at=now)
    conn.execute(
        "UPDATE webhook_endpoints SET url = %s, event_types = %s, secret_versions = %s, last_version = %s,"
        " revision = %s, deleted = %s, changed_at = %s WHERE endpoint_id = %s",
        [
            changed.url,
            list(changed.event_types),
            list(changed.secret_versions),
            changed.last_version,
            changed.revision,
            changed.deleted,
            changed.changed_at,
            changed.endpoint_id,
        ],
    )
    return changed, Said([_set(changed, now)])


def _set(endpoint: Endpoint, now: datetime) -> tuple[EventId, Event, int]:
    event = WebhookEndpointSet(
        endpoint_id=endpoint.endpoint_id,
        owner=endpoint.owner,
        url=endpoint.url,
        event_types=endpoint.event_types,
        secret_versions=endpoint.secret_versions,
        endpoint_revision=endpoint.revision,
        deleted=endpoint.deleted,
    )
    cause = f"{endpoint.endpoint_id}|{endpoint.revision}"
    return derive_id(cause, SOURCE, 0, _milliseconds(now)), event, endpoint.revision


def _new_id(now: datetime) -> EventId:
    """Of a wish that may be repeated: each is one of its own."""
    return derive_id(secrets.token_hex(16), SOURCE, 0, _milliseconds(now))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _unsaid(event_id: EventId, event: Event, revision: int, now: datetime) -> Unsaid:
    trace = child_trace(None, event_id, event_id)
    envelope = Envelope(event_id, SOURCE, event_type(type(event)), now, revision, trace)
    value = event.model_dump_json().encode()
    return Unsaid(WEBHOOK_ENDPOINTS.name, event.key.encode(), record_headers(envelope), value)
