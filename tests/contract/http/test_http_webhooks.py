"""Webhook endpoints over HTTP, with the room that sends beside the API: secrets, owners, tests, resends, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from click.testing import Result
from confluent_kafka import Producer
from typer.testing import CliRunner

from consumers.webhooks.consumer import build
from consumers.webhooks.sender import run_sender
from operations.auditor.engine.records import reader
from operations.auditor.engine.stores import Stores
from operations.auditor.webhooks import check_made, look
from operations.cli.main import build as build_cli
from operations.stack.home import Home, write_private
from operations.stack.servers import Servers
from producers.doors import endpoint_rows
from producers.trimming import trim
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import PaymentCompleted
from tests.contract.http.door import Door, Reply, open_door, wait_for
from tests.contract.http.test_http_bad_input import refused
from tests.store.receiving import Receiver, receiving
from topics import catalog
from topics.runtime.outbox import outbox
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.process.upkeep import Upkeep
from topics.runtime.shape.reading import read
from topics.settings import Settings
from topics.webhooks.limits import WebhookLimits
from topics.webhooks.signing import secret_key, verify

LOOPBACK = {"http_allowed": True, "allowed_networks": ["127.0.0.0/8"]}
ROOT = "/v1/webhook-endpoints"

SINCE = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def hooked(http_stack: Settings) -> Iterator[Door]:
    """An API that lets webhooks go to loopback, and the room."""
    settings = http_stack.model_copy(update={"webhooks": WebhookLimits.model_validate(LOOPBACK)})
    stop = threading.Event()
    works = (RoomLoop(settings, build(settings), stop).run, lambda: run_sender(settings, stop))
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    with open_door(settings) as door:
        yield door
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def ask(door: Door, method: str, path: str, body: object = None, key: str | None = None) -> Reply:
    return door.send(method, ROOT + path, None if body is None else json.dumps(body).encode(), key=key)


def put(door: Door, name: str, shop: Receiver, key: str | None = None, **more: Any) -> Reply:
    return ask(door, "PUT", f"/{name}", {"url": shop.url, **more}, key)


def fits(shop: Receiver, place: int, secret: str) -> bool:
    return verify([secret_key(secret)], shop.got[place].headers, shop.got[place].body, int(time.time())) is None


def test_an_endpoint_is_made_once_its_secret_shown_once_and_a_test_event_is_signed_with_it(
    hooked: Door, shop: Receiver
) -> None:
    made = put(hooked, "once", shop)
    assert (made.status, put(hooked, "once", shop).status) == (201, 200)
    assert put(hooked, "once", shop).json["secret"] is None
    secret = made.json["secret"]
    assert secret not in str(ask(hooked, "GET", "/once").json) + str(ask(hooked, "GET", "").json)
    asked = ask(hooked, "POST", "/once/test")
    assert asked.status == 202
    wait_for(lambda: ask(hooked, "GET", "/once/deliveries?state=delivered").json["deliveries"])
    assert fits(shop, 0, secret)
    shown = ask(hooked, "GET", f"/once/deliveries/{asked.json['delivery_id']}").json
    assert (shown["state"], shown["body"].encode()) == ("delivered", shop.got[0].body)
    assert [(line["status"], line["error"]) for line in shown["log"]] == [(200, None)]
    assert ask(hooked, "POST", f"/once/deliveries/{asked.json['delivery_id']}/resend").status == 202
    wait_for(lambda: len(shop.got) == 2)
    assert shop.got[0].id == shop.got[1].id


def test_secrets_rotate_and_a_retired_one_never_comes_back(hooked: Door, shop: Receiver) -> None:
    first = put(hooked, "rotating", shop).json["secret"]
    second = ask(hooked, "POST", "/rotating/secrets")
    assert (second.status, second.json["secret_versions"]) == (201, [1, 2])
    ask(hooked, "POST", "/rotating/test")
    wait_for(lambda: len(shop.got) == 1)
    assert fits(shop, 0, first)
    assert fits(shop, 0, second.json["secret"])
    assert ask(hooked, "DELETE", "/rotating/secrets/1").json["secret_versions"] == [2]
    refused(ask(hooked, "DELETE", "/rotating/secrets/2"), 409, "last_secret")
    refused(ask(hooked, "DELETE", "/rotating/secrets/1"), 404, "not_found")
    ask(hooked, "POST", "/rotating/test")
    wait_for(lambda: len(shop.got) == 2)
    assert not fits(shop, 1, first)
    assert fits(shop, 1, second.json["secret"])
    assert [ask(hooked, "POST", "/rotating/secrets").status for _ in range(4)] == [201] * 4
    refused(ask(hooked, "POST", "/rotating/secrets"), 409, "too_many_secrets")
    assert ask(hooked, "DELETE", "/rotating").status == 204
    again = put(hooked, "rotating", shop).json
    assert (again["secret_versions"], again["secret"] in (first, second.json["secret"])) == ([7], False)


def test_an_owner_has_so_many_endpoints_and_no_more(
    hooked: Door, shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them hears of every payment of its owner: ten thousand would be ten thousand rows for each."""
    monkeypatch.setattr(endpoint_rows, "ENDPOINTS_MAX", 2)
    key = hooked.key_for("many")
    assert [put(hooked, name, shop, key).status for name in ("many-1", "many-2")] == [201, 201]
    refused(put(hooked, "many-3", shop, key), 409, "too_many_endpoints")
    assert put(hooked, "many-2", shop, key).status == 200
    assert ask(hooked, "DELETE", "/many-1", key=key).status == 204
    assert put(hooked, "many-3", shop, key).status == 201
    refused(put(hooked, "many-1", shop, key), 409, "too_many_endpoints")


def test_another_owner_sees_and_touches_nothing(hooked: Door, shop: Receiver) -> None:
    put(hooked, "mine", shop)
    delivery = ask(hooked, "POST", "/mine/test").json["delivery_id"]
    wait_for(lambda: ask(hooked, "GET", f"/mine/deliveries/{delivery}").status == 200)
    other = hooked.key_for("other")
    assert ask(hooked, "GET", "", key=other).json == {"webhook_endpoints": []}
    assert ask(hooked, "GET", "/mine/deliveries", key=other).json["deliveries"] == []
    refused(put(hooked, "mine", shop, other), 409, "id_taken", "endpoint_id")
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/test"),
        ("POST", "/secrets"),
        ("DELETE", "/secrets/1"),
        ("GET", f"/deliveries/{delivery}"),
        ("POST", f"/deliveries/{delivery}/resend"),
    ):
        refused(ask(hooked, method, f"/mine{path}", key=other), 404, "not_found")
    reader = hooked.key_for("shop", "webhooks:read")
    refused(put(hooked, "mine", shop, reader), 403, "forbidden")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"{", "invalid_json", ""),
        (b"[]", "wrong_type", ""),
        (b"{}", "missing_field", "url"),
        (b'{"url": 7}', "wrong_type", "url"),
        (b'{"url": "ftp://a.example/"}', "invalid_url", "url"),
        (b'{"url": "http://10.0.0.1/"}', "invalid_url", "url"),
        (b'{"url": "https://user:word@a.example/"}', "invalid_url", "url"),
        (b'{"url": "https://0x7f.1/"}', "invalid_url", "url"),
        (b'{"url": "https://a.example/", "event_types": []}', "no_event_types", "event_types"),
        (b'{"url": "https://a.example/", "event_types": ["payment.lost"]}', "unknown_event", "event_types"),
        (b'{"url": "https://a.example/", "secrets": ["whsec_"]}', "unknown_field", "secrets"),
    ],
)
def test_a_bad_body_is_a_problem_that_names_the_field(hooked: Door, body: bytes, code: str, field: str) -> None:
    reply = hooked.send("PUT", f"{ROOT}/bad", body)
    refused(reply, 400 if code == "invalid_json" else 422, code, field)
    refused(ask(hooked, "GET", "/bad"), 404, "not_found")


def test_a_bad_id_type_or_page_is_a_problem_too(hooked: Door, shop: Receiver) -> None:
    refused(put(hooked, "a%20b", shop), 422, "invalid_id", "endpoint_id")
    refused(put(hooked, "x" * 65, shop), 422, "invalid_id", "endpoint_id")
    plain = {"Content-Type": "text/plain"}
    refused(hooked.send("PUT", f"{ROOT}/bad", b"{}", plain), 415, "unsupported_media_type")
    refused(ask(hooked, "GET", "/once/deliveries?state=lost"), 400, "invalid_parameter", "state")
    refused(ask(hooked, "GET", "/once/deliveries?cursor=x"), 400, "invalid_cursor")
    refused(ask(hooked, "GET", "/once/deliveries/not-an-id"), 404, "not_found")
    refused(ask(hooked, "DELETE", "/once/secrets/0"), 404, "not_found")


def test_a_list_of_deliveries_leads_on_to_the_rest_and_ends(hooked: Door, shop: Receiver) -> None:
    key = hooked.key_for("listed", "webhooks:read", "webhooks:write")
    put(hooked, "listed", shop, key)
    made = [ask(hooked, "POST", "/listed/test", key=key).json["delivery_id"] for _ in range(3)]
    wait_for(lambda: len(ask(hooked, "GET", "/listed/deliveries", key=key).json["deliveries"]) == 3)
    first = ask(hooked, "GET", "/listed/deliveries?limit=2", key=key).json
    rest = ask(hooked, "GET", f"/listed/deliveries?limit=2&cursor={first['next_cursor']}", key=key).json
    assert {each["delivery_id"] for each in first["deliveries"] + rest["deliveries"]} == set(made)
    assert (len(first["deliveries"]), rest["next_cursor"]) == (2, None)
    whole = ask(hooked, "GET", "/listed/deliveries?limit=3", key=key).json
    assert (len(whole["deliveries"]), whole["next_cursor"]) == (3, None), "all of them: there is no more"


def test_the_auditor_misses_a_delivery_that_an_endpoint_wanted(hooked: Door, shop: Receiver, servers: Servers) -> None:
    """Modules before this one have left endpoints and payments of theirs: only what is said here counts."""
    key = hooked.key_for("audited", "webhooks:read", "webhooks:write")
    put(hooked, "audited-one-type", shop, key, event_types=["payment.completed"])
    put(hooked, "audited-all-types", shop, key)
    wait_for(lambda: len(_heard(hooked.settings)) == 2)
    with Stores(hooked.settings) as stores, reader(hooked.settings) as reading:

        def looked() -> tuple[int, set[tuple[str, str]]]:
            examined, missing = look(stores, reading, SINCE)
            return examined, {(each.endpoint_id, each.lane) for each in missing}

        before, known = looked()
        _say(
            hooked.settings,
            [PaymentCompleted(checkout_id=f"a-{n}", owner="audited", status="succeeded") for n in range(3)],
        )
        wait_for(lambda: _delivered(hooked.settings) == 6)
        assert looked() == (before + 6, known)
        dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=hooked.settings.database)
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "DELETE FROM webhooks.attempts WHERE delivery_id IN"
                " (SELECT delivery_id FROM webhooks.deliveries WHERE lane = 'a-1')"
            )
            conn.execute("DELETE FROM webhooks.deliveries WHERE lane = 'a-1'")
        assert looked() == (before + 6, known | {("audited-one-type", "a-1"), ("audited-all-types", "a-1")})
        broken = check_made(stores, reading, SINCE)
    assert (broken.ok, broken.examined) == (False, before + 6)
    assert "has no delivery to" in broken.detail


def _heard(settings: Settings) -> list[dict[str, Any]]:
    return read(settings, "webhooks", "SELECT endpoint_id FROM endpoint_view WHERE owner = 'audited'")


def _delivered(settings: Settings) -> int:
    sql = "SELECT delivery_id FROM delivery_view WHERE owner = 'audited' AND state = 'delivered'"
    return len(read(settings, "webhooks", sql))


def _say(settings: Settings, events: list[PaymentCompleted]) -> None:
    """As payments would, a minute from now: what is said just after an endpoint was made is not examined."""
    producer = Producer({"bootstrap.servers": settings.kafka, "partitioner": "murmur2_random"})
    at = datetime.now(UTC) + timedelta(minutes=1)
    for event in events:
        id_ = derive_id(event.checkout_id, "a test", 0, int(at.timestamp() * 1000))
        headers = record_headers(Envelope(id_, "/tallystick/payments", event_type(type(event)), at))
        topic = settings.topic_prefix + catalog.PAYMENTS.name
        producer.produce(topic, event.model_dump_json(), event.key, headers=list(headers))
    assert producer.flush(15) == 0


# ── the commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def environment(hooked: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the commands of a running stack see."""
    settings = hooked.settings
    home = Home(settings.home)
    write_private(home.state, json.dumps({"api_url": f"http://127.0.0.1:{hooked.port}"}))
    write_private(home.api_key, hooked.key + "\n")
    for name in [name for name in os.environ if name.startswith("TALLY_")]:
        monkeypatch.delenv(name)
    for name in ("home", "kafka", "postgres", "database", "topic_prefix", "secret"):
        monkeypatch.setenv(f"TALLY_{name.upper()}", str(getattr(settings, name)))


def tally(*words: str) -> Result:
    """In this process: starting one takes a second."""
    return CliRunner().invoke(build_cli([words[0]]), words)


@pytest.mark.usefixtures("environment")
def test_tally_listen_registers_verifies_and_prints_and_what_it_heard_can_be_sent_again(hooked: Door) -> None:
    command = [
        sys.executable,
        "-m",
        "operations.cli.main",
        "listen",
        "--endpoint",
        "listener",
        "--count",
        "2",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        wait_for(lambda: "listener" in tally("webhooks", "list", "--json").stdout)
        tested = tally("webhooks", "test", "listener")
        assert tested.exit_code == 0, tested.output
        assert "delivered: HTTP 200" in tested.stdout
        delivery = tested.stdout.split()[0]
        resent = tally("webhooks", "resend", delivery[:23])
        assert resent.exit_code == 0, resent.output
        printed, _ = listener.communicate(timeout=30)
    heard = [json.loads(line) for line in printed.splitlines()]
    assert [line["verified"] for line in heard] == [True, True]
    assert heard[0]["webhook_id"] == heard[1]["webhook_id"]
    wait_for(lambda: ask(hooked, "GET", f"/listener/deliveries/{delivery}").json["state"] == "delivered")
    shown = json.loads(tally("webhooks", "show", delivery, "--json").stdout)
    assert [attempt["status"] for attempt in shown["log"]] == [200, 200]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("test", "listner"), "there is no endpoint 'listner'"),
        (("list", "nobody"), "there is no endpoint 'nobody'"),
        (("resend", "DROP TABLE"), "is no delivery id"),
        (("resend", "f" * 8), "no delivery starts with"),
        (("show", "f" * 36), "no delivery starts with"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: tuple[str, ...], why: str) -> None:
    done = tally("webhooks", *words)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert why in done.stderr


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_listener_that_ends_leaves_no_endpoint_for_longer_than_its_lease(
    how: signal.Signals, hooked: Door, http_stack: Settings, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SWEEP_AFTER_S", 0.5)  # of this process: the chore's rows are published by the doors
    command = [sys.executable, "-m", "operations.cli.main", "listen"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as listener:
        assert listener.stderr is not None
        endpoint_id = listener.stderr.readline().split()[-1]
        assert ask(hooked, "GET", f"/{endpoint_id}").status == 200
        listener.send_signal(how)
    if how is signal.SIGKILL:
        admin = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=http_stack.database)
        with psycopg.connect(admin) as conn:
            run_out = "UPDATE doors.webhook_endpoints SET leased_until = now() WHERE endpoint_id = %s AND leased_until > now()"
            assert conn.execute(run_out, [endpoint_id]).rowcount == 1
        Upkeep(http_stack, "doors", threading.Event(), trim=trim).tidy()
    assert ask(hooked, "GET", f"/{endpoint_id}").status == 404
    wait_for(lambda: endpoint_id not in tally("webhooks", "list", "--json").stdout)


def test_an_endpoint_that_is_renewed_or_kept_does_not_go(hooked: Door, http_stack: Settings) -> None:
    where = {"url": "http://127.0.0.1:9/"}
    for name, lease in (("kept", {}), ("leased", {"lease_s": 60})):
        assert ask(hooked, "PUT", f"/{name}", {**where, **lease}).status == 201
        assert ask(hooked, "PUT", f"/{name}", {**where, **lease}).status == 200
    assert ask(hooked, "PUT", "/short", {**where, "lease_s": 1}).json["field"] == "lease_s"
    Upkeep(http_stack, "doors", threading.Event(), trim=trim).tidy()
    for name in ("kept", "leased"):
        assert ask(hooked, "GET", f"/{name}").status == 200


@pytest.mark.usefixtures("environment")
def test_an_operator_deletes_endpoints_of_any_owner(hooked: Door) -> None:
    for name in ("one", "two"):
        assert ask(hooked, "PUT", f"/{name}", {"url": "http://127.0.0.1:9/"}).status == 201
    wait_for(lambda: "two" in tally("webhooks", "list", "--json").stdout)
    refused = tally("webhooks", "delete", "one", "nobody")
    assert (refused.exit_code, ask(hooked, "GET", "/one").status) == (1, 200)
    done = tally("webhooks", "delete", "one", "two")
    assert (done.exit_code, done.stdout) == (0, "one is deleted\ntwo is deleted\n")
    assert [ask(hooked, "GET", f"/{name}").status for name in ("one", "two")] == [404, 404]
