"""Payments: what may be asked for behind a charge, what becomes of it, and what the outside hears."""

from __future__ import annotations

from itertools import chain
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.payments.booking import BOOKS, is_money_back
from consumers.payments.decide import Heard
from consumers.payments.operation import OperationRefusal
from schemas.errors import Permanent
from schemas.events import (
    CaptureRequested,
    OrderPlaced,
    OutcomeUnknown,
    PaymentCompleted,
    PaymentRefused,
    PaymentRequested,
    PaymentStatusChanged,
    RefundRequested,
    VoidRequested,
    WalletCredited,
)
from schemas.journals import JournalPosted, LedgerEntry, OrderTemplate, PayoutTemplate
from schemas.money_back import (
    CaptureFailed,
    CapturePlaced,
    CaptureStatusChanged,
    DisputeStatusChanged,
    OperationStatusChanged,
    RefundFailed,
    RefundPlaced,
    RefundStatusChanged,
    VoidPlaced,
    VoidStatusChanged,
    WalletDebited,
)
from tests.unit.money_back_cases import (
    ask_capture,
    ask_refund,
    ask_void,
    authorised,
    capture_reversed,
    eur,
    expired,
    in_ledger,
    in_wallet,
    inquiry,
    lost,
    manual_story,
    opened,
    part_captured,
    refund_reversed,
    refunded,
    voided,
    won,
)
from tests.unit.payment_cases import (
    POLICY,
    Story,
    captured,
    cleared,
    credited,
    declined,
    placed_story,
    posted,
    requested,
    unknown,
)
from topics.runtime.shape.consumer import Broken, Decision


def told(story: Story) -> list[tuple[str, str | None]]:
    """Of the one order, as the outside heard it."""
    changes = story.all_said(PaymentStatusChanged)
    return [(one.payment_orders[0].payment_order_status, one.payment_orders[0].detail) for one in changes]


def statuses(story: Story, id_: str) -> list[str]:
    return [one.status for one in story.all_said(OperationStatusChanged) if one.operation_id == id_]


def captured_story() -> tuple[Story, OrderPlaced]:
    """One order of 10.00, through."""
    story, [placed] = placed_story(orders=1)
    story.hears(captured(placed), credited(placed), posted(placed))
    return story, placed


# ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_placed_with_the_capture_that_its_checkout_asks_for() -> None:
    _, [manual] = manual_story()
    _, [by_itself] = placed_story(orders=1)
    said_so = Story()
    said_so.hears(requested(orders=1, capture="automatic"), cleared())
    assert (manual.capture, by_itself.capture, said_so.placed()[0].capture) == ("manual", None, None)


def test_automatic_said_or_left_out_is_the_same_checkout_and_manual_is_another() -> None:
    story = Story()
    story.hears(requested(), requested(capture="automatic"))
    assert not story.all_said(PaymentRefused)
    story.hears(requested(capture="manual"))
    assert [refused.code for refused in story.all_said(PaymentRefused)] == ["checkout_conflict"]


def test_the_fee_rules_of_the_installation_go_into_the_terms() -> None:
    story = Story(type(POLICY)(3600, b"k" * 32, "full", "proportional", "platform"))
    story.hears(requested(orders=1), cleared())
    [placed] = story.placed()
    assert (placed.fee_refund, placed.fee_chargeback, placed.dispute_fee_on) == ("full", "proportional", "platform")
    assert captured_story()[1].fee_refund is None


def test_a_capture_a_void_and_a_refund_are_placed_and_said_to_be_processing() -> None:
    story, _ = manual_story()
    story.hears(
        ask_capture("k1", "3.00", final=True), ask_capture("k2", "2.00"), ask_void("v1"), ask_refund("r1", "1.00")
    )
    [first, second] = story.all_said(CapturePlaced)
    assert (first.capture_id, first.amount, first.final, second.final) == ("k1", eur(300), True, None)
    assert [one.void_id for one in story.all_said(VoidPlaced)] == ["v1"]
    assert [(one.refund_id, one.amount) for one in story.all_said(RefundPlaced)] == [("r1", eur(100))]
    assert {statuses(story, id_)[0] for id_ in ("k1", "k2", "v1", "r1")} == {"processing"}


def test_the_same_again_changes_nothing_and_other_contents_are_refused() -> None:
    story, _ = captured_story()
    story.hears(ask_refund("r1", "4.00", reason="broken"))
    for again in (ask_refund("r1", "4.00", reason="broken"), ask_refund("r1", "4.00", reason="broken", owner="shop")):
        assert story.hears(again).events == ()
    for other in (ask_refund("r1", "4.01", reason="broken"), ask_refund("r1", "4.00"), ask_refund("r1", "4.00", "o2")):
        story.hears(other)
    assert [one.code for one in story.all_said(RefundStatusChanged) if one.status == "refused"] == [
        "contents_conflict",
        "contents_conflict",
        "unknown_order",
    ]
    assert len(story.all_said(RefundPlaced)) == 1


REFUSED: list[tuple[str, Any, str]] = [
    ("of another owner", ask_refund("r9", "1.00", owner="stranger"), "unknown_payment"),
    ("of no payment", ask_refund("r9", "1.00", checkout_id="c9"), "unknown_payment"),
    ("of no order", ask_refund("r9", "1.00", "o9"), "unknown_order"),
    ("of another payment's order", ask_refund("r9", "1.00", "x1"), "unknown_order"),
    ("in another currency", ask_refund("r9", "1.00", currency="USD"), "wrong_currency"),
    ("of more than there is", ask_refund("r9", "10.01"), "exceeds_refundable"),
    ("of an order that is captured by itself", ask_capture("k9", "1.00"), "not_authorised"),
    ("of an order that needs no void", ask_void("v9"), "not_authorised"),
]


@pytest.mark.parametrize(("why", "asked", "code"), REFUSED, ids=[why for why, _, _ in REFUSED])
def test_what_cannot_be_is_refused_to_its_sender_by_an_event_of_its_own_kind(why: str, asked: Any, code: str) -> None:
    story, _ = captured_story()
    story.hears(requested("cx", orders=1, prefix="x"))
    before = len(story.said)
    story.hears(asked)
    [said] = story.said[before:]
    assert isinstance(said, OperationStatusChanged)
    assert (said.kind, said.status, said.code, said.owner) == (asked.kind, "refused", code, asked.owner)
    assert said.operation_id == asked.operation_id
    assert not story.state.operations
    [kept] = [change for change in story.changes if isinstance(change, OperationRefusal)]
    assert (kept.operation_id, kept.code) == (asked.operation_id, code)


def test_of_an_order_that_was_not_started_or_failed_nothing_is_refunded() -> None:
    story = Story()
    story.hears(requested(orders=1), ask_refund("r1", "1.00"), cleared())
    story.hears(declined(story.placed()[0]), ask_refund("r2", "1.00"))
    assert [one.code for one in story.all_said(RefundStatusChanged)] == ["not_captured", "not_captured"]
    manual, [placed] = manual_story()
    manual.hears(ask_void("v1"), voided(placed, "v1", 1000), ask_capture("k1", "1.00"))
    assert [one.code for one in manual.all_said(CaptureStatusChanged)] == ["not_authorised"]


def test_while_a_capture_may_come_the_executor_counts_and_nobody_else() -> None:
    """Also of an order whose outcome nobody knows yet."""
    story, [placed] = manual_story()
    story.hears(ask_refund("r1", "99.00"), part_captured_after_ask(story, placed, "k1", 300), ask_refund("r2", "99.00"))
    waiting, [open_] = placed_story(orders=1)
    waiting.hears(unknown(open_), ask_refund("r3", "99.00"))
    assert len(story.all_said(RefundPlaced)) == 2
    assert len(waiting.all_said(RefundPlaced)) == 1


def part_captured_after_ask(story: Story, placed: OrderPlaced, capture_id: str, minor: int) -> Heard:
    story.hears(ask_capture(capture_id, eur(minor).amount))
    return part_captured(placed, capture_id, minor)


def test_two_refunds_over_the_rest_are_one_and_a_failed_one_frees_its_amount() -> None:
    story, placed = captured_story()
    story.hears(ask_refund("r1", "6.00"), ask_refund("r2", "6.00"))
    assert statuses(story, "r2") == ["refused"]
    story.hears(
        RefundFailed.model_validate({**placed.terms(), "refund_id": "r1", "amount": eur(600), "code": "no_funds"})
    )
    story.hears(ask_refund("r3", "10.00"))
    assert [one.refund_id for one in story.all_said(RefundPlaced)] == ["r1", "r3"]
    assert story.all_said(RefundStatusChanged)[-2].code == "no_funds"


def test_what_is_disputed_is_not_refunded() -> None:
    story, placed = captured_story()
    story.hears(opened(placed, 700), ask_refund("r1", "4.00"), ask_refund("r2", "11.00"), ask_refund("r3", "3.00"))
    assert [one.code for one in story.all_said(RefundStatusChanged)] == ["order_disputed", "exceeds_refundable", None]


def test_a_claimed_owner_or_time_on_an_upstream_s_topic_is_refused() -> None:
    story = Story()
    story.hears(requested(owner=None), cleared(), upstream="webshop")
    story.hears(ask_refund("r1", "1.00", owner="webshop"), upstream="webshop")
    story.hears(ask_refund("r1", "1.00", owner=None, received_at="2026-01-05T12:00:00Z"), upstream="webshop")
    assert [one.code for one in story.all_said(RefundStatusChanged)] == ["owner_claimed", "time_claimed"]
    assert {one.owner for one in story.all_said(RefundStatusChanged)} == {"webshop"}


@pytest.mark.parametrize("kind", [CaptureRequested, VoidRequested, RefundRequested])
def test_what_breaks_the_contract_is_refused_by_its_kind_and_never_refuses_a_payment(kind: Any) -> None:
    story, _ = captured_story()
    ids = {"checkout_id": "c1", "payment_order_id": "o1", f"{kind.kind}_id": "x1"}
    story.hears(Broken(kind, "c1", None, "amount", "wrong_decimals", "EUR has 2 decimals", ids), upstream="shop")
    said = story.said[-1]
    assert isinstance(said, OperationStatusChanged)
    assert (said.kind, said.status, said.code, said.detail) == (
        kind.kind,
        "refused",
        "wrong_decimals",
        "amount: EUR has 2 decimals",
    )
    assert not story.all_said(PaymentRefused)
    with pytest.raises(Permanent, match="names no"):
        story.hears(Broken(kind, "c1", None, "x", "missing_field", "this field is required", {}), upstream="shop")


# ── captures and voids ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_capture_in_thirds_ends_when_all_is_captured_and_booked() -> None:
    story, [placed] = manual_story()
    for number, minor in ((1, 333), (2, 333), (3, 334)):
        id_ = f"k{number}"
        story.hears(ask_capture(id_, eur(minor).amount), part_captured(placed, id_, minor))
        story.hears(in_wallet(placed, minor, id_), in_ledger(placed, minor, id_))
        assert statuses(story, id_) == ["processing", "succeeded"]
        assert bool(story.all_said(PaymentCompleted)) is (number == 3)
    assert told(story) == [
        ("EXECUTING", ""),
        ("EXECUTING", "authorised"),
        ("SUCCESS", "partly_captured"),
        ("SUCCESS", ""),
    ]
    order = story.order("o1")
    assert (order.wallet_updated, order.ledger_updated) == (True, True)
    assert story.payment().status == "succeeded"
    assert len(story.all_said(PaymentCompleted)) == 1


def test_a_last_capture_gives_up_the_rest() -> None:
    story, [placed] = manual_story()
    story.hears(ask_capture("k1", "4.00", final=True), part_captured(placed, "k1", 400, final=True))
    assert told(story)[-1] == ("SUCCESS", "")
    story.hears(ask_refund("r1", "4.01"), ask_refund("r2", "4.00"))
    assert [statuses(story, id_) for id_ in ("r1", "r2")] == [["refused"], ["processing"]]


def test_a_void_fails_an_order_of_which_nothing_was_captured_and_closes_another() -> None:
    story, [placed] = manual_story()
    story.hears(ask_void("v1"), voided(placed, "v1", 1000))
    assert told(story)[-1] == ("FAILED", "voided")
    assert [(one.status, one.amount) for one in story.all_said(VoidStatusChanged)] == [
        ("processing", None),
        ("succeeded", eur(1000)),
    ]
    assert [one.status for one in story.all_said(PaymentCompleted)] == ["failed"]
    partly, [placed] = manual_story()
    partly.hears(ask_capture("k1", "4.00"), part_captured(placed, "k1", 400), ask_void("v1"))
    partly.hears(in_wallet(placed, 360, "k1"), in_ledger(placed, 400, "k1"))
    assert not partly.all_said(PaymentCompleted)
    partly.hears(voided(placed, "v1", 600))
    assert told(partly)[-1] == ("SUCCESS", "")
    assert [one.status for one in partly.all_said(PaymentCompleted)] == ["succeeded"]


def test_an_authorisation_that_expires_fails_its_order_where_nothing_was_captured() -> None:
    story, [placed] = manual_story()
    story.hears(expired(placed, 1000), expired(placed, 1000))
    assert told(story)[-1] == ("FAILED", "expired")
    assert len(story.all_said(PaymentCompleted)) == 1
    partly, [placed] = manual_story()
    partly.hears(ask_capture("k1", "4.00"), part_captured(placed, "k1", 400), expired(placed, 600))
    assert told(partly)[-1] == ("SUCCESS", "")


def test_a_capture_that_is_found_done_after_the_void_makes_the_order_a_success() -> None:
    """A person found that the PSP had taken it: the money is there, whatever was said before."""
    story, [placed] = manual_story()
    story.hears(ask_capture("k1", "4.00"), ask_void("v1"), voided(placed, "v1", 600))
    story.hears(part_captured(placed, "k1", 400), in_wallet(placed, 360, "k1"), in_ledger(placed, 400, "k1"))
    assert told(story)[-1] == ("SUCCESS", "")
    assert story.order("o1").is_through


def test_a_capture_that_failed_says_why_and_leaves_the_order_authorised() -> None:
    story, [placed] = manual_story()
    story.hears(ask_capture("k1", "4.00"))
    failed = {**placed.terms(), "capture_id": "k1", "amount": eur(400), "code": "exceeds_authorised"}
    story.hears(CaptureFailed.model_validate(failed))
    [_, last] = story.all_said(CaptureStatusChanged)
    assert (last.status, last.code, story.order("o1").detail) == ("failed", "exceeds_authorised", "authorised")


def test_a_capture_that_was_taken_back_and_done_again_is_told_by_the_order() -> None:
    story, placed = captured_story()
    story.hears(capture_reversed(placed, None, 1000))
    assert told(story)[-1] == ("SUCCESS", "capture_reversed")
    story.hears(in_wallet(placed, 900, "", "capture_reversed"), in_ledger(placed, 1000, "", "capture_reversed"))
    story.hears(ask_refund("r1", "0.01"))
    assert statuses(story, "r1") == ["refused"]
    story.hears(part_captured(placed, None, 1000, turn=2))
    assert told(story)[-1] == ("SUCCESS", "")
    assert not story.all_said(CaptureStatusChanged)  # nobody asked for it
    assert len(story.all_said(PaymentCompleted)) == 1
    manual, [placed] = manual_story()
    manual.hears(ask_capture("k1", "10.00"), part_captured(placed, "k1", 1000), capture_reversed(placed, "k1", 1000))
    assert statuses(manual, "k1") == ["processing", "succeeded", "reversed"]


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_refunds_are_told_by_themselves_and_by_their_order() -> None:
    story, placed = captured_story()
    story.hears(ask_refund("r1", "4.00"), refunded(placed, "r1", 400))
    assert told(story)[-1] == ("SUCCESS", "partly_refunded")
    story.hears(ask_refund("r2", "6.00"), refunded(placed, "r2", 600))
    assert told(story)[-1] == ("SUCCESS", "refunded")
    story.hears(refund_reversed(placed, "r2", 600))
    assert told(story)[-1] == ("SUCCESS", "partly_refunded")
    assert statuses(story, "r2") == ["processing", "succeeded", "reversed"]
    assert story.payment().status == "succeeded"
    assert len(story.all_said(PaymentCompleted)) == 1


def test_a_refund_knows_when_wallet_and_ledger_have_booked_it() -> None:
    story, placed = captured_story()
    story.hears(ask_refund("r1", "4.00"), refunded(placed, "r1", 400))
    refund = ("refund", "r1")
    assert not story.state.operations[refund].is_booked
    story.hears(in_wallet(placed, 360, "r1", "refunded"))
    assert not story.state.operations[refund].is_booked
    story.hears(in_ledger(placed, 400, "r1", "refunded"))
    assert story.state.operations[refund].is_booked
    story.hears(refund_reversed(placed, "r1", 400))
    assert not story.state.operations[refund].is_booked
    story.hears(in_wallet(placed, 360, "r1", "refund_reversed"), in_ledger(placed, 400, "r1", "refund_reversed"))
    assert story.state.operations[refund].is_booked


def test_a_refund_that_had_failed_and_was_done_all_the_same_is_told() -> None:
    story, placed = captured_story()
    story.hears(ask_refund("r1", "4.00"))
    story.hears(RefundFailed.model_validate({**placed.terms(), "refund_id": "r1", "amount": eur(400), "code": "no"}))
    story.hears(refunded(placed, "r1", 400))
    assert statuses(story, "r1") == ["processing", "failed", "succeeded"]


def test_a_refund_that_nobody_knows_of_stays_processing() -> None:
    story, placed = captured_story()
    story.hears(ask_refund("r1", "4.00"))
    lost_reply = {**placed.terms(), "psp": "northpay", "call_id": "1" * 32, "reason": "timeout"}
    heard = OutcomeUnknown.model_validate({**lost_reply, "operation": "refund", "operation_id": "r1"})
    story.hears(heard)
    assert story.state.operations["refund", "r1"].detail == "unknown"
    assert statuses(story, "r1") == ["processing"]
    assert story.order("o1").detail == ""  # the charge is known


def test_a_fact_about_an_operation_that_was_never_placed_is_a_dead_letter() -> None:
    story, placed = captured_story()
    with pytest.raises(Permanent, match="no refund r9"):
        story.hears(refunded(placed, "r9", 400))


# ── disputes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dispute_is_told_stage_by_stage() -> None:
    story, placed = captured_story()
    story.hears(inquiry(placed, 500))
    assert told(story)[-1] == ("SUCCESS", "")
    story.hears(opened(placed, 500), opened(placed, 500))
    assert told(story)[-1] == ("SUCCESS", "charged_back")
    story.hears(won(placed, 500), opened(placed, 500))  # the last is a late repeat
    assert told(story)[-1] == ("SUCCESS", "")
    story.hears(opened(placed, 500, 2), lost(placed, 500, 2))
    assert told(story)[-1] == ("SUCCESS", "charged_back")
    changes = story.all_said(DisputeStatusChanged)
    assert [(one.stage, one.status) for one in changes] == [
        (1, "inquiry"),
        (1, "opened"),
        (1, "won"),
        (2, "opened"),
        (2, "lost"),
    ]
    assert {one.amount for one in changes} == {eur(500)}
    assert changes[0].due_by is not None


def test_a_dispute_that_was_lost_may_yet_be_won() -> None:
    story, placed = captured_story()
    story.hears(opened(placed, 500), lost(placed, 500), won(placed, 500))
    assert story.all_said(DisputeStatusChanged)[-1].status == "won"


# ── what is heard twice, or in any order of the topics ───────────────────────────────────────────────────────────────


def whole_life(placed: OrderPlaced) -> list[list[Heard]]:
    """By topic: what the executor, the wallet and the ledger say of an order captured in two parts."""
    said: list[Heard] = [
        part_captured(placed, "k1", 600),
        part_captured(placed, "k2", 400, final=True),
        refunded(placed, "r1", 300),
        opened(placed, 200),
        refund_reversed(placed, "r1", 300),
        won(placed, 200),
        capture_reversed(placed, "k2", 400),
        part_captured(placed, "k2", 400, final=True, turn=2),
    ]
    books = [
        ("captured", "k1", 600),
        ("captured", "k2", 400),
        ("refunded", "r1", 300),
        ("chargeback_opened", "dp_1.1", 200),
    ]
    books += [("refund_reversed", "r1", 300), ("chargeback_won", "dp_1.1", 200)]
    books += [("capture_reversed", "k2", 400), ("captured", "k2#2", 400)]
    wallet: list[Heard] = [
        in_wallet(placed, minor, part, None if name == "captured" else name) for name, part, minor in books
    ]
    ledger: list[Heard] = [in_ledger(placed, minor, part, name) for name, part, minor in books]
    return [said, wallet, ledger]


def asked_story() -> tuple[Story, OrderPlaced]:
    story, [placed] = manual_story()
    story.hears(ask_capture("k1", "6.00"), ask_capture("k2", "4.00", final=True), ask_refund("r1", "3.00"))
    return story, placed


def ends(story: Story) -> object:
    state = story.state
    booked = {key: (one.step, one.is_booked, one.status) for key, one in state.operations.items()}
    disputes = {
        key: (one.status, one.amount, one.step, one.wallet_step, one.ledger_step) for key, one in state.disputes.items()
    }
    order = story.order("o1")
    return booked, disputes, order.status, order.detail, order.is_through, story.payment().status


def words(story: Story) -> list[tuple[str, str]]:
    return sorted((one.operation_id, one.status) for one in story.all_said(OperationStatusChanged))


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_in_any_order_of_the_topics_and_told_twice_the_end_is_the_same(random: Any, twice: bool) -> None:
    straight, placed = asked_story()
    topics = whole_life(placed)
    straight.hears(*chain(*topics))
    mixed, _ = asked_story()
    waiting = [list(topic) for topic in topics]
    while any(waiting):
        topic = random.choice([topic for topic in waiting if topic])
        event = topic.pop(0)
        mixed.hears(event, *([event] if twice else []))
    assert ends(mixed) == ends(straight)
    assert straight.order("o1").is_through
    assert [len(story.all_said(PaymentCompleted)) for story in (mixed, straight)] == [1, 1]
    words = [
        sorted((one.operation_id, one.status) for one in story.all_said(OperationStatusChanged))
        for story in (mixed, straight)
    ]
    assert words[0] == words[1]


def test_order_s_version_counts_its_steps_and_flags() -> None:
    """The auditor holds payments to that."""
    story, placed = asked_story()
    story.hears(*chain(*whole_life(placed)))
    order = story.order("o1")
    steps = [change for change in story.changes if type(change).__name__ == "Step" and change.payment_order_id == "o1"]
    assert order.version == 1 + len(steps) + order.wallet_updated + order.ledger_updated


def test_events_of_an_automatic_capture_are_not_about_money_back() -> None:
    _, [placed] = placed_story(orders=1)
    for event in (captured(placed), credited(placed), posted(placed), unknown(placed), requested(), cleared()):
        assert not is_money_back(event)
    manual = (
        authorised(placed),
        part_captured(placed, "k1", 100),
        in_wallet(placed, 1, "k1"),
        in_ledger(placed, 1, "k1"),
    )
    assert all(map(is_money_back, manual))


def test_an_old_owner_of_automatic_orders_hears_what_was_said_ever() -> None:
    story, _ = captured_story()
    assert [type(event) for event in story.said][-3:] == [PaymentStatusChanged, PaymentStatusChanged, PaymentCompleted]
    assert not story.all_said(OperationStatusChanged)
    assert PaymentRequested.model_validate(requested().model_dump()).capture is None


def test_payments_knows_what_each_kind_of_movement_and_journal_books() -> None:
    """One that it does not know would be a fault of ours, after its money has moved."""
    [reasons] = [each for each in get_args(WalletCredited.model_fields["reason"].annotation) if get_args(each)]
    kinds = {*get_args(reasons), *get_args(WalletDebited.model_fields["reason"].annotation)}
    assert kinds | {"captured"} == set(get_args(OrderTemplate)) == set(BOOKS)


@pytest.mark.parametrize("template", get_args(PayoutTemplate))
def test_the_journal_of_a_pay_out_is_about_no_payment(template: Any) -> None:
    story, _ = captured_story()
    entries = (LedgerEntry("payouts:in-transit", "debit", eur(1)), LedgerEntry("bank:fees", "credit", eur(1)))
    journal = JournalPosted(journal_id="j9", template=template, payout_id="payout-1", entries=entries)
    assert story.hears(journal) == Decision()
