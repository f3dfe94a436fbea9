"""Charges by each adapter on the real simulator: what it answers, what it remembers, how it fails."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from psp.port import (
    Captured,
    Charge,
    Declared,
    Declined,
    FindReply,
    ListedCharge,
    NothingHappened,
    NotThere,
    Psp,
    Reply,
    Unknown,
)
from schemas.money import Money, exponent
from tests.simulator.conftest import psps_of
from tests.simulator.running import RunningSimulator, send, wait_for


def a_charge(token: str = "tok_visa", minor: int = 1234, currency: str = "EUR") -> Charge:
    return Charge(uuid4().hex, f"order-{uuid4().hex[:8]}", Money(minor, currency), token)


def charged(psp: Psp, charge: Charge, timeout_s: float = 10.0) -> Reply:
    try:
        return psp.read(charge, *send(psp.request(charge), timeout_s))
    except (OSError, http.client.HTTPException) as error:
        return Unknown(type(error).__name__)


def found(psp: Psp, charge: Charge) -> FindReply:
    return psp.read_find(charge, *send(psp.find(charge)))


def books(psp: Psp) -> list[ListedCharge]:
    listed: list[ListedCharge] = []
    cursor: str | None = None
    while True:
        page, cursor = psp.read_list("charge", send(psp.list("charge", cursor))[2])
        listed += page
        if cursor is None:
            return listed


def in_books(simulator: RunningSimulator, charge: Charge) -> int:
    return len(simulator.control("GET", f"/control/charges?reference={charge.call_id}")["charges"])


@pytest.mark.parametrize("scheme", ["visa", "mastercard", "amex", "discover"])
def test_a_good_card_is_captured_and_its_scheme_is_known(psp: Psp, scheme: str) -> None:
    charge = a_charge(f"tok_{scheme}")
    captured = charged(psp, charge)
    assert isinstance(captured, Captured)
    assert (captured.scheme, captured.amount) == (scheme, charge.amount)
    assert found(psp, charge) == captured


@pytest.mark.parametrize("code", ["insufficient_funds", "do_not_honor", "51"])
def test_a_declined_card_says_why_and_stays_declined(psp: Psp, code: str) -> None:
    charge = a_charge(f"tok_declined_{code}")
    declined = charged(psp, charge)
    assert isinstance(declined, Declined)
    assert (declined.code, declined.scheme) == (code, "visa")
    assert charged(psp, charge) == declined == found(psp, charge)


@pytest.mark.parametrize("token", ["nonsense", "tok_declined_", "tok_diners", "tok_", "tok_declined_UPPER"])
def test_an_unknown_token_is_declined(psp: Psp, token: str) -> None:
    declined = charged(psp, a_charge(token))
    assert isinstance(declined, Declined)
    assert declined.code == "invalid_token"


@pytest.mark.parametrize(
    ("amount", "currency"), [("12.34", "USD"), ("500", "JPY"), ("1.234", "BHD"), ("700", "CLP"), ("9", "ISK")]
)
def test_amounts_survive_each_psps_minor_units(psp: Psp, amount: str, currency: str) -> None:
    money = Money.parse(amount, currency)
    charge = a_charge(minor=money.minor, currency=currency)
    captured = charged(psp, charge)
    assert isinstance(captured, Captured)
    assert captured.amount == money
    assert books(psp)[-1].amount == money


def test_sending_again_gives_the_same_answer_and_one_charge(psp: Psp, simulator: RunningSimulator) -> None:
    charge = a_charge()
    assert charged(psp, charge) == charged(psp, charge)
    assert in_books(simulator, charge) == 1


def test_twenty_at_once_under_one_key_are_one_charge(psp: Psp, simulator: RunningSimulator) -> None:
    charge = a_charge()
    with ThreadPoolExecutor(20) as threads:
        replies = list(threads.map(lambda _: charged(psp, charge), range(20)))
    assert len(set(replies)) == 1
    assert in_books(simulator, charge) == 1


@pytest.mark.parametrize("change", ["amount", "token", "order"])
def test_a_key_used_for_something_else_is_unknown_and_charges_nothing(
    psp: Psp, simulator: RunningSimulator, change: str
) -> None:
    charge = a_charge()
    others = {
        "amount": replace(charge, amount=Money(99, "EUR")),
        "token": replace(charge, token="tok_amex"),
        "order": replace(charge, payment_order_id="another"),
    }
    charged(psp, charge)
    assert charged(psp, others[change]) == Unknown("key_conflict")
    assert in_books(simulator, charge) == 1


def test_a_wrong_api_key_does_nothing(psp: Psp, simulator: RunningSimulator) -> None:
    charge = a_charge()
    headers = dict(psp.request(charge).headers)
    headers = {
        name: "Bearer wrong" if name in ("Authorization", "X-API-Key") else text for name, text in headers.items()
    }
    reply = psp.read(charge, *send(replace(psp.request(charge), headers=headers)))
    assert reply == NothingHappened("unauthorised")
    assert in_books(simulator, charge) == 0


def test_a_request_that_the_psp_cannot_read_is_rejected_for_ever(psp: Psp) -> None:
    assert charged(psp, a_charge(currency="XCG")) == Declined("psp_rejected_request")
    assert charged(psp, a_charge(minor=0)) == Declined("psp_rejected_request")
    assert charged(psp, a_charge(token="bad token\u00e9")) == Declined("psp_rejected_request")


FIRST_ANSWERS = {
    "tok_429_once": NothingHappened("rate_limited", 1.0),
    "tok_503_once": NothingHappened("unavailable", 1.0),
    "tok_500_charged": Unknown("http_500"),
    "tok_500_uncharged": Unknown("http_500"),
    "tok_reset_charged": Unknown("ConnectionResetError"),
    "tok_garbage": Unknown("unreadable"),
    "tok_timeout_charged": Unknown("TimeoutError"),
    "tok_timeout_uncharged": Unknown("TimeoutError"),
}


@pytest.mark.parametrize("token", FIRST_ANSWERS)
def test_a_fault_token_fails_once_and_then_behaves(psp: Psp, simulator: RunningSimulator, token: str) -> None:
    charge = a_charge(token)
    assert charged(psp, charge, timeout_s=0.5) == FIRST_ANSWERS[token]
    second = charged(psp, charge)
    assert isinstance(second, Captured)
    assert in_books(simulator, charge) == 1


@pytest.mark.parametrize("token", ["tok_500_charged", "tok_timeout_charged", "tok_reset_charged", "tok_garbage"])
def test_a_lost_answer_is_found_within_the_settling_time(psp: Psp, token: str) -> None:
    charge = a_charge(token)
    charged(psp, charge, timeout_s=0.2)
    settling_s = psp.declared["charge"].settling_s
    captured = wait_for(lambda: isinstance(reply := found(psp, charge), Captured) and reply, limit_s=settling_s)
    assert captured == charged(psp, charge)


@pytest.mark.parametrize("token", ["tok_429_once", "tok_503_once", "tok_500_uncharged", "tok_timeout_uncharged"])
def test_what_was_not_charged_is_not_there(psp: Psp, simulator: RunningSimulator, token: str) -> None:
    charge = a_charge(token)
    charged(psp, charge, timeout_s=0.2)
    assert in_books(simulator, charge) == 0
    assert found(psp, charge) == NotThere()


def test_some_lost_answers_are_not_found_at_first(psp: Psp) -> None:
    """So that "not there" before the settling time has passed is no proof."""
    charges = [a_charge("tok_500_charged") for _ in range(12)]
    at_first = [charged(psp, charge) and found(psp, charge) for charge in charges]
    assert NotThere() in at_first


def test_a_slow_card_is_captured(psp: Psp) -> None:
    assert isinstance(charged(psp, a_charge("tok_slow")), Captured)


def test_a_fault_token_may_name_a_scheme(psp: Psp) -> None:
    charge = a_charge("tok_503_once_amex")
    charged(psp, charge)
    captured = charged(psp, charge)
    assert isinstance(captured, Captured)
    assert captured.scheme == "amex"


def test_faults_by_rate_hit_one_psp_only(simulator: RunningSimulator) -> None:
    psps = psps_of(simulator)
    simulator.control("PUT", "/control/faults", {"psp": "southpay", "500_charged": 1.0})
    charge = a_charge()
    assert isinstance(charged(psps["northpay"], a_charge()), Captured)
    assert charged(psps["southpay"], charge) == Unknown("http_500")
    assert in_books(simulator, charge) == 1


def test_a_psp_that_is_down_does_nothing_and_says_so(psp: Psp, simulator: RunningSimulator) -> None:
    simulator.control("PUT", "/control/faults", {"psp": psp.name, "down": True})
    charge = a_charge()
    assert charged(psp, charge) == NothingHappened("unavailable", 1.0)
    assert found(psp, charge) == Unknown("http_503", 1.0)
    simulator.control("PUT", "/control/faults", {"psp": psp.name, "down": False})
    assert found(psp, charge) == NotThere()
    assert isinstance(charged(psp, charge), Captured)


def test_the_adapter_declares_what_the_psp_declares(psp: Psp, simulator: RunningSimulator) -> None:
    declared = simulator.control("GET", f"/{psp.name}/capabilities")
    same = Declared(declared["settling_s"], declared["key_life_s"])
    assert [psp.declared[kind] for kind in ("charge", "void", "refund")] == [same] * 3
    assert psp.declared["capture"] == replace(same, many=declared["captures"] == "many")
    assert declared["schemes"] == ["visa", "mastercard", "amex", "discover"]
    for currency, digits in declared["currencies"].items():
        one = a_charge(minor=10 ** exponent(currency), currency=currency)
        amount = json.loads(psp.request(one).body)["amount"]
        assert (amount["value"] if isinstance(amount, dict) else amount) == 10**digits, currency


def test_a_key_that_is_not_the_reference_is_remembered_too(psp: Psp, simulator: RunningSimulator) -> None:
    charge = a_charge()
    key_header = next(name for name in psp.request(charge).headers if name.lower() == "idempotency-key")
    request = replace(psp.request(charge), headers={**psp.request(charge).headers, key_header: f"key-{charge.call_id}"})
    assert psp.read(charge, *send(request)) == psp.read(charge, *send(request))
    assert in_books(simulator, charge) == 1
    assert isinstance(charged(psp, charge), Captured), "another key is another charge"
    assert in_books(simulator, charge) == 2
