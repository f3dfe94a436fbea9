"""payments.v1 and payouts.v1, as far as webhooks has read → wanted events without a delivery, and deliveries not sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from operations.auditor.engine.records import Partition, Reader, key_of, positions
from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.unfinished import LEASE_S, OVERDUE, Look, LookResult
from schemas.envelope import event_type, header, is_event_id
from schemas.webhooks import EVERYTHING, delivery_id
from topics.catalog import PAYMENTS, PAYOUTS, WEBHOOKS_ROOM
from topics.runtime.shape.record import headers_of

ROOM = WEBHOOKS_ROOM.name
CHECK = "webhooks_made"
# An event counts from so long after the endpoint's last change on: there is no order between two topics.
APART = timedelta(seconds=10)
AT_ONCE = 5000
TOPICS = (PAYMENTS, PAYOUTS)
_TYPES = {event_type(kind): kind.webhook_type for topic in TOPICS for kind in topic.says if kind.webhook_type}


class Endpoint(NamedTuple):
    endpoint_id: str
    owner: str
    event_types: list[str]
    changed_at: datetime

    def wants(self, kind: str) -> bool:
        return kind in self.event_types or EVERYTHING in self.event_types


class WantedDelivery(NamedTuple):
    """An event that an endpoint must get."""

    delivery_id: str
    endpoint_id: str
    lane: str  # the payment, or the pay-out
    event_id: str


def check_made(stores: Stores, reading: Reader, since: datetime) -> Check:
    """Check events that were published `since`."""
    examined, missing = look(stores, reading, since)
    wrong = [f"{each.lane}: event {each.event_id} has no delivery to {each.endpoint_id}" for each in missing]
    return judged(CHECK, examined, wrong, expected=False)


def look(stores: Stores, reading: Reader, since: datetime) -> tuple[int, list[WantedDelivery]]:
    """The number of wanted deliveries, and the missing ones. Without endpoints the topics are not read."""
    endpoints: dict[str, list[Endpoint]] = {}
    for row in stores.rows(
        ROOM, "SELECT endpoint_id, owner, event_types, changed_at FROM endpoint_view WHERE NOT deleted"
    ):
        endpoints.setdefault(row[1], []).append(Endpoint(*row))
    examined = 0
    missing: list[WantedDelivery] = []
    for wanted in _slices(_wanted(stores, reading, endpoints, since)) if endpoints else ():
        examined += len(wanted)
        missing += _missing(stores, wanted)
    return examined, missing


def _wanted(
    stores: Stores, reading: Reader, endpoints: Mapping[str, list[Endpoint]], since: datetime
) -> Iterator[WantedDelivery]:
    at = positions(stores, ROOM)
    ends = {where: range_ for topic in TOPICS for where, range_ in reading.ends(topic).items()}
    ranges: dict[Partition, tuple[int, int]] = {
        where: (low, min(high, at.get(where, low))) for where, (low, high) in ends.items()
    }
    for record in reading.records({where: (low, high) for where, (low, high) in ranges.items() if low < high}):
        headers = headers_of(record)
        kind = _TYPES.get(header(headers, "ce_type") or "")
        event_id, said = header(headers, "ce_id") or "", header(headers, "ce_time") or ""
        if kind is None or not is_event_id(event_id):
            continue  # a dead letter, at most
        said_at = _time(said)
        if said_at is None or said_at < since:
            continue
        lane = key_of(record)
        for endpoint in endpoints.get(_owner(record.value() or b""), ()):
            if endpoint.wants(kind) and said_at > endpoint.changed_at + APART:
                id_ = delivery_id(event_id, endpoint.endpoint_id)
                yield WantedDelivery(id_, endpoint.endpoint_id, lane, event_id)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _owner(value: bytes) -> str:
    try:
        return str(orjson.loads(value)["owner"])
    except (ValueError, KeyError, TypeError):
        return ""  # unreadable: a dead letter, which another check reports


def _missing(stores: Stores, wanted: list[WantedDelivery]) -> Iterator[WantedDelivery]:
    """The missing deliveries, without those of payments and pay-outs that a letter holds."""
    ids = [each.delivery_id for each in wanted]
    there = {
        row[0]
        for row in stores.rows(
            ROOM, "SELECT delivery_id::text FROM delivery_view WHERE delivery_id = ANY(%s::uuid[])", [ids]
        )
    }
    owed = [each for each in wanted if each.delivery_id not in there]
    if not owed:
        return
    keys = [each.lane.encode() for each in owed]
    rows = stores.rows(ROOM, "SELECT DISTINCT key FROM parked WHERE key = ANY(%s) AND state <> 'done'", [keys])
    held = {bytes(row[0]).decode() for row in rows}
    yield from (each for each in owed if each.lane not in held)


def _slices(wanted: Iterable[WantedDelivery]) -> Iterator[list[WantedDelivery]]:
    part: list[WantedDelivery] = []
    for each in wanted:
        part.append(each)
        if len(part) == AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def sent(stores: Stores, now: datetime) -> LookResult:
    """Each open delivery is leased or due. A failing endpoint is tried by one delivery at a time, so its others may be late
    while it was tried recently.
    """
    seen = LookResult(stores.one(ROOM, "SELECT count(*) FROM delivery_view")[0])
    given_up = stores.one(ROOM, "SELECT count(*) FROM delivery_view WHERE state = 'given_up'")[0]
    seen.aside.append(f"{given_up} given up" if given_up else "")
    rows = stores.rows(
        ROOM,
        "SELECT d.delivery_id::text, d.endpoint_id, CASE d.state WHEN 'due' THEN 'due since ' || d.due_at"
        " WHEN 'sending' THEN 'its lease ended ' || d.lease_until ELSE 'waits behind nothing' END"
        " FROM delivery_view d WHERE"
        f" (d.state = 'sending' AND d.lease_until < clock_timestamp() - interval '{LEASE_S} seconds')"
        " OR (d.state = 'waiting' AND NOT EXISTS (SELECT 1 FROM delivery_view o WHERE o.endpoint_id = d.endpoint_id"
        "   AND o.lane = d.lane AND o.state IN ('due', 'sending')))"
        " OR (d.state = 'due' AND d.due_at < %s AND NOT EXISTS (SELECT 1 FROM attempt_view a JOIN delivery_view o"
        "   USING (delivery_id) WHERE o.endpoint_id = d.endpoint_id AND a.at > %s)) LIMIT 100",
        [now - OVERDUE, now - OVERDUE],
    )
    seen.wrong = {delivery: f"to {endpoint}: {why}" for delivery, endpoint, why in rows}
    return seen


LOOKS: dict[str, Look] = {"webhooks_sent": sent}


def kept_since(run: Run) -> datetime:
    """The time since which deliveries are kept: those of earlier events may be deleted."""
    return run.clock.now() - timedelta(days=run.settings.retention.webhook_deliveries_days - 1)
