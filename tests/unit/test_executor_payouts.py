"""A pay-out in the executor: what is released, withdrawn, sent, heard, asked; one row of the table at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from consumers.executor.client import given_back
from consumers.executor.payout import call_id_of
from psp.payout_port import Paid, Returned, TransferReply
from psp.replies import NothingHappened, NotThere, Unknown
from schemas.errors import Permanent
from schemas.money import Money
from schemas.payouts import PayoutFailed, PayoutNotSent, PayoutReturned, PayoutSubmitted, PayoutUnresolved
from tests.unit.executor_cases import KEY_LIFE_S, NOW, SETTLING_S
from tests.unit.payout_cases import (
    ACCEPTED,
    AMOUNT,
    FAILED,
    ID,
    PAID,
    REJECTED,
    RETURNED,
    PayoutDesk,
    ended_as,
    notified,
    ready,
    withdrawn,
)
from topics.runtime.calls.rows import CallReply, LeasedCall

NOTHING, UNKNOWN, NOT_THERE = NothingHappened("unavailable"), Unknown("timeout"), NotThere()
DAY = 86_400.0
LEASED = LeasedCall("id", "payout-1", "payout", "harbour", b"{}", NOW, "cause", "send", 1, False, None)


@pytest.fixture
def desk() -> PayoutDesk:
    """One pay-out, released, its call due."""
    desk = PayoutDesk()
    desk.hears(ready())
    return desk


# ── releases ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_release_is_one_call_good_until_its_deadline_whose_id_follows_from_it(desk: PayoutDesk) -> None:
    (call,) = desk.calls.values()
    assert (call.id, call.kind, call.act, call.psp) == (call_id_of("payout-1", 1), "payout", "send", "harbour")
    assert (call.subject, call.deadline) == ("payout-1", ready().deadline)
    assert desk.said == []


def test_the_same_release_again_changes_nothing(desk: PayoutDesk) -> None:
    assert desk.hears(ready()).changes == ()
    assert len(desk.calls) == 1


@pytest.mark.parametrize(
    "changes", [{"amount": Money(12_001, "EUR")}, {"deadline": ready().deadline + timedelta(1)}, {"provider": "other"}]
)
def test_the_same_release_with_other_contents_is_a_dead_letter(desk: PayoutDesk, changes: dict[str, object]) -> None:
    with pytest.raises(Permanent, match="payout_changed"):
        desk.hears(ready(**changes))  # type: ignore[arg-type]


def test_the_next_release_is_sent_under_another_key_once_this_one_surely_sent_nothing(desk: PayoutDesk) -> None:
    desk.hears(withdrawn())
    desk.hears(ready(2))
    assert desk.payout.state == "calling"
    assert set(desk.calls) == {call_id_of("payout-1", 1), call_id_of("payout-1", 2)}
    desk.acts(ACCEPTED)
    assert desk.names() == ["NotSent", "Submitted"]


@pytest.mark.parametrize("replies", [[], [UNKNOWN], [NOTHING]])
def test_the_next_release_while_this_one_is_open_is_a_dead_letter(
    desk: PayoutDesk, replies: Sequence[TransferReply]
) -> None:
    for reply in replies:
        desk.acts(reply)
    with pytest.raises(Permanent, match="release_out_of_order"):
        desk.hears(ready(2))


def test_the_next_release_of_an_unresolved_one_is_a_dead_letter(desk: PayoutDesk) -> None:
    desk.acts(UNKNOWN)
    desk.pass_s(3600)
    desk.acts(NOT_THERE)
    assert desk.payout.state == "unresolved"
    with pytest.raises(Permanent, match="release_out_of_order"):
        desk.hears(ready(2))


@pytest.mark.parametrize("number", [0, 3, 4])
def test_a_release_out_of_order_is_a_dead_letter(desk: PayoutDesk, number: int) -> None:
    desk.hears(withdrawn())
    if number:
        with pytest.raises(Permanent, match="release_out_of_order"):
            desk.hears(ready(number))
    with pytest.raises(Permanent, match="release_out_of_order"):
        PayoutDesk().hears(ready(2))


def test_the_next_release_with_another_amount_or_destination_is_a_dead_letter(desk: PayoutDesk) -> None:
    desk.hears(withdrawn())
    with pytest.raises(Permanent, match="payout_changed"):
        desk.hears(ready(2, amount=Money(1, "EUR")))
    assert desk.payout.state == "not_sent"


@pytest.mark.parametrize("word", [ACCEPTED, PAID, REJECTED, FAILED, RETURNED])
def test_a_release_that_a_late_yes_has_crossed_is_nothing(word: TransferReply) -> None:
    """The one before went out after all."""
    desk = ended_as(word)
    assert desk.hears(ready(2)).calls == ()
    assert len(desk.calls) == 1


# ── withdrawals ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_release_that_is_due_and_was_never_sent_is_withdrawn(desk: PayoutDesk) -> None:
    desk.hears(withdrawn())
    assert desk.row(desk.call_id).state == "ended"
    (said,) = desk.said
    assert isinstance(said, PayoutNotSent)
    assert (said.code, said.release_no) == ("withdrawn", 1)


def test_a_release_whose_send_did_nothing_is_withdrawn_while_it_waits_to_be_sent_again(desk: PayoutDesk) -> None:
    desk.acts(NOTHING)
    desk.hears(withdrawn())
    assert desk.names() == ["NotSent"]


def test_a_withdrawal_while_the_call_is_out_changes_nothing_where_the_provider_takes_it(desk: PayoutDesk) -> None:
    desk.lease()
    desk.hears(withdrawn())
    assert desk.names() == []
    desk.answers(ACCEPTED)
    assert desk.names() == ["Submitted"]


def test_a_withdrawal_while_the_call_is_out_counts_once_the_send_proves_to_have_done_nothing(desk: PayoutDesk) -> None:
    """A freeze is not passed over for the rest of the 15 minutes."""
    desk.lease()
    desk.hears(withdrawn())
    desk.answers(NOTHING)
    assert desk.names() == ["NotSent"]
    assert desk.row(desk.call_id).state == "ended"


def test_a_withdrawal_after_an_unknown_send_never_ends_it(desk: PayoutDesk) -> None:
    desk.acts(UNKNOWN)
    desk.hears(withdrawn())
    desk.acts(ACCEPTED)
    assert desk.names() == ["Unknown", "Submitted"]


@pytest.mark.parametrize("when", ["out", "asked about", "to be sent again", "sent again"])
def test_a_withdrawn_release_whose_send_was_lost_is_never_sent_again_nor_said_to_be_not_sent(
    desk: PayoutDesk, when: str
) -> None:
    """A seller who is frozen gets nothing, though the first send has proved not to have arrived."""
    desk.lease()
    if when == "out":
        desk.hears(withdrawn())
    desk.answers(UNKNOWN)
    if when == "asked about":
        desk.hears(withdrawn())
    desk.pass_s(SETTLING_S + 1)
    desk.acts(NOT_THERE)
    if when == "sent again":
        desk.lease()
    if when in ("to be sent again", "sent again"):
        assert desk.row(desk.call_id).act == "send"
        desk.hears(withdrawn())
    if when == "sent again":
        desk.answers(NOTHING)
    assert (desk.names(), desk.row(desk.call_id).state) == (["Unknown", "Unresolved"], "ended")
    assert (desk.payout.state, desk.payout.code) == ("unresolved", "withdrawn")
    with pytest.raises(Permanent, match="release_out_of_order"):
        desk.hears(ready(2))


def test_a_withdrawn_release_that_went_out_after_an_unknown_send_is_found_by_asking(desk: PayoutDesk) -> None:
    desk.acts(UNKNOWN)
    desk.hears(withdrawn())
    desk.hears(withdrawn())
    desk.pass_s(SETTLING_S + 1)
    desk.acts(PAID)
    assert desk.names() == ["Unknown", "Submitted", "Paid"]


@pytest.mark.parametrize("word", [ACCEPTED, PAID, REJECTED, FAILED, RETURNED])
def test_a_withdrawal_of_what_is_decided_is_nothing(word: TransferReply) -> None:
    assert ended_as(word).hears(withdrawn()).changes == ()


def test_a_withdrawal_of_another_release_is_nothing(desk: PayoutDesk) -> None:
    desk.hears(withdrawn())
    desk.hears(ready(2))
    assert desk.hears(withdrawn(1)).changes == ()
    assert desk.payout.state == "calling"


def test_a_release_and_its_withdrawal_in_one_batch_are_not_sent(desk: PayoutDesk) -> None:
    """The call has no row yet when the batch is loaded."""
    desk.state.payout_calls.pop(desk.call_id)
    decision = decide_alone(desk)
    assert [type(event) for event in decision] == [PayoutNotSent]


def decide_alone(desk: PayoutDesk) -> Sequence[object]:
    from consumers.executor import paying_out
    from topics.runtime.shape.consumer import Cause

    cause = Cause("c", "t", None, desk.now, 0)  # type: ignore[arg-type]
    return paying_out.withdraw(desk.policy, desk.payout, None, withdrawn(), cause).events


def test_a_withdrawal_of_what_was_never_released_is_a_dead_letter() -> None:
    with pytest.raises(Permanent, match="no_such_payout"):
        PayoutDesk().hears(withdrawn())


# ── the ladder of sends and questions ────────────────────────────────────────────────────────────────────────────────


def test_past_its_deadline_a_release_of_which_nothing_was_sent_is_not_sent(desk: PayoutDesk) -> None:
    desk.acts(NOTHING)
    desk.pass_s(16 * 60)
    desk.acts(NothingHappened("deadline_passed"))
    (said,) = desk.said
    assert isinstance(said, PayoutNotSent)
    assert said.code == "deadline_passed"


def test_unknown_is_said_once_and_asked_about(desk: PayoutDesk) -> None:
    desk.acts(UNKNOWN)
    desk.acts(UNKNOWN)
    assert desk.names() == ["Unknown"]
    assert desk.row(desk.call_id).act == "ask"


def test_not_there_before_the_provider_has_settled_is_asked_again_and_then_sent_with_the_same_key(
    desk: PayoutDesk,
) -> None:
    desk.acts(UNKNOWN)
    desk.acts(NOT_THERE)
    assert desk.row(desk.call_id).act == "ask"
    desk.pass_s(SETTLING_S + 1)
    desk.acts(NOT_THERE)
    assert desk.row(desk.call_id).act == "send"
    desk.acts(ACCEPTED)
    assert (len(desk.calls), desk.names()) == (1, ["Unknown", "Submitted"])


@pytest.mark.parametrize("late_s", [16 * 60, KEY_LIFE_S])
def test_not_there_past_deadline_or_key_life_is_unresolved(late_s: float) -> None:
    desk = PayoutDesk()
    desk.hears(ready(deadline=desk.now + timedelta(days=3 if late_s == KEY_LIFE_S else 0, minutes=15)))
    desk.acts(UNKNOWN)
    desk.pass_s(late_s)
    desk.acts(NOT_THERE)
    assert desk.payout.state == "unresolved"
    assert isinstance(desk.said[-1], PayoutUnresolved)
    assert desk.row(desk.call_id).state == "ended"


def test_at_the_end_of_the_ladder_of_questions_it_is_unresolved(desk: PayoutDesk) -> None:
    desk.acts(UNKNOWN)
    for _ in range(7):
        desk.acts(UNKNOWN)
    assert desk.names() == ["Unknown", "Unresolved"]


def test_a_late_yes_ends_what_is_unresolved_and_it_is_asked_on_whether_it_is_paid(desk: PayoutDesk) -> None:
    desk.acts(UNKNOWN)
    desk.pass_s(3600)
    desk.acts(NOT_THERE)
    desk.hears(notified(ACCEPTED))
    assert desk.names() == ["Unknown", "Unresolved", "Submitted"]
    desk.acts(PAID, desk.check_id())
    assert desk.names()[-1] == "Paid"
    assert desk.payout.check.state is None


# ── the first word ───────────────────────────────────────────────────────────────────────────────────────────────────

FIRST: dict[str, tuple[TransferReply, str, list[str]]] = {
    "accepted": (ACCEPTED, "submitted", ["Submitted"]),
    "paid": (PAID, "paid", ["Submitted", "Paid"]),
    "rejected": (REJECTED, "rejected", ["Failed"]),
    "failed": (FAILED, "failed", ["Submitted", "Failed"]),
    "returned": (RETURNED, "returned", ["Submitted", "Paid", "Returned"]),
}


@pytest.mark.parametrize("before", ["calling", "sending", "unknown", "unresolved"])
@pytest.mark.parametrize("how", ["reply", "webhook"])
@pytest.mark.parametrize("word", FIRST)
def test_the_first_word_decides_and_all_that_came_before_it_is_said(word: str, how: str, before: str) -> None:
    desk = PayoutDesk()
    desk.hears(ready())
    if before == "sending":
        desk.lease()
    if before in ("unknown", "unresolved"):
        desk.acts(UNKNOWN)
    if before == "unresolved":
        desk.pass_s(3600)
        desk.acts(NOT_THERE)
    said, (reply, state, events) = len(desk.said), FIRST[word]
    if how == "webhook":
        desk.hears(notified(reply))
    elif before == "unresolved":
        desk.answers(reply, act_no=1)
    else:
        desk.answers(reply) if before == "sending" else desk.acts(reply)
    assert (desk.payout.state, desk.names()[said:]) == (state, events)
    assert (desk.payout.provider_reference, desk.payout.turn) == (ID, 1)
    if state != "submitted":
        assert {row.state for row in desk.state.payout_calls.values()} == {"ended"}


def test_what_is_said_names_the_terms_the_release_and_our_bank_account() -> None:
    (said,) = ended_as(ACCEPTED).said
    assert isinstance(said, PayoutSubmitted)
    assert (said.amount, said.owner, said.seller_account) == (AMOUNT, "shop", "seller-1")
    assert (said.release_no, said.provider, said.bank_account) == (1, "harbour", "main")
    assert (said.call_id, said.provider_reference, said.turn) == (call_id_of("payout-1", 1), ID, None)


def test_a_rejection_was_never_submitted_and_a_failure_was() -> None:
    for word, submitted in ((REJECTED, False), (FAILED, True)):
        said = ended_as(word).said[-1]
        assert isinstance(said, PayoutFailed)
        assert (said.submitted, said.code) == (submitted, word.code)


def test_the_reply_after_its_webhook_changes_nothing_and_is_asked_about_later(desk: PayoutDesk) -> None:
    desk.lease()
    desk.hears(notified(ACCEPTED))
    desk.answers(ACCEPTED)
    assert desk.names() == ["Submitted"]
    assert (desk.row(desk.call_id).state, desk.row(desk.call_id).act) == ("due", "ask")
    assert desk.due_in[desk.call_id] == 60


def test_a_send_without_an_answer_after_its_webhook_is_asked_about_later(desk: PayoutDesk) -> None:
    desk.lease()
    desk.hears(notified(ACCEPTED))
    desk.answers(UNKNOWN)
    assert desk.names() == ["Submitted"]
    assert desk.row(desk.call_id).act == "ask"


# ── after it was submitted ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_submitted_transfer_is_asked_about_for_ten_days_and_stays_submitted(desk: PayoutDesk) -> None:
    desk.acts(ACCEPTED)
    waited = []
    while desk.row(desk.call_id).state == "due":
        waited.append(desk.due_in[desk.call_id])
        desk.pass_s(waited[-1])
        desk.acts(ACCEPTED if len(waited) % 2 else UNKNOWN)
    assert waited == [60, 600, 3600, 21_600, *[DAY] * 10]
    assert (desk.payout.state, desk.names()) == ("submitted", ["Submitted"])
    desk.hears(notified(PAID))
    assert desk.names() == ["Submitted", "Paid"]


LATER: dict[str, tuple[TransferReply, TransferReply, str, list[str]]] = {
    "paid": (ACCEPTED, PAID, "paid", ["Submitted", "Paid"]),
    "failed": (ACCEPTED, FAILED, "failed", ["Submitted", "Failed"]),
    "rejected after all": (ACCEPTED, REJECTED, "failed", ["Submitted", "Failed"]),
    "returned before paid was told": (ACCEPTED, RETURNED, "returned", ["Submitted", "Paid", "Returned"]),
    "returned": (PAID, RETURNED, "returned", ["Submitted", "Paid", "Returned"]),
    "failed after paid": (PAID, FAILED, "returned", ["Submitted", "Paid", "Returned"]),
    "accepted after paid": (PAID, ACCEPTED, "paid", ["Submitted", "Paid"]),
    "paid again": (PAID, PAID, "paid", ["Submitted", "Paid"]),
    "accepted again": (ACCEPTED, ACCEPTED, "submitted", ["Submitted"]),
    "returned again": (RETURNED, RETURNED, "returned", ["Submitted", "Paid", "Returned"]),
    "failed after returned": (RETURNED, FAILED, "returned", ["Submitted", "Paid", "Returned"]),
    "failed again": (FAILED, FAILED, "failed", ["Submitted", "Failed"]),
    "rejected again": (REJECTED, REJECTED, "rejected", ["Failed"]),
}


@pytest.mark.parametrize("case", LATER)
def test_a_later_word_goes_on_from_the_first(case: str) -> None:
    first, later, state, events = LATER[case]
    desk = ended_as(first)
    desk.hears(notified(later))
    assert (desk.payout.state, desk.names()) == (state, events)
    assert len(desk.calls) == 1, "nothing of it is a contradiction"
    assert desk.row(desk.call_id).state == ("due" if state == "submitted" else "ended")


def test_a_return_of_less_says_how_much_came_back() -> None:
    desk, less = ended_as(PAID), Money(11_500, "EUR")
    desk.hears(notified(Returned("refused", ID, less)))
    said = desk.said[-1]
    assert isinstance(said, PayoutReturned)
    assert (said.returned, said.amount, desk.payout.returned_minor) == (less, AMOUNT, 11_500)


@pytest.mark.parametrize("back", [Money(12_001, "EUR"), Money(12_000, "USD")])
def test_a_return_of_more_or_of_another_currency_is_a_dead_letter(back: Money) -> None:
    with pytest.raises(Permanent, match="notification_mismatch"):
        ended_as(PAID).hears(notified(Returned("refused", ID, back)))


@pytest.mark.parametrize("word", [ACCEPTED, PAID, FAILED])
def test_a_notification_of_another_amount_is_a_dead_letter_and_no_fault_of_ours(word: TransferReply) -> None:
    desk = ended_as(ACCEPTED)
    with pytest.raises(Permanent, match="notification_mismatch") as raised:
        desk.hears(notified(word, amount=Money(11_999, "EUR")))
    assert not raised.value.ours


def test_a_word_about_another_transfer_under_our_reference_is_a_dead_letter() -> None:
    with pytest.raises(Permanent, match="contradiction") as raised:
        ended_as(ACCEPTED).hears(notified(Paid("tr_2")))
    assert not raised.value.ours


def test_a_notification_before_its_call_is_kept(desk: PayoutDesk) -> None:
    (kept,) = desk.hears(notified(PAID, 2)).changes
    assert type(kept).__name__ == "EarlyNotification"


def test_a_call_that_was_leased_too_late_to_be_sent_is_answered_and_so_a_withdrawal_counts(desk: PayoutDesk) -> None:
    desk.lease()
    desk.hears(withdrawn())
    answered = given_back(LEASED)
    assert isinstance(answered, CallReply)
    assert answered.reply == NothingHappened("lease_short").to_json()
    desk.answers(NothingHappened("lease_short"))
    assert desk.payout.state == "not_sent"
    for other in (replace(LEASED, kind="charge"), replace(LEASED, act="ask")):
        assert given_back(other) is other
