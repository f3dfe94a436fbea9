"""A charge that waits on a PSP's page: the page is told once, asked about when it ends, and ended by the PSP's word alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from consumers.executor.counterparty import operation_of
from consumers.executor.ladder import ASK_AGAIN_S
from psp.port import Authorised, Captured, Charge, Declined, NotThere, Pending, Unknown, reply_from_json
from schemas.errors import Permanent
from schemas.events import OutcomeUnknown, OutcomeUnresolved, PaymentCaptured, PaymentDeclined, PaymentPending
from schemas.money import Money
from tests.unit.executor_cases import DECLARED, NOW, SETTLING_S, Desk, notification, order, policy
from topics.runtime.calls.rows import LeasedCall
from topics.runtime.shape.consumer import Ended, Retry

BACK = "https://shop.example/thanks"
URL = "https://psp.example/pay/1"
PAGE = Pending("ch_1", "buyer", URL, NOW + timedelta(minutes=30))
YES = Captured("ch_1", "visa", Money(1234, "EUR"))
EXPIRED = Declined("page_expired", "ch_1")


def hosted(**changes: object) -> Desk:
    """At a PSP with another to fail over to."""
    desk = Desk(policy(psps=dict.fromkeys(("north", "south"), DECLARED)))
    desk.place(order(token=None, return_url=BACK, **changes))
    return desk


@pytest.fixture
def desk() -> Desk:
    return hosted()


@pytest.fixture
def shown(desk: Desk) -> Desk:
    desk.comes_back("send", PAGE)
    return desk


def said(desk: Desk) -> list[type]:
    return [type(event) for event in desk.said]


def due_in_s(desk: Desk) -> float:
    assert isinstance(desk.next, Retry)
    assert desk.next.act == "ask"
    return desk.next.due_in_s


def test_the_call_asks_for_a_page_and_holds_no_token(desk: Desk) -> None:
    assert desk.call is not None
    assert orjson.loads(desk.call.request) == {"amount": "12.34", "currency": "EUR", "return_url": BACK}


def test_the_page_is_told_once_however_often_the_psp_is_asked(shown: Desk) -> None:
    shown.comes_back("ask", PAGE)
    shown.comes_back("ask", PAGE)
    [pending] = shown.said
    assert isinstance(pending, PaymentPending)
    assert (pending.redirect_url, pending.expires_at, pending.psp_reference) == (URL, PAGE.expires_at, "ch_1")


def test_the_next_question_comes_when_the_ladder_says_so_or_the_page_ends(shown: Desk) -> None:
    """At 5 s, 30 s, 2 min, 10 min; and then not an hour later, but when 30 minutes and the settling time have passed."""
    waited = [due_in_s(shown)]
    for _ in range(4):
        shown.pass_s(waited[-1])
        shown.comes_back("ask", PAGE)
        waited.append(due_in_s(shown))
    assert waited[:4] == list(ASK_AGAIN_S[:4])
    assert sum(waited) == 1800 + SETTLING_S


def test_after_its_end_a_page_that_the_psp_still_has_open_is_asked_about_by_the_ladder(shown: Desk) -> None:
    shown.pass_s(1803)
    shown.comes_back("ask", PAGE)
    assert said(shown) == [PaymentPending], "our clock ends nothing"
    assert due_in_s(shown) == ASK_AGAIN_S[1]


@pytest.mark.parametrize("reply", [NotThere(), Unknown("timeout")])
def test_no_clock_of_ours_ends_it(shown: Desk, reply: NotThere | Unknown) -> None:
    for _ in ASK_AGAIN_S:
        shown.pass_s(86_400)
        shown.comes_back("ask", reply)
    assert said(shown) == [PaymentPending, OutcomeUnresolved]
    assert shown.sends == 1
    assert shown.attempt.expires_at is None


def test_expired_by_the_psps_word(shown: Desk) -> None:
    shown.comes_back("ask", EXPIRED)
    assert said(shown) == [PaymentPending, PaymentDeclined]
    assert isinstance(shown.next, Ended)
    assert (shown.attempt.state, shown.attempt.code, shown.attempt.expires_at) == ("declined", "page_expired", None)


def test_a_notification_of_the_payment_ends_it(shown: Desk) -> None:
    assert shown.call is not None
    shown.told(notification(shown.call))
    assert said(shown) == [PaymentPending, PaymentCaptured]
    assert shown.attempt.expires_at is None


def test_paid_before_the_page_was_told(desk: Desk) -> None:
    """The buyer is quick, or the reply is late: what was settled stays."""
    assert desk.call is not None
    desk.lease("send")
    desk.told(notification(desk.call))
    desk.answer("send", PAGE)
    assert said(desk) == [PaymentCaptured]
    assert desk.attempt.expires_at is None


def test_a_pending_notification_that_is_first_does_not_lose_the_page(desk: Desk) -> None:
    """It has no URL."""
    assert desk.call is not None
    desk.lease("send")
    desk.told(notification(desk.call, "pending"))
    assert said(desk) == []
    desk.answer("send", PAGE)
    [pending] = desk.said
    assert isinstance(pending, PaymentPending)
    assert pending.redirect_url == URL


def test_a_lost_reply_is_asked_about_and_brings_the_page(desk: Desk) -> None:
    desk.comes_back("send", Unknown("timeout"))
    desk.comes_back("ask", PAGE)
    assert said(desk) == [OutcomeUnknown, PaymentPending]
    assert desk.sends == 1


def test_a_page_that_the_psp_makes_later_is_told_when_it_is_there(desk: Desk) -> None:
    desk.comes_back("send", Pending("ch_1", "processing"))
    desk.comes_back("ask", PAGE)
    desk.comes_back("ask", PAGE)
    assert [getattr(event, "redirect_url", "?") for event in desk.said] == [None, URL]


def test_a_decline_on_the_page_goes_to_no_other_psp(shown: Desk) -> None:
    shown.comes_back("ask", Declined("do_not_honor", "ch_1", "visa"))
    assert said(shown) == [PaymentPending, PaymentDeclined]
    assert shown.earlier == []


def test_charged_after_the_psp_had_said_expired_needs_a_check(shown: Desk) -> None:
    """The same as of any charge: it is not believed, and not forgotten."""
    shown.comes_back("ask", EXPIRED)
    assert shown.call is not None
    decision = shown.told(notification(shown.call))
    assert PaymentCaptured not in said(shown)
    assert [call.kind for call in decision.calls if hasattr(call, "kind")] == ["check"]


def test_two_charges_of_one_page_are_a_contradiction(shown: Desk) -> None:
    shown.comes_back("ask", YES)
    assert shown.call is not None
    with pytest.raises(Permanent, match="ch_2"):
        shown.told(notification(shown.call, psp_reference="ch_2", notification_id="evt_2"))


def test_a_page_with_manual_capture_is_authorised_and_has_the_authorisations_end() -> None:
    desk, end = hosted(capture="manual"), NOW + timedelta(days=7)
    desk.comes_back("send", PAGE)
    desk.comes_back("ask", Authorised("ch_1", "visa", Money(1234, "EUR"), end))
    assert (desk.attempt.state, desk.attempt.expires_at) == ("authorised", end)


@pytest.mark.parametrize("reply", [PAGE, Pending("ch_1", "buyer", URL), Pending("ch_1", "3ds")])
def test_a_stored_reply_keeps_its_page(reply: Pending) -> None:
    assert reply_from_json(orjson.loads(orjson.dumps(reply.to_json()))) == reply


@pytest.mark.parametrize("asked", [{"token": "tok_visa"}, {"return_url": BACK}])
def test_what_is_stored_with_a_call_is_what_is_sent(asked: dict[str, Any]) -> None:
    request = orjson.dumps({"amount": "12.34", "currency": "EUR", **asked})
    leased = LeasedCall("1" * 32, "order-1", "charge", "north", request, NOW, "cause", "send", 1, False, None)
    charge = operation_of(leased)
    assert isinstance(charge, Charge)
    assert (charge.token, charge.return_url) == (asked.get("token"), asked.get("return_url"))
