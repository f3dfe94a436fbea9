"""What a PSP takes back, does again, or says otherwise than before: asked about, and only the answer counts."""

from __future__ import annotations

import pytest

from consumers.executor.ladder import ASK_AGAIN_S
from psp.port import Captured, Declined, Reversed, Unknown
from schemas.errors import Permanent
from schemas.events import PaymentCaptured
from schemas.money_back import (
    CaptureFailed,
    CaptureReversed,
    RefundFailed,
    RefundReversed,
    VoidFailed,
)
from tests.unit.order_cases import FEE, GROSS, OrderDesk, desk, eur

THIRDS = (3_333, 3_333, 3_334)


def last(desk: OrderDesk) -> object:
    return desk.said[-1]


def code(desk: OrderDesk) -> str:
    event = desk.said[-1]
    assert isinstance(event, CaptureFailed | VoidFailed | RefundFailed)
    return event.code


def test_a_reversed_automatic_capture_is_asked_about_then_taken_back_whole_then_done_again() -> None:
    order = desk()
    order.told("charge", "reversed")
    assert (order.types(), order.out(), order.attempt.operations) == (["PaymentCaptured"], ["check"], 1)
    order.check_says(order.reversed_of(f"auto~{order.key}"))
    reversed_ = last(order)
    assert isinstance(reversed_, CaptureReversed)
    assert (reversed_.part, reversed_.share.fee, reversed_.share.net) == ("", eur(FEE), eur(9_000))
    order.refund("r1", 1)
    assert code(order) == "not_captured"
    order.told("charge", "succeeded")
    order.check_says(order.yes_of(f"auto~{order.key}"))
    again = last(order)
    assert isinstance(again, PaymentCaptured)
    assert (again.part, again.turn, again.net, again.capture_id) == ("#2", 2, eur(9_000), None)


def test_capture_told_failed_and_captured_again_out_of_order_books_each_turn_once() -> None:
    order = desk(manual=True)
    order.capture("c1", GROSS)
    order.yes("c1")
    for status in ("declined", "succeeded", "declined", "declined"):
        order.told("c1", status)
    order.check_says(order.reversed_of("c1"))
    order.check_says(order.yes_of("c1"))
    order.told("c1", "reversed")
    order.check_says(order.yes_of("c1"))
    parts = [event.part for event in order.said if isinstance(event, PaymentCaptured | CaptureReversed)]
    assert parts == ["c1", "c1", "c1#2"]


def test_a_reversed_capture_stays_taken() -> None:
    order = desk(manual=True)
    order.capture("c1", 6_000)
    order.yes("c1")
    order.told("c1", "reversed")
    order.check_says(order.reversed_of("c1"))
    order.capture("c2", 6_000)
    assert code(order) == "exceeds_authorised"


def test_a_reversal_carries_the_share_of_its_turn_whatever_was_shared_since() -> None:
    order = desk(manual=True)
    for id_, minor in (("c1", 3_333), ("c2", 3_333)):
        order.capture(id_, minor)
        order.yes(id_)
    order.refund("r1", 5_000)
    order.yes("r1")
    order.told("c1", "reversed")
    order.check_says(order.reversed_of("c1"))
    reversed_ = last(order)
    assert isinstance(reversed_, CaptureReversed)
    assert (reversed_.share.gross, reversed_.share.fee) == (eur(3_333), eur(333))


def test_a_reversed_refund_gives_back_what_it_took() -> None:
    order = desk()
    order.refund("r1", 6_000)
    order.yes("r1")
    order.told("r1", "reversed")
    order.check_says(order.reversed_of("r1"))
    assert isinstance(last(order), RefundReversed)
    order.refund("r2", GROSS)
    assert order.out() == ["r2"]


def test_a_contradiction_during_a_check_asks_once_more() -> None:
    order = desk()
    order.refund("r1", GROSS)
    order.no("r1")
    order.told("r1", "succeeded")
    order.told("r1", "reversed")
    order.told("r1", "succeeded")
    order.check_says(order.yes_of("r1"))
    assert (order.types()[-1], order.out()) == ("PaymentRefunded", ["check"])
    order.check_says(order.reversed_of("r1"))
    assert (order.types()[-1], order.out()) == ("RefundReversed", [])


def test_what_agrees_with_the_books_during_a_check_makes_it_ask_once_more_too() -> None:
    """Reversed, done again, reversed again: the answer to a question between the last two comes after both."""
    order = desk()
    order.refund("r1", GROSS)
    order.yes("r1")
    order.told("r1", "reversed")
    order.check_says(order.reversed_of("r1"))
    order.told("r1", "succeeded")
    order.told("r1", "reversed")
    order.check_says(order.yes_of("r1"))
    assert (order.types()[-1], order.out()) == ("PaymentRefunded", ["check"])
    order.check_says(order.reversed_of("r1"))
    assert (order.states(), order.out()) == ({"r1": "reversed"}, [])


def test_a_check_holds_nobody_and_changes_nothing_at_its_ladders_end() -> None:
    order = desk()
    order.refund("r1", 1_000)
    order.no("r1")
    order.told("r1", "succeeded")
    order.refund("r2", 1_000)
    assert order.states() == {"r1": "failed", "r2": "calling"}
    for _ in ASK_AGAIN_S:
        order.check_says(Unknown("timeout"))
    assert order.operation("r1").check.state == "unanswered"
    assert order.out() == ["r2"]
    order.told("r1", "succeeded")
    assert order.out() == ["r2", "check"]


def test_found_reversed_is_done_and_taken_back_in_one_decision() -> None:
    order = desk()
    order.refund("r1", GROSS)
    order.reply("r1", Unknown("timeout"))
    order.reply("r1", order.reversed_of("r1"))
    assert order.types()[-2:] == ["PaymentRefunded", "RefundReversed"]
    assert order.states() == {"r1": "reversed"}


def test_a_charge_found_reversed_is_captured_and_taken_back_in_one_decision() -> None:
    order = desk(charged=False)
    order.charge(Unknown("timeout"))
    order.charge(Reversed("ch_1", order.placed.gross))
    assert order.types() == ["OutcomeUnknown", "PaymentCaptured", "CaptureReversed"]


def test_a_declined_charge_that_the_psp_took_after_all_is_asked_about_then_a_dead_letter() -> None:
    order = desk(charged=False)
    order.charge(Declined("do_not_honor"))
    order.told("charge", "succeeded")
    assert (order.types(), order.out()) == (["PaymentDeclined"], ["check"])
    order.check_says(Captured("ch_1", "visa", order.placed.gross))
    assert (order.attempt.state, order.due) == ("declined", {}), "the check is over, whatever becomes of the letter"
    with pytest.raises(Permanent, match="contradiction: the charge was declined, and is not so") as raised:
        order.fire("contradiction")
    assert not raised.value.ours


def test_a_contradiction_that_its_psp_has_mended_since_is_none_any_more() -> None:
    order = desk(charged=False)
    order.charge(Declined("do_not_honor"))
    for answer in (Captured("ch_1", "visa", order.placed.gross), Declined("do_not_honor")):
        order.told("charge", "succeeded")
        order.check_says(answer)
    assert (order.attempt.state, order.due) == ("declined", {})
    assert order.fire("contradiction").changes == (), "a replay of its letter is done"


def test_a_void_that_its_psp_says_it_never_did_is_asked_about_then_a_dead_letter() -> None:
    order = desk(manual=True)
    order.void("v1")
    order.yes("v1")
    order.told("v1", "declined")
    order.check_says(Declined("refused"))
    assert (order.states(), order.due) == ({"v1": "done"}, {})
    with pytest.raises(Permanent, match="contradiction: void v1 was done, and is not so"):
        order.fire("contradiction")


@pytest.mark.parametrize("ended", ["voided", "expired"])
def test_a_voided_or_expired_charge_told_yes_is_asked_about_then_a_dead_letter(ended: str) -> None:
    order = desk(manual=True)
    if ended == "voided":
        order.void("v1")
        order.yes("v1")
    else:
        order.fire()
    order.told("charge", "succeeded")
    order.check_says(Captured("ch_1", "visa", order.placed.gross))
    assert (order.attempt.state, order.out()) == (ended, [])
    with pytest.raises(Permanent, match="contradiction"):
        order.fire("contradiction")


def test_a_captured_charge_that_its_psp_declines_is_asked_about_and_taken_back_where_it_confirms() -> None:
    order = desk()
    order.told("charge", "declined")
    assert (order.types(), order.out()) == (["PaymentCaptured"], ["check"])
    order.check_says(Declined("do_not_honor"))
    assert order.types()[-1] == "CaptureReversed"


def test_an_authorised_charge_that_its_psp_declines_is_asked_about_then_a_dead_letter() -> None:
    order = desk(manual=True)
    order.told("charge", "declined")
    order.check_says(Declined("do_not_honor"))
    with pytest.raises(Permanent, match="contradiction"):
        order.fire("contradiction")


def test_a_webhook_of_another_amount_is_a_dead_letter() -> None:
    order = desk()
    order.refund("r1", GROSS)
    with pytest.raises(Permanent, match="notification_mismatch"):
        order.told("r1", "succeeded", 1)
