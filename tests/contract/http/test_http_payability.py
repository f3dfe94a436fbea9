"""Why a seller is paid out or not, over HTTP and by command: the lines add up to what the wallet has."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.wallet import consumer as wallet
from producers import seller_replies
from schemas.money import Money
from schemas.payouts import PayoutPlaced
from tests.commands import tally
from tests.contract.http.door import Door, order, wait_for
from tests.contract.http.rooms import captured, execute
from tests.contract.http.test_http_payouts import IBAN
from tests.contract.http.test_http_sellers import put
from topics.catalog import PAYOUTS
from topics.payout_accounts import PayoutProviderAccount
from topics.runtime.process.kafka_loop import RoomLoop
from topics.settings import Settings


@pytest.fixture(scope="module", autouse=True)
def rooms(http_stack: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=RoomLoop(http_stack, wallet.build(http_stack), stop).run)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def seller(door: Door) -> str:
    """With 20.00 EUR available and 30.00 EUR pending for two days."""
    account = f"why-{secrets.token_hex(4)}"
    put(door, account, destination=IBAN)
    later = datetime.now(UTC) + timedelta(days=2)
    for amount, more in (("20.00", {}), ("30.00", {"hold_days": 2, "available_on": later})):
        one = order(f"{account}-{amount}", seller_account=account, amount=amount, platform_fee="0.00")
        execute(door.settings, captured(one, account).model_copy(update=more))
    wait_for(lambda: balances(door, account) == ("20.00", "30.00", "0.00"))
    return account


def balances(door: Door, account: str) -> tuple[str, ...]:
    found = door.get(f"/v1/wallets/{account}")
    if found.status == 404:
        return ()
    [eur] = found.json["balances"]
    return eur["available"], eur["pending"], eur["reserved"]


def why(door: Door, account: str, key: str | None = None) -> dict[str, Any]:
    reply = door.get(f"/v1/sellers/{account}/payability", key=key)
    seller_replies.Payability.model_validate_json(reply.body)
    [eur] = reply.json["currencies"]
    return dict(eur)


def lines(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(line["reason"], line["amount"], line["whose_turn"]) for line in found["lines"]]


def test_each_cent_of_the_wallet_has_its_reason(door: Door, seller: str) -> None:
    found = why(door, seller)
    assert (found["total"], found["payable_now"], found["more_on"]) == ("50.00", "0.00", None)
    assert lines(found) == [("no_provider", "20.00", "platform"), ("hold_days", "30.00", "nobody")]
    reserve = PayoutPlaced(
        payout_id=f"{seller}-1", owner="shop", seller_account=seller, currency="EUR", amount=Money(1500, "EUR")
    )
    execute(door.settings, reserve, topic=PAYOUTS)
    wait_for(lambda: balances(door, seller) == ("5.00", "30.00", "15.00"))
    found = why(door, seller)
    assert lines(found) == [
        ("no_provider", "5.00", "platform"),
        ("hold_days", "30.00", "nobody"),
        ("reserved_for_payout", "15.00", "platform"),
    ]
    assert (found["total"], found["lines"][2]["payout_id"]) == ("50.00", f"{seller}-1")


def test_the_sellers_state_is_told_before_all_else(door: Door, seller: str) -> None:
    put(door, seller, state="frozen", destination=IBAN)
    assert lines(why(door, seller))[0] == ("seller_frozen", "20.00", "platform")
    put(door, seller)
    assert lines(why(door, seller))[0] == ("no_destination", "20.00", "seller")


def test_another_owner_learns_nothing(door: Door, seller: str) -> None:
    path = f"/v1/sellers/{seller}/payability"
    assert door.get(path, key=door.key_for("rival")).status == 404
    assert door.get(path, key=door.key_for("shop", "payments:read")).status == 403
    for nobody in ("why-nobody", "%00", "%E2%82%AC"):
        assert door.get(f"/v1/sellers/{nobody}/payability").status == 404


def test_the_command_tells_the_same(door: Door, seller: str, environment: dict[str, str]) -> None:
    given = PayoutProviderAccount(
        name="harbour", adapter="harbour", url="http://127.0.0.1:1", api_key="key", bank_account="main"
    )
    providers = json.dumps([given.model_dump(mode="json") | {"api_key": "key"}])
    done = tally(environment | {"TALLY_PAYOUT_PROVIDERS": providers}, "sellers", "why", seller)
    assert done.returncode == 0, done.stderr
    assert "EUR: 50.00 in all, 0.00 can be paid out now; more on " in done.stdout
    assert "destination_cooling" in done.stdout
    told = json.loads(tally(environment, "sellers", "why", seller, "--json").stdout)
    assert [line["reason"] for line in told["currencies"][0]["lines"]] == ["no_provider", "hold_days"]
    assert tally(environment, "sellers", "why", "why-nobody").returncode == 1
