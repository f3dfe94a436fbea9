"""What two persons say against the settled word of a PSP: declined was captured, captured has failed. Nothing else does that."""

from __future__ import annotations

import pytest

from psp.port import Captured, Declined
from schemas.events import PaymentCaptured
from schemas.money_back import CaptureReversed
from tests.unit.order_cases import FEE, GROSS, OrderDesk, desk, eur

CAPTURED = Captured("ch_1", "visa", eur(GROSS))
DECLINED = Declined("do_not_honor", "ch_1", "visa")


def declined() -> OrderDesk:
    order = desk(charged=False)
    order.answer(order.attempt.call_id, DECLINED)
    order.said.clear()
    return order


def declared_captured() -> OrderDesk:
    order = declined()
    order.told("charge", "succeeded", source="operator", instead_of="declined", psp_reference="ch_9")
    return order


def declares_failed(order: OrderDesk, id_: str = "charge") -> None:
    order.told(id_, "declined", source="operator", instead_of="captured", code="resolved_by_operators")


def test_a_declined_charge_is_captured_whole_and_by_the_reference_that_persons_give() -> None:
    order = declared_captured()
    (said,) = order.said
    assert isinstance(said, PaymentCaptured)
    assert (said.gross, said.fee, said.psp_reference, said.scheme) == (eur(GROSS), eur(FEE), "ch_9", "visa")
    assert (order.attempt.state, order.attempt.psp_reference, order.out()) == ("captured", "ch_9", [])


def test_it_can_be_refunded() -> None:
    order = declared_captured()
    order.refund("r1", 400)
    order.yes("r1")
    assert order.types() == ["PaymentCaptured", "PaymentRefunded"]


@pytest.mark.parametrize("source", ["webhook", "operator", "settlement_line"])
def test_nobody_else_says_that_a_declined_charge_was_captured(source: str) -> None:
    """Persons, too, only where they know that they set aside a no."""
    order = declined()
    order.told("charge", "succeeded", source=source)
    assert (order.said, order.attempt.state, order.out()) == ([], "declined", ["check"])
    order.check_says(CAPTURED)
    assert (order.said, order.attempt.state) == ([], "declined")


def test_persons_set_it_aside_after_its_psp_has_contradicted_itself() -> None:
    order = declined()
    order.told("charge", "succeeded")
    order.check_says(CAPTURED)
    order.told("charge", "succeeded", source="operator", instead_of="declined", psp_reference="ch_9")
    assert (order.types(), order.attempt.state) == (["PaymentCaptured"], "captured")
    order.fire("contradiction")  # the dead letter, replayed: nothing is contradicted any more


def test_the_psp_that_says_no_once_more_changes_nothing_and_takes_back_what_it_takes_back() -> None:
    order = declared_captured()
    order.told("charge", "declined")
    order.answer(order.attempt.call_id, DECLINED)
    assert (order.types(), order.out()) == (["PaymentCaptured"], [])
    order.told("charge", "reversed")
    order.check_says(order.reversed_of(f"auto~{order.key}"))
    assert order.types() == ["PaymentCaptured", "CaptureReversed"]


def test_the_psps_own_reference_replaces_that_of_persons() -> None:
    order = declared_captured()
    order.told("charge", "succeeded")
    assert (order.types(), order.attempt.psp_reference) == (["PaymentCaptured"], "ch_1")


def test_said_twice_it_is_captured_once() -> None:
    order = declared_captured()
    order.told("charge", "succeeded", source="operator", instead_of="declined", psp_reference="ch_9")
    assert order.types() == ["PaymentCaptured"]


@pytest.mark.parametrize("manual", [False, True])
def test_what_is_not_declined_is_not_declared_captured(manual: bool) -> None:
    order = desk(manual=manual)
    before = (order.types(), order.attempt)
    order.told("charge", "succeeded", source="operator", instead_of="declined")
    assert (order.types(), order.attempt) == before


def test_a_captured_charge_that_has_failed_is_taken_back_as_it_was_booked() -> None:
    order = desk()
    declares_failed(order)
    said = order.said[-1]
    assert isinstance(said, CaptureReversed)
    assert (said.share.gross, said.share.fee, said.part) == (eur(GROSS), eur(FEE), "")
    assert order.operation(f"auto~{order.key}").state == "reversed"
    declares_failed(order)
    assert order.types() == ["PaymentCaptured", "CaptureReversed"]


def test_a_capture_that_has_failed_leaves_the_others() -> None:
    order = desk(manual=True)
    order.capture("c1", 400)
    order.yes("c1")
    order.capture("c2", 300)
    order.yes("c2")
    declares_failed(order, "c1")
    assert (order.states(), order.types()[-1]) == ({"c1": "reversed", "c2": "done"}, "CaptureReversed")


def test_the_psp_that_says_yes_once_more_changes_nothing() -> None:
    """Who has settled nothing may say so for ever."""
    order = desk()
    declares_failed(order)
    order.told("charge", "succeeded")
    order.told("charge", "pending", source="settlement_line")
    assert order.types() == ["PaymentCaptured", "CaptureReversed"]
    if order.out():
        order.check_says(CAPTURED)
    assert order.types() == ["PaymentCaptured", "CaptureReversed"]


def test_a_refund_behind_a_capture_that_has_failed_is_refused() -> None:
    order = desk()
    declares_failed(order)
    order.refund("r1", 1)
    assert order.types()[-1] == "RefundFailed"
    assert order.said[-1].code == "not_captured"  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", ["declined", "succeeded"])
def test_persons_who_do_not_know_that_it_is_settled_set_nothing_aside(status: str) -> None:
    order = desk()
    order.told("charge", status, source="operator")
    assert order.types() == ["PaymentCaptured"]
