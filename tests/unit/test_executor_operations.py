"""Captures, voids and refunds: the queue, its calls, what becomes of them, and every race that has a name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.executor.ladder import ASK_AGAIN_S
from psp.port import Declined, NothingHappened, NotThere, Pending, Refunded, Unknown
from schemas.errors import Permanent
from schemas.events import OutcomeUnknown, PaymentCaptured
from schemas.money_back import (
    AuthorisationExpired,
    CaptureFailed,
    PaymentAuthorised,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    VoidFailed,
)
from tests.unit.executor_cases import NOW
from tests.unit.order_cases import EXPIRES_AT, FEE, GROSS, OrderDesk, desk, eur
from topics.runtime.shape.consumer import Timer

THIRDS = (3_333, 3_333, 3_334)


def last(desk: OrderDesk) -> object:
    return desk.said[-1]


def code(desk: OrderDesk) -> str:
    event = desk.said[-1]
    assert isinstance(event, CaptureFailed | VoidFailed | RefundFailed)
    return event.code


# ── the thin way ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refund_is_called_and_said_with_its_share_of_the_fee() -> None:
    order = desk()
    order.refund("r1", 2_500)
    call = order.calls[order.operation("r1").call_id]
    assert (call.kind, call.act, call.deadline) == ("refund", "send", NOW + timedelta(days=7))
    assert order.request("r1") == {"psp_reference": "ch_1", "amount": "25.00", "currency": "EUR"}
    order.yes("r1")
    refunded = last(order)
    assert isinstance(refunded, PaymentRefunded)
    assert (refunded.part, refunded.share.gross, refunded.share.fee, refunded.share.net) == (
        "r1",
        eur(2_500),
        eur(250),
        eur(2_250),
    )
    assert (refunded.gross, refunded.psp_reference, refunded.turn) == (eur(GROSS), "re_r1", None)


def test_a_manual_order_is_authorised_and_then_captured() -> None:
    order = desk(manual=True)
    authorised = last(order)
    assert isinstance(authorised, PaymentAuthorised)
    assert (authorised.expires_at, order.timers) == (EXPIRES_AT, [Timer("authorisation", order.key, EXPIRES_AT)])
    order.capture("c1", GROSS)
    assert order.request("c1") == {"psp_reference": "ch_1", "amount": "100.00", "currency": "EUR", "final": False}
    assert order.calls[order.operation("c1").call_id].deadline == EXPIRES_AT
    order.yes("c1")
    captured = last(order)
    assert isinstance(captured, PaymentCaptured)
    assert (captured.part, captured.gross, captured.fee, captured.net) == ("c1", eur(GROSS), eur(FEE), eur(9_000))
    assert (captured.final, captured.order_gross) == (True, None)
    assert order.attempt.state == "captured"


def test_an_automatic_order_has_nothing_behind_it_until_something_is_asked() -> None:
    order = desk()
    assert (order.attempt.operations, order.state.operations, order.said[-1].part) == (0, {}, "")  # type: ignore[union-attr]


def test_captures_in_thirds_share_the_fee_to_the_cent() -> None:
    order = desk(manual=True)
    for n, minor in enumerate(THIRDS):
        order.capture(f"c{n}", minor)
        order.yes(f"c{n}")
    captured = [event for event in order.said if isinstance(event, PaymentCaptured)]
    assert [event.fee.minor for event in captured] == [333, 333, 334]
    assert [event.final for event in captured] == [None, None, True]
    assert {event.order_gross for event in captured} == {eur(GROSS)}


def test_a_final_capture_closes_the_order() -> None:
    order = desk(manual=True)
    order.capture("c1", 4_000, final=True)
    order.yes("c1")
    order.capture("c2", 1_000)
    assert (order.attempt.state, code(order)) == ("captured", "not_authorised")


def test_a_psp_that_takes_one_capture_closes_after_it() -> None:
    order = desk(manual=True, many=False)
    order.capture("c1", 4_000)
    order.capture("c2", 1_000)
    assert code(order) == "one_capture_only"
    order.yes("c1")
    assert (order.attempt.state, last(order).final) == ("captured", True)  # type: ignore[attr-defined]


def test_a_void_releases_what_is_left() -> None:
    order = desk(manual=True)
    order.capture("c1", 4_000)
    order.yes("c1")
    order.void("v1")
    assert order.request("v1") == {"psp_reference": "ch_1"}
    order.yes("v1")
    assert isinstance(last(order), PaymentVoided)
    assert (last(order).released, order.attempt.state) == (eur(6_000), "captured")  # type: ignore[attr-defined]


def test_a_void_of_all_leaves_the_order_voided() -> None:
    order = desk(manual=True)
    order.void("v1")
    order.yes("v1")
    assert (order.attempt.state, last(order).released) == ("voided", eur(GROSS))  # type: ignore[attr-defined]


# ── the authorisation's end ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_authorisation_expires_by_itself() -> None:
    order = desk(manual=True)
    order.fire()
    assert isinstance(last(order), AuthorisationExpired)
    assert (last(order).released, order.attempt.state) == (eur(GROSS), "expired")  # type: ignore[attr-defined]


def test_what_was_captured_stays_captured_when_the_rest_expires() -> None:
    order = desk(manual=True)
    order.capture("c1", 4_000)
    order.yes("c1")
    order.fire()
    assert (order.attempt.state, last(order).released) == ("captured", eur(6_000))  # type: ignore[attr-defined]


def test_a_stale_timer_does_nothing() -> None:
    order = desk(manual=True)
    timer = order.timers[0]
    order.capture("c1", GROSS)
    order.yes("c1")
    before = list(order.said)
    order.fire()
    assert (order.said, timer.due_at) == (before, EXPIRES_AT)


def test_an_authorisation_does_not_expire_while_a_capture_is_at_the_psp_unknown() -> None:
    order = desk(manual=True)
    order.capture("c1", 4_000)
    order.reply("c1", Unknown("timeout"))
    order.capture("c2", 1_000)
    order.void("v1")
    order.fire()
    assert order.states() == {"c1": "unknown", "c2": "failed", "v1": "failed"}
    assert [event.code for event in order.said[-2:]] == ["authorisation_expired"] * 2  # type: ignore[union-attr]
    assert order.timers == [Timer("authorisation", order.key, EXPIRES_AT + timedelta(hours=1))]
    order.yes("c1")
    order.fire()
    assert order.types()[-2:] == ["PaymentCaptured", "AuthorisationExpired"]
    assert order.attempt.state == "captured"


def test_an_authorisation_does_not_expire_while_a_void_is_at_the_psp() -> None:
    order = desk(manual=True)
    order.void("v1")
    order.reply("v1", Unknown("timeout"))
    order.fire()
    assert (order.attempt.state, order.types()[-1]) == ("authorised", "OutcomeUnknown")
    order.yes("v1")
    order.fire()
    assert (order.attempt.state, order.types()[-1]) == ("voided", "PaymentVoided")


def test_what_is_asked_after_the_expiry_is_refused_before_the_timer_fires() -> None:
    order = desk(manual=True)
    order.now = EXPIRES_AT
    order.capture("c1", 4_000)
    assert code(order) == "authorisation_expired"


# ── the queue ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_call_at_a_time_and_the_next_begins_in_the_decision_that_ends_it() -> None:
    order = desk()
    order.refund("r1", 1_000)
    order.refund("r2", 1_000)
    assert order.out() == ["r1"]
    order.reply("r1", Unknown("timeout"))
    assert order.states() == {"r1": "unknown", "r2": "waiting"}
    order.yes("r1")
    assert (order.states(), order.out()) == ({"r1": "done", "r2": "calling"}, ["r2"])


def test_a_pending_refund_holds_nobody_and_its_amount_stays_taken() -> None:
    order = desk()
    order.refund("r1", 6_000)
    order.reply("r1", Pending("re_1", "in_review"))
    order.refund("r2", 4_000)
    order.refund("r3", 1)
    assert order.states() == {"r1": "pending", "r2": "calling", "r3": "failed"}
    assert code(order) == "exceeds_refundable"


def test_an_unresolved_refund_holds_nobody_and_its_amount_stays_taken() -> None:
    order = desk()
    order.refund("r1", 6_000)
    order.refund("r2", 4_000)
    order.reply("r1", Unknown("timeout"))
    for _ in ASK_AGAIN_S:
        order.reply("r1", Unknown("timeout"))
    assert order.types()[-1] == "OutcomeUnresolved"
    assert order.states() == {"r1": "unresolved", "r2": "calling"}
    order.refund("r3", 1)
    assert code(order) == "exceeds_refundable"
    order.yes("r1")
    assert isinstance(last(order), PaymentRefunded)


def test_not_knowing_is_said_once_with_the_operation() -> None:
    order = desk()
    order.refund("r1", 6_000)
    order.reply("r1", Unknown("timeout"))
    order.reply("r1", Unknown("timeout"))
    (said,) = [event for event in order.said if isinstance(event, OutcomeUnknown)]
    assert (said.operation, said.operation_id, said.reason) == ("refund", "r1", "timeout")


def test_what_surely_did_nothing_is_sent_again_until_its_deadline() -> None:
    order = desk()
    order.refund("r1", 6_000)
    order.reply("r1", NothingHappened("unavailable"))
    call = order.operation("r1").call_id
    assert (order.due[call], order.due_in_s[call]) == ("send", 1.0)
    order.now += timedelta(days=7)
    order.reply("r1", NothingHappened("deadline_passed"))
    assert (code(order), order.due) == ("deadline_passed", {})


def test_not_there_after_settling_is_sent_again_with_the_same_key() -> None:
    order = desk()
    order.refund("r1", 6_000)
    order.reply("r1", Unknown("timeout"))
    order.now += timedelta(seconds=60)
    order.reply("r1", NotThere())
    assert order.due == {order.operation("r1").call_id: "send"}


def test_a_yes_to_another_amount_is_no_answer() -> None:
    order = desk()
    order.refund("r1", 6_000)
    order.reply("r1", Refunded("re_1", eur(5_999)))
    assert order.states() == {"r1": "unknown"}


def test_the_same_again_changes_nothing_and_other_contents_are_a_dead_letter() -> None:
    order = desk()
    order.refund("r1", 6_000)
    decision = order.refund("r1", 6_000)
    assert (decision.changes, decision.events, decision.calls) == ((), (), ())
    with pytest.raises(Permanent, match="operation_changed"):
        order.refund("r1", 6_001)


def test_an_operation_of_an_order_that_was_never_placed_is_a_dead_letter() -> None:
    order = desk()
    order.state.attempts.clear()
    with pytest.raises(Permanent, match="no_such_order"):
        order.refund("r1", 1)


# ── races ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_capture_in_flight_and_void_the_void_waits_then_finds_nothing_left() -> None:
    order = desk(manual=True)
    order.capture("c1", GROSS)
    order.void("v1")
    assert order.states() == {"c1": "calling", "v1": "waiting"}
    order.yes("c1")
    assert (order.types()[-2:], code(order)) == (["PaymentCaptured", "VoidFailed"], "nothing_to_void")


def test_capture_in_part_in_flight_and_void_the_rest_is_voided() -> None:
    order = desk(manual=True)
    order.capture("c1", 4_000)
    order.void("v1")
    order.yes("c1")
    assert order.states() == {"c1": "done", "v1": "calling"}
    order.yes("v1")
    assert last(order).released == eur(6_000)  # type: ignore[attr-defined]


def test_captures_before_a_void_go_first_and_captures_behind_it_are_refused() -> None:
    order = desk(manual=True)
    order.capture("c1", 1_000)
    order.capture("c2", 1_000)
    order.void("v1")
    order.capture("c3", 1_000)
    assert code(order) == "voiding"
    order.yes("c1")
    order.yes("c2")
    assert order.states() == {"c1": "done", "c2": "done", "v1": "calling", "c3": "failed"}


def test_a_void_waits_behind_an_unknown_capture_and_captures_behind_it_are_refused() -> None:
    order = desk(manual=True)
    order.capture("c1", 4_000)
    order.reply("c1", Unknown("timeout"))
    order.void("v1")
    order.capture("c2", 1_000)
    assert (order.states(), code(order)) == ({"c1": "unknown", "v1": "waiting", "c2": "failed"}, "voiding")
    order.yes("c1")
    assert order.out() == ["v1"]


def test_a_capture_behind_a_void_that_may_have_been_done_is_refused_until_the_psp_says_no() -> None:
    order = desk(manual=True)
    order.void("v1")
    order.reply("v1", Unknown("timeout"))
    order.capture("c1", 1_000)
    assert code(order) == "voiding"
    order.no("v1")
    order.capture("c2", 1_000)
    assert order.states() == {"v1": "failed", "c1": "failed", "c2": "calling"}


def test_an_unresolved_void_takes_all() -> None:
    order = desk(manual=True)
    order.void("v1")
    order.reply("v1", Unknown("timeout"))
    for _ in ASK_AGAIN_S:
        order.reply("v1", Unknown("timeout"))
    order.capture("c1", 1_000)
    assert (order.states()["v1"], code(order)) == ("unresolved", "voiding")


def test_a_refund_while_the_capture_is_unknown_waits_and_is_called_once_it_is_captured() -> None:
    order = desk(charged=False)
    order.charge(Unknown("timeout"))
    order.refund("r1", GROSS)
    order.refund("r2", 1)
    assert (order.states(), code(order)) == ({"r1": "waiting", "r2": "failed"}, "exceeds_refundable")
    order.charge()
    assert (order.types()[-1], order.out()) == ("PaymentCaptured", ["r1"])


def test_a_refund_of_a_capture_that_turns_out_declined_is_refused_at_its_second_look() -> None:
    order = desk(charged=False)
    order.refund("r1", GROSS)
    order.charge(Declined("do_not_honor"))
    assert (order.types(), code(order)) == (["PaymentDeclined", "RefundFailed"], "not_captured")


def test_a_refund_behind_an_unresolved_capture_waits() -> None:
    order = desk(charged=False)
    order.refund("r1", GROSS)
    order.charge(Unknown("timeout"))
    for _ in ASK_AGAIN_S:
        order.charge(Unknown("timeout"))
    assert (order.attempt.state, order.states()) == ("unresolved", {"r1": "waiting"})
    order.charge()
    assert order.out() == ["r1"]


def test_captures_and_voids_of_a_declined_charge_fail_not_authorised() -> None:
    order = desk(manual=True, charged=False)
    order.capture("c1", 1_000)
    order.void("v1")
    order.charge(Declined("do_not_honor"))
    assert [getattr(event, "code", None) for event in order.said] == ["do_not_honor", *["not_authorised"] * 2]


def test_two_refunds_over_the_rest_the_second_fails_while_the_first_waits() -> None:
    order = desk()
    order.refund("r0", 1)
    order.refund("r1", 6_000)
    order.refund("r2", 6_000)
    assert (order.states(), code(order)) == (
        {"r0": "calling", "r1": "waiting", "r2": "failed"},
        "exceeds_refundable",
    )


def test_a_refund_that_the_psp_refuses_for_a_chargeback_fails_and_only_the_chargeback_is_booked() -> None:
    order = desk()
    order.refund("r1", GROSS)
    order.disputed("opened")
    order.no("r1", "charge_disputed")
    assert (order.types()[-2:], code(order)) == (["ChargebackOpened", "RefundFailed"], "charge_disputed")


def test_a_failed_refund_frees_its_amount_and_its_late_yes_is_asked_about_then_posts() -> None:
    order = desk()
    order.refund("r1", GROSS)
    order.no("r1")
    order.refund("r2", GROSS)
    order.yes("r2")
    order.told("r1", "succeeded")
    assert (order.types()[-1], order.out()) == ("PaymentRefunded", ["check"])
    order.check_says(order.yes_of("r1"))
    assert [event.part for event in order.said if isinstance(event, PaymentRefunded)] == ["r2", "r1"]
    assert order.position.captured - GROSS * 2 < 0


def test_a_late_yes_that_the_psp_does_not_confirm_posts_nothing() -> None:
    order = desk()
    order.refund("r1", GROSS)
    order.no("r1")
    order.told("r1", "succeeded")
    order.check_says(Declined("refused"))
    assert (order.states(), order.types()[-1], order.due) == ({"r1": "failed"}, "RefundFailed", {})


def test_a_webhook_before_the_reply_decides_and_the_reply_changes_nothing() -> None:
    order = desk()
    order.refund("r1", GROSS)
    order.told("r1", "succeeded")
    order.yes("r1")
    assert order.types() == ["PaymentCaptured", "PaymentRefunded"]
    assert order.due == {}
