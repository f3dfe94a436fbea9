"""The table of docs/calls.md, row by row, and every refusal in order of precedence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.executor.ladder import ASK_AGAIN_S, KEY_MARGIN_S, SEND_AGAIN_S
from consumers.executor.routing import Routing
from psp.port import Captured, Declined, NothingHappened, NotThere, Unknown
from schemas.errors import Permanent
from schemas.events import OutcomeUnknown, OutcomeUnresolved, PaymentCaptured, PaymentDeclined
from schemas.money import Money
from tests.unit.executor_cases import KEY_LIFE_S, SETTLING_S, Desk, order, policy
from topics.runtime.shape.consumer import Ended, Retry

YES = Captured("ch_1", "visa", Money(1234, "EUR"))
NO = Declined("insufficient_funds", "ch_1", "visa")
NOTHING = NothingHappened("rate_limited")
UNKNOWN = Unknown("timeout")
NOT_THERE = NotThere()


@pytest.fixture
def desk() -> Desk:
    """One order placed, its call due."""
    desk = Desk()
    desk.place(order())
    return desk


@pytest.fixture
def unknown(desk: Desk) -> Desk:
    """Its first send timed out."""
    desk.comes_back("send", UNKNOWN)
    return desk


def test_an_order_becomes_one_call_whose_id_never_changes() -> None:
    first, second = Desk(), Desk()
    first.place(order(), "one event")
    second.place(order(), "another event")
    assert first.call is not None
    assert second.call is not None
    assert first.call.id == second.call.id
    assert len(first.call.id) == 32
    assert set(first.call.id) <= set("0123456789abcdef")


def test_the_same_order_in_a_fresh_event_changes_nothing(desk: Desk) -> None:
    decision = desk.place(order(), "a fresh event")
    assert (decision.changes, decision.events, decision.calls) == ((), (), ())


def test_the_same_order_with_other_terms_is_a_dead_letter(desk: Desk) -> None:
    with pytest.raises(Permanent, match="order_changed"):
        desk.place(order(gross=Money(9999, "EUR"), net=Money(9965, "EUR")), "a fresh event")


def test_an_order_past_its_deadline_is_declined_without_a_call() -> None:
    desk = Desk()
    desk.place(order(deadline=desk.now))
    assert desk.call is None
    assert [type(event) for event in desk.said] == [PaymentDeclined]
    assert desk.said[0].code == "deadline_passed"  # type: ignore[union-attr]


def test_an_order_that_no_rule_takes_is_declined_without_a_call() -> None:
    desk = Desk(policy(routing=Routing(())))
    desk.place(order())
    assert desk.call is None
    assert desk.said[0].code == "no_route"  # type: ignore[union-attr]


def test_a_yes_is_a_capture_with_the_terms_of_the_order(desk: Desk) -> None:
    desk.comes_back("send", YES)
    (said,) = desk.said
    assert isinstance(said, PaymentCaptured)
    assert said.terms() == order().terms()
    assert (said.psp, said.psp_reference, said.scheme) == ("north", "ch_1", "visa")
    assert desk.next == Ended(said.call_id, "captured")


def test_a_no_is_a_decline_with_its_reason(desk: Desk) -> None:
    desk.comes_back("send", NO)
    (said,) = desk.said
    assert isinstance(said, PaymentDeclined)
    assert said.code == "insufficient_funds"
    assert desk.next == Ended(said.call_id, "declined")


def test_a_send_that_did_nothing_is_sent_again_by_the_ladder(desk: Desk) -> None:
    waits = []
    for _ in range(len(SEND_AGAIN_S) + 2):
        desk.comes_back("send", NOTHING)
        assert isinstance(desk.next, Retry)
        assert desk.next.act == "send"
        waits.append(desk.next.due_in_s)
    assert waits == [*SEND_AGAIN_S, SEND_AGAIN_S[-1], SEND_AGAIN_S[-1]]
    assert desk.said == []


def test_retry_after_is_honoured(desk: Desk) -> None:
    desk.comes_back("send", NothingHappened("rate_limited", 17.0))
    assert isinstance(desk.next, Retry)
    assert desk.next.due_in_s == 17.0


def test_a_question_waits_as_long_as_the_psp_asks_and_uses_up_a_rung(unknown: Desk) -> None:
    call_id = unknown.attempt.call_id
    unknown.comes_back("ask", Unknown("rate_limited", 17.0))
    assert unknown.next == Retry(call_id, "ask", ASK_AGAIN_S[1])
    unknown.comes_back("ask", Unknown("rate_limited", 3000.0))
    assert unknown.next == Retry(call_id, "ask", 3000.0)
    unknown.comes_back("ask", YES)
    assert [type(event) for event in unknown.said] == [OutcomeUnknown, PaymentCaptured]


def test_nobody_waits_past_the_deadline(desk: Desk) -> None:
    desk.comes_back("send", NothingHappened("rate_limited", 9999.0))
    assert isinstance(desk.next, Retry)
    assert desk.next.due_in_s == 3600.0


def test_sends_that_all_did_nothing_end_declined_at_the_deadline(desk: Desk) -> None:
    desk.comes_back("send", NOTHING)
    desk.pass_s(3600)
    desk.comes_back("send", NOTHING)
    assert [type(event) for event in desk.said] == [PaymentDeclined]
    assert desk.said[0].code == "deadline_passed"  # type: ignore[union-attr]


def test_not_knowing_is_said_once_and_asked_about(unknown: Desk) -> None:
    assert [type(event) for event in unknown.said] == [OutcomeUnknown]
    assert isinstance(unknown.next, Retry)
    assert (unknown.next.act, unknown.next.due_in_s) == ("ask", ASK_AGAIN_S[0])
    unknown.comes_back("ask", UNKNOWN)
    assert len(unknown.said) == 1


def test_asking_climbs_its_ladder_and_ends_unresolved(unknown: Desk) -> None:
    waits = [unknown.next.due_in_s]  # type: ignore[union-attr]
    while isinstance(unknown.next, Retry):
        unknown.comes_back("ask", UNKNOWN)
        if isinstance(unknown.next, Retry):
            waits.append(unknown.next.due_in_s)
    assert tuple(waits) == ASK_AGAIN_S
    assert [type(event) for event in unknown.said] == [OutcomeUnknown, OutcomeUnresolved]


def test_what_is_found_is_decided(unknown: Desk) -> None:
    unknown.comes_back("ask", YES)
    assert [type(event) for event in unknown.said] == [OutcomeUnknown, PaymentCaptured]


def test_not_there_is_no_proof_before_the_psp_has_settled(unknown: Desk) -> None:
    unknown.pass_s(SETTLING_S / 2)
    unknown.comes_back("ask", NOT_THERE)
    assert isinstance(unknown.next, Retry)
    assert unknown.next.act == "ask"
    assert unknown.next.due_in_s == pytest.approx(SETTLING_S / 2)


def test_an_answer_is_as_old_as_its_question(unknown: Desk) -> None:
    unknown.lease("ask")
    unknown.pass_s(SETTLING_S * 3)
    unknown.answer("ask", NOT_THERE)
    assert isinstance(unknown.next, Retry)
    assert unknown.next.act == "ask"


def test_not_there_after_settling_is_sent_again_with_the_same_key(unknown: Desk) -> None:
    unknown.pass_s(SETTLING_S)
    unknown.comes_back("ask", NOT_THERE)
    assert isinstance(unknown.next, Retry)
    assert (unknown.next.act, unknown.next.call_id) == ("send", unknown.attempt.call_id)
    unknown.comes_back("send", YES)
    assert [type(event) for event in unknown.said] == [OutcomeUnknown, PaymentCaptured]


def test_a_second_unknown_is_not_said_again(unknown: Desk) -> None:
    unknown.pass_s(SETTLING_S)
    unknown.comes_back("ask", NOT_THERE)
    unknown.comes_back("send", UNKNOWN)
    assert [type(event) for event in unknown.said] == [OutcomeUnknown]
    assert isinstance(unknown.next, Retry)
    assert (unknown.next.act, unknown.next.due_in_s) == ("ask", ASK_AGAIN_S[0])


def test_not_there_past_the_deadline_is_unresolved(unknown: Desk) -> None:
    unknown.pass_s(3600)
    unknown.comes_back("ask", NOT_THERE)
    assert [type(event) for event in unknown.said] == [OutcomeUnknown, OutcomeUnresolved]


def test_not_there_past_the_key_s_life_is_unresolved() -> None:
    desk = Desk()
    desk.place(order(deadline=desk.now + timedelta(days=9)))
    desk.comes_back("send", UNKNOWN)
    desk.pass_s(KEY_LIFE_S - KEY_MARGIN_S)
    desk.comes_back("ask", NOT_THERE)
    assert [type(event) for event in desk.said] == [OutcomeUnknown, OutcomeUnresolved]


def test_nothing_happened_past_the_deadline_is_unresolved_once_a_send_was_unknown(unknown: Desk) -> None:
    unknown.pass_s(SETTLING_S)
    unknown.comes_back("ask", NOT_THERE)
    unknown.pass_s(3600)
    unknown.comes_back("send", NOTHING)
    assert [type(event) for event in unknown.said] == [OutcomeUnknown, OutcomeUnresolved]


def test_a_late_yes_is_taken_after_unresolved(unknown: Desk) -> None:
    unknown.pass_s(3600)
    unknown.comes_back("ask", NOT_THERE)
    unknown.answer("send", YES, act_no=1)
    assert [type(event) for event in unknown.said] == [OutcomeUnknown, OutcomeUnresolved, PaymentCaptured]


def test_a_late_answer_that_says_nothing_clear_changes_nothing(unknown: Desk) -> None:
    unknown.lease("ask")
    decision = unknown.answer("send", NOTHING, act_no=1)
    assert (decision.changes, decision.events, decision.calls) == ((), (), ())


def test_the_same_yes_twice_is_one_capture(desk: Desk) -> None:
    desk.comes_back("send", YES)
    desk.answer("send", YES, act_no=1)
    assert [type(event) for event in desk.said] == [PaymentCaptured]


def test_a_second_charge_under_one_key_is_a_dead_letter_that_somebody_sees(desk: Desk) -> None:
    desk.comes_back("send", YES)
    with pytest.raises(Permanent, match="contradiction") as raised:
        desk.answer("send", Captured("ch_2", "visa", Money(1234, "EUR")), act_no=1)
    assert not raised.value.ours, "the others' orders go on"


def test_a_reply_to_no_call_of_ours_is_a_dead_letter(desk: Desk) -> None:
    desk.lease("send")
    desk.state.attempts.clear()
    with pytest.raises(Permanent, match="no_such_call"):
        desk.answer("send", YES)
