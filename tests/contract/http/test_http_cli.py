"""`tally keys` and `tally pay`, as a person or a script runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from operations.stack.home import Home
from operations.stack.prepare import ensure_demo_key
from tests.commands import tally
from tests.contract.http.door import Door, wait_for


def test_a_key_is_made_listed_and_revoked(door: Door, environment: dict[str, str]) -> None:
    made = tally(environment, "keys", "create", "cli-shop", "--scope", "payments:read", "--json")
    assert made.returncode == 0, made.stderr
    key, key_id = json.loads(made.stdout)["key"], json.loads(made.stdout)["key_id"]
    assert door.get("/v1/payments", key=key).status == 200
    listed = json.loads(tally(environment, "keys", "list", "--json").stdout)["keys"]
    (mine,) = [found for found in listed if found["key_id"] == key_id]
    assert (mine["owner"], mine["scopes"], mine["revoked_at"]) == ("cli-shop", ["payments:read"], None)
    assert key not in str(listed)
    assert tally(environment, "keys", "revoke", key_id).returncode == 0
    wait_for(lambda: door.get("/v1/payments", key=key).status == 401)


def test_a_key_for_an_upstream_service_opens_nothing_of_operators(door: Door, environment: dict[str, str]) -> None:
    made = tally(environment, "keys", "create", "cli-shop")
    key = made.stdout.strip()
    assert (made.returncode, door.get("/v1/payments", key=key).status) == (0, 200), made.stderr
    for path in ("/v1/ops/letters", "/v1/ops/rooms", "/v1/ops/reviews", "/v1/ledger/trial-balance"):
        assert door.get(path, key=key).status == 403, path
    assert door.send("POST", "/v1/ops/rooms/payments/resume", b"{}", key=key).status == 403
    made = tally(environment, "keys", "create", "ann", "--scope", "ops:read", "--scope", "ops:act")
    assert door.get("/v1/ops/rooms", key=made.stdout.strip()).status == 200


def test_a_newcomers_key_asks_for_payments_and_looks_at_the_house(door: Door, tmp_path: Path) -> None:
    ensure_demo_key(door.settings.model_copy(update={"home": tmp_path}))
    key = Home(tmp_path).api_key.read_text().strip()
    for path in ("/v1/payments", "/v1/payouts", "/v1/wallets/nobody", "/v1/ops/letters", "/v1/ledger/trial-balance"):
        assert door.get(path, key=key).status in (200, 404), path


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("create", "cli-shop", "--scope", "everything"), "unknown scope"),
        (("create", "no spaces"), "an owner is"),
        (("revoke", "00000000"), "there is no key"),
    ],
)
def test_what_cannot_be_done_with_a_key_is_one_line(
    environment: dict[str, str], words: tuple[str, ...], why: str
) -> None:
    done = tally(environment, "keys", *words)
    assert done.returncode == 1
    assert why in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_pay_sends_a_real_payment(door: Door, environment: dict[str, str]) -> None:
    done = tally(environment, "pay", "--orders", "4", "--currency", "BHD", "--checkout-id", "cli-1", "--json")
    assert done.returncode == 0, done.stderr
    payment = json.loads(done.stdout)
    assert len(payment["payment_orders"]) == 4
    assert door.get("/v1/payments/cli-1").json["payment_orders"][0]["currency"] == "BHD"
    again = tally(environment, "pay", "--orders", "4", "--currency", "BHD", "--checkout-id", "cli-1", "--json")
    assert json.loads(again.stdout)["received_at"] == payment["received_at"]


def test_pay_says_in_one_line_why_it_was_refused(environment: dict[str, str]) -> None:
    assert tally(environment, "pay", "--checkout-id", "cli-2").returncode == 0
    done = tally(environment, "pay", "--checkout-id", "cli-2", "--orders", "5")
    assert done.returncode == 1
    assert "checkout_conflict" in done.stderr


def test_watching_ends_when_time_is_up(environment: dict[str, str]) -> None:
    done = tally(environment, "pay", "--watch", "--timeout", "1", "--checkout-id", "cli-3")
    assert "cli-3" in done.stdout
    assert (done.returncode == 0) != ("is not done after" in done.stderr)
