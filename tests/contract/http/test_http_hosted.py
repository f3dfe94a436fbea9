"""POST /v1/checkout-sessions: taken once, answered the same again, read back with the page; card data goes nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from operations.cli.commands.pay import demo_request
from schemas.events import PaymentPending
from tests.commands import tally
from tests.contract.http.door import Door, Reply, asked, order, wait_for
from tests.contract.http.orders import said
from tests.contract.http.rooms import captured, execute, running_rooms
from tests.contract.http.test_http_bad_input import CARD, count_requests, refused
from tests.contract.http.test_http_claims import said as on_kafka

BACK = "https://shop.example/thanks?cart=1"
URL = "https://psp.example/pay/5f1d"


@pytest.fixture(scope="module")
def rooms(door: Door) -> Iterator[None]:
    with running_rooms(door.settings):
        yield


def session(cart: str, **changed: Any) -> dict[str, Any]:
    body = {**asked(cart, order(f"{cart}-1")), "return_url": BACK, **changed}
    del body["payment_method"]
    return body


def open_session(door: Door, body: dict[str, Any], **headers: str) -> Reply:
    return door.send("POST", "/v1/checkout-sessions", json.dumps(body).encode(), **headers)


def test_a_session_is_taken_once_and_asks_for_a_page(door: Door) -> None:
    first = open_session(door, session("page-1"))
    assert (first.status, first.headers["location"]) == (202, "/v1/payments/page-1")
    again = open_session(door, session("page-1"))
    assert (again.body, again.replayed) == (first.body, True)
    [message] = on_kafka(door, "page-1")
    value = json.loads(message.value() or b"")
    assert value["payment_method"] == {"type": "hosted", "return_url": BACK}
    assert value["deadline"] == first.json["deadline"]


def test_the_same_checkout_as_a_payment_on_a_page_is_the_same_and_anything_else_is_not(door: Door) -> None:
    open_session(door, session("page-2"))
    on_page = asked("page-2", order("page-2-1"), payment_method={"type": "hosted", "return_url": BACK})
    assert door.post(on_page).replayed
    refused(door.post(asked("page-2", order("page-2-1"))), 422, "checkout_conflict", "payment_method.return_url")
    other = open_session(door, session("page-2", return_url="https://shop.example/other"))
    refused(other, 422, "checkout_conflict", "payment_method.return_url")
    assert BACK not in other.body.decode()


@pytest.mark.parametrize(
    ("changed", "field", "code"),
    [
        ({"return_url": "http://shop.example/"}, "return_url", "invalid_url"),
        ({"return_url": "javascript:alert(1)"}, "return_url", "invalid_url"),
        ({"return_url": "https://ann:secret@shop.example/"}, "return_url", "invalid_url"),
        ({"return_url": "https://shop.example/#token"}, "return_url", "invalid_url"),
        ({"return_url": "https://shop.example/" + "a" * 2000}, "return_url", "invalid_url"),
        ({"return_url": "http://127.0.0.1:3000/"}, "return_url", "invalid_url"),
        ({"return_url": f"https://shop.example/{CARD.replace(' ', '')}"}, "return_url", "card_number"),
        ({"return_url": None}, "return_url", "wrong_type"),
        ({"payment_orders": [order("o"), order("p")]}, "payment_orders", "hosted_one_order"),
        ({"payment_orders": []}, "payment_orders", "no_orders"),
        ({"description": CARD}, "description", "card_number"),
        ({"token": "tok_visa"}, "token", "unknown_field"),
    ],
)
def test_a_session_that_keeps_no_contract_is_refused_and_not_stored(
    door: Door, changed: dict[str, Any], field: str, code: str
) -> None:
    before = count_requests(door)
    answer = open_session(door, session("bad", **changed))
    refused(answer, 422, code, field)
    assert CARD.replace(" ", "").encode() not in answer.body
    assert count_requests(door) == before


def pending(one: dict[str, Any], cart: str, expires_at: datetime) -> PaymentPending:
    event = said(one, cart, PaymentPending, reason="buyer", redirect_url=URL, expires_at=expires_at)
    assert isinstance(event, PaymentPending)
    return event


@pytest.mark.usefixtures("rooms")
def test_the_page_is_read_back_until_it_is_paid(door: Door) -> None:
    open_session(door, session("page-3"))
    wait_for(lambda: door.get("/v1/payments/page-3").json["status"] == "executing")
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
    execute(door.settings, pending(order("page-3-1"), "page-3", expires_at))

    def shown() -> dict[str, Any]:
        one: dict[str, Any] = door.get("/v1/payments/page-3").json["payment_orders"][0]
        return one

    wait_for(lambda: shown()["detail"] == "action_required")
    action = shown()["next_action"]
    assert (action["type"], action["redirect_url"]) == ("redirect_to_url", URL)
    assert datetime.fromisoformat(action["expires_at"]) == expires_at
    assert door.get("/v1/payment-orders/page-3-1").json["next_action"] == action
    [listed] = [one for one in door.get("/v1/payments").json["payments"] if one["checkout_id"] == "page-3"]
    assert listed["payment_orders"][0]["next_action"] == action
    execute(door.settings, captured(order("page-3-1"), "page-3"))
    wait_for(lambda: door.get("/v1/payments/page-3").json["is_payment_done"])
    assert shown()["next_action"] is None


def test_no_store_of_a_session_holds_a_token_or_a_card(door: Door) -> None:
    open_session(door, session("page-4"))
    with psycopg.connect(door.settings.dsn("tally_doors"), options="-c search_path=doors") as conn:
        row = conn.execute("SELECT hidden, reply FROM requests WHERE checkout_id = 'page-4'").fetchone()
    assert row is not None
    hidden = json.loads(row[0])
    assert "payment_method.token" not in hidden
    assert BACK not in str(hidden) + bytes(row[1]).decode()


@pytest.mark.usefixtures("rooms")
def test_tally_pay_hosted_prints_where_the_buyer_pays(door: Door, environment: dict[str, str]) -> None:
    """The same again is a replay: the PSP's word has come meanwhile, from the test."""
    body = demo_request("page-5", 1, "tok_visa", "EUR") | {"return_url": BACK}
    del body["payment_method"]
    open_session(door, body)
    wait_for(lambda: door.get("/v1/payments/page-5").json["status"] == "executing")
    one = body["payment_orders"][0]
    execute(door.settings, pending(one, "page-5", datetime.now(UTC) + timedelta(minutes=30)))
    wait_for(lambda: door.get("/v1/payments/page-5").json["payment_orders"][0]["detail"] == "action_required")
    done = tally(environment, "pay", "--hosted", "--checkout-id", "page-5", "--return-url", BACK)
    assert (done.returncode, done.stdout) == (0, f"{URL}\n")
    assert "waits for its buyer" in done.stderr
    refused_url = tally(
        environment, "pay", "--hosted", "--checkout-id", "page-6", "--return-url", "http://shop.example/"
    )
    assert refused_url.returncode == 1
    assert "return_url: the scheme must be https" in refused_url.stderr
