"""Payments: every refusal, every transition, and any order in which the topics may be heard."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.payments.decide import Heard
from consumers.payments.payment import Fact, Refusal, Step
from schemas.errors import Permanent
from schemas.events import (
    OrderPlaced,
    PaymentCaptured,
    PaymentCompleted,
    PaymentRefused,
    PaymentRequested,
    PaymentStatusChanged,
    RiskCleared,
    ScreeningRequested,
)
from schemas.money import Money
from tests.unit.payment_cases import (
    NOW,
    POLICY,
    Story,
    captured,
    cleared,
    credited,
    deadline_came,
    declined,
    held,
    placed_story,
    posted,
    refused,
    requested,
    unknown,
    unresolved,
)
from topics.runtime.shape.consumer import Broken, Timer

# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_checkout_is_stored_and_screened() -> None:
    story = Story()
    story.hears(requested(orders=3))
    assert story.payment().status == "received"
    assert story.order("o3").status == "NOT_STARTED"
    [screening] = story.all_said(ScreeningRequested)
    assert screening.name == "Ada Lovelace"
    assert screening.totals == (Money(3000, "EUR"),)
    assert screening.sellers == ("s1", "s2", "s3")
    assert len(story.said) == 1


def test_no_name_or_country_is_kept() -> None:
    story = Story()
    story.hears(requested())
    assert "Ada" not in repr(story.changes)


def test_the_deadline_is_the_requests_own_or_an_hour_after_it_was_accepted() -> None:
    story = Story()
    story.hears(requested("c1"), requested("c2", prefix="p", deadline="2026-02-01T00:00:00+02:00"))
    own, asked = story.checkouts()
    assert own.deadline == NOW + timedelta(hours=1)
    assert asked.deadline == datetime(2026, 1, 31, 22, tzinfo=UTC)


def test_an_upstreams_own_topic_names_the_owner() -> None:
    story = Story()
    story.hears(requested(owner=None), upstream="webshop")
    assert story.payment().owner == "webshop"


REFUSALS: list[tuple[str, PaymentRequested, str | None, str]] = [
    # each is broken in this way and in every way below it
    ("owner_claimed", requested("c1", owner="shop", prefix="x"), "shop", "shop"),
    ("deadline_claimed", requested("c1", owner=None, prefix="x", deadline_defaulted=True), "shop", "shop"),
    ("time_claimed", requested("c1", owner=None, prefix="x", received_at="2026-01-01T00:00:00Z"), "shop", "shop"),
    ("id_taken", requested("c1", owner="rival", prefix="o"), None, "rival"),
    ("id_taken", requested("c1", owner=None, prefix="x"), "rival", "rival"),
    ("checkout_conflict", requested("c1", orders=3), None, "shop"),
    ("id_taken", requested("c2", owner="rival", prefix="o"), None, "rival"),
    ("id_taken", requested("c2", owner="shop", prefix="o"), None, "shop"),
]


@pytest.mark.parametrize(("code", "request_", "upstream", "sender"), REFUSALS)
def test_a_refused_request_tells_its_sender_and_touches_nothing(
    code: str, request_: PaymentRequested, upstream: str | None, sender: str
) -> None:
    story = Story()
    story.hears(requested("c1"))
    before = deepcopy(story.state)
    decision = story.hears(request_, upstream=upstream)
    [said] = decision.events
    assert isinstance(said, PaymentRefused)
    assert (said.code, said.owner, said.checkout_id) == (code, sender, request_.checkout_id)
    assert story.state == before
    assert [type(change) for change in decision.changes] == [Refusal]


def test_the_same_checkout_again_has_no_second_effect() -> None:
    story = Story()
    story.hears(requested(metadata={"a": "1", "b": "2"}))
    again = story.hears(requested(metadata={"b": "2", "a": "1"}))
    assert not again.changes
    assert not again.events


def test_the_same_request_by_both_doors_has_one_effect() -> None:
    """The HTTP door names a deadline where the request named none; an upstream's own topic does not."""
    by_http = requested(deadline="2026-02-01T00:00:00+00:00", deadline_defaulted=True)
    for first, second in ((by_http, requested()), (requested(), by_http)):
        story = Story()
        story.hears(first)
        assert not story.hears(second).events


def test_another_deadline_asked_for_is_another_request() -> None:
    story = Story()
    story.hears(requested())
    [said] = story.hears(requested(deadline="2026-02-01T00:00:00+00:00")).events
    assert isinstance(said, PaymentRefused)


def test_a_lost_race_shows_nothing_of_the_winner() -> None:
    story = Story()
    story.hears(requested(owner="winner"))
    story.hears(requested(owner="loser"))
    [said] = story.all_said(PaymentRefused)
    assert "winner" not in said.model_dump_json()


def test_two_checkouts_of_one_batch_cannot_share_an_order() -> None:
    story = Story()
    story.hears(requested("c1"), requested("c2", owner="other"), requested("c3", prefix="p"))
    assert [refusal.checkout_id for refusal in story.all_said(PaymentRefused)] == ["c2"]
    assert {checkout.checkout_id for checkout in story.checkouts()} == {"c1", "c3"}


def test_a_checkout_and_an_order_may_have_the_same_id() -> None:
    story = Story()
    story.hears(requested("o1"))
    assert story.payment("o1").order_ids == ("o1", "o2")


def test_a_request_without_an_owner_is_a_dead_letter() -> None:
    with pytest.raises(Permanent, match="no_owner"):
        Story().hears(requested(owner=None))


def test_a_broken_message_is_refused_by_name_of_its_field() -> None:
    story = Story()
    where = "payment_orders[0].amount"
    story.hears(
        Broken(PaymentRequested, "c9", None, where, "wrong_decimals", "EUR has 2 decimals", {}), upstream="webshop"
    )
    [said] = story.all_said(PaymentRefused)
    assert (said.owner, said.code) == ("webshop", "wrong_decimals")
    assert said.detail.startswith("payment_orders[0].amount: ")


def test_a_broken_message_that_nobody_can_be_told_of_is_a_dead_letter() -> None:
    with pytest.raises(Permanent, match="malformed"):
        Story().hears(Broken(PaymentRequested, "c9", None, "f", "c", "d", {}))


def test_a_broken_message_of_another_kind_never_refuses_a_payment() -> None:
    """A payment that stands would be told that it was refused."""
    story, _ = placed_story()
    before = len(story.all_said(PaymentRefused))
    with pytest.raises(Permanent, match="malformed"):
        story.hears(Broken(RiskCleared, "c1", "shop", "f", "c", "d", {}))
    assert len(story.all_said(PaymentRefused)) == before


# ── risk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cleared_payment_places_each_order_with_all_terms() -> None:
    story, (first, second) = placed_story()
    assert story.payment().status == "executing"
    assert story.order("o1").status == "EXECUTING"
    assert (first.gross, first.fee, first.net) == (Money(1000, "EUR"), Money(100, "EUR"), Money(900, "EUR"))
    assert (first.owner, first.buyer_account, first.seller_account, first.token) == ("shop", "b1", "s1", "tok_visa")
    assert (first.available_on, first.deadline) == (NOW, NOW + timedelta(hours=1))
    assert second.payment_order_id == "o2"
    [changed] = story.all_said(PaymentStatusChanged)
    assert changed.status == "executing"


def test_a_payment_cleared_after_its_deadline_is_expired_and_never_placed() -> None:
    story = Story()
    story.hears(requested())
    story.hears(cleared(), after=timedelta(hours=1))
    assert not story.placed()
    assert story.payment().status == "failed"
    assert (story.order("o1").status, story.order("o1").detail) == ("FAILED", "expired")
    assert len(story.all_said(PaymentCompleted)) == 1


def test_a_payment_refused_by_risk_is_over() -> None:
    story = Story()
    story.hears(requested(), refused(rule="blocked_country"))
    assert story.payment().status == "refused"
    assert (story.order("o2").status, story.order("o2").detail) == ("FAILED", "refused")
    [said] = story.all_said(PaymentRefused)
    assert (said.code, said.owner) == ("blocked_country", "shop")
    assert [changed.status for changed in story.all_said(PaymentStatusChanged)] == ["refused"]
    assert [completed.status for completed in story.all_said(PaymentCompleted)] == ["refused"]


@pytest.mark.parametrize("decision", [cleared, refused])
def test_the_same_risk_decision_again_changes_nothing(decision: Callable[[], Heard]) -> None:
    story = Story()
    story.hears(requested(), decision())
    again = story.hears(decision())
    assert not again.changes
    assert not again.events


@pytest.mark.parametrize(("first", "second"), [(cleared(), refused()), (refused(), cleared())])
def test_risk_cannot_take_its_word_back(first: Heard, second: Heard) -> None:
    story = Story()
    story.hears(requested(), first)
    with pytest.raises(Permanent, match="contradiction"):
        story.hears(second)


# ── in review ────────────────────────────────────────────────────────────────────────────────────────────────────────


def in_review() -> Story:
    story = Story()
    story.hears(requested(), held())
    return story


def test_a_payment_that_risk_holds_waits_and_says_so_and_sets_its_deadline() -> None:
    story = Story()
    story.hears(requested())
    decision = story.hears(held())
    assert decision.timers == [Timer("deadline", "c1", NOW + timedelta(seconds=POLICY.deadline_s))]
    assert (story.payment().status, story.payment().done_at) == ("in_review", None)
    assert {(story.order(o).status, story.order(o).detail) for o in ("o1", "o2")} == {("NOT_STARTED", "held")}
    [changed] = story.all_said(PaymentStatusChanged)
    assert (changed.status, [o.detail for o in changed.payment_orders]) == ("in_review", ["held", "held"])
    assert story.placed() == []


def test_a_payment_that_a_person_clears_is_placed_as_any_other() -> None:
    story = in_review()
    story.hears(cleared())
    assert (story.payment().status, len(story.placed())) == ("executing", 2)
    assert {story.order(o).detail for o in ("o1", "o2")} == {""}


def test_a_payment_that_a_person_refuses_is_refused_by_the_rule_that_held_it() -> None:
    story = in_review()
    story.hears(refused(rule="amount_review"))
    assert story.payment().status == "refused"
    assert [said.code for said in story.all_said(PaymentRefused)] == ["amount_review"]


def test_a_payment_that_nobody_has_decided_ends_expired_at_its_deadline() -> None:
    story = in_review()
    story.hears(deadline_came(), after=timedelta(seconds=POLICY.deadline_s))
    assert (story.payment().status, story.order("o1").detail) == ("failed", "expired")
    assert [completed.status for completed in story.all_said(PaymentCompleted)] == ["failed"]


@pytest.mark.parametrize("late", [cleared, refused])
def test_a_decision_after_the_deadline_changes_nothing(late: Callable[[], Heard]) -> None:
    story = in_review()
    story.hears(deadline_came(), after=timedelta(seconds=POLICY.deadline_s))
    decision = story.hears(late(), after=timedelta(seconds=POLICY.deadline_s + 1))
    assert (decision.changes, decision.events) == ((), ())


def test_a_clearance_at_the_deadline_that_comes_before_the_timer_places_nothing() -> None:
    story = in_review()
    story.hears(cleared(), after=timedelta(seconds=POLICY.deadline_s))
    assert (story.payment().status, story.placed()) == ("failed", [])


@pytest.mark.parametrize("decided", [cleared, refused])
def test_a_deadline_that_comes_after_the_decision_changes_nothing(decided: Callable[[], Heard]) -> None:
    story = in_review()
    story.hears(decided())
    assert story.hears(deadline_came(), after=timedelta(days=1)).changes == ()


def test_a_payment_is_held_once_and_never_after_it_was_decided() -> None:
    story = in_review()
    assert story.hears(held()).changes == ()
    story.hears(cleared())
    assert story.hears(held()).changes == ()


# ── executions, wallet and ledger ────────────────────────────────────────────────────────────────────────────────────


def test_a_payment_is_complete_when_wallet_and_ledger_have_every_order() -> None:
    story, (first, second) = placed_story()
    story.hears(captured(first), credited(first), posted(first), captured(second), credited(second))
    assert story.payment().status == "succeeded"
    assert not story.all_said(PaymentCompleted)
    story.hears(posted(second))
    [completed] = story.all_said(PaymentCompleted)
    assert completed.status == "succeeded"
    assert story.payment().done_at == NOW


def test_one_decline_does_not_stop_the_siblings() -> None:
    story, (first, second) = placed_story()
    story.hears(declined(first))
    assert story.payment().status == "executing"
    story.hears(captured(second))
    assert story.payment().status == "partially_succeeded"
    assert (story.order("o1").status, story.order("o1").detail) == ("FAILED", "declined")


def test_a_decline_keeps_the_psps_code_in_the_history() -> None:
    story, (first, _) = placed_story()
    story.hears(declined(first, "insufficient_funds"))
    [step] = [s for s in story.changes if isinstance(s, Step) and s.to_status == "FAILED"]
    assert step.detail == "insufficient_funds"


def test_a_decline_says_the_psps_code_to_those_who_asked() -> None:
    story, (first, second) = placed_story()
    story.hears(declined(first, "insufficient_funds"), captured(second))
    told = story.all_said(PaymentStatusChanged)[-1].payment_orders
    assert [(order.detail, order.decline_code) for order in told] == [("declined", "insufficient_funds"), ("", None)]


def test_an_order_that_could_not_be_sent_in_time_is_expired() -> None:
    story, (first, second) = placed_story()
    story.hears(declined(first, "deadline_passed"), declined(second))
    assert [story.order(id_).detail for id_ in ("o1", "o2")] == ["expired", "declined"]
    assert story.payment().status == "failed"
    assert len(story.all_said(PaymentCompleted)) == 1


def test_wallet_and_ledger_may_be_heard_before_the_capture() -> None:
    story, (only,) = placed_story(orders=1)
    story.hears(posted(only), credited(only))
    assert story.payment().status == "executing"
    story.hears(captured(only))
    assert story.payment().status == "succeeded"
    assert len(story.all_said(PaymentCompleted)) == 1


def test_an_unknown_outcome_leaves_the_order_executing_until_it_is_known() -> None:
    story, (only,) = placed_story(orders=1)
    story.hears(unknown(only))
    assert (story.order("o1").status, story.order("o1").detail) == ("EXECUTING", "unknown")
    story.hears(unresolved(only), unknown(only))
    assert story.order("o1").detail == "unresolved"
    story.hears(captured(only))
    assert (story.order("o1").status, story.order("o1").detail) == ("SUCCESS", "")


def test_what_the_psp_said_is_kept_beside_the_order() -> None:
    story, (only,) = placed_story(orders=1)
    story.hears(captured(only))
    [fact] = [change for change in story.changes if isinstance(change, Fact)]
    assert (fact.psp, fact.scheme, fact.psp_reference, fact.captured_at) == ("northpay", "Visa", "np_1", NOW)


@pytest.mark.parametrize("final", [captured, declined])
@pytest.mark.parametrize("late", [unknown, unresolved])
def test_nothing_late_takes_a_final_state_back(
    final: Callable[[OrderPlaced], Heard], late: Callable[[OrderPlaced], Heard]
) -> None:
    story, (only,) = placed_story(orders=1)
    story.hears(final(only))
    before = story.order("o1")
    assert not story.hears(late(only), final(only)).changes
    assert story.order("o1") == before


@pytest.mark.parametrize(("first", "second"), [(captured, declined), (declined, captured)])
def test_two_different_final_outcomes_are_a_contradiction(
    first: Callable[[OrderPlaced], Heard], second: Callable[[OrderPlaced], Heard]
) -> None:
    story, (only,) = placed_story(orders=1)
    story.hears(first(only))
    with pytest.raises(Permanent, match="contradiction"):
        story.hears(second(only))


def test_a_declined_order_that_two_persons_declare_captured_succeeds_and_is_completed_once() -> None:
    story, (first, second) = placed_story()
    story.hears(captured(first), declined(second, "do_not_honor"), credited(first), posted(first))
    done = story.payment().done_at
    declared = captured(second)
    assert isinstance(declared, PaymentCaptured)
    story.hears(declared.model_copy(update={"instead_of": "declined"}), credited(second), posted(second))
    order = story.order("o2")
    assert (order.status, order.detail, order.decline_code, order.is_through) == ("SUCCESS", "", None, True)
    assert (story.payment().status, story.payment().done_at) == ("succeeded", done)


def test_an_event_about_nothing_we_know_is_a_dead_letter() -> None:
    _, (order, _) = placed_story()
    with pytest.raises(Permanent, match="unknown_payment"):
        Story().hears(captured(order))
    with pytest.raises(Permanent, match="unknown_payment"):
        Story().hears(cleared())
    elsewhere = Story()
    elsewhere.hears(requested(prefix="p"), cleared())
    with pytest.raises(Permanent, match="unknown_order"):
        elsewhere.hears(captured(order))
    elsewhere.hears(requested("c2", prefix="o"))
    with pytest.raises(Permanent, match="unknown_order"):
        elsewhere.hears(captured(order))


def test_an_outcome_before_the_order_was_placed_is_a_dead_letter() -> None:
    _, (order, _) = placed_story()
    story = Story()
    story.hears(requested())
    with pytest.raises(Permanent, match="not_placed"):
        story.hears(captured(order))


def test_the_revision_grows_with_each_thing_said_of_a_payment() -> None:
    story = Story()
    revisions = [story.hears(requested(orders=1)).revision, story.hears(cleared()).revision]
    [only] = story.placed()
    revisions += [story.hears(captured(only)).revision, story.hears(credited(only), posted(only)).revision]
    assert revisions == [1, 2, 3, 4]


# ── a small model ────────────────────────────────────────────────────────────────────────────────────────────────────

Ending = tuple[str, tuple[Callable[[OrderPlaced], Heard], ...]]
ENDINGS: tuple[Ending, ...] = (
    ("SUCCESS", (captured,)),
    ("SUCCESS", (unknown, captured)),
    ("SUCCESS", (unknown, unresolved, captured)),
    ("FAILED", (declined,)),
    ("FAILED", (unknown, declined)),
)
PAYMENT_STATUS = {("SUCCESS",): "succeeded", ("FAILED",): "failed", ("FAILED", "SUCCESS"): "partially_succeeded"}


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_any_interleaving_of_the_topics_ends_the_same_way(endings: list[Ending], chance: object) -> None:
    """Order is kept within a key of a topic; across keys and topics anything goes, and any event may come twice."""
    story, placed = placed_story(orders=len(endings))
    queues: list[list[Heard]] = []
    for order, (status, outcomes) in zip(placed, endings, strict=True):
        queues.append([outcome(order) for outcome in outcomes])
        queues += [[credited(order)], [posted(order)]] if status == "SUCCESS" else []
    for queue in _shuffled(queues, chance):
        story.hears(queue)
    assert [story.order(order.payment_order_id).status for order in placed] == [status for status, _ in endings]
    assert story.payment().status == PAYMENT_STATUS[tuple(sorted({status for status, _ in endings}))]
    assert len(story.all_said(PaymentCompleted)) == 1
    assert story.said[-1] == story.all_said(PaymentCompleted)[0]
    assert story.all_said(PaymentStatusChanged)[-1].status == story.payment().status
    assert story.payment().done_at is not None


def _shuffled(queues: list[list[Heard]], chance: object) -> list[Heard]:
    """One event after another from any queue; now and then the one before comes again."""
    heard: list[Heard] = []
    waiting = [list(queue) for queue in queues]
    while any(waiting):
        queue = chance.choice([queue for queue in waiting if queue])  # type: ignore[attr-defined]
        heard.append(queue.pop(0))
        if chance.random() < 0.2:  # type: ignore[attr-defined]
            heard.append(heard[-1])
    return heard
