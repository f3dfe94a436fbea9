"""Sellers over HTTP and by command: whose they are, what stands of them, who changed what; and payments beside the API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.payments.consumer import build
from producers import seller_replies
from tests.commands import tally
from tests.contract.http.door import Door, Reply, asked, order, wait_for
from tests.contract.http.test_http_bad_input import refused
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.shape.reading import read
from topics.settings import Settings

ROOT = "/v1/sellers"
TERMS: dict[str, Any] = {
    "name": "Anna Beispiel",
    "country": "DE",
    "hold_days": 2,
    "reserve": {"percent": "10", "days": 90},
    "fee_plan": {"percent": "2.9", "fixed": [{"amount": "0.30", "currency": "EUR"}]},
}


@pytest.fixture(scope="module")
def payments(http_stack: Settings) -> Iterator[None]:
    """The room that is told of sellers."""
    stop = threading.Event()
    thread = threading.Thread(target=RoomLoop(http_stack, build(http_stack), stop).run)
    thread.start()
    yield
    stop.set()
    thread.join()


def put(door: Door, account: str, key: str | None = None, **terms: Any) -> Reply:
    return door.send("PUT", f"{ROOT}/{account}", json.dumps(terms).encode(), key=key)


def test_a_seller_is_registered_read_back_and_in_force_once_payments_has_heard(door: Door, payments: None) -> None:
    made = put(door, "sell-1", **TERMS)
    assert (made.status, made.json["revision"], made.json["state"]) == (201, 1, "active")
    assert made.json["fee_plan"] == {"percent": "2.90", "fixed": [{"amount": "0.30", "currency": "EUR"}]}
    wait_for(lambda: door.get(f"{ROOT}/sell-1").json["in_force"] == 1)
    again = put(door, "sell-1", **TERMS)
    assert (again.status, again.json["revision"], again.json["in_force"]) == (200, 1, 1)
    changed = put(door, "sell-1", **TERMS | {"hold_days": 5})
    assert (changed.json["revision"], changed.json["hold_days"]) == (2, 5)
    wait_for(lambda: door.get(f"{ROOT}/sell-1").json["in_force"] == 2)


def test_the_history_tells_who_changed_what_and_what_stood_before(door: Door) -> None:
    key = door.key_for("historian")
    put(door, "sell-2", key, name="Anna")
    put(door, "sell-2", key, name="Anna", state="closed")
    told = door.get(f"{ROOT}/sell-2/history?limit=1", key=key).json
    (line,) = told["history"]
    assert line["changes"] == [{"field": "state", "before": "active", "after": "closed"}]
    assert line["changed_by"] == f"historian (key {key.split('_')[1]})"
    (first,) = door.get(f"{ROOT}/sell-2/history?cursor={told['next_cursor']}", key=key).json["history"]
    assert (first["revision"], {change["field"] for change in first["changes"]}) == (1, {"name", "state"})


def test_another_owner_learns_nothing_of_a_seller(door: Door) -> None:
    other = door.key_for("rival")
    put(door, "sell-3", **TERMS)
    refused(put(door, "sell-3", other), 409, "id_taken", "seller_account")
    for path in ("sell-3", "sell-3/history", "sell-that-is-not-there", "%00"):
        assert door.get(f"{ROOT}/{path}", key=other).status == 404
    assert door.get(ROOT, key=other).json["sellers"] == []


def test_a_list_has_the_owners_sellers_page_by_page_and_by_state(door: Door) -> None:
    key = door.key_for("lister")
    for number in range(5):
        put(door, f"page-{number}", key, state="frozen" if number % 2 else "active")
    first = door.get(f"{ROOT}?limit=3", key=key).json
    second = door.get(f"{ROOT}?limit=3&cursor={first['next_cursor']}", key=key).json
    accounts = [seller["seller_account"] for page in (first, second) for seller in page["sellers"]]
    assert (accounts, second["next_cursor"]) == ([f"page-{number}" for number in range(5)], None)
    frozen = door.get(f"{ROOT}?state=frozen", key=key).json["sellers"]
    assert [seller["seller_account"] for seller in frozen] == ["page-1", "page-3"]


def test_a_key_needs_the_scope(door: Door) -> None:
    reader = door.key_for("scoped", "sellers:read")
    refused(put(door, "sell-4", reader), 403, "forbidden")
    assert door.get(ROOT, key=reader).status == 200
    refused(door.get(ROOT, key=door.key_for("scoped", "payments:read")), 403, "forbidden")


def test_what_breaks_the_contract_names_the_field_and_registers_nobody(door: Door) -> None:
    refused(put(door, "sell-5", hold_days=181), 422, "invalid_days", "hold_days")
    refused(put(door, "sell-5", fee_plan={"percent": 2.9}), 422, "invalid_percent", "fee_plan.percent")
    refused(put(door, "sell%205"), 422, "invalid_id", "seller_account")
    refused(door.get(f"{ROOT}?cursor=x"), 400, "invalid_cursor")
    assert door.get(f"{ROOT}/sell-5").status == 404


DESTINATION = {"type": "iban", "iban": "DE89 3704 0044 0532 0130 00", "holder": "Anna Beispiel"}
ABROAD = {**DESTINATION, "iban": "GB82WEST12345698765432", "address": {"town": "London", "country": "GB"}}
SCHEDULE = {"currency": "EUR", "every": "week", "weekday": 1, "at": "06:00", "minimum": "25.00"}


@pytest.mark.parametrize(
    ("terms", "field", "code"),
    [
        ({"destination": {**DESTINATION, "iban": "DE89370400440532013001"}}, "destination.iban", "invalid_iban"),
        ({"destination": {**DESTINATION, "holder": "x" * 200}}, "destination.holder", "invalid_holder"),
        ({"destination": {**DESTINATION, "holder": "A\u202eB"}}, "destination.holder", "invalid_holder"),
        ({"destination": {**DESTINATION, "holder": "A\0B"}}, "destination.holder", "invalid_text"),
        ({"destination": {**DESTINATION, "holder": "4111111111111111"}}, "destination.holder", "card_number"),
        ({"destination": {**DESTINATION, "type": "us_account"}}, "destination.routing_number", "missing_field"),
        ({"schedules": [{**SCHEDULE, "at": "24:00"}]}, "schedules[0].at", "invalid_schedule"),
        ({"schedules": [{**SCHEDULE, "every": "month", "day": 30}]}, "schedules[0].day", "invalid_schedule"),
    ],
)
def test_a_destination_that_is_wrong_names_the_field_and_registers_nobody(
    door: Door, terms: dict[str, Any], field: str, code: str
) -> None:
    reply = put(door, "sell-9", **terms)
    refused(reply, 422, code, field)
    assert not any(secret in reply.body for secret in (b"3704", b"4111", b"Beispiel"))
    assert door.get(f"{ROOT}/sell-9").status == 404


def test_accounts_in_blocked_countries_and_at_unknown_providers_are_refused(door: Door) -> None:
    account = {"type": "provider_account", "provider": "nobody", "account": "a-1", "holder": "Ann"}
    refused(put(door, "sell-9", destination={**account, "country": "IR"}), 422, "blocked_country", "destination")
    refused(put(door, "sell-9", destination={**account, "country": "DE"}), 422, "no_provider", "destination.provider")


def test_an_account_outside_the_eea_is_refused_without_its_holders_address(door: Door) -> None:
    bare = {name: value for name, value in ABROAD.items() if name != "address"}
    refused(put(door, "sell-9", destination=bare), 422, "address_required", "destination.address")
    lines = {**ABROAD, "address": {"lines": ["Baker St 221b", "London"]}}
    refused(put(door, "sell-9", destination=lines), 422, "missing_field", "destination.address.town")
    assert door.get(f"{ROOT}/sell-9").status == 404


def test_a_destination_is_shown_masked_before_and_after_and_its_schedule_as_it_was_set(door: Door) -> None:
    key = door.key_for("masker")
    made = put(door, "sell-10", key, destination=DESTINATION, schedules=[SCHEDULE])
    assert made.json["destination"].items() >= {"type": "iban", "country": "DE", "masked": "DE89 … 3000"}.items()
    [schedule] = made.json["schedules"]
    assert {**SCHEDULE, "every": "week"}.items() <= schedule.items()
    seller_replies.Seller.model_validate_json(made.body)
    put(door, "sell-10", key, destination=ABROAD, schedules=[SCHEDULE])
    told = door.get(f"{ROOT}/sell-10/history", key=key)
    [line] = told.json["history"][0]["changes"]
    assert [line[when]["masked"] for when in ("before", "after")] == ["DE89 … 3000", "GB82 … 5432"]
    assert not any(secret in told.body for secret in (b"sealed", b"Beispiel", b"3704", b"WEST", b"London"))


# ── by command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def run(environment: dict[str, str], *words: str) -> str:
    done = tally(environment, "sellers", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_operators_register_change_freeze_and_thaw_a_seller_and_the_history_names_them(
    door: Door, environment: dict[str, str]
) -> None:
    words = ("--owner", "cli-shop", "--hold-days", "2", "--fee", "2.9", "--fixed", "0.30:EUR", "--reserve", "10:90")
    assert "sell-6 of cli-shop is registered; revision 1" in run(environment, "put", "sell-6", *words)
    assert "hold_days: 2 → 3" in run(environment, "put", "sell-6", "--hold-days", "3")
    for again in ("is changed; revision 3", "is so already, by revision 3: nothing is changed"):
        assert again in run(environment, "freeze", "sell-6", "--reason", "odd orders", "--actor", "ann")
    assert "state: frozen → active" in run(environment, "thaw", "sell-6", "--actor", "ann")
    told = run(environment, "show", "sell-6")
    assert "revision 3 by operator ann (odd orders)" in told
    assert "2.90 % + 0.30 EUR" in told
    assert "10.00 % for 90 days" in told
    listed = json.loads(run(environment, "list", "--owner", "cli-shop", "--json"))["sellers"]
    assert [(each["seller_account"], each["terms"]["hold_days"]) for each in listed] == [("sell-6", 3)]
    assert door.get(f"{ROOT}/sell-6", key=door.key_for("cli-shop")).json["revision"] == 4


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("freeze", "nobody"), 1, "no registered seller"),
        (("show", "nobody"), 1, "no registered seller"),
        (("put", "sell-7", "--owner", "cli-shop", "--hold-days", "181"), 1, "hold_days: a whole number of days"),
        (("put", "sell-7", "--owner", "cli-shop", "--reserve", "10"), 2, "PERCENT:DAYS"),
        (("put", "sell-7", "--owner", "cli-shop", "--fixed", "0.30:EUR"), 2, "--fixed needs --fee"),
        (("put", "sell-7", "--owner", "cli-shop", "--iban", "DE1"), 1, "destination.iban: an IBAN such as"),
        (("put", "sell-7", "--owner", "cli-shop", "--schedule", "EUR:week@06:00"), 2, "CURRENCY[-TO]:EVERY"),
        (("put", "sell-7", "--owner", "cli-shop", "--schedule", "EUR:day@24:00"), 1, "schedules[0].at: a time of day"),
    ],
)
def test_what_cannot_be_done_with_a_seller_is_said_in_words(
    environment: dict[str, str], words: tuple[str, ...], code: int, why: str
) -> None:
    done = tally(environment, "sellers", *words)
    assert done.returncode == code
    assert why in " ".join(done.stderr.split())


def test_operators_set_where_and_when_a_seller_is_paid_out_and_see_it_masked(
    door: Door, environment: dict[str, str], tmp_path: Path
) -> None:
    terms = tmp_path / "terms.json"
    terms.write_text(json.dumps({"destination": DESTINATION, "hold_days": 1}))
    words = ("put", "sell-11", "--owner", "cli-shop", "--file", str(terms), "--schedule", "EUR:month:-1@06:00")
    assert "destination: DE89 … 3000 (DE)" in run(environment, *words)
    assert "nothing is changed" in run(environment, *words)
    assert "hold_days: 1 → 2" in run(environment, "put", "sell-11", "--hold-days", "2")
    told = run(environment, "show", "sell-11") + run(environment, "show", "sell-11", "--json")
    assert "EUR every month, on day -1, at 06:00" in told
    assert "DE89 … 3000" in run(environment, "list", "--owner", "cli-shop")
    assert not any(secret in told for secret in ("sealed", "Beispiel", "3704"))
    terms.write_text(json.dumps({"destination": ABROAD}))
    changed = run(environment, "put", "sell-11", "--file", str(terms), "--schedule", "none")
    assert "destination: DE89 … 3000 (DE) → GB82 … 5432 (GB)" in changed
    assert "schedules: EUR every month, on day -1, at 06:00 → none" in changed
    assert "destination: GB82 … 5432 (GB) → none" in run(environment, "put", "sell-11", "--iban", "none")


def test_an_owner_does_not_lift_what_an_operator_has_ordered(door: Door, environment: dict[str, str]) -> None:
    put(door, "sell-20", state="frozen")
    assert put(door, "sell-20").json["state"] == "active"  # the owner's own freeze is the owner's to lift
    run(environment, "freeze", "sell-20", "--reason", "odd orders")
    lifted = put(door, "sell-20", **TERMS)
    assert (lifted.status, lifted.json["code"]) == (409, "held_by_operator")
    assert put(door, "sell-20", **TERMS, state="frozen").json["hold_days"] == 2
    run(environment, "thaw", "sell-20")
    assert put(door, "sell-20", **TERMS).json["state"] == "active"


def test_a_seller_whom_others_sell_for_is_registered_by_an_operator_alone(
    door: Door, payments: None, environment: dict[str, str]
) -> None:
    """Its wallet holds their money: whoever registers it may pay that out."""
    assert door.post(asked("sold-21", order("sold-21-1", seller_account="sell-21"))).status == 202
    sold = "SELECT 1 FROM order_view WHERE seller_account = 'sell-21'"
    wait_for(lambda: read(door.settings, "payments", sold) != [])
    taken = put(door, "sell-21", door.key_for("stranger"))
    assert (taken.status, taken.json["code"]) == (409, "id_taken")
    run(environment, "put", "sell-21", "--owner", "stranger", "--hold-days", "1")
    assert put(door, "sell-21", door.key_for("stranger"), hold_days=2).status == 200


def test_a_closed_seller_is_opened_only_by_name(environment: dict[str, str]) -> None:
    run(environment, "put", "sell-8", "--owner", "cli-shop", "--state", "closed")
    for word in ("freeze", "thaw"):
        done = tally(environment, "sellers", word, "sell-8")
        assert (done.returncode, "is closed" in done.stderr) == (1, True)
