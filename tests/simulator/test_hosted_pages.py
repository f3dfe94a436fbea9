"""A charge paid on a PSP's page, by each adapter on the real simulator: tries, tabs, 3-D Secure, expiry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from psp.port import Authorised, Captured, Charge, Declined, Pending, Psp
from schemas.money import Money
from tests.simulator.conftest import psps_of
from tests.simulator.running import RunningSimulator
from tests.simulator.test_charging import charged, found, in_books
from tests.simulator.visiting import AMEX, NO_MONEY, VISA, WITH_3DS, look, pay, send_form

BACK = "https://shop.example/thanks?cart=7&x=%22"


def on_a_page(capture: bool = True, return_url: str = BACK, minor: int = 1234) -> Charge:
    return Charge(uuid4().hex, f"order-{uuid4().hex[:8]}", Money(minor, "EUR"), None, capture, return_url)


def opened(psp: Psp, charge: Charge) -> str:
    pending = charged(psp, charge)
    assert isinstance(pending, Pending)
    assert pending.redirect_url is not None
    return pending.redirect_url


def test_a_page_is_a_pending_charge_until_the_buyer_has_paid(psp: Psp) -> None:
    charge = on_a_page()
    pending = charged(psp, charge)
    assert isinstance(pending, Pending)
    assert pending.reason == "buyer"
    assert pending.expires_at is not None
    assert pending.expires_at > datetime.now(UTC)
    assert found(psp, charge) == pending == charged(psp, charge), "the same page under the same key"
    assert pay(str(pending.redirect_url), AMEX).location == BACK
    assert found(psp, charge) == Captured(pending.psp_reference, "amex", charge.amount)


def test_with_manual_capture_paying_authorises(psp: Psp) -> None:
    charge = on_a_page(capture=False)
    pay(opened(psp, charge))
    assert isinstance(found(psp, charge), Authorised)


def test_another_return_url_under_the_same_key_is_refused(psp: Psp) -> None:
    charge = on_a_page()
    opened(psp, charge)
    other = Charge(charge.call_id, charge.payment_order_id, charge.amount, None, True, "https://other.example/")
    assert charged(psp, other).to_json()["reason"] == "key_conflict"


def test_a_declined_card_may_be_followed_by_another(psp: Psp) -> None:
    charge = on_a_page()
    url = opened(psp, charge)
    assert pay(url, NO_MONEY).location == url
    assert "not enough money" in look(url).html
    assert isinstance(found(psp, charge), Pending)
    assert pay(url).location == BACK
    assert isinstance(found(psp, charge), Captured)


def test_3d_secure_asks_before_it_charges(psp: Psp) -> None:
    charge = on_a_page()
    url = opened(psp, charge)
    assert pay(url, WITH_3DS).location == url
    asked = look(url)
    assert "3-D Secure" in asked.html
    assert isinstance(found(psp, charge), Pending)
    assert send_form(url, asked.form, "reject").location == url
    assert "not confirmed" in look(url).html
    pay(url, WITH_3DS)
    assert send_form(url, look(url).form, "confirm").location == BACK
    assert isinstance(found(psp, charge), Captured)


def test_a_second_tab_learns_that_it_is_paid(simulator: RunningSimulator) -> None:
    psp, charge = psps_of(simulator)["northpay"], on_a_page()
    url = opened(psp, charge)
    second = look(url).form
    pay(url)
    late = pay(url, form=second)
    assert (late.status, late.location) == (303, url)
    assert "Already paid" in look(url).html
    assert in_books(simulator, charge) == 1


def test_a_form_sent_twice_pays_once_and_answers_twice(simulator: RunningSimulator) -> None:
    psp, charge = psps_of(simulator)["southpay"], on_a_page()
    url = opened(psp, charge)
    form = look(url).form
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: pay(url, form=form).location, range(8)))
    assert answers == [BACK] * 8
    assert in_books(simulator, charge) == 1
    assert isinstance(found(psp, charge), Captured)


def test_ten_refused_cards_end_it(psp: Psp) -> None:
    charge = on_a_page()
    url = opened(psp, charge)
    assert [pay(url, NO_MONEY).location for _ in range(10)] == [url] * 9 + [BACK]
    ended = found(psp, charge)
    assert isinstance(ended, Declined)
    assert ended.code == "insufficient_funds"
    assert pay_is_over(url)


def pay_is_over(url: str) -> bool:
    """Whether the page takes no card any more."""
    return 'name="number"' not in look(url).html


def test_a_buyer_may_give_up(psp: Psp) -> None:
    charge = on_a_page()
    url = opened(psp, charge)
    assert send_form(url, look(url).form, "cancel").location == BACK
    ended = found(psp, charge)
    assert isinstance(ended, Declined)
    assert ended.code == "cancelled_by_buyer"
    assert pay_is_over(url)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"number": "4242 4242 4242 4241"}, "not a card number"),
        ({"expiry": "13/49"}, "MM / YY"),
        ({"expiry": "01/20"}, "has expired"),
        ({"cvc": "12"}, "Three or four digits"),
    ],
)
def test_what_is_typed_wrong_is_no_try(simulator: RunningSimulator, card: dict[str, str], said: str) -> None:
    psp, charge = psps_of(simulator)["northpay"], on_a_page()
    url = opened(psp, charge)
    right = {"number": VISA, "expiry": "12 / 49", "cvc": "123", "name": "<b>Ann"}
    assert send_form(url, look(url).form, "pay", **{**right, **card}).location == url
    shown = look(url).html.partition("<details>")[0]
    assert said in shown
    assert not [text for text in (VISA, "4241", '123"', "<b>Ann") if text in shown]
    assert isinstance(found(psp, charge), Pending)


@pytest.mark.parametrize("name", ["northpay", "southpay"])
def test_a_page_expires_at_the_psp_and_outlives_a_kill(own_simulator: RunningSimulator, name: str) -> None:
    psp, charge = psps_of(own_simulator)[name], on_a_page()
    url = opened(psp, charge)
    own_simulator.kill()
    own_simulator.start()
    assert 'name="number"' in look(url).html
    own_simulator.clock.write_text("1801")
    ended = found(psp, charge)
    while isinstance(ended, Pending):  # the clock is read a moment later
        ended = found(psp, charge)
    assert isinstance(ended, Declined)
    assert ended.code == "page_expired"
    assert "has expired" in look(url).html
    assert pay(url, form="0").location == url
    assert isinstance(found(psp, charge), Declined)


def test_the_page_keeps_its_address_and_its_cards_to_itself(simulator: RunningSimulator) -> None:
    psp, charge = psps_of(simulator)["northpay"], on_a_page()
    url = opened(psp, charge)
    shown = look(url)
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert shown.headers["cache-control"] == "no-store"
    assert "<script" not in shown.html
    assert "form-action 'self' https://shop.example;" in shown.headers["content-security-policy"]
    paid = pay(url)
    assert (paid.location, paid.headers["referrer-policy"]) == (BACK, "no-referrer")
    books = b"".join(file.read_bytes() for file in (simulator.folder / "data").iterdir())
    assert VISA.replace(" ", "").encode() not in books
    assert look(f"{url[:-4]}0000").status == 404


def test_a_request_names_a_token_or_a_page(psp: Psp) -> None:
    both = Charge(uuid4().hex, "order-1", Money(1, "EUR"), None, True, "ftp://shop.example/")
    ended = charged(psp, both)
    assert isinstance(ended, Declined)
    assert ended.code == "psp_rejected_request"
