"""What is pending, what PSPs tell unasked, and when an order goes to the next PSP."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from consumers.executor.early import EarlyNotification
from consumers.executor.ladder import ASK_AGAIN_S
from consumers.executor.routing import Routing
from consumers.executor.settings import RoutingRule
from psp.port import Captured, Declined, NothingHappened, NotThere, Pending, Unknown
from schemas.errors import Permanent
from schemas.events import OutcomeUnknown, OutcomeUnresolved, PaymentCaptured, PaymentDeclined, PaymentPending
from schemas.money import Money
from tests.unit.executor_cases import DECLARED, NOW, Desk, notification, order, policy
from topics.runtime.shape.consumer import Ended, Retry

YES = Captured("ch_1", "visa", Money(1234, "EUR"))
NO = Declined("insufficient_funds", "ch_1", "visa")
SOFT_NO = Declined("do_not_honor", "ch_1", "visa")
PENDING = Pending("ch_1", "3ds")
NOTHING = NothingHappened("unavailable")
RULES = Routing((RoutingRule(psp="north", weight=1000), RoutingRule(psp="south")))
TWO = policy(routing=RULES, psps=dict.fromkeys(("north", "south"), DECLARED))


@pytest.fixture
def desk() -> Desk:
    """One order at the first of two PSPs."""
    desk = Desk(TWO)
    desk.place(order())
    return desk


@pytest.fixture
def pending(desk: Desk) -> Desk:
    desk.comes_back("send", PENDING)
    return desk


def said(desk: Desk) -> list[type]:
    return [type(event) for event in desk.said]


# ── pending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pending_is_said_once_and_asked_about(pending: Desk) -> None:
    pending.comes_back("ask", PENDING)
    assert said(pending) == [PaymentPending]
    assert isinstance(pending.next, Retry)
    assert (pending.next.act, pending.next.due_in_s) == ("ask", ASK_AGAIN_S[1])


@pytest.mark.parametrize(("reply", "event"), [(YES, PaymentCaptured), (NO, PaymentDeclined)])
def test_asking_ends_it(pending: Desk, reply: Captured | Declined, event: type) -> None:
    pending.comes_back("ask", reply)
    assert said(pending) == [PaymentPending, event]


@pytest.mark.parametrize(("status", "event"), [("succeeded", PaymentCaptured), ("declined", PaymentDeclined)])
def test_a_notification_ends_it_and_its_call(pending: Desk, status: str, event: type) -> None:
    assert pending.call is not None
    pending.told(notification(pending.call, status))
    assert said(pending) == [PaymentPending, event]
    assert isinstance(pending.next, Ended)


@pytest.mark.parametrize("reply", [NotThere(), Unknown("timeout"), PENDING])
def test_what_is_pending_is_never_sent_again(pending: Desk, reply: NotThere | Unknown | Pending) -> None:
    for _ in ASK_AGAIN_S[1:]:
        pending.pass_s(60)
        pending.comes_back("ask", reply)
        assert isinstance(pending.next, Retry)
        assert pending.next.act == "ask"
    pending.comes_back("ask", reply)
    assert said(pending) == [PaymentPending, OutcomeUnresolved]
    assert pending.sends == 1


def test_a_person_who_fails_to_authenticate_is_not_sent_to_another_psp(pending: Desk) -> None:
    pending.comes_back("ask", SOFT_NO)
    assert said(pending) == [PaymentPending, PaymentDeclined]


def test_unknown_and_found_pending(desk: Desk) -> None:
    desk.comes_back("send", Unknown("timeout"))
    desk.comes_back("ask", PENDING)
    desk.comes_back("ask", YES)
    assert said(desk) == [OutcomeUnknown, PaymentPending, PaymentCaptured]


# ── notifications ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_notification_before_the_reply_and_the_reply_after_it_are_one_outcome(desk: Desk) -> None:
    assert desk.call is not None
    desk.lease("send")
    desk.told(notification(desk.call))
    assert isinstance(desk.next, Ended)
    desk.answer("send", YES)
    assert said(desk) == [PaymentCaptured]


def test_a_notification_after_the_reply_changes_nothing(desk: Desk) -> None:
    assert desk.call is not None
    desk.comes_back("send", YES)
    for status in ("succeeded", "pending"):
        decision = desk.told(notification(desk.call, status))
        assert (decision.changes, decision.events, decision.calls) == ((), (), ())


def test_a_time_out_after_the_notification_changes_nothing(desk: Desk) -> None:
    assert desk.call is not None
    desk.lease("send")
    desk.told(notification(desk.call))
    desk.answer("send", Unknown("timeout"))
    assert said(desk) == [PaymentCaptured]


def test_pending_heard_while_the_send_is_out_keeps_it_from_being_sent_again(desk: Desk) -> None:
    assert desk.call is not None
    desk.lease("send")
    desk.told(notification(desk.call, "pending"))
    desk.answer("send", NOTHING)
    assert said(desk) == [PaymentPending]
    assert isinstance(desk.next, Retry)
    assert desk.next.act == "ask"


def test_a_notification_settles_what_was_unresolved(desk: Desk) -> None:
    desk.comes_back("send", Unknown("timeout"))
    for _ in ASK_AGAIN_S:
        desk.comes_back("ask", Unknown("timeout"))
    assert desk.call is not None
    desk.told(notification(desk.call))
    assert said(desk) == [OutcomeUnknown, OutcomeUnresolved, PaymentCaptured]


@pytest.mark.parametrize("change", [{"reference": "f" * 32}, {"psp": "west"}])
def test_what_comes_before_its_call_is_kept(desk: Desk, change: dict[str, str]) -> None:
    assert desk.call is not None
    decision = desk.told(notification(desk.call, **change))
    assert [type(kept) for kept in decision.changes] == [EarlyNotification]
    assert desk.said == []


def test_a_notification_of_another_amount_is_a_dead_letter(desk: Desk) -> None:
    assert desk.call is not None
    with pytest.raises(Permanent, match="notification_mismatch"):
        desk.told(notification(desk.call, amount=Money(1235, "EUR")))


# ── failover ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_decline_that_invites_it_goes_to_the_next_psp_under_another_key(desk: Desk) -> None:
    desk.comes_back("send", SOFT_NO)
    assert desk.call is not None
    assert (desk.attempt.psp, desk.attempt.attempt_no, desk.call.psp) == ("south", 2, "south")
    assert desk.earlier[0].id != desk.call.id
    desk.comes_back("send", YES)
    assert said(desk) == [PaymentCaptured]


def test_the_last_psp_has_the_last_word(desk: Desk) -> None:
    desk.comes_back("send", SOFT_NO)
    desk.comes_back("send", SOFT_NO)
    assert said(desk) == [PaymentDeclined]
    assert desk.attempt.psp == "south"


def test_any_other_decline_is_final(desk: Desk) -> None:
    desk.comes_back("send", NO)
    assert said(desk) == [PaymentDeclined]


def test_sends_that_surely_did_nothing_go_to_the_next_psp(desk: Desk) -> None:
    for _ in range(TWO.failover.after_refusals - 1):
        desk.comes_back("send", NOTHING)
        assert desk.attempt.psp == "north"
    desk.comes_back("send", NOTHING)
    assert desk.attempt.psp == "south"


def test_nothing_goes_to_another_psp_once_a_send_was_unknown(desk: Desk) -> None:
    desk.comes_back("send", Unknown("timeout"))
    desk.pass_s(60)
    desk.comes_back("ask", NotThere())
    for _ in range(TWO.failover.after_refusals):
        desk.comes_back("send", NOTHING)
    desk.comes_back("send", SOFT_NO)
    assert (desk.attempt.psp, desk.earlier) == ("north", [])
    assert said(desk) == [OutcomeUnknown, PaymentDeclined]


def test_past_its_deadline_an_order_goes_nowhere() -> None:
    desk = Desk(TWO)
    desk.place(order(deadline=NOW + timedelta(seconds=30)))
    desk.pass_s(30)
    desk.comes_back("send", SOFT_NO)
    assert said(desk) == [PaymentDeclined]


def test_an_earlier_psp_may_repeat_itself_and_not_say_otherwise(desk: Desk) -> None:
    desk.comes_back("send", SOFT_NO)
    earlier = desk.earlier[0]
    decision = desk.told(notification(earlier, "declined"))
    assert (decision.changes, decision.events, decision.calls) == ((), (), ())
    with pytest.raises(Permanent, match="contradiction"):
        desk.told(notification(earlier))


def test_what_invites_it_is_a_setting() -> None:
    desk = Desk(replace(TWO, failover=TWO.failover.model_copy(update={"codes": frozenset()})))
    desk.place(order())
    desk.comes_back("send", SOFT_NO)
    assert said(desk) == [PaymentDeclined]
