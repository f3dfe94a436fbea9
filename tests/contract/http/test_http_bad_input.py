"""Bad input: each a problem document that names the field; nothing is stored, and the door stays open."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import psycopg
import pytest

from producers import paging, replies
from producers.keys import revoke_key
from producers.problems import CODES
from tests.contract.http.door import Door, Reply, asked, order, wait_for

CARD = "4111 1111 1111 1111"
MIB = 1024 * 1024


def refused(reply: Reply, status: int, code: str, field: str | None = None) -> None:
    """The whole contract of a problem document."""
    assert (reply.status, reply.json["code"]) == (status, code), reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["status"] == status == CODES[code].status
    assert reply.json["type"] == f"/errors#{code}"
    assert reply.json["title"]
    assert reply.json["detail"]
    assert reply.json.get("field") == field


def count_requests(door: Door) -> int:
    with psycopg.connect(door.settings.dsn("tally_doors"), options="-c search_path=doors") as conn:
        row = conn.execute("SELECT count(*) FROM requests").fetchone()
        assert row is not None
        return int(row[0])


@pytest.mark.parametrize(
    ("changed", "field", "code"),
    [
        ({"tip": "1"}, "tip", "unknown_field"),
        ({"checkout_id": " "}, "checkout_id", "invalid_id"),
        ({"checkout_id": "c" * 65}, "checkout_id", "invalid_id"),
        ({"checkout_id": "c\0"}, "checkout_id", "invalid_id"),
        ({"checkout_id": "\ud800"}, "checkout_id", "invalid_text"),
        ({"description": "\udfff"}, "description", "invalid_text"),
        ({"description": "\0"}, "description", "invalid_text"),
        ({"description": f"my card is {CARD}"}, "description", "card_number"),
        ({"metadata": {"note": CARD}}, "metadata.note", "card_number"),
        ({"payment_method": {"token": "4111111111111111"}}, "payment_method.token", "card_number"),
        ({"payment_orders": []}, "payment_orders", "no_orders"),
        ({"payment_orders": [order(f"o-{i}") for i in range(101)]}, "payment_orders", "too_many_orders"),
        ({"payment_orders": [order("o"), order("o")]}, "payment_orders[1].payment_order_id", "repeated_order_id"),
        ({"payment_orders": [order("o", amount="1.5")]}, "payment_orders[0].amount", "wrong_decimals"),
        ({"payment_orders": [order("o", amount="1e2")]}, "payment_orders[0].amount", "invalid_amount"),
        ({"payment_orders": [order("o", amount="NaN")]}, "payment_orders[0].amount", "invalid_amount"),
        ({"payment_orders": [order("o", amount="1" * 40 + ".00")]}, "payment_orders[0].amount", "amount_too_large"),
        ({"payment_orders": [order("o", amount="0.00")]}, "payment_orders[0].amount", "not_positive"),
        ({"payment_orders": [order("o", amount="-1.00")]}, "payment_orders[0].amount", "not_positive"),
        ({"payment_orders": [order("o", currency="EUX")]}, "payment_orders[0].currency", "unknown_currency"),
        ({"payment_orders": [order("o", platform_fee="12.35")]}, "payment_orders[0].platform_fee", "fee_above_amount"),
        ({"deadline": "soon"}, "deadline", "invalid_time"),
    ],
)
def test_a_broken_field_is_named(door: Door, changed: dict[str, Any], field: str, code: str) -> None:
    before = count_requests(door)
    reply = door.post(asked("bad") | changed)
    refused(reply, 422, code, field)
    assert CARD.encode() not in reply.body
    assert count_requests(door) == before


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null, null", b"[" * 50_000, b'{"a":' * 5_000, "{}".encode("utf-16"), b'"\xff"', b"NaN"],
)
def test_what_is_not_json_is_refused(door: Door, body: bytes) -> None:
    reply = door.send("POST", "/v1/payments", body)
    assert reply.status in (400, 422)
    assert reply.json["code"] in ("invalid_json", "wrong_type", "invalid_text")


@pytest.mark.parametrize("name", ["amount", "checkout_id", "metadata"])
def test_a_field_that_stands_twice_is_refused(door: Door, name: str) -> None:
    """The last one was taken, and charged; whoever read the first saw another payment."""
    body = json.dumps(asked("twice", metadata={"a": "1"})).replace(f'"{name}":', f'"{name}": "1.00", "{name}":', 1)
    refused(door.send("POST", "/v1/payments", body.encode()), 422, "repeated_field", name)


@pytest.mark.parametrize("path", ["/v1/ops/replays", "/v1/ops/discards"])
def test_an_operators_filter_that_stands_twice_chooses_no_letters(door: Door, path: str) -> None:
    """The last one was taken: `{}`, which is all of them."""
    body = b'{"room": "payments", "reason": "r", "filter": {"code": "none"}, "filter": {}}'
    refused(door.send("POST", path, body), 422, "repeated_field", "filter")
    body = body.replace(b'"filter": {}', b'"dry_run": true, "dry_run": false').replace(
        b'"filter": {"code": "none"}, ', b""
    )
    refused(door.send("POST", path, body), 422, "repeated_field", "dry_run")


def test_an_endpoints_url_that_stands_twice_is_refused(door: Door) -> None:
    body = b'{"url": "https://93.184.216.34/a", "url": "https://93.184.216.34/b"}'
    refused(door.send("PUT", "/v1/webhook-endpoints/twice", body), 422, "repeated_field", "url")
    assert door.get("/v1/webhook-endpoints/twice").status == 404


def sent_twice(door: Door, method: str, path: str, body: bytes, **headers: tuple[str, str]) -> Reply:
    """With both values of each of these headers."""
    conn = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    try:
        conn.putrequest(method, path)
        once = {"authorization": f"Bearer {door.key}", "content-type": "application/json"}
        for name, value in once.items():
            if name not in headers:
                conn.putheader(name, value)
        for name, values in headers.items():
            for value in values:
                conn.putheader(name, value)
        conn.putheader("content-length", str(len(body)))
        conn.endheaders(body)
        answer = conn.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        conn.close()


@pytest.mark.parametrize("name", ["authorization", "idempotency-key", "content-type"])
def test_a_header_that_stands_twice_is_refused_by_every_route(door: Door, name: str) -> None:
    """POST took the last, GET the first: which key, and whose, must not depend on the route."""
    values = {
        "authorization": (f"Bearer {door.key}", f"Bearer {door.key_for('other')}"),
        "idempotency-key": ("k-1", "k-2"),
        "content-type": ("application/json", "text/plain"),
    }[name]
    body = json.dumps(asked(f"headers-{name}")).encode()
    for method, path in (("POST", "/v1/payments"), ("GET", "/v1/payments"), ("POST", "/v1/ops/replays")):
        for pair in (values, values[::-1], values[:1] * 2):
            refused(sent_twice(door, method, path, body, **{name: pair}), 400, "repeated_header")
    assert door.get(f"/v1/payments/headers-{name}").status == 404
    assert sent_twice(door, "POST", "/v1/payments", body, **{"x-request-id": ("a", "b")}).status == 202


@pytest.mark.parametrize("blanks", [" ", "\t ", "   "])
def test_blanks_around_a_header_are_not_part_of_it(door: Door, blanks: str) -> None:
    """RFC 9110, 5.5. Many a key was copied with a blank after it."""
    key = f"Bearer {door.key}{blanks}"
    assert door.send("GET", "/v1/payments", headers={"Authorization": key}).status == 200
    checkout_id = f"blanks-{len(blanks)}"
    body = json.dumps(asked(checkout_id)).encode()
    named = {"Authorization": key, "Idempotency-Key": f"key-{checkout_id}{blanks}"}
    assert door.send("POST", "/v1/payments", body, named).status == 202
    assert door.send("POST", "/v1/payments", body, named | {"Idempotency-Key": f"key-{checkout_id}"}).replayed
    other = json.dumps(asked(f"{checkout_id}-2")).encode()
    refused(door.send("POST", "/v1/payments", other, named), 422, "idempotency_key_reused")


def test_an_endpoint_that_could_not_be_read_back_is_not_made(door: Door) -> None:
    for name in (".", ".."):
        reply = door.send("PUT", f"/v1/webhook-endpoints/{name}", b'{"url": "https://93.184.216.34/"}')
        refused(reply, 422, "invalid_id", "endpoint_id")


def test_what_is_no_http_gets_a_problem_document(door: Door) -> None:
    for garbage in (b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"\x16\x03\x01\x02\x00"):
        with socket.create_connection(("127.0.0.1", door.port), timeout=20) as conn:
            conn.sendall(garbage)
            answer = http.client.HTTPResponse(conn)
            answer.begin()
            named = {name.lower(): value for name, value in answer.getheaders()}
            refused(Reply(answer.status, named, answer.read()), 400, "invalid_request")


def test_a_bug_of_ours_is_a_problem_document_and_the_door_stays_open(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("of a test")

    with monkeypatch.context() as patched:
        patched.setattr(replies, "json", broken)
        refused(door.get("/v1/payments"), 500, "internal")
    assert door.get("/v1/payments").status == 200


def test_floats_and_other_types_are_not_converted(door: Door) -> None:
    refused(door.post(asked("bad", order("o", amount=12.34))), 422, "wrong_type", "payment_orders[0].amount")
    refused(door.send("POST", "/v1/payments", b"[]"), 422, "wrong_type", "")


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/json; charset=utf-16", ""])
def test_another_content_type_is_refused(door: Door, content_type: str) -> None:
    body = json.dumps(asked("typed")).encode()
    reply = door.send("POST", "/v1/payments", body, {"Content-Type": content_type})
    refused(reply, 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_by_its_other_spellings_is_taken(door: Door, content_type: str) -> None:
    reply = door.send("POST", "/v1/payments", json.dumps(asked("spelt")).encode(), {"Content-Type": content_type})
    assert reply.status == 202


@pytest.mark.parametrize("size", [300_000, 2 * MIB, 7 * MIB])
def test_a_body_too_large_is_drained_before_the_answer(door: Door, size: int) -> None:
    body = json.dumps(asked("large", description="d" * size)).encode()
    refused(door.send("POST", "/v1/payments", body), 413, "body_too_large")


def test_a_body_too_large_in_pieces_is_drained_as_well(door: Door) -> None:
    conn = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    headers = {"Authorization": f"Bearer {door.key}", "Content-Type": "application/json"}
    conn.request("POST", "/v1/payments", (b"x" * 65536 for _ in range(32)), headers, encode_chunked=True)
    answer = conn.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["code"] == "body_too_large"
    conn.close()


def test_a_body_beyond_draining_is_answered_at_once(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as sock:
        sock.sendall(
            b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n"
            + f"Authorization: Bearer {door.key}\r\n\r\n".encode()
        )
        assert sock.recv(4096).startswith(b"HTTP/1.1 413")


def test_without_a_valid_key_nothing_is_shown(door: Door) -> None:
    door.post(asked("locked"))
    for key in ("", "nonsense", "tally_00000000_" + "x" * 43, door.key[:-1]):
        for method, path in (("POST", "/v1/payments"), ("GET", "/v1/payments/locked"), ("GET", "/v1/payments")):
            reply = door.send(method, path, json.dumps(asked("locked")).encode() if method == "POST" else None, key=key)
            refused(reply, 401, "unauthorised")
            assert reply.headers["www-authenticate"].startswith("Bearer")


def test_a_key_opens_only_what_its_scopes_name(door: Door) -> None:
    reading = door.key_for("shop", "payments:read")
    refused(door.post(asked("scoped"), key=reading), 403, "forbidden")
    refused(door.get("/v1/wallets/s-1", key=reading), 403, "forbidden")
    assert door.get("/v1/payments", key=reading).status == 200


def test_a_revoked_key_stops_working_within_a_second_or_so(door: Door) -> None:
    key = door.key_for("leaver")
    assert door.get("/v1/payments", key=key).status == 200
    revoke_key(door.settings, key.split("_")[1])
    wait_for(lambda: door.get("/v1/payments", key=key).status == 401, limit_s=3)


@pytest.mark.parametrize("key", ["", "k" * 256, "käse"])
def test_an_idempotency_key_is_printable_ascii(door: Door, key: str) -> None:
    body = json.dumps(asked("badly-keyed")).encode()
    sent = {"Idempotency-Key": key.encode("latin-1").decode("latin-1")}
    refused(door.send("POST", "/v1/payments", body, sent), 400, "invalid_idempotency_key")


def test_an_unknown_path_and_a_wrong_method_are_problems_too(door: Door) -> None:
    refused(door.get("/v2/payments"), 404, "not_found")
    refused(door.get("/v1/payments/"), 404, "not_found")
    refused(door.get("/v1/payments/%00"), 404, "not_found")
    refused(door.get("/v1/payments/nobody"), 404, "not_found")
    refused(door.get("/v1/payment-orders/nobody"), 404, "not_found")
    reply = door.send("DELETE", "/v1/payments")
    refused(reply, 405, "method_not_allowed")
    assert reply.headers["allow"]
    refused(door.send("PUT", "/v1/wallets/s", b"{}"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("status=paid", "status"),
        ("sort=up", "sort"),
        ("from=today", "from"),
        ("buyer_account=a%00b", "buyer_account"),
    ],
)
def test_a_wrong_query_parameter_is_named(door: Door, query: str, field: str) -> None:
    refused(door.get(f"/v1/payments?{query}"), 400, "invalid_parameter", field)


NUL = paging.encode("2026-01-01T00:00:00+00:00", "a\0b")
NO_UUID = paging.encode("0" * 36, 0)


@pytest.mark.parametrize("cursor", ["x", "e30", "W10", "WzEsMl0", "%F0%9F%98%80", NUL, NO_UUID])
def test_a_made_up_cursor_is_refused(door: Door, cursor: str) -> None:
    refused(door.get(f"/v1/payments?cursor={cursor}"), 400, "invalid_cursor")
    refused(door.get(f"/v1/ledger/accounts/platform:fees/entries?cursor={cursor}"), 400, "invalid_cursor")


def test_every_code_has_its_place_on_the_page(door: Door) -> None:
    page = door.get("/errors", key="").body.decode()
    assert all(f'id="{code}"' in page for code in CODES)


def test_after_all_this_the_door_is_open(door: Door) -> None:
    assert door.post(asked("after-all-this")).status == 202
    assert door.get("/healthz", key="").json == {"status": "ok"}
    assert door.get("/readyz", key="").json == {"ready": True, "reasons": []}
    assert "tally_http_requests_total" in door.get("/metrics", key="").body.decode()
