"""An owner's wish about webhooks → the endpoint's row and an event that says so, in one transaction; then on Kafka."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from producers.bodies import parsed
from producers.doors.door import Door
from producers.doors.endpoint_rows import (
    Endpoint,
    Said,
    change,
    lease,
    locked,
    new_id,
    own,
    room_for_it,
    said_of,
    unsaid,
)
from producers.problems import Problem, broken
from schemas.events import WebhookResendRequested, WebhookTestRequested
from schemas.requests import FieldError
from schemas.webhooks import EVENT_TYPES, EVERYTHING, delivery_id
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import Row
from topics.runtime.shape.consumer import Connection
from topics.settings import Settings
from topics.webhooks.addresses import url_fault
from topics.webhooks.signing import secret_text

SECRETS_MAX = 5
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
class Made:
    """An endpoint, and the secret that was made for it now, if one was. It is shown this once."""

    endpoint: Endpoint
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Wish(Generic[Result]):
    """What is to be done to one endpoint: its work, in the door's transaction.

    The `owner` of None is an operator, who may touch everybody's.
    """

    endpoint_id: str
    work: Callable[[Connection, datetime], tuple[Result, Said]]

    def ids(self) -> list[str]:
        return [self.endpoint_id]


def door(settings: Settings) -> Door[Wish[Any], Any]:
    """One at a time: each locks its endpoint, and what it refuses undoes nobody else's."""
    return Door(settings, "endpoints", claim, batch_max=1)


def claim(conn: Connection, batch: Sequence[Wish[Any]], now: datetime) -> tuple[Sequence[Any], Callable[[], list[Row]]]:
    done = [wish.work(conn, now) for wish in batch]
    return [result for result, _ in done], outbox.insert(
        conn, [unsaid(*each, now) for _, said in done for each in said.events]
    )


def parse(body: bytes, settings: Settings) -> EndpointRequest:
    """Errors: Problem that names the field."""
    request = parsed(EndpointRequest, body)
    fault = url_fault(request.url, settings.webhooks.http_allowed, settings.webhooks.allowed_networks)
    if fault:
        raise broken([FieldError("url", "invalid_url", fault)])
    return request


# ── wishes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def put(settings: Settings, owner: str, endpoint_id: str, request: EndpointRequest) -> Wish[Made]:
    """Made, or changed to this. The same again changes nothing."""

    def work(conn: Connection, now: datetime) -> tuple[Made, Said]:
        made = _put(settings, conn, now, owner, endpoint_id, request)
        lease(conn, endpoint_id, request.lease_s)
        return made

    return Wish(endpoint_id, work)


def delete(owner: str | None, endpoint_id: str) -> Wish[Endpoint]:
    """What is still owed to it is not sent any more."""

    def work(conn: Connection, now: datetime) -> tuple[Endpoint, Said]:
        return change(conn, now, replace(own(conn, owner, endpoint_id), deleted=True))

    return Wish(endpoint_id, work)


def add_secret(settings: Settings, owner: str, endpoint_id: str) -> Wish[Made]:
    """One more that signs, beside those that do: receivers take any of them until the old ones are retired."""

    def work(conn: Connection, now: datetime) -> tuple[Made, Said]:
        known = own(conn, owner, endpoint_id)
        if len(known.secret_versions) >= SECRETS_MAX:
            raise Problem("too_many_secrets")
        version = known.last_version + 1
        wanted = replace(known, secret_versions=(*known.secret_versions, version), last_version=version)
        changed, said = change(conn, now, wanted)
        return Made(changed, _secret(settings, changed, version)), said

    return Wish(endpoint_id, work)


def retire_secret(owner: str, endpoint_id: str, version: int) -> Wish[Endpoint]:
    """It signs nothing from now on, and never will again."""

    def work(conn: Connection, now: datetime) -> tuple[Endpoint, Said]:
        known = own(conn, owner, endpoint_id)
        if version not in known.secret_versions:
            raise Problem("not_found")
        if len(known.secret_versions) == 1:
            raise Problem("last_secret")
        left = tuple(each for each in known.secret_versions if each != version)
        return change(conn, now, replace(known, secret_versions=left))

    return Wish(endpoint_id, work)


def test(owner: str | None, endpoint_id: str) -> Wish[str]:
    """Have a test event sent. → the id of its delivery."""

    def work(conn: Connection, now: datetime) -> tuple[str, Said]:
        known = own(conn, owner, endpoint_id)
        event_id = new_id(now)
        event = WebhookTestRequested(endpoint_id=endpoint_id, owner=known.owner)
        return delivery_id(event_id, endpoint_id), Said([(event_id, event, 0)])

    return Wish(endpoint_id, work)


def resend(owner: str | None, endpoint_id: str, delivery: str) -> Wish[None]:
    """Have a delivery sent once more. Whether there is such a one is asked of the room's view before."""

    def work(conn: Connection, now: datetime) -> tuple[None, Said]:
        known = own(conn, owner, endpoint_id)
        event = WebhookResendRequested(endpoint_id=endpoint_id, owner=known.owner, delivery_id=delivery)
        return None, Said([(new_id(now), event, 0)])

    return Wish(endpoint_id, work)


def _put(
    settings: Settings, conn: Connection, now: datetime, owner: str, endpoint_id: str, request: EndpointRequest
) -> tuple[Made, Said]:
    made = conn.execute(
        "INSERT INTO webhook_endpoints (endpoint_id, owner, url, event_types, secret_versions, last_version,"
        " revision, created_at, changed_at) VALUES (%s, %s, %s, %s, '{1}', 1, 1, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
        [endpoint_id, owner, request.url, list(request.event_types), now, now],
    ).fetchone()
    known = locked(conn, endpoint_id)
    assert known is not None
    if made:
        room_for_it(conn, owner, endpoint_id)
        return Made(known, _secret(settings, known, 1)), Said([said_of(known, now)])
    if known.owner != owner:
        raise Problem("id_taken", "endpoint_id: this id is taken", _TAKEN)
    wanted = replace(known, url=request.url, event_types=request.event_types)
    if known.deleted:
        room_for_it(conn, owner, endpoint_id)
        version = known.last_version + 1
        wanted = replace(wanted, deleted=False, secret_versions=(version,), last_version=version)
        changed, said = change(conn, now, wanted)
        return Made(changed, _secret(settings, changed, version)), said
    if wanted == known:
        return Made(known), Said()
    changed, said = change(conn, now, wanted)
    return Made(changed), said


def _secret(settings: Settings, endpoint: Endpoint, version: int) -> str:
    return secret_text(settings.webhook_key(endpoint.owner, endpoint.endpoint_id, version))
