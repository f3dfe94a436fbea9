"""Pay-outs over HTTP: taken once, refused with the field at fault, cancelled, read back."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from consumers.wallet import consumer as wallet
from producers import payout_replies
from tests.contract.http.door import Door, Reply, order, wait_for
from tests.contract.http.rooms import captured, execute
from tests.contract.http.test_http_bad_input import refused
from tests.contract.http.test_http_sellers import put
from topics.runtime.process.kafka_loop import RoomLoop
from topics.settings import Settings

ROOT = "/v1/payouts"
IBAN = {"type": "iban", "iban": "DE89370400440532013000", "holder": "Anna Beispiel"}


@pytest.fixture(scope="module", autouse=True)
def rooms(http_stack: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=RoomLoop(http_stack, wallet.build(http_stack), stop).run)
    thread.start()
    yield
    stop.set()
    thread.join()


def fund(door: Door, seller: str, amount: str = "100.00") -> None:
    """What the executor would have said of an order of this seller."""
    one = order(f"{seller}-order", seller_account=seller, amount=amount, platform_fee="0.00")
    execute(door.settings, captured(one, f"{seller}-cart"))
    wait_for(lambda: door.get(f"/v1/wallets/{seller}").status == 200)


@pytest.fixture
def seller(door: Door) -> str:
    """A seller with a destination, and 100.00 EUR available."""
    account = f"po-{secrets.token_hex(4)}"
    assert put(door, account, destination=IBAN).status == 201
    fund(door, account)
    return account


def ask(door: Door, seller: str, key: str | None = None, **changed: Any) -> Reply:
    body = {"payout_id": f"{seller}-1", "seller_account": seller, "amount": "12.00", "currency": "EUR"} | changed
    return door.send("POST", ROOT, json.dumps(body).encode(), key=key)


def test_a_pay_out_is_taken_once_and_the_same_again_gets_the_same_answer(door: Door, seller: str) -> None:
    first = ask(door, seller, description="May")
    assert (first.status, first.replayed, first.headers["location"]) == (202, False, f"{ROOT}/{seller}-1")
    payout_replies.Payout.model_validate_json(first.body)
    again = ask(door, seller, description="May")
    assert (again.status, again.replayed, again.body) == (202, True, first.body)
    refused(ask(door, seller, description="June"), 422, "contents_conflict", "description")
    refused(ask(door, seller, door.key_for("rival"), description="May"), 409, "id_taken", "payout_id")


def test_another_owners_seller_and_nobodys_are_alike(door: Door, seller: str) -> None:
    rival = door.key_for("rival")
    for account in (seller, f"{seller}-that-is-not-there"):
        refused(ask(door, account, rival), 404, "unknown_seller", "seller_account")


def test_what_cannot_be_paid_out_is_refused_before_it_is_stored(door: Door, seller: str) -> None:
    refused(ask(door, seller, amount="100.01"), 422, "insufficient_funds", "amount")
    refused(ask(door, seller, amount="all", currency="USD"), 422, "insufficient_funds", "amount")
    put(door, seller)
    refused(ask(door, seller), 422, "no_destination", "seller_account")
    put(door, seller, state="closed", destination=IBAN)
    refused(ask(door, seller), 422, "seller_closed", "seller_account")
    put(door, seller, state="frozen", destination=IBAN)
    assert ask(door, seller, amount="all").status == 202, "a frozen seller's waits"
