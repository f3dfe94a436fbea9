"""What a settlement file says of a charge, capture or refund: the PSP is asked, and the line itself is never believed."""

from __future__ import annotations

import pytest

from consumers.executor.ladder import ASK_AGAIN_S
from psp.port import Captured, Declined, NotThere, Pending, Unknown
from schemas.errors import Permanent
from tests.unit.order_cases import GROSS, desk, eur
from tests.unit.test_executor_persons import charge, never_answered, operation

CAPTURED = Captured("ch_1", "visa", eur(GROSS))
LINE = "settlement_line"


@pytest.mark.parametrize("reply", [Unknown("timeout"), Pending("ch_1", "3ds")])
def test_a_charge_of_which_nothing_is_known_yet_is_asked_about_at_once(reply: Unknown | Pending) -> None:
    order = desk(charged=False)
    call_id = order.attempt.call_id
    order.answer(call_id, reply)
    order.said.clear()
    order.told("charge", "succeeded", 1, source=LINE, psp_reference="another")  # neither is believed
    assert (order.said, order.attempt.state in ("unknown", "pending")) == ([], True)
    assert order.due[call_id] == "ask"
    order.answer(call_id, CAPTURED)
    assert (order.types(), order.attempt.psp_reference) == (["PaymentCaptured"], "ch_1")


def test_an_unresolved_charge_that_a_file_has_is_captured_once_its_psp_says_so() -> None:
    order = charge()
    order.told("charge", "succeeded", source=LINE)
    assert (order.said, order.attempt.state, order.out()) == ([], "unresolved", ["check"])
    order.told("charge", "succeeded", source=LINE)
    assert order.out() == ["check"]
    order.check_says(CAPTURED)
    assert (order.types(), order.attempt.state, order.due) == (["PaymentCaptured"], "captured", {})


def test_an_unresolved_charge_of_which_its_psp_has_nothing_stays_unresolved() -> None:
    """Only two persons may say that it has failed."""
    order = charge()
    order.told("charge", "succeeded", source=LINE)
    for _ in ASK_AGAIN_S:
        order.check_says(NotThere())
    assert (order.said, order.attempt.state, order.out()) == ([], "unresolved", [])


@pytest.mark.parametrize("id_", ["c1", "r1"])
def test_an_unresolved_operation_is_done_once_its_psp_says_so_and_stays_so_where_it_has_nothing(id_: str) -> None:
    order = operation(id_)
    order.told(id_, "succeeded", source=LINE)
    for _ in ASK_AGAIN_S:
        order.check_says(NotThere())
    assert (order.said, order.states()) == ([], {id_: "unresolved"})
    order.told(id_, "succeeded", source=LINE)
    order.check_says(order.yes_of(id_))
    assert order.states() == {id_: "done"}


def test_what_a_file_lacks_is_asked_about_and_no_answer_changes_nothing() -> None:
    order = desk()
    order.said.clear()
    order.told("charge", "pending", source=LINE)
    assert order.out() == ["check"]
    order.check_says(CAPTURED)
    order.told("charge", "pending", source=LINE)
    for _ in ASK_AGAIN_S:
        order.check_says(NotThere())
    assert (order.said, order.attempt.state, order.out()) == ([], "captured", [])
    order.told("charge", "pending", source=LINE)
    order.check_says(order.reversed_of(f"auto~{order.key}"))
    assert order.types() == ["CaptureReversed"]


def test_a_declined_charge_that_a_file_has_needs_a_person_if_its_psp_says_so_too() -> None:
    order = desk(charged=False)
    order.answer(order.attempt.call_id, Declined("do_not_honor"))
    order.said.clear()
    order.told("charge", "succeeded", source=LINE)
    order.check_says(CAPTURED)
    assert (order.said, order.attempt.state) == ([], "declined")
    with pytest.raises(Permanent, match="the charge was declined, and is not so"):
        order.fire("contradiction")


def test_a_charge_whose_reply_is_under_way_is_not_asked_about() -> None:
    order = desk(charged=False)
    order.told("charge", "succeeded", source=LINE)
    assert (order.said, order.out(), order.attempt.state) == ([], ["charge"], "calling")
    never_answered(order, order.attempt.call_id)
    assert order.attempt.state == "unresolved"
