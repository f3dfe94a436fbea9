"""What two persons say of a pay-out, where its provider could not: the provider is asked, and its own word goes before theirs."""

from __future__ import annotations

import pytest

from consumers.executor.ladder import ASK_AGAIN_S
from psp.payout_port import Accepted, Paid, Returned, TransferReply
from psp.replies import NotThere, Unknown
from schemas.errors import Transient
from schemas.payouts import RESOLVED_BY_OPERATORS, PayoutFailed, PayoutNotified, PayoutReturned
from tests.unit.executor_cases import SETTLING_S
from tests.unit.payout_cases import (
    ACCEPTED,
    AMOUNT,
    FAILED,
    PAID,
    REJECTED,
    RETURNED,
    PayoutDesk,
    notified,
    ready,
    withdrawn,
)

UNKNOWN, NOT_THERE = Unknown("timeout"), NotThere()


def failed() -> PayoutNotified:
    """What the door says once two persons agree that it has failed."""
    return notified(REJECTED, source="operator", provider_reference="", code=RESOLVED_BY_OPERATORS)


def resolution(desk: PayoutDesk) -> tuple[str | None, str | None]:
    return desk.payout.resolution, desk.payout.resolution_code


@pytest.fixture
def desk() -> PayoutDesk:
    """A pay-out that was sent, and of which its provider could not say anything."""
    desk = PayoutDesk()
    desk.hears(ready())
    desk.acts(UNKNOWN)
    desk.pass_s(3600)
    desk.acts(NOT_THERE)
    assert desk.payout.state == "unresolved"
    desk.said.clear()
    return desk


# ── "failed" ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_failed_is_believed_once_the_provider_has_nothing_of_it(desk: PayoutDesk) -> None:
    desk.hears(failed())
    assert (desk.names(), resolution(desk)) == ([], ("asked", None))
    desk.acts(NOT_THERE, desk.check_id())
    (said,) = desk.said
    assert isinstance(said, PayoutFailed)
    assert (said.submitted, said.code, resolution(desk)) == (False, RESOLVED_BY_OPERATORS, ("believed", None))
    assert {row.state for row in desk.state.payout_calls.values()} == {"ended"}


@pytest.mark.parametrize(
    ("word", "names", "state"), [(ACCEPTED, ["Submitted"], "submitted"), (PAID, ["Submitted", "Paid"], "paid")]
)
@pytest.mark.parametrize("how", ["the answer", "a webhook"])
def test_failed_is_refused_where_the_provider_has_the_money(
    desk: PayoutDesk, word: TransferReply, names: list[str], state: str, how: str
) -> None:
    desk.hears(failed())
    if how == "a webhook":
        desk.hears(notified(word))
    else:
        desk.acts(word, desk.check_id())
    assert (desk.names(), resolution(desk)) == (names, ("refused", state))


@pytest.mark.parametrize("word", [REJECTED, FAILED, RETURNED])
def test_failed_is_believed_where_the_provider_says_the_same(desk: PayoutDesk, word: TransferReply) -> None:
    desk.hears(failed())
    desk.acts(word, desk.check_id())
    assert resolution(desk) == ("believed", None)


def test_failed_is_believed_where_the_provider_answers_nothing_at_all(desk: PayoutDesk) -> None:
    """That is why persons were asked."""
    desk.hears(failed())
    check = desk.check_id()
    for _ in range(6):
        desk.acts(UNKNOWN, check)
        assert desk.names() == []
    desk.acts(UNKNOWN, check)
    assert (desk.names(), resolution(desk)) == (["Failed"], ("believed", None))
    assert {row.state for row in desk.state.payout_calls.values()} == {"ended"}


def test_nothing_there_is_no_proof_for_persons_before_the_last_send_has_settled() -> None:
    desk = PayoutDesk()
    desk.hears(ready())
    desk.acts(UNKNOWN)
    for _ in range(7):
        desk.acts(UNKNOWN)
    assert desk.payout.state == "unresolved"
    desk.hears(failed())
    desk.acts(NOT_THERE, desk.check_id())
    assert desk.names()[-1] == "Unresolved"
    desk.pass_s(SETTLING_S + 1)
    desk.acts(ACCEPTED, desk.check_id())
    assert (desk.names()[-1], resolution(desk)) == ("Submitted", ("refused", "submitted"))


@pytest.mark.parametrize("late", [ACCEPTED, PAID])
def test_failed_that_crosses_a_late_yes_is_asked_about_and_the_yes_wins(desk: PayoutDesk, late: TransferReply) -> None:
    """Else the seller would have the money twice: at the bank and in the wallet."""
    desk.hears(notified(late))
    before = desk.names()
    desk.hears(failed())
    assert (desk.names(), resolution(desk)) == (before, ("asked", None))
    desk.acts(late, desk.check_id())
    assert (desk.names(), resolution(desk)) == (before, ("refused", desk.payout.state))


def test_failed_that_crosses_a_yes_to_a_call_that_still_lives_is_asked_about_by_that_call() -> None:
    desk = PayoutDesk()
    desk.hears(ready())
    desk.acts(ACCEPTED)
    desk.hears(failed())
    assert (len(desk.calls), desk.due_in[desk.call_id]) == (1, 0.0)
    desk.acts(ACCEPTED)
    assert (desk.names(), resolution(desk)) == (["Submitted"], ("refused", "submitted"))
    assert desk.row(desk.call_id).state == "due", "it is asked on, whether it is paid"


@pytest.mark.parametrize(("late", "names"), [(ACCEPTED, ["Failed"]), (PAID, ["Returned"])])
def test_failed_that_crosses_a_late_yes_is_believed_where_the_provider_then_says_so(
    desk: PayoutDesk, late: TransferReply, names: list[str]
) -> None:
    desk.hears(notified(late))
    desk.hears(failed())
    before = len(desk.said)
    desk.acts(FAILED, desk.check_id())
    assert (desk.names()[before:], resolution(desk)) == (names, ("believed", None))


@pytest.mark.parametrize("late", [ACCEPTED, PAID])
def test_a_yes_stands_where_the_provider_answers_no_question_about_it(desk: PayoutDesk, late: TransferReply) -> None:
    desk.hears(notified(late))
    desk.hears(failed())
    before, check = desk.names(), desk.check_id()
    for _ in range(20):
        if desk.row(check).state == "due":
            desk.acts(UNKNOWN, check)
    assert (desk.names(), resolution(desk)) == (before, ("refused", desk.payout.state))
    assert {row.state for row in desk.state.payout_calls.values()} == {"ended"}


def test_failed_that_was_believed_is_refused_once_the_provider_confirms_a_yes(desk: PayoutDesk) -> None:
    desk.hears(failed())
    desk.acts(NOT_THERE, desk.check_id())
    desk.hears(notified(PAID))
    desk.acts(PAID, desk.check_id())
    assert (desk.names()[-2:], resolution(desk)) == (["Submitted#2", "Paid#2"], ("refused", "paid"))


@pytest.mark.parametrize("is_unknown", [False, True])
def test_failed_is_refused_while_the_call_may_still_be_sent(is_unknown: bool) -> None:
    """The door does not take it either."""
    desk = PayoutDesk()
    desk.hears(ready())
    if is_unknown:
        desk.acts(UNKNOWN)
    desk.hears(failed())
    assert (desk.payout.state, resolution(desk)) == (desk.payout.state, ("refused", desk.payout.state))
    desk.acts(PAID)
    assert desk.names()[-2:] == ["Submitted", "Paid"]


# ── the reference that persons give ──────────────────────────────────────────────────────────────────────────────────


def named(word: TransferReply, reference: str = "tr_wrong") -> PayoutNotified:
    return notified(word, name="persons", source="operator", provider_reference=reference)


@pytest.mark.parametrize("said", [ACCEPTED, PAID])
@pytest.mark.parametrize("later", [Paid("tr_9"), Returned("refused", "tr_9", AMOUNT)])
def test_the_providers_later_word_counts_under_its_own_reference(
    desk: PayoutDesk, said: TransferReply, later: TransferReply
) -> None:
    """Two persons have named another transfer."""
    desk.hears(named(said))
    desk.hears(notified(later))
    assert desk.payout.provider_reference == "tr_9"
    assert desk.payout.state == ("returned" if isinstance(later, Returned) else "paid")
    if isinstance(later, Returned):
        (returned,) = [event for event in desk.said if isinstance(event, PayoutReturned)]
        assert returned.provider_reference == "tr_9"


def test_the_answer_to_a_check_replaces_the_reference_that_persons_gave(desk: PayoutDesk) -> None:
    desk.hears(named(ACCEPTED))
    desk.acts(Accepted("tr_9"), desk.check_id())
    assert (desk.payout.provider_reference, desk.due_in[desk.check_id()]) == ("tr_9", 600)
    desk.acts(Paid("tr_9"), desk.check_id())
    assert desk.names() == ["Submitted", "Paid"]


def test_persons_who_name_another_transfer_than_the_provider_change_nothing(desk: PayoutDesk) -> None:
    desk.hears(notified(PAID))
    assert desk.hears(named(PAID)).changes == ()
    desk.hears(notified(RETURNED))
    assert desk.names() == ["Submitted", "Paid", "Returned"]


def test_paid_by_persons_that_crosses_the_providers_accepted_is_asked_about(desk: PayoutDesk) -> None:
    desk.hears(notified(ACCEPTED))
    desk.hears(named(PAID))
    assert (desk.names(), desk.due_in[desk.check_id()]) == (["Submitted"], 0.0)
    desk.acts(FAILED, desk.check_id())
    assert desk.names() == ["Submitted", "Failed"]


# ── where the provider contradicts itself, and answers no question about it ──────────────────────────────────────────


@pytest.fixture
def doubtful() -> PayoutDesk:
    """A release that was not sent, which the provider says to have accepted; the next release waits for the answer."""
    desk = PayoutDesk()
    desk.hears(ready())
    desk.hears(withdrawn())
    desk.hears(notified(ACCEPTED))
    for _ in ASK_AGAIN_S:
        desk.acts(UNKNOWN, desk.check_id())
    with pytest.raises(Transient, match="check_open"):
        desk.hears(ready(2))
    desk.said.clear()
    return desk


@pytest.mark.parametrize("last", [UNKNOWN, NOT_THERE])
def test_the_next_release_begins_once_two_persons_say_that_nothing_went_out(
    doubtful: PayoutDesk, last: TransferReply
) -> None:
    doubtful.hears(failed())
    with pytest.raises(Transient, match="check_open"):
        doubtful.hears(ready(2))
    doubtful.acts(last, doubtful.check_id())
    assert (doubtful.names(), resolution(doubtful), doubtful.payout.check.state) == ([], ("believed", None), None)
    doubtful.hears(ready(2))
    assert doubtful.payout.state == "calling"


def test_the_last_question_before_that_may_still_find_the_transfer(doubtful: PayoutDesk) -> None:
    doubtful.hears(failed())
    doubtful.acts(ACCEPTED, doubtful.check_id())
    assert (doubtful.names(), resolution(doubtful)) == (["Submitted#2"], ("refused", "submitted"))
    assert doubtful.hears(ready(2)).calls == ()


def test_two_persons_may_say_that_it_went_out_after_all(doubtful: PayoutDesk) -> None:
    doubtful.hears(named(PAID, "tr_9"))
    assert (doubtful.names(), doubtful.payout.provider_reference) == (["Submitted#2", "Paid#2"], "tr_9")
    assert doubtful.hears(ready(2)).calls == (), "it is not sent once more"


def test_what_two_persons_are_believed_about_is_not_reported_as_in_doubt(desk: PayoutDesk) -> None:
    desk.hears(failed())
    for _ in ASK_AGAIN_S:
        desk.acts(UNKNOWN, desk.check_id())
    assert (desk.payout.state, desk.payout.check.state) == ("rejected", None)
