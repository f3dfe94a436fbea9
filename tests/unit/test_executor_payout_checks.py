"""A provider that contradicts what it had said of a pay-out: it is asked, and only the answer counts."""

from __future__ import annotations

import pytest

from psp.payout_port import Accepted, Paid, TransferReply
from psp.replies import NothingHappened, NotThere, Unknown
from schemas.errors import Permanent, Transient
from tests.unit.payout_cases import (
    ACCEPTED,
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

UNKNOWN, NOT_THERE = Unknown("timeout"), NotThere()


@pytest.fixture
def desk() -> PayoutDesk:
    """One pay-out, released, its call due."""
    desk = PayoutDesk()
    desk.hears(ready())
    return desk


def checked(first: TransferReply, told: TransferReply) -> PayoutDesk:
    """A pay-out that ended so, and a word that contradicts it."""
    desk = ended_as(first)
    desk.hears(notified(told))
    assert desk.payout.check.open
    return desk


@pytest.mark.parametrize("first", [REJECTED, FAILED, RETURNED])
@pytest.mark.parametrize("told", [ACCEPTED, PAID])
def test_a_yes_after_a_no_is_asked_about_and_only_the_answer_counts(first: TransferReply, told: TransferReply) -> None:
    desk = checked(first, told)
    before = list(desk.names())
    desk.acts(first, desk.check_id())
    assert desk.names() == before
    assert desk.payout.check.state is None


@pytest.mark.parametrize("first", [REJECTED, FAILED, RETURNED])
def test_a_confirmed_yes_after_a_no_is_another_turn(first: TransferReply) -> None:
    desk = checked(first, PAID)
    before = len(desk.said)
    desk.acts(PAID, desk.check_id())
    assert desk.names()[before:] == ["Submitted#2", "Paid#2"]
    assert (desk.payout.turn, desk.payout.returned_minor) == (2, None)


def test_a_yes_under_another_reference_than_the_no_had_is_asked_about_and_counts_under_its_own() -> None:
    """Two persons said that it failed, and named no transfer, or a wrong one."""
    desk = PayoutDesk()
    desk.hears(ready())
    desk.acts(UNKNOWN)
    desk.pass_s(3600)
    desk.acts(NOT_THERE)
    desk.hears(notified(REJECTED, source="operator", provider_reference=""))
    desk.acts(NOT_THERE, desk.check_id())
    assert (desk.payout.state, desk.payout.provider_reference) == ("rejected", None)
    desk.hears(notified(Paid("tr_9")))
    desk.acts(Paid("tr_9"), desk.check_id())
    assert desk.names()[-2:] == ["Submitted#2", "Paid#2"]
    assert desk.payout.provider_reference == "tr_9"


def test_a_confirmed_yes_after_a_release_that_was_not_sent_is_another_turn(desk: PayoutDesk) -> None:
    desk.hears(withdrawn())
    desk.hears(notified(ACCEPTED))
    desk.acts(ACCEPTED, desk.check_id())
    assert desk.names() == ["NotSent", "Submitted#2"]
    assert desk.hears(ready(2)).calls == (), "it went out after all"


def test_no_release_begins_while_the_provider_is_asked_about_the_one_before(desk: PayoutDesk) -> None:
    """It is parked, and comes again."""
    desk.hears(withdrawn())
    desk.hears(notified(ACCEPTED))
    with pytest.raises(Transient, match="check_open"):
        desk.hears(ready(2))
    desk.acts(REJECTED, desk.check_id())
    desk.hears(ready(2))
    assert desk.payout.state == "calling"


def test_the_next_release_begins_once_the_provider_has_nothing_of_the_one_before(desk: PayoutDesk) -> None:
    """Its yes was a mistake."""
    desk.hears(withdrawn())
    desk.hears(notified(ACCEPTED))
    check = desk.check_id()
    desk.acts(NOT_THERE, check)
    assert (desk.payout.check.state, desk.row(check).state) == (None, "ended")
    desk.hears(ready(2))
    assert desk.payout.state == "calling"


def test_nothing_there_is_no_proof_before_what_was_sent_has_settled(desk: PayoutDesk) -> None:
    """The provider said that it was busy, took the transfer all the same, and does not list it yet."""
    desk.lease()
    desk.hears(withdrawn())
    desk.answers(NothingHappened("busy"))
    desk.hears(notified(ACCEPTED))
    desk.acts(NOT_THERE, desk.check_id())
    with pytest.raises(Transient, match="check_open"):
        desk.hears(ready(2))
    desk.pass_s(desk.due_in[desk.check_id()])
    desk.acts(ACCEPTED, desk.check_id())
    assert desk.names() == ["NotSent", "Submitted#2"]


def test_what_was_rejected_and_is_not_there_is_asked_about_no_more() -> None:
    desk = checked(REJECTED, ACCEPTED)
    desk.pass_s(60)
    desk.acts(NOT_THERE, desk.check_id())
    assert (desk.payout.state, desk.payout.check.state) == ("rejected", None)


def test_what_has_failed_and_is_not_there_is_no_answer() -> None:
    """The provider has had it."""
    desk = checked(FAILED, PAID)
    desk.pass_s(60)
    desk.acts(NOT_THERE, desk.check_id())
    assert desk.payout.check.open


def test_a_submitted_second_turn_is_asked_about_until_it_is_paid() -> None:
    desk = checked(FAILED, ACCEPTED)
    desk.acts(ACCEPTED, desk.check_id())
    assert desk.names()[-1] == "Submitted#2"
    desk.acts(ACCEPTED, desk.check_id())
    assert desk.due_in[desk.check_id()] == 600
    desk.acts(PAID, desk.check_id())
    assert desk.names()[-1] == "Paid#2"
    assert {row.state for row in desk.state.payout_calls.values()} == {"ended"}


@pytest.mark.parametrize("end", [ACCEPTED, PAID])
@pytest.mark.parametrize("late", [FAILED, RETURNED, REJECTED])
def test_in_a_second_turn_a_no_may_be_a_late_repeat_and_is_asked_about(end: TransferReply, late: TransferReply) -> None:
    desk = checked(FAILED, end)
    desk.acts(end, desk.check_id())
    before = len(desk.said)
    desk.hears(notified(late, name="late"))
    assert desk.names()[before:] == []
    assert desk.due_in[desk.check_id()] == 0.0
    desk.acts(PAID, desk.check_id())
    assert desk.names()[before:] == ([] if end is PAID else ["Paid#2"])


def test_a_confirmed_return_of_a_second_turn_books_once_more() -> None:
    desk = checked(RETURNED, PAID)
    desk.acts(PAID, desk.check_id())
    desk.hears(notified(RETURNED, name="again"))
    desk.acts(RETURNED, desk.check_id())
    assert desk.names()[-3:] == ["Submitted#2", "Paid#2", "Returned#2"]


def test_a_contradiction_while_a_check_is_open_asks_once_more() -> None:
    desk = checked(FAILED, PAID)
    first = desk.check_id()
    desk.lease(first)
    desk.hears(notified(PAID, name="again"))
    desk.answers(FAILED, first)
    assert desk.check_id() != first
    desk.acts(PAID, desk.check_id())
    assert desk.names()[-2:] == ["Submitted#2", "Paid#2"]


def test_a_check_without_an_answer_changes_nothing_and_ends() -> None:
    desk = checked(FAILED, PAID)
    id_ = desk.check_id()
    for _ in range(7):
        desk.acts(UNKNOWN, id_)
    assert (desk.payout.check.state, desk.row(id_).state) == ("unanswered", "ended")
    assert desk.names() == ["Submitted", "Failed"]


def test_an_answer_to_an_earlier_check_is_nothing() -> None:
    desk = checked(FAILED, PAID)
    first = desk.check_id()
    desk.lease(first)
    desk.hears(notified(PAID, name="again"))
    desk.answers(FAILED, first)
    before = desk.payout
    desk.answers(PAID, first, act_no=1)
    assert desk.payout == before


@pytest.mark.parametrize("told", [ACCEPTED, PAID])
def test_a_yes_to_an_earlier_release_which_surely_did_nothing_is_a_dead_letter_of_ours(
    desk: PayoutDesk, told: TransferReply
) -> None:
    desk.hears(withdrawn())
    desk.hears(ready(2))
    with pytest.raises(Permanent, match="contradiction") as raised:
        desk.hears(notified(told, 1))
    assert raised.value.ours
    assert desk.hears(notified(REJECTED, 1)).changes == ()


def test_another_provider_s_notification_is_kept_and_moves_nothing(desk: PayoutDesk) -> None:
    desk.hears(notified(Accepted(ID), provider="other"))
    assert desk.payout.state == "calling"
