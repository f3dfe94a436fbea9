"""What two persons say of a charge, capture, void or refund whose PSP could not tell: the PSP's own word goes before theirs."""

from __future__ import annotations

import pytest

from consumers.executor.ladder import ASK_AGAIN_S
from psp.port import Authorised, Captured, Declined, NotThere, Pending, Reply, Reversed, Unknown
from schemas.errors import Permanent
from schemas.events import PaymentDeclined
from schemas.money_back import CaptureFailed, RefundFailed, VoidFailed
from schemas.payouts import RESOLVED_BY_OPERATORS
from tests.unit.order_cases import EXPIRES_AT, GROSS, OrderDesk, desk, eur

UNKNOWN = Unknown("timeout")
CAPTURED = Captured("ch_1", "visa", eur(GROSS))
AUTHORISED = Authorised("ch_1", "visa", eur(GROSS), EXPIRES_AT)
OPERATIONS = ("c1", "v1", "r1")


def never_answered(order: OrderDesk, call_id: str) -> None:
    for _ in range(1 + len(ASK_AGAIN_S)):
        order.answer(call_id, UNKNOWN)
    order.said.clear()


def charge(*, manual: bool = False) -> OrderDesk:
    """An order whose charge was sent, and of which its PSP could not say anything."""
    order = desk(manual=manual, charged=False)
    never_answered(order, order.attempt.call_id)
    assert order.attempt.state == "unresolved"
    return order


def operation(id_: str) -> OrderDesk:
    """The same of a capture, a void or a refund."""
    order = desk(manual=id_ != "r1")
    match id_:
        case "c1":
            order.capture(id_, GROSS)
        case "v1":
            order.void(id_)
        case _:
            order.refund(id_, GROSS)
    never_answered(order, order.operation(id_).call_id)
    assert order.states() == {id_: "unresolved"}
    return order


def code(order: OrderDesk) -> str:
    (said,) = order.said
    assert isinstance(said, PaymentDeclined | CaptureFailed | VoidFailed | RefundFailed)
    return said.code


# ── "failed" of a charge ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("manual", [False, True])
def test_a_charge_said_to_have_failed_is_declined_once_its_psp_has_nothing_of_it(manual: bool) -> None:
    order = charge(manual=manual)
    order.resolved("charge")
    assert (order.said, order.attempt.state, order.out()) == ([], "unresolved", ["check"])
    order.check_says(NotThere())
    assert (code(order), order.attempt.state, order.due) == (RESOLVED_BY_OPERATORS, "declined", {})


@pytest.mark.parametrize(
    ("manual", "word", "said"),
    [
        (False, CAPTURED, ["PaymentCaptured"]),
        (False, Reversed("ch_1", eur(GROSS)), ["PaymentCaptured", "CaptureReversed"]),
        (True, AUTHORISED, ["PaymentAuthorised"]),
    ],
)
def test_a_charge_that_its_psp_has_is_not_declined_whatever_persons_say(
    manual: bool, word: Reply, said: list[str]
) -> None:
    """Else the buyer would have paid, and the order would have failed."""
    order = charge(manual=manual)
    order.resolved("charge")
    order.check_says(word)
    assert (order.types(), order.due) == (said, {})


@pytest.mark.parametrize("status", ["succeeded", "declined"])
def test_a_webhook_during_the_question_ends_it_and_a_late_answer_changes_nothing(status: str) -> None:
    order = charge()
    order.resolved("charge")
    (check,) = order.due
    order.told("charge", status)
    said = order.types()
    assert (said, order.due) == (["PaymentCaptured" if status == "succeeded" else "PaymentDeclined"], {})
    for late in (NotThere(), UNKNOWN, CAPTURED if status == "succeeded" else Declined("refused")):
        order.answer(check, late, act="ask")
    assert (order.types(), order.due) == (said, {})


def test_a_late_answer_that_contradicts_what_ended_the_question_is_asked_about_once_more() -> None:
    order = charge()
    order.resolved("charge")
    (check,) = order.due
    order.told("charge", "succeeded")
    order.answer(check, Declined("refused"), act="ask")
    assert (order.types(), order.out()) == (["PaymentCaptured"], ["check"])
    order.check_says(CAPTURED)
    assert (order.types(), order.due) == (["PaymentCaptured"], {})


def test_failed_is_believed_where_the_psp_answers_nothing_at_all() -> None:
    """That is why persons were asked."""
    order = charge()
    order.resolved("charge")
    for _ in ASK_AGAIN_S[1:]:
        order.check_says(UNKNOWN)
        assert order.said == []
    order.check_says(UNKNOWN)
    assert (code(order), order.due) == (RESOLVED_BY_OPERATORS, {})


@pytest.mark.parametrize("word", [Pending("ch_1", "review"), Captured("ch_1", "visa", eur(GROSS - 1))])
def test_failed_is_refused_where_the_psp_has_something_that_is_no_answer(word: Reply) -> None:
    """Its later yes or no still counts, and persons may say more."""
    order = charge()
    order.resolved("charge")
    order.check_says(word)
    assert (order.said, order.attempt.state, order.due) == ([], "unresolved", {})
    order.resolved("charge")
    order.check_says(NotThere())
    assert code(order) == RESOLVED_BY_OPERATORS


@pytest.mark.parametrize("state", ["calling", "unknown", "pending"])
def test_failed_of_a_charge_that_may_still_be_sent_or_decided_changes_nothing(state: str) -> None:
    """The door does not take it either."""
    order = desk(charged=False)
    if state != "calling":
        order.charge(UNKNOWN if state == "unknown" else Pending("ch_1", "3ds"))
    order.resolved("charge")
    assert (order.attempt.state, len(order.calls)) == (state, 1)


def test_failed_that_crosses_a_late_yes_is_asked_about_and_the_yes_wins() -> None:
    order = charge()
    order.told("charge", "succeeded")
    order.resolved("charge")
    order.check_says(CAPTURED)
    assert (order.types(), order.due) == (["PaymentCaptured"], {})


def test_what_waits_for_the_charge_fails_with_it_and_not_before() -> None:
    order = charge(manual=True)
    order.capture("c1", GROSS)
    order.resolved("charge")
    assert order.states() == {"c1": "waiting"}
    order.check_says(NotThere())
    assert (order.types(), order.states()) == (["PaymentDeclined", "CaptureFailed"], {"c1": "failed"})


def test_an_answer_to_a_question_that_another_has_followed_is_no_other_charge() -> None:
    order = operation("c1")
    order.resolved("c1")
    (first,) = order.due
    order.told("c1", "succeeded")
    order.told("c1", "declined")
    order.answer(first, order.yes_of("c1"), act="ask")
    order.check_says(order.yes_of("c1"))
    order.check_says(order.yes_of("c1"))
    assert (order.types(), order.states(), order.due) == (["PaymentCaptured"], {"c1": "done"}, {})


# ── "failed" of what is behind a charge ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("id_", OPERATIONS)
def test_an_operation_said_to_have_failed_fails_once_its_psp_has_nothing_of_it(id_: str) -> None:
    order = operation(id_)
    order.resolved(id_)
    assert (order.said, order.states()) == ([], {id_: "unresolved"})
    order.check_says(NotThere())
    assert (code(order), order.states(), order.due) == (RESOLVED_BY_OPERATORS, {id_: "failed"}, {})


@pytest.mark.parametrize("id_", OPERATIONS)
@pytest.mark.parametrize("how", ["the answer", "a webhook"])
def test_an_operation_that_its_psp_has_done_is_done_whatever_persons_say(id_: str, how: str) -> None:
    """Else the buyer would have the money, and the seller too."""
    order = operation(id_)
    order.resolved(id_)
    if how == "a webhook":
        order.told(id_, "succeeded", order.position.released if id_ == "v1" else None)
    else:
        order.check_says(order.yes_of(id_))
    assert (order.states(), order.due) == ({id_: "done"}, {})


@pytest.mark.parametrize("id_", OPERATIONS)
def test_an_operation_fails_where_its_psp_answers_nothing_at_all(id_: str) -> None:
    order = operation(id_)
    order.resolved(id_)
    for _ in ASK_AGAIN_S:
        assert order.said == []
        order.check_says(UNKNOWN)
    assert (code(order), order.due) == (RESOLVED_BY_OPERATORS, {})


def test_a_refund_that_is_pending_or_of_another_amount_at_its_psp_has_not_failed() -> None:
    order = operation("r1")
    for word in (Pending("re_1", "review"), Reversed("re_1", eur(1))):
        order.resolved("r1")
        order.check_says(word)
        assert (order.said, order.states(), order.due) == ([], {"r1": "unresolved"}, {})


def test_failed_that_crosses_the_yes_of_a_refund_is_asked_about_and_the_yes_wins() -> None:
    order = operation("r1")
    order.told("r1", "succeeded")
    order.resolved("r1")
    order.check_says(order.yes_of("r1"))
    assert (order.types(), order.states()) == (["PaymentRefunded"], {"r1": "done"})


# ── the reference that persons give ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("manual", [False, True])
@pytest.mark.parametrize("how", ["a webhook", "the answer"])
def test_the_psps_own_reference_replaces_the_one_that_persons_gave(manual: bool, how: str) -> None:
    """Captures and refunds name it to the PSP: the persons' may be another buyer's charge."""
    order = charge(manual=manual)
    yes = "authorised" if manual else "succeeded"
    order.resolved("charge", yes, "ch_wrong")
    assert order.attempt.psp_reference == "ch_wrong"
    if how == "a webhook":
        order.told("charge", yes)
    else:
        order.check_says(AUTHORISED if manual else CAPTURED)
    assert (order.attempt.psp_reference, len(order.said)) == ("ch_1", 1)
    if manual:
        order.capture("c1", GROSS)
    else:
        order.refund("c1", GROSS)
    assert order.request("c1")["psp_reference"] == "ch_1"


def test_a_second_charge_after_the_psp_has_named_its_own_is_still_a_dead_letter() -> None:
    order = charge(manual=True)
    order.resolved("charge", "authorised", "ch_wrong")
    order.told("charge", "authorised")
    with pytest.raises(Permanent, match="contradiction"):
        order.told("charge", "authorised", psp_reference="ch_2")


def test_persons_who_name_another_charge_than_the_psp_change_nothing() -> None:
    order = desk(charged=False)
    order.charge(UNKNOWN)
    order.charge()
    assert order.resolved("charge", "succeeded", "ch_wrong").changes == ()
    assert order.attempt.psp_reference == "ch_1"


@pytest.mark.parametrize("silent", [NotThere(), UNKNOWN])
def test_a_yes_of_persons_stands_where_the_psp_does_not_confirm_it_and_nobody_is_called(silent: Reply) -> None:
    order = charge()
    order.resolved("charge", "succeeded", "ch_9")
    for _ in ASK_AGAIN_S:
        order.check_says(silent)
    charged = order.operation(f"auto~{order.key}")
    assert (order.types(), charged.check.state, charged.psp_reference) == (["PaymentCaptured"], None, "ch_9")
    order.told("charge", "declined")
    assert order.out() == ["check"], "what contradicts them later is asked about"


def test_a_capture_by_persons_that_the_psp_denies_is_taken_back() -> None:
    order = charge()
    order.resolved("charge", "succeeded", "ch_9")
    order.check_says(Declined("refused"))
    assert order.types() == ["PaymentCaptured", "CaptureReversed"]


def test_persons_may_say_yes_while_their_failed_is_asked_about() -> None:
    order = charge()
    order.resolved("charge")
    order.resolved("charge", "succeeded", "ch_9")
    assert (order.types(), order.out()) == (["PaymentCaptured"], ["check"])
    order.check_says(CAPTURED)
    assert (order.types(), order.due, order.attempt.psp_reference) == (["PaymentCaptured"], {}, "ch_1")


@pytest.mark.parametrize("id_", OPERATIONS)
def test_an_operation_has_the_psps_reference_once_it_is_named(id_: str) -> None:
    order = operation(id_)
    released = order.position.released if id_ == "v1" else None
    order.resolved(id_, "succeeded", "wrong")
    assert order.operation(id_).psp_reference == "wrong"
    order.told(id_, "succeeded", released)
    assert (order.operation(id_).psp_reference, len(order.said)) == (f"told_{id_}", 1)
