"""Disputes: told late, early, twice and out of order; won, lost, for a second time."""

from __future__ import annotations

import pytest

from psp.port import Captured, Declined, DisputeState, Unknown
from schemas.errors import Permanent
from schemas.events import PaymentCaptured
from schemas.money_back import (
    ChargebackLost,
    ChargebackOpened,
    ChargebackWon,
    DisputeInquiry,
    PaymentRefunded,
    RefundFailed,
)
from tests.unit.order_cases import GROSS, OrderDesk, desk, eur
from topics.runtime.shape.consumer import Timer


def said(order: OrderDesk) -> list[str]:
    return order.types()[1:]  # what came after the capture


def state(stage: int, status: str) -> DisputeState:
    return DisputeState("d1", stage, status, eur(GROSS), None, "fraudulent", None)  # type: ignore[arg-type]


def test_an_inquiry_moves_no_money() -> None:
    order = desk()
    order.disputed("inquiry")
    order.disputed("inquiry")
    assert said(order) == ["DisputeInquiry"]
    assert isinstance(order.said[-1], DisputeInquiry)
    assert order.position.disputed == 0


def test_a_chargeback_takes_the_amount_back_and_keeps_the_fee_by_default() -> None:
    order = desk()
    order.disputed("inquiry")
    order.disputed("opened", 4_000, fee=1_500)
    opened = order.said[-1]
    assert isinstance(opened, ChargebackOpened)
    assert (opened.share.gross, opened.share.fee, opened.share.net) == (eur(4_000), eur(0), eur(4_000))
    assert (opened.dispute_fee, opened.stage, opened.part) == (eur(1_500), 1, f"{opened.dispute_id}.1")
    assert opened.dispute_id.startswith("dp_")
    assert len(opened.dispute_id) == 27


@pytest.mark.parametrize(("rule", "fee"), [("none", 0), ("proportional", 400), ("full", 0)])
def test_the_fee_goes_back_with_a_chargeback_by_the_rule_in_the_terms(rule: str, fee: int) -> None:
    order = desk(fee_chargeback=rule)
    order.disputed("opened", 4_000)
    assert order.said[-1].share.fee == eur(fee)  # type: ignore[union-attr]


def test_won_gives_the_share_of_its_stage_back_with_the_fee_as_far_as_the_psp_says() -> None:
    order = desk(fee_chargeback="proportional")
    order.disputed("opened", 4_000, fee=1_500)
    order.disputed("won", 4_000, fee=500)
    won = order.said[-1]
    assert isinstance(won, ChargebackWon)
    assert (won.share.net, won.dispute_fee) == (eur(3_600), eur(500))


def test_lost_moves_nothing_more() -> None:
    order = desk()
    order.disputed("opened", 4_000)
    order.disputed("lost", 4_000)
    assert isinstance(order.said[-1], ChargebackLost)
    assert order.position.disputed == 4_000


@pytest.mark.parametrize(("end", "event"), [("won", "ChargebackWon"), ("lost", "ChargebackLost")])
def test_an_end_that_was_never_told_to_begin_is_both_in_one_decision(end: str, event: str) -> None:
    order = desk()
    decision = order.disputed(end)
    assert [type(each).__name__ for each in decision.events] == ["ChargebackOpened", event]
    assert order.dispute().outcome_place == 1


@pytest.mark.parametrize("end", ["won", "lost"])
def test_a_late_repeat_of_the_beginning_changes_nothing(end: str) -> None:
    order = desk()
    order.disputed(end)
    decision = order.disputed("opened")
    order.disputed("inquiry")
    assert (decision.changes, decision.events) == ((), ())


def test_a_second_stage_is_booked_apart() -> None:
    order = desk()
    order.disputed("won")
    order.disputed("opened", stage=2)
    assert said(order) == ["ChargebackOpened", "ChargebackWon", "ChargebackOpened"]
    assert order.said[-1].part.endswith(".2")  # type: ignore[union-attr]
    assert order.position.disputed == GROSS


def test_won_after_lost_is_asked_about_and_counts_where_the_psp_confirms() -> None:
    order = desk()
    order.disputed("lost")
    order.disputed("won")
    assert (said(order), order.out()) == (["ChargebackOpened", "ChargebackLost"], ["check"])
    order.check_says(state(1, "won"))
    assert said(order)[-1] == "ChargebackWon"
    assert order.position.disputed == 0


def test_won_after_lost_changes_nothing_where_the_psp_does_not_confirm() -> None:
    order = desk()
    order.disputed("lost")
    order.disputed("won")
    order.check_says(state(1, "lost"))
    assert (said(order)[-1], order.due) == ("ChargebackLost", {})


def test_what_agrees_with_a_lost_dispute_during_a_check_makes_it_ask_once_more() -> None:
    order = desk()
    order.disputed("lost")
    order.disputed("won")
    order.disputed("lost")
    order.check_says(state(1, "lost"))
    assert (said(order)[-1], order.out()) == ("ChargebackLost", ["check"])
    order.check_says(state(1, "won"))
    assert (said(order)[-1], order.out()) == ("ChargebackWon", [])


def test_lost_after_won_is_a_dead_letter_where_the_psp_confirms() -> None:
    order = desk()
    order.disputed("won")
    order.disputed("lost")
    order.check_says(state(1, "lost"))
    assert (order.dispute().state, order.out()) == ("won", [])
    with pytest.raises(Permanent, match=r"contradiction: .* stage 1 was won, and is not so"):
        order.fire("contradiction")


# ── races ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dispute_before_the_captures_reply_waits_and_is_taken_up_in_the_decision_that_captures() -> None:
    order = desk(charged=False)
    order.disputed("opened", 4_000, fee=1_500)
    order.disputed("lost", 4_000)
    assert (order.said, order.dispute().state) == ([], "waiting")
    decision = order.charge()
    assert [type(each) for each in decision.events] == [PaymentCaptured, ChargebackOpened, ChargebackLost]
    assert order.dispute().state == "lost"


def test_a_dispute_of_a_manual_order_waits_for_its_first_capture() -> None:
    order = desk(manual=True)
    order.disputed("opened", 4_000)
    order.capture("c1", GROSS)
    order.yes("c1")
    assert order.types()[-2:] == ["PaymentCaptured", "ChargebackOpened"]


def test_a_dispute_about_a_charge_that_ends_declined_is_a_dead_letter_of_its_own() -> None:
    order = desk(charged=False)
    order.disputed("opened", 4_000)
    order.charge(Declined("do_not_honor"))
    assert (order.types(), order.timers) == (["PaymentDeclined"], [Timer("dispute", order.key, order.now)])
    with pytest.raises(Permanent, match="contradiction") as raised:
        order.fire()
    assert not raised.value.ours
    with pytest.raises(Permanent, match="contradiction"):
        order.disputed("opened", 4_000, reference="d2")


def test_a_refund_that_waits_behind_an_unknown_capture_is_refused_when_a_chargeback_has_taken_it_all() -> None:
    order = desk(charged=False)
    order.charge(Unknown("timeout"))
    order.refund("r1", GROSS)
    order.disputed("opened")
    order.charge(Captured("ch_1", "visa", order.placed.gross))
    assert order.types()[1:] == ["PaymentCaptured", "ChargebackOpened", "RefundFailed"]
    assert order.said[-1].code == "order_disputed"  # type: ignore[union-attr]


def test_a_refund_before_its_call_is_refused_disputed_and_one_that_is_out_posts_beside_it() -> None:
    order = desk()
    order.refund("r1", 6_000)
    order.refund("r2", 4_000)
    order.disputed("opened")
    assert order.states() == {"r1": "calling", "r2": "waiting"}
    order.yes("r1")
    assert isinstance(order.said[-1], RefundFailed)
    assert (order.said[-1].code, order.types()[-2]) == ("order_disputed", "PaymentRefunded")
    assert order.position.captured - 6_000 - order.position.disputed < 0, "below zero: double_return"


def test_a_refund_waits_for_no_dispute_that_was_won() -> None:
    order = desk()
    order.disputed("won")
    order.refund("r1", GROSS)
    order.yes("r1")
    assert isinstance(order.said[-1], PaymentRefunded)


def test_a_chargeback_of_more_than_is_left_posts() -> None:
    order = desk()
    order.refund("r1", 6_000)
    order.yes("r1")
    order.disputed("opened", GROSS)
    assert order.said[-1].share.gross == eur(GROSS)  # type: ignore[union-attr]


def test_an_early_dispute_about_a_call_that_is_not_there_is_kept() -> None:
    from consumers.executor.early import EarlyNotification

    order = desk()
    order.state.calls.clear()
    (kept,) = order.disputed("opened").changes
    assert isinstance(kept, EarlyNotification)
    assert kept.type == "tallystick.DisputeNotified.v1"
