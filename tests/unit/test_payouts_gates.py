"""The gates of a pay-out: each of them, in any order of what happens, and what opens, closes or ends them."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from consumers.payouts.payout import ReleaseOutcome
from schemas.errors import Permanent
from schemas.events import AnyEvent
from schemas.payouts import (
    PayoutPlaced,
    PayoutReady,
    PayoutRefused,
    PayoutReleased,
    PayoutScreeningRequested,
    PayoutWithdrawn,
)
from tests.unit.payouts_room import (
    DAY,
    HARBOUR,
    HOUR,
    IBAN,
    MINUTE,
    NOW,
    Room,
    asked,
    cancelled,
    euro,
    frozen,
    names,
    requested,
    reserved,
    room,
    seller,
)

FIFTEEN = 15 * MINUTE
NEEDS_ONE = {"approvals": [{"currency": "EUR", "above": "100.00", "persons": 1}]}


def thawed(revision: int) -> AnyEvent:
    return seller(seller_revision=revision)


# ── risk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refusal_by_risk_ends_it_by_its_rule_and_reserves_nothing() -> None:
    seen = asked()
    seen.screens("refused", rule="listed_name")
    assert seen.standing() == ("refused", "listed_name")
    assert seen.all_said(PayoutPlaced) == []


def test_a_held_pay_out_waits_for_a_person_and_goes_on_by_that_answer() -> None:
    seen = asked()
    seen.screens("held")
    assert seen.standing() == ("in_review", None)
    seen.screens("cleared", actor="carla")
    assert seen.standing() == ("reserving", None)


@pytest.mark.parametrize("number", [0, 2])
def test_an_answer_to_another_question_is_kept_and_opens_nothing(number: int) -> None:
    seen = asked()
    seen.screens("cleared", screen_no=number + 1 if number else 9)
    assert (seen.standing(), seen.kept[-1].counts) == (("screening", None), False)  # type: ignore[union-attr]


@pytest.mark.parametrize(("answer", "standing"), [("refused", "refused"), ("held", "in_review")])
def test_a_later_answer_by_a_new_list_counts_until_the_release(answer: str, standing: str) -> None:
    seen = asked(**NEEDS_ONE)
    seen.screens()
    seen.reserves()
    seen.screens(answer, rule="sanctions")  # type: ignore[arg-type]
    assert seen.standing()[0] == standing
    assert len(seen.all_said(PayoutReleased)) == (1 if answer == "refused" else 0)


def test_a_refusal_after_the_release_withdraws_it_and_ends_it_if_it_has_not_left() -> None:
    seen = reserved()
    assert names(seen.screens("refused", rule="sanctions")) == ["PayoutWithdrawn"]
    seen.executes("not_sent", code="withdrawn")
    assert seen.standing() == ("refused", "sanctions")


def test_a_release_on_an_answer_that_is_too_old_asks_again_first() -> None:
    seen = asked(**NEEDS_ONE)
    seen.screens()
    seen.reserves()
    seen.now = NOW + FIFTEEN + MINUTE
    seen.approves()
    assert (seen.standing(), seen.all_said(PayoutReady)) == (("screening", None), [])
    assert [event.screen_no for event in seen.all_said(PayoutScreeningRequested)] == [1, 2]
    seen.screens("cleared", screen_no=1)
    assert seen.all_said(PayoutReady) == []
    seen.screens("cleared", screen_no=2)
    assert seen.standing() == ("processing", None)


def test_an_answer_that_was_read_late_is_as_old_as_it_is() -> None:
    seen = asked()
    seen.now = NOW + 9 * DAY
    seen.screens("cleared", decided_at=NOW)
    seen.reserves()
    assert (seen.standing(), seen.all_said(PayoutReady)) == (("screening", None), [])


def test_an_answer_of_just_fifteen_minutes_is_young_enough() -> None:
    seen = asked()
    seen.screens()
    seen.now = NOW + FIFTEEN
    seen.reserves()
    assert (seen.standing(), seen.releases()[0].cleared_at) == (("processing", None), NOW)


# ── the wallet ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", ["insufficient_funds", "below_minimum"])
def test_too_little_money_ends_it_by_the_wallets_code_and_gives_up_nothing(code: str) -> None:
    seen = asked()
    seen.screens()
    assert names(seen.has_too_little(code)) == ["PayoutStatusChanged"]
    assert seen.standing() == ("refused", code)


def test_an_answer_of_the_wallet_that_was_not_asked_for_is_nothing() -> None:
    seen = asked()
    assert seen.reserves() == [] == seen.has_too_little()
    assert seen.standing() == ("screening", None)


def test_a_reservation_of_another_amount_is_a_fault() -> None:
    seen = asked()
    seen.screens()
    with pytest.raises(Permanent, match="reservation_differs"):
        seen.reserves(12001)


def test_a_reservation_that_is_not_used_in_thirty_days_is_given_up() -> None:
    seen = asked()
    seen.hears(frozen())
    seen.screens()
    seen.reserves()
    seen.now = NOW + 30 * DAY - MINUTE
    assert seen.fires("reservation") == []
    seen.now = NOW + 30 * DAY
    assert names(seen.fires("reservation")) == ["PayoutReleased", "PayoutStatusChanged"]
    assert seen.standing() == ("expired", "not_released_in_time")


def test_a_reservation_ends_after_its_life_even_if_it_was_released_when_the_timer_fired() -> None:
    seen = reserved()
    seen.now = NOW + 30 * DAY
    assert seen.fires("reservation") == []
    assert seen.standing() == ("processing", None)
    seen.executes("not_sent")
    assert seen.standing() == ("expired", "not_released_in_time")


def test_a_life_that_was_made_longer_sets_its_timer_again() -> None:
    seen = asked()
    seen.hears(frozen())
    seen.screens()
    seen.reserves()
    seen.rules |= {"reservation_life_s": 40 * 86400}
    seen.now = NOW + 30 * DAY
    assert seen.fires("reservation") == []
    seen.now = NOW + 40 * DAY
    seen.fires("reservation")
    assert seen.standing()[0] == "expired"


def test_a_timer_that_is_read_by_a_clock_that_was_set_back_still_counts() -> None:
    """Its row is gone with its message: nothing would look at the reservation ever again."""
    seen = asked()
    seen.hears(frozen())
    seen.screens()
    seen.reserves()
    seen.now = NOW + 30 * DAY
    seen.fires("reservation", read_at=NOW)
    assert seen.standing()[0] == "expired"


# ── the seller ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ["frozen", "closed"])
def test_a_seller_that_is_not_active_holds_back_what_is_reserved_until_it_is_again(state: str) -> None:
    seen = asked()
    seen.hears(seller(seller_revision=2, state=state))
    seen.screens()
    seen.reserves()
    assert seen.standing() == ("on_hold", f"seller_{state}")
    assert names(seen.hears(thawed(3))) == ["PayoutReady", "PayoutStatusChanged"]


def test_a_freeze_withdraws_every_release_of_that_seller_alone_and_once() -> None:
    seen = reserved()
    seen.hears(seller(seller_account="s-2"))
    for payout_id, account in (("po-2", "s-1"), ("po-3", "s-2"), ("po-4", "s-1")):
        seen.hears(requested(payout_id, seller_account=account))
        if payout_id != "po-4":
            seen.screens(payout_id=payout_id)
            seen.reserves(payout_id=payout_id)
    seen.hears(frozen())
    assert [event.payout_id for event in seen.all_said(PayoutWithdrawn)] == ["po-1", "po-2"]
    seen.hears(frozen(3))
    assert len(seen.all_said(PayoutWithdrawn)) == 2
    assert seen.standing("po-3") == ("processing", None)


def test_what_a_freeze_has_stopped_goes_out_under_the_next_number_when_it_ends() -> None:
    seen = reserved()
    seen.hears(frozen())
    seen.executes("not_sent", code="withdrawn")
    assert seen.standing() == ("on_hold", "seller_frozen")
    seen.hears(thawed(3))
    assert [event.release_no for event in seen.all_said(PayoutReady)] == [1, 2]


def test_what_a_freeze_did_not_stop_is_told_as_it_is() -> None:
    seen = reserved()
    seen.hears(frozen())
    seen.executes("submitted")
    assert seen.standing() == ("submitted", None)


def test_an_older_revision_of_a_seller_says_nothing() -> None:
    seen = asked()
    seen.hears(frozen(3))
    assert seen.hears(thawed(2)) == []
    assert seen.state.sellers["s-1"].state == "frozen"


def test_a_changed_destination_changes_no_pay_out_that_was_asked_for() -> None:
    seen = asked()
    elsewhere = seller(seller_revision=2, destination=None)
    seen.hears(elsewhere)
    seen.screens()
    seen.reserves()
    assert seen.all_said(PayoutReady)[0].destination.fingerprint == "0123456789abcdef"


# ── the provider ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_after_a_persons_clearance_is_asked_about_anew_and_only_that_answer_opens_the_gate() -> None:
    seen = asked(**NEEDS_ONE)
    seen.screens("cleared", actor="carla", rule="near_hit")
    seen.reserves()
    said = seen.screens("held", rule="near_hit", ask_again=True)
    assert names(said) == ["PayoutScreeningRequested", "PayoutStatusChanged"]
    assert (seen.of().screen_no, seen.standing()) == (2, ("screening", None))
    seen.screens("held", rule="near_hit", ask_again=True, screen_no=1)
    seen.screens("cleared", actor="carla", screen_no=1)
    assert seen.standing() == ("screening", None), "answers to the question before count no more"
    seen.screens("held", rule="near_hit")
    assert seen.standing() == ("in_review", None)
    seen.screens("cleared", actor="carla", rule="near_hit")
    assert seen.standing() == ("awaiting_approval", None)


def test_a_hold_after_a_persons_clearance_withdraws_what_is_released_and_may_go_once_it_is_cleared_anew() -> None:
    seen = reserved()
    said = seen.screens("held", rule="near_hit", ask_again=True)
    assert names(said) == ["PayoutScreeningRequested", "PayoutWithdrawn"]
    seen.executes("not_sent")
    assert seen.standing() == ("screening", None)
    assert names(seen.screens("cleared"))[0] == "PayoutReady"
    assert seen.of().release_no == 2


def test_a_pay_out_to_a_country_that_was_blocked_since_ends_refused_and_gives_its_money_back() -> None:
    seen = asked(**NEEDS_ONE)
    seen.screens()
    seen.reserves()
    seen.blocked = frozenset({"DE"})
    assert names(seen.approves()) == ["PayoutReleased", "PayoutStatusChanged"]
    assert seen.standing() == ("refused", "blocked_country")


def test_a_release_to_a_country_that_was_blocked_since_is_withdrawn_and_then_refused() -> None:
    seen = reserved()
    seen.blocked = frozenset({"DE"})
    assert names(seen.hears(thawed(2))) == ["PayoutWithdrawn"]
    seen.executes("not_sent")
    assert seen.standing() == ("refused", "blocked_country")


def test_an_account_at_a_provider_is_paid_by_that_provider_alone() -> None:
    beta = HARBOUR.model_copy(update={"name": "beta"})
    account = replace(IBAN, type="provider_account", provider="beta")
    for providers, ready in (((HARBOUR, beta), ["beta"]), ((beta, HARBOUR), ["beta"])):
        seen = Room(providers=providers)
        seen.hears(seller(destination=account))
        seen.hears(requested())
        seen.screens()
        seen.reserves()
        assert [event.provider for event in seen.all_said(PayoutReady)] == ready
    alone = Room()
    alone.hears(seller(destination=account))
    (refused,) = alone.hears(requested())
    assert isinstance(refused, PayoutRefused)
    assert refused.code == "no_provider"


def test_the_first_provider_that_takes_currency_and_country_gets_it() -> None:
    italian = HARBOUR.model_copy(update={"name": "italian", "countries": frozenset({"IT"})})
    second = HARBOUR.model_copy(update={"name": "second"})
    seen = Room(providers=(italian, HARBOUR, second))
    seen.hears(seller())
    seen.hears(requested())
    seen.screens()
    seen.reserves()
    assert seen.all_said(PayoutReady)[0].provider == "harbour"


def test_a_provider_that_the_settings_lost_is_waited_for_with_one_look_an_hour() -> None:
    seen = asked()
    seen.providers = ()
    seen.screens()
    seen.reserves()
    assert seen.standing() == ("on_hold", "no_provider")
    seen.now = NOW + HOUR
    assert seen.fires("provider") == []
    assert len([each for each in seen.timers if each.kind == "provider"]) == 1
    seen.providers, seen.now = (HARBOUR,), NOW + 2 * HOUR
    seen.fires("provider")
    assert seen.standing() == ("screening", None)  # the answer of risk has become too old meanwhile


# ── releases and what becomes of them ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("later", ["paid", "failed", "returned"])
def test_the_providers_later_name_for_the_transfer_replaces_the_one_that_was_told_first(later: str) -> None:
    """Persons may have named another transfer."""
    seen = reserved()
    seen.executes("submitted", provider_reference="tr-wrong")
    seen.executes(later, provider_reference="tr-2")
    assert seen.of().provider_reference == "tr-2"


def test_a_failure_without_a_name_for_the_transfer_keeps_the_one_that_is_known() -> None:
    seen = reserved()
    seen.executes("submitted")
    seen.executes("failed", provider_reference=None)
    assert seen.of().provider_reference == "tr-1"


def test_a_release_that_is_unresolved_says_why() -> None:
    seen = reserved()
    seen.executes("unresolved", reason="withdrawn")
    (outcome,) = [each for each in seen.kept if isinstance(each, ReleaseOutcome)]
    assert (outcome.outcome, outcome.code) == ("unresolved", "withdrawn")


def test_a_release_that_was_not_sent_passes_every_gate_again_under_the_next_number() -> None:
    seen = reserved()
    seen.now = NOW + 5 * MINUTE
    seen.executes("not_sent")
    assert [(event.release_no, event.deadline) for event in seen.all_said(PayoutReady)] == [
        (1, NOW + FIFTEEN),
        (2, NOW + 5 * MINUTE + FIFTEEN),
    ]
    seen.now += FIFTEEN
    seen.executes("not_sent")
    assert seen.standing() == ("screening", None)


def test_a_word_about_an_earlier_release_frees_nothing() -> None:
    seen = reserved()
    seen.executes("not_sent")
    before = seen.of()
    seen.executes("not_sent", release_no=1)
    assert (seen.of().released, seen.of().release_no) == (True, before.release_no) == (True, 2)


@pytest.mark.parametrize("doubt", ["unknown", "unresolved"])
def test_a_release_of_which_nothing_is_known_stays_one_and_says_so(doubt: str) -> None:
    seen = reserved()
    seen.executes(doubt)
    assert seen.standing() == ("processing", doubt)
    seen.now = NOW + 40 * DAY
    seen.fires("reservation")
    seen.hears(cancelled())
    assert (seen.standing(), seen.all_said(PayoutReleased)) == (("processing", doubt), [])
    assert len(seen.all_said(PayoutReady)) == 1


ENDINGS = (
    (["submitted"], ("submitted", None)),
    (["submitted", "paid"], ("paid", None)),
    (["failed"], ("failed", "account_closed")),
    (["submitted", "failed"], ("failed", "account_closed")),
    (["submitted", "paid", "returned"], ("returned", "account_closed")),
    (["unknown", "submitted", "paid"], ("paid", None)),
    (["unresolved", "failed"], ("failed", "account_closed")),
)


@pytest.mark.parametrize(("words", "standing"), ENDINGS, ids=["-".join(words) for words, _ in ENDINGS])
def test_an_end_is_the_executors_word(words: list[str], standing: tuple[str, str | None]) -> None:
    seen = reserved()
    for word in words:
        seen.executes(word)
    assert seen.standing() == standing
    assert seen.all_said(PayoutReleased) == []  # the wallet hears the executor itself


def test_a_later_turn_moves_what_has_ended() -> None:
    seen = reserved()
    for word in ("submitted", "paid", "returned"):
        seen.executes(word)
    seen.executes("submitted", turn=2)
    seen.executes("paid", turn=2)
    assert seen.told()[-3:] == ["returned", "submitted", "paid"]


def test_a_late_yes_to_what_was_cancelled_is_told_as_what_it_is() -> None:
    """The provider had said that it did nothing, and has paid."""
    seen = reserved()
    seen.hears(cancelled())
    seen.executes("not_sent", code="withdrawn")
    seen.executes("submitted", release_no=1)
    assert seen.told()[-2:] == ["cancelled", "submitted"]
    assert len(seen.all_said(PayoutReady)) == 1


def test_a_late_yes_ends_the_release_that_follows() -> None:
    seen = reserved()
    seen.executes("not_sent")
    seen.executes("submitted", release_no=1)
    assert seen.standing() == ("submitted", None)
    seen.executes("paid", release_no=1)
    assert len(seen.all_said(PayoutReady)) == 2


@pytest.mark.parametrize("word", ["submitted", "not_sent", "unknown"])
def test_what_the_executor_says_of_a_pay_out_that_nobody_asked_for_is_a_fault(word: str) -> None:
    with pytest.raises(Permanent, match="unknown_payout"):
        room().hears(reserved().execution(word))


# ── any order ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whatever_happens_first_it_is_released_once_and_only_when_all_gates_are_open() -> None:
    """Clearance, freeze and its end, approvals: in each order."""
    for order in permutations(("screen", "approve", "freeze", "thaw")):
        seen = asked(**NEEDS_ONE)
        seen.screens()
        seen.reserves()
        state = "active"
        for number, what in enumerate(order, start=2):
            if what == "screen":
                seen.screens()
            elif what == "approve":
                seen.approves()
            else:
                state = "frozen" if what == "freeze" else "active"
                seen.hears(seller(seller_revision=number, state=state))
            is_open = state == "active" and seen.of().approvals_missing == 0
            assert seen.of().released == (is_open or bool(seen.all_said(PayoutReady)))
        if state == "frozen":
            seen.hears(seller(seller_revision=9))
        assert [event.amount for event in seen.all_said(PayoutReady)] == [euro(12000)]


def test_a_status_is_told_once_for_each_change() -> None:
    seen = asked(**NEEDS_ONE)
    seen.screens("held")
    seen.screens("held")
    seen.screens()
    seen.reserves()
    seen.approves("bob")
    seen.hears(frozen())
    seen.executes("not_sent", code="withdrawn")
    seen.hears(seller(seller_revision=3, state="closed"))
    seen.hears(thawed(4))
    told = [
        "screening",
        "in_review",
        "reserving",
        "awaiting_approval",
        "processing",
        "on_hold",
        "on_hold",
        "processing",
    ]
    assert seen.told() == told == seen.history()
