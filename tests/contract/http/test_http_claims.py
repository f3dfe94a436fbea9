"""POST /v1/payments: taken once, answered the same again, and never somebody else's."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import psycopg
from confluent_kafka import Consumer, Message
from psycopg import sql

from operations.stack.servers import Servers
from schemas.events import PaymentRequested
from tests.contract.http.door import Door, asked, open_door, order, wait_for
from topics.runtime.shape.store import Store


def stored(door: Door, table: str, **where: str) -> int:
    """How many rows of the doors' own table hold these values."""
    condition = " AND ".join(f"{column} = %s" for column in where) or "true"
    with psycopg.connect(door.settings.dsn("tally_doors"), options="-c search_path=doors") as conn:
        row = conn.execute(f"SELECT count(*) FROM {table} WHERE {condition}", list(where.values())).fetchone()
        assert row is not None
        return int(row[0])


def said(door: Door, *checkout_ids: str) -> list[Message]:
    """What stands on the topic about these checkouts, once all of them are there."""
    consumer = Consumer(
        {"bootstrap.servers": door.settings.kafka, "group.id": "test", "auto.offset.reset": "earliest", "log_level": 3}
    )
    topic = f"{door.settings.topic_prefix}payment-requests.v1"
    found: list[Message] = []
    try:
        consumer.subscribe([topic])

        def all_there() -> bool:
            found.extend(m for m in consumer.consume(100, 0.2) if (m.key() or b"").decode() in checkout_ids)
            return {(m.key() or b"").decode() for m in found} == set(checkout_ids)

        wait_for(all_there)
    finally:
        consumer.close()
    return found


def test_a_payment_is_accepted_and_found_at_once(door: Door) -> None:
    reply = door.post(asked("first", description="three things", metadata={"basket": "17"}))
    assert reply.status == 202
    assert not reply.replayed
    assert reply.headers["location"] == reply.json["links"]["self"] == "/v1/payments/first"
    assert reply.json["status"] == "received"
    assert reply.json["metadata"] == {"basket": "17"}
    assert [o["payment_order_status"] for o in reply.json["payment_orders"]] == ["NOT_STARTED"] * 2

    assert door.get("/v1/payments/first").json == reply.json
    of_order = door.get("/v1/payment-orders/first-2").json
    assert (of_order["checkout_id"], of_order["amount"], of_order["platform_fee"]) == ("first", "12.34", "1.00")


def test_what_was_accepted_is_said_with_its_owner_and_a_deadline(door: Door) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    door.post(asked("said"), traceparent=trace)
    (message,) = said(door, "said")
    event = PaymentRequested.model_validate_json(message.value() or b"")
    headers = dict(cast(list[tuple[str, bytes]], message.headers()))
    assert event.owner == "shop"
    assert event.deadline is not None
    assert event.buyer_info.name == "Ann Lee"
    assert headers["ce_type"] == b"tallystick.PaymentRequested.v1"
    assert headers["traceparent"].split(b"-")[1] == trace.split("-")[1].encode()


def test_what_kafka_has_acknowledged_is_no_longer_owed(door: Door) -> None:
    door.post(asked("owed"))
    said(door, "owed")
    wait_for(lambda: stored(door, "outbox") == 0)


def test_the_same_again_is_answered_with_the_same_bytes(door: Door) -> None:
    first = door.post(asked("again"))
    again = door.post(asked("again"))
    reordered = door.post(asked("again", order("again-2"), order("again-1")))
    assert (again.status, reordered.status) == (202, 202)
    assert again.body == reordered.body == first.body
    assert again.replayed
    assert reordered.replayed
    assert len(said(door, "again")) == 1


def test_the_same_checkout_with_other_contents_is_told_what_differs(door: Door) -> None:
    door.post(asked("conflict"))
    other = asked("conflict", order("conflict-1", amount="99.99"), order("conflict-2"), description="new")
    other["buyer_info"]["name"] = "Bob"
    reply = door.post(other)
    assert reply.status == 422
    assert reply.json["code"] == "checkout_conflict"
    assert [error["field"] for error in reply.json["errors"]] == [
        "buyer_info.name",
        "description",
        "payment_orders[conflict-1].amount",
    ]
    assert b"Ann" not in reply.body


def test_an_id_of_another_owner_is_taken_and_shows_nothing(door: Door) -> None:
    door.post(asked("mine", description="secret"))
    other = door.key_for("other-shop")
    for request in (asked("mine", description="secret"), asked("theirs", order("theirs-1"), order("mine-1"))):
        reply = door.post(request, key=other)
        assert (reply.status, reply.json["code"]) == (409, "id_taken")
        assert b"secret" not in reply.body
    assert reply.json["field"] == "payment_orders[1].payment_order_id"
    for path in ("/v1/payments/mine", "/v1/payment-orders/mine-1", "/v1/payments/theirs"):
        assert door.get(path, key=other).status == 404


def test_a_refused_request_claims_nothing(door: Door) -> None:
    door.post(asked("holder"))
    refused = door.post(asked("retry", order("retry-1"), order("holder-1")), Idempotency_Key="retry-key")
    assert refused.status == 409
    assert stored(door, "order_ids", payment_order_id="retry-1") == 0
    assert stored(door, "idempotency_keys", key="retry-key") == 0
    assert door.post(asked("retry-elsewhere", order("retry-1")), Idempotency_Key="retry-key").status == 202


def test_a_refused_repetition_claims_no_further_order_and_loses_none(door: Door) -> None:
    door.post(asked("grown"))
    refused = door.post(asked("grown", order("grown-1"), order("grown-2"), order("grown-3")))
    assert refused.json["code"] == "checkout_conflict"
    assert stored(door, "order_ids", checkout_id="grown") == 2
    assert door.post(asked("thief", order("grown-1"))).json["code"] == "id_taken"
    assert door.post(asked("grown-elsewhere", order("grown-3"))).status == 202


def test_an_idempotency_key_belongs_to_one_checkout(door: Door) -> None:
    first = door.post(asked("keyed"), Idempotency_Key="k-1")
    assert first.status == 202
    for sent in ({"Idempotency_Key": "k-1"}, {"Idempotency_Key": "k-2"}, {}):
        again = door.post(asked("keyed"), key=None, **sent)
        assert (again.status, again.replayed, again.body) == (202, True, first.body)
    for key in ("k-1", "k-2"):
        reused = door.post(asked("keyed-otherwise"), Idempotency_Key=key)
        assert (reused.status, reused.json["code"]) == (422, "idempotency_key_reused")
    assert stored(door, "requests", checkout_id="keyed-otherwise") == 0
    assert door.post(asked("keyed-by-other"), key=door.key_for("other-shop"), Idempotency_Key="k-1").status == 202


def test_a_crowd_with_one_checkout_gets_one_acceptance_and_otherwise_replays(door: Door) -> None:
    with ThreadPoolExecutor(24) as crowd:
        replies = list(crowd.map(lambda _: door.post(asked("crowd")), range(48)))
    assert {reply.status for reply in replies} == {202}
    assert {reply.body for reply in replies} == {replies[0].body}
    assert sum(not reply.replayed for reply in replies) == 1


def test_a_crowd_after_one_order_id_leaves_one_winner(door: Door) -> None:
    with ThreadPoolExecutor(24) as crowd:
        replies = list(
            crowd.map(lambda i: door.post(asked(f"after-{i}", order("after-all"), order(f"after-{i}"))), range(48))
        )
    assert sorted(reply.status for reply in replies) == [202] + [409] * 47
    assert stored(door, "order_ids", payment_order_id="after-all") == 1


def test_two_processes_agree_on_every_claim(door: Door) -> None:
    """Two APIs on one store: each checkout is accepted once, by whichever was first, and said once."""
    with open_door(door.settings) as second:
        doors = [door, second]

        def post(i: int) -> tuple[str, int, bool, bytes]:
            checkout_id = f"both-{i % 20}"
            reply = doors[i % 2].post(asked(checkout_id, order(f"{checkout_id}-1"), order(f"{checkout_id}-2")))
            return checkout_id, reply.status, reply.replayed, reply.body

        with ThreadPoolExecutor(16) as crowd:
            replies = list(crowd.map(post, (i // 2 for i in range(160))))
    assert {status for _, status, _, _ in replies} == {202}
    fresh = [checkout_id for checkout_id, _, replayed, _ in replies if not replayed]
    assert sorted(fresh) == sorted({f"both-{i}" for i in range(20)})
    assert len({(checkout_id, body) for checkout_id, _, _, body in replies}) == 20
    assert len(said(door, *fresh)) == 20


def test_a_crossing_crowd_of_two_processes_never_deadlocks(door: Door) -> None:
    """Checkouts that want each other's order ids, in opposite order, at two doors: all are answered."""
    with open_door(door.settings) as second:

        def post(i: int) -> int:
            orders = [order(f"cross-{i // 2}-{name}") for name in ("a", "b", "c")]
            if i % 2:
                orders.reverse()
            return (door, second)[i % 2].post(asked(f"cross-{i}", *orders)).status

        with ThreadPoolExecutor(16) as crowd:
            statuses = list(crowd.map(post, range(80)))
    assert sorted(statuses) == [202] * 40 + [409] * 40


def test_no_name_or_address_is_kept_at_the_door(door: Door) -> None:
    request = asked("private")
    request["buyer_info"] |= {"name": "Zebulon Quux", "email": "zq@example.com"}
    door.post(request)
    said(door, "private")
    wait_for(lambda: stored(door, "outbox") == 0)
    with psycopg.connect(door.settings.dsn("tally_doors"), options="-c search_path=doors") as conn:
        row = conn.execute("SELECT hidden, reply FROM requests WHERE checkout_id = 'private'").fetchone()
    assert row is not None
    assert all(word not in column for column in row for word in (b"Zebulon", b"zq@", b"tok_visa"))


def test_lost_connections_to_the_store_cost_nobody_an_answer(door: Door, servers: Servers) -> None:
    assert door.post(asked("before-the-cut")).status == 202
    with psycopg.connect(servers.postgres_admin, autocommit=True) as admin:
        cut = admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [door.settings.database],
        ).fetchall()
    assert cut
    assert door.post(asked("after-the-cut")).status == 202
    assert door.get("/v1/payments/after-the-cut").status == 200
    assert len(said(door, "after-the-cut")) == 1


def test_while_the_store_is_read_only_the_door_says_so_and_then_goes_on(door: Door, servers: Servers) -> None:
    """Sessions end, and new ones may only read: as a failover of managed services. Nobody asks for anything before
    readiness is looked at."""
    assert door.post(asked("before-read-only")).status == 202
    database = sql.Identifier(door.settings.database)
    with psycopg.connect(servers.postgres_admin, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [door.settings.database],
            )
            assert door.get("/readyz").status == 503
            assert door.post(asked("read-only")).status == 503
            wait_for(lambda: door.post(asked("read-only")).status == 503)
            ready = door.get("/readyz")
            assert ready.status == 503
            assert "read-only" in " ".join(ready.json["reasons"])
            assert door.get("/v1/payments/before-read-only").status == 200
            changed = json.dumps({"url": "https://example.com/hooks", "event_types": ["payment.completed"]}).encode()
            assert door.send("PUT", "/v1/webhook-endpoints/read-only", changed).status == 503
            resumed = door.send("POST", "/v1/ops/rooms/payments/resume", json.dumps({"reason": "a test"}).encode())
            assert (resumed.status, resumed.json["code"]) == (503, "unavailable")
        finally:
            admin.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))
    wait_for(lambda: door.get("/readyz").status == 200)
    assert door.post(asked("read-only")).status == 202
    assert door.send("PUT", "/v1/webhook-endpoints/read-only", changed).status == 201  # nothing was done before


def test_what_was_accepted_is_not_refused_for_what_was_sent_before(door: Door) -> None:
    """A broken request on the owner's own topic was refused; mended it came by HTTP, and payments has not heard it yet."""
    refusal = "INSERT INTO refusals VALUES ('mended', 'shop', 'missing', 'buyer_info', now(), gen_random_uuid())"
    with Store(door.settings, "payments").transaction() as conn:
        conn.execute(refusal)
    assert door.get("/v1/payments/mended").json["status"] == "refused"
    assert door.post(asked("mended")).status == 202
    assert door.get("/v1/payments/mended").json["status"] == "received"
    assert door.get("/v1/payment-orders/mended-1").json["payment_order_status"] == "NOT_STARTED"
