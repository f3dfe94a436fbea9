"""An owner's command about a webhook endpoint → the endpoint's row and an event in one transaction → Kafka."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from producers.bodies import parsed
from producers.doors.commands import Command, CommandEvents, new_id
from producers.doors.endpoint_rows import Endpoint, change, check_limit, lease, locked, own_endpoint, set_event
from producers.problems import Problem, broken
from schemas.events import WebhookResendRequested, WebhookTestRequested
from schemas.requests import FieldError
from schemas.text import refuse_card_number
from schemas.webhooks import EVENT_TYPES, EVERYTHING, delivery_id
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
    """URL and event types. Without `event_types`: `["*"]`, all types, future ones included.

    With `lease_s` the endpoint is deleted so many seconds after it was last put.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(refuse_card_number)]
    event_types: Annotated[tuple[str, ...], AfterValidator(_known_types)] = (EVERYTHING,)
    lease_s: Annotated[int, Field(ge=10, le=86_400)] | None = None


@dataclass(frozen=True, slots=True)
class EndpointWithSecret:
    """An endpoint, and the secret that this command has made for it, if any: it is shown this once."""

    endpoint: Endpoint
    secret: str | None = None


def parse(body: bytes, settings: Settings) -> EndpointRequest:
    """The request in this body. Errors: Problem that names the field."""
    request = parsed(EndpointRequest, body)
    fault = url_fault(request.url, settings.webhooks.http_allowed, settings.webhooks.allowed_networks)
    if fault:
        raise broken([FieldError("url", "invalid_url", fault)])
    return request


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def put(settings: Settings, owner: str, endpoint_id: str, request: EndpointRequest) -> Command[EndpointWithSecret]:
    """Create the endpoint or change it to this. A repeat changes nothing."""

    def work(conn: Connection, now: datetime) -> tuple[EndpointWithSecret, CommandEvents]:
        made = _put(settings, conn, now, owner, endpoint_id, request)
        lease(conn, endpoint_id, request.lease_s)
        return made

    return _command(endpoint_id, work)


def delete(owner: str | None, endpoint_id: str) -> Command[Endpoint]:
    """Delete the endpoint: its open deliveries are not sent any more."""

    def work(conn: Connection, now: datetime) -> tuple[Endpoint, CommandEvents]:
        return change(conn, now, replace(own_endpoint(conn, owner, endpoint_id), deleted=True))

    return _command(endpoint_id, work)


def add_secret(settings: Settings, owner: str, endpoint_id: str) -> Command[EndpointWithSecret]:
    """Add a signing secret: webhooks carry a signature of each secret until the old ones are retired."""

    def work(conn: Connection, now: datetime) -> tuple[EndpointWithSecret, CommandEvents]:
        known = own_endpoint(conn, owner, endpoint_id)
        if len(known.secret_versions) >= SECRETS_MAX:
            raise Problem("too_many_secrets")
        version = known.last_version + 1
        wanted = replace(known, secret_versions=(*known.secret_versions, version), last_version=version)
        changed, said = change(conn, now, wanted)
        return EndpointWithSecret(changed, _secret(settings, changed, version)), said

    return _command(endpoint_id, work)


def retire_secret(owner: str, endpoint_id: str, version: int) -> Command[Endpoint]:
    """Retire a secret for good."""

    def work(conn: Connection, now: datetime) -> tuple[Endpoint, CommandEvents]:
        known = own_endpoint(conn, owner, endpoint_id)
        if version not in known.secret_versions:
            raise Problem("not_found")
        if len(known.secret_versions) == 1:
            raise Problem("last_secret")
        left = tuple(each for each in known.secret_versions if each != version)
        return change(conn, now, replace(known, secret_versions=left))

    return _command(endpoint_id, work)


def test(owner: str | None, endpoint_id: str) -> Command[str]:
    """Send a test event. → the id of its delivery"""

    def work(conn: Connection, now: datetime) -> tuple[str, CommandEvents]:
        known = own_endpoint(conn, owner, endpoint_id)
        event_id = new_id(now)
        event = WebhookTestRequested(endpoint_id=endpoint_id, owner=known.owner)
        return delivery_id(event_id, endpoint_id), CommandEvents([(event_id, event, 0)])

    return _command(endpoint_id, work)


def resend(owner: str | None, endpoint_id: str, delivery: str) -> Command[None]:
    """Send a delivery again. The caller has checked in the room's view that it exists."""

    def work(conn: Connection, now: datetime) -> tuple[None, CommandEvents]:
        known = own_endpoint(conn, owner, endpoint_id)
        event = WebhookResendRequested(endpoint_id=endpoint_id, owner=known.owner, delivery_id=delivery)
        return None, CommandEvents([(new_id(now), event, 0)])

    return _command(endpoint_id, work)


def _command(endpoint_id: str, work: Callable[[Connection, datetime], tuple[Result, CommandEvents]]) -> Command[Result]:
    return Command(("endpoint", endpoint_id), work)


def _put(
    settings: Settings, conn: Connection, now: datetime, owner: str, endpoint_id: str, request: EndpointRequest
) -> tuple[EndpointWithSecret, CommandEvents]:
    made = conn.execute(
        "INSERT INTO webhook_endpoints (endpoint_id, owner, url, event_types, secret_versions, last_version,"
        " revision, created_at, changed_at) VALUES (%s, %s, %s, %s, '{1}', 1, 1, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
        [endpoint_id, owner, request.url, list(request.event_types), now, now],
    ).fetchone()
    known = locked(conn, endpoint_id)
    assert known is not None
    if made:
        check_limit(conn, owner, endpoint_id)
        return EndpointWithSecret(known, _secret(settings, known, 1)), CommandEvents([set_event(known, now)])
    if known.owner != owner:
        raise Problem("id_taken", "endpoint_id: this id is taken", _TAKEN)
    wanted = replace(known, url=request.url, event_types=request.event_types)
    if known.deleted:
        check_limit(conn, owner, endpoint_id)
        version = known.last_version + 1
        wanted = replace(wanted, deleted=False, secret_versions=(version,), last_version=version)
        changed, said = change(conn, now, wanted)
        return EndpointWithSecret(changed, _secret(settings, changed, version)), said
    if wanted == known:
        return EndpointWithSecret(known), CommandEvents()
    changed, said = change(conn, now, wanted)
    return EndpointWithSecret(changed), said


def _secret(settings: Settings, endpoint: Endpoint, version: int) -> str:
    return secret_text(settings.webhook_key(endpoint.owner, endpoint.endpoint_id, version))
