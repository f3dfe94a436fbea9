"""A batch of requests for payments → claims on their ids, stored replies and events, in one transaction; or Problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b

import orjson

from producers.doors.commits import Claim
from producers.doors.submission import Answer, Submission
from producers.problems import Problem
from producers.source import SOURCE
from schemas.envelope import Envelope, EventId, child_trace, derive_id, event_type, record_headers
from schemas.events import PaymentRequested
from schemas.money import Money
from schemas.requests import FieldError, PaymentRequest, RequestedOrder
from topics.catalog import PAYMENT_REQUESTS
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord, Row
from topics.runtime.shape.consumer import Connection, Cursor
from topics.settings import Settings

EVENT_TYPE = event_type(PaymentRequested)
HASH_BYTES = 9


@dataclass(frozen=True, slots=True)
class PaymentSubmission(Submission[PaymentRequest]):
    """A request for a payment."""

    @property
    def checkout_id(self) -> str:
        return self.request.checkout_id

    @property
    def location(self) -> str:
        return links(self.checkout_id)["self"]

    def ids(self) -> list[tuple[str, ...]]:
        """The ids that the request claims."""
        orders = [("order", order.payment_order_id) for order in self.request.payment_orders]
        key = [("key", self.owner, self.idempotency_key)] if self.idempotency_key else []
        return [("checkout", self.checkout_id), *orders, *key]


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms that the caller does not choose."""

    now: datetime
    deadline_s: int
    hash_key: bytes


@dataclass(frozen=True, slots=True)
class AcceptedPayment:
    """A checkout that was accepted before."""

    owner: str
    hidden: dict[str, str]
    reply: bytes


Outcomes = dict[str, Answer | Problem]


def claim_with_terms(settings: Settings) -> Claim[PaymentSubmission, Answer]:
    """`claim` with this installation's terms."""
    hash_key = bytes.fromhex(settings.derive("doors:contents"))

    def claim_now(conn: Connection, batch: Sequence[PaymentSubmission], now: datetime) -> Claimed:
        return claim(conn, batch, Terms(now, settings.payment_deadline_s, hash_key))

    return claim_now


Claimed = tuple[list[Answer | Problem], Callable[[], list[Row]]]


def claim(conn: Connection, batch: Sequence[PaymentSubmission], terms: Terms) -> Claimed:
    """Claim the ids of the batch in one global order: checkouts, orders, keys, each sorted.

    A transaction that loses an id waits until the winner has committed, and reads it. → an outcome for each request, and
    a function that reads the rows to publish after the commit. All checkouts and orders are claimed in one round trip;
    claims of refused requests are deleted again.
    """
    asked = {one.checkout_id: one for one in sorted(batch, key=lambda one: one.checkout_id)}
    assert len(asked) == len(batch), "a batch holds a checkout once"
    hashes = {id_: fingerprint(one.request, terms.hash_key) for id_, one in asked.items()}
    replies = {id_: reply_to(one.request, terms) for id_, one in asked.items()}
    events = {id_: derive_id(id_, SOURCE, 0, _milliseconds(terms.now)) for id_ in asked}

    checkouts = _claim_checkouts(conn, asked, hashes, replies, events, terms.now)
    orders = _claim_orders(conn, list(asked.values()))
    fresh, mine = _ids(checkouts), _ids(orders)
    outcomes: Outcomes = {id_: Answer(replies[id_], replayed=False) for id_ in fresh}
    for id_, known in _known(conn, [id_ for id_ in asked if id_ not in fresh]).items():
        outcomes[id_] = _known_reply(asked[id_], hashes[id_] | shown(replies[id_]), known)
    outcomes |= _claim_keys(conn, [one for id_, one in asked.items() if isinstance(outcomes[id_], Answer)])
    outcomes |= _taken_orders([asked[id_] for id_ in asked if id_ in fresh and _is_answer(outcomes[id_])], mine)
    accepted = {id_ for id_ in fresh if _is_answer(outcomes[id_])}
    _give_back(conn, [one for id_, one in asked.items() if id_ not in accepted], fresh, mine)
    said = [_record_of(one, events[id_], terms) for id_, one in asked.items() if id_ in accepted]
    return [outcomes[one.checkout_id] for one in batch], outbox.insert(conn, said, new_keys=True)


def _ids(rows: Cursor) -> set[str]:
    return {row[0] for row in rows}


def _is_answer(outcome: Answer | Problem) -> bool:
    return isinstance(outcome, Answer)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


# ── pure ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def fingerprint(request: PaymentRequest, key: bytes) -> dict[str, str]:
    """Keyed hashes of the fields that the reply does not show: they tell which field differs later, and not its value."""
    buyer = request.buyer_info
    hidden = {
        "buyer_info.name": buyer.name,
        "buyer_info.email": buyer.email,
        "buyer_info.country": buyer.country,
        "payment_method.token": request.payment_method.token,
        "payment_method.return_url": request.payment_method.return_url,
        "deadline": request.deadline.isoformat() if request.deadline else None,
    }
    return {
        name: blake2b(f"{name}\0{text}".encode(), key=key, digest_size=HASH_BYTES).hexdigest()
        for name, text in hidden.items()
        if text is not None
    }


def shown(reply: bytes) -> dict[str, str]:
    """Field → text for all fields of the request that a reply repeats, whatever the order of orders and metadata."""
    payment = orjson.loads(reply)
    fields = {"buyer_info.buyer_account": payment["buyer_account"], "description": payment["description"]}
    fields |= {f"metadata.{name}": text for name, text in payment["metadata"].items()}
    if payment["payment_orders"][0].get("capture") == "manual":
        fields["capture"] = "manual"
    for order in payment["payment_orders"]:
        for name in ("seller_account", "amount", "currency", "platform_fee"):
            fields[f"payment_orders[{order['payment_order_id']}].{name}"] = order[name]
    return fields


def reply_to(request: PaymentRequest, terms: Terms) -> bytes:
    """The payment's state at its acceptance; an immediate GET answers the same."""
    return orjson.dumps(
        {
            "checkout_id": request.checkout_id,
            "status": "received",
            "is_payment_done": False,
            "buyer_account": request.buyer_info.buyer_account,
            "description": request.description,
            "metadata": request.metadata,
            "deadline": _deadline(request, terms),
            "received_at": terms.now,
            "payment_orders": [_order(order, request.capture) for order in request.payment_orders],
            "links": links(request.checkout_id),
        },
        option=orjson.OPT_UTC_Z,
    )


def _order(order: RequestedOrder, capture: str | None) -> dict[str, object]:
    """An order of the reply. `capture` is left out if it is automatic, the default, so that it costs no space."""
    shown: dict[str, object] = {
        "payment_order_id": order.payment_order_id,
        "payment_order_status": "NOT_STARTED",
        "detail": "",
        "decline_code": None,
        "wallet_updated": False,
        "ledger_updated": False,
        "seller_account": order.seller_account,
        "amount": order.amount,
        "currency": order.currency,
        "platform_fee": order.platform_fee or Money.zero(order.currency).amount,
    }
    return shown | {"capture": "manual"} if capture == "manual" else shown


def links(checkout_id: str) -> dict[str, str]:
    return {"self": f"/v1/payments/{checkout_id}"}


def _deadline(request: PaymentRequest, terms: Terms) -> datetime:
    return request.deadline or terms.now + timedelta(seconds=terms.deadline_s)


def _known_reply(asked: PaymentSubmission, contents: dict[str, str], known: AcceptedPayment) -> Answer | Problem:
    """The answer to a request for a known checkout. Another owner's tells nothing of the first."""
    if known.owner != asked.owner:
        return _taken("checkout_id")
    before = known.hidden | shown(known.reply)
    names = sorted(name for name in contents.keys() | before.keys() if contents.get(name) != before.get(name))
    if not names:
        return Answer(known.reply, replayed=True)
    why = "not what was accepted under this checkout_id"
    return Problem(
        "checkout_conflict",
        f"This checkout_id was accepted with other contents: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}",
        [FieldError(name, "checkout_conflict", why) for name in names],
    )


def _taken(field: str) -> Problem:
    return Problem("id_taken", f"{field}: this id is taken", [FieldError(field, "id_taken", "this id is taken")])


def _record_of(asked: PaymentSubmission, event_id: EventId, terms: Terms) -> OutboxRecord:
    """The event for payments, as a record. It fixes the deadline, counted from the acceptance."""
    request = asked.request
    said = request.__dict__ | {
        "deadline": _deadline(request, terms),
        "deadline_defaulted": True if request.deadline is None else None,
        "received_at": terms.now,
        "owner": asked.owner,
    }
    event = PaymentRequested.model_construct(set(said), **said)
    trace = child_trace(asked.traceparent, event_id, event_id)
    envelope = Envelope(event_id, SOURCE, EVENT_TYPE, terms.now, 0, trace)
    value = event.__pydantic_serializer__.to_json(event, exclude_none=True)
    return OutboxRecord(PAYMENT_REQUESTS.name, asked.checkout_id.encode(), list(record_headers(envelope)), value)


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _claim_checkouts(
    conn: Connection,
    asked: dict[str, PaymentSubmission],
    hashes: dict[str, dict[str, str]],
    replies: dict[str, bytes],
    events: dict[str, EventId],
    now: datetime,
) -> Cursor:
    """→ the ids of new checkouts"""
    ids = list(asked)
    return conn.execute(
        "INSERT INTO requests (checkout_id, owner, hidden, reply, accepted_at, event_id)"
        " SELECT id, owner, hidden, reply, %b, event_id"
        " FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::bytea[], %t::uuid[])"
        " AS a (id, owner, hidden, reply, event_id) ON CONFLICT DO NOTHING RETURNING checkout_id",
        [
            now,
            ids,
            [asked[id_].owner for id_ in ids],
            [orjson.dumps(hashes[id_]) for id_ in ids],
            [replies[id_] for id_ in ids],
            [str(events[id_]) for id_ in ids],
        ],
    )


def _known(conn: Connection, ids: list[str]) -> dict[str, AcceptedPayment]:
    """The known checkouts. Read in a later statement than the claim, so that the winner's row is visible."""
    if not ids:
        return {}
    rows = conn.execute("SELECT checkout_id, owner, hidden, reply FROM requests WHERE checkout_id = ANY(%s)", [ids])
    return {id_: AcceptedPayment(owner, orjson.loads(hidden), bytes(reply)) for id_, owner, hidden, reply in rows}


def _claim_keys(conn: Connection, asked: Sequence[PaymentSubmission]) -> Outcomes:
    """→ refusals of requests whose Idempotency-Key was used for another checkout"""
    keyed = {(one.owner, one.idempotency_key): one for one in asked if one.idempotency_key}
    if not keyed:
        return {}
    pairs = sorted(keyed)
    owners, keys = [owner for owner, _ in pairs], [key for _, key in pairs]
    conn.execute(
        "INSERT INTO idempotency_keys (owner, key, checkout_id)"
        " SELECT * FROM unnest(%b::text[], %b::text[], %b::text[]) ON CONFLICT DO NOTHING",
        [owners, keys, [keyed[pair].checkout_id for pair in pairs]],
    )
    rows = conn.execute(
        "SELECT i.owner, i.key, i.checkout_id FROM idempotency_keys i"
        " JOIN unnest(%b::text[], %b::text[]) AS k (owner, key) USING (owner, key)",
        [owners, keys],
    )
    reused = Problem("idempotency_key_reused")
    return {
        keyed[owner, key].checkout_id: reused
        for owner, key, checkout_id in rows
        if keyed[owner, key].checkout_id != checkout_id
    }


def _claim_orders(conn: Connection, asked: Sequence[PaymentSubmission]) -> Cursor:
    """→ the ids of new orders. A payment has at least one order."""
    claims = sorted(
        (order.payment_order_id, one.checkout_id, one.owner) for one in asked for order in one.request.payment_orders
    )
    return conn.execute(
        "INSERT INTO order_ids (payment_order_id, checkout_id, owner)"
        " SELECT * FROM unnest(%b::text[], %b::text[], %b::text[]) ON CONFLICT DO NOTHING RETURNING payment_order_id",
        [list(column) for column in zip(*claims, strict=True)],
    )


def _taken_orders(asked: Sequence[PaymentSubmission], mine: set[str]) -> Outcomes:
    """→ refusals of requests with an order id of another checkout, of any owner"""
    refused: Outcomes = {}
    for one in asked:
        for index, order in enumerate(one.request.payment_orders):
            if order.payment_order_id not in mine:
                refused.setdefault(one.checkout_id, _taken(f"payment_orders[{index}].payment_order_id"))
    return refused


def _give_back(conn: Connection, others: Sequence[PaymentSubmission], fresh: set[str], mine: set[str]) -> None:
    """Delete the claims of refused requests and replays: only accepted requests keep their ids."""
    orders = [o.payment_order_id for one in others for o in one.request.payment_orders if o.payment_order_id in mine]
    if orders:
        conn.execute("DELETE FROM order_ids WHERE payment_order_id = ANY(%s)", [orders])
    refused = [one for one in others if one.checkout_id in fresh]
    if not refused:
        return
    checkouts = [one.checkout_id for one in refused]
    owners, keys = [one.owner for one in refused], [one.idempotency_key or "" for one in refused]
    conn.execute("DELETE FROM requests WHERE checkout_id = ANY(%s)", [checkouts])
    conn.execute(
        "DELETE FROM idempotency_keys i USING unnest(%s::text[], %s::text[]) AS k (owner, key)"
        " WHERE i.owner = k.owner AND i.key = k.key AND i.checkout_id = ANY(%s)",
        [owners, keys, checkouts],
    )
