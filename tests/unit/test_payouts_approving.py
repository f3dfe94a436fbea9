"""Who may approve a pay-out, what they approve, how many it takes, and until when."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import Permanent
from schemas.money import Money
from schemas.payouts import PayoutReady
from schemas.persons import person_of
from schemas.sellers import DestinationChange
from tests.unit.payouts_room import (
    DAY,
    HOUR,
    IBAN,
    NOW,
    Room,
    asked,
    euro,
    frozen,
    names,
    requested,
    reserved,
    room,
    seller,
)
from topics.payout_rules import PayoutRules

TWO: dict[str, Any] = {"approvals": [{"currency": "EUR", "above": "100.00", "persons": 2}]}
ONE: dict[str, Any] = {"approvals": [{"currency": "EUR", "above": "100.00", "persons": 1}]}


def test_nothing_is_released_before_as_many_persons_as_the_amount_needs_have_approved_it() -> None:
    seen = reserved(**TWO)
    assert seen.standing() == ("awaiting_approval", None)
    assert seen.approves("bob") == []
    assert seen.standing() == ("awaiting_approval", None)
    assert names(seen.approves("carla")) == ["PayoutReady", "PayoutStatusChanged"]
    assert (seen.releases()[0].approvals_needed, seen.releases()[0].approvals) == (2, 2)


WHY_NOT = (
    ("a hash of something else", {"sha256": "0" * 64}, "approval_stale"),
    ("the requester", {"approver": "shop"}, "same_person"),
    ("the requester with another key", {"approver": "Shop (key ffffffff)"}, "same_person"),
    ("the requester in full-width letters", {"approver": " \uff33\uff28\uff2f\uff30"}, "same_person"),
    ("the requester as an operator", {"approver": "operator Shop"}, "same_person"),
    ("a stale hash by the requester", {"approver": "shop", "sha256": "0" * 64}, "approval_stale"),
)


@pytest.mark.parametrize(("changes", "why"), [case[1:] for case in WHY_NOT], ids=[case[0] for case in WHY_NOT])
def test_what_does_not_count_is_kept_with_the_reason(changes: dict[str, Any], why: str) -> None:
    seen = reserved(**ONE)
    assert seen.approves(**{"approver": "bob", **changes}) == []
    assert (seen.approvals()[-1][1], seen.standing()) == (why, ("awaiting_approval", None))


def test_a_person_counts_once_in_whatever_letters() -> None:
    seen = reserved(**TWO)
    for name in ("bob", "BOB", "Bob (key 1a2b3c4d)"):
        seen.approves(name)
    assert [why for _, why in seen.approvals()] == [None, "already_counted", "already_counted"]
    assert seen.all_said(PayoutReady) == []


def test_names_of_one_person_are_one() -> None:
    assert person_of("Straße (key 1)") == person_of(" STRASSE")
    assert person_of("anna") != person_of("hanna")


@pytest.mark.parametrize("when", ["before the amount is fixed", "once it is released", "once it has ended"])
def test_an_approval_of_what_does_not_wait_counts_for_nothing(when: str) -> None:
    seen = asked(**ONE)
    if when != "before the amount is fixed":
        seen.screens()
        seen.reserves()
        seen.approves("bob")
    if when == "once it has ended":
        seen.executes("failed")
    seen.approves("carla")
    assert seen.approvals()[-1] == ("carla", "not_waiting")


def test_an_approval_before_the_reservation_does_not_count_later() -> None:
    seen = asked(**ONE)
    seen.approves("bob")
    seen.screens()
    seen.reserves()
    assert seen.standing() == ("awaiting_approval", None)


def test_one_rejection_ends_it_and_gives_the_money_back() -> None:
    seen = reserved(**TWO)
    seen.approves("bob")
    assert names(seen.approves("carla", decision="rejected")) == ["PayoutReleased", "PayoutStatusChanged"]
    assert (seen.standing(), seen.of().stopped_by) == (("rejected", None), "carla")


def test_whoever_has_approved_may_still_reject() -> None:
    seen = reserved(**TWO)
    seen.approves("bob")
    seen.approves("bob", decision="rejected")
    assert seen.standing() == ("rejected", None)


def test_a_rejection_counts_while_a_freeze_holds_back_what_was_approved() -> None:
    seen = reserved(**ONE)
    seen.hears(frozen())
    seen.approves("bob")
    assert seen.standing() == ("on_hold", "seller_frozen")
    seen.approves("carla", decision="rejected")
    assert seen.standing() == ("rejected", None)


@pytest.mark.parametrize("changes", [{"approver": "shop"}, {"sha256": "0" * 64}])
def test_a_rejection_that_does_not_count_ends_nothing(changes: dict[str, Any]) -> None:
    seen = reserved(**ONE)
    seen.approves(**{"decision": "rejected", **changes})
    assert seen.standing() == ("awaiting_approval", None)


def test_an_approval_of_a_pay_out_that_nobody_asked_for_is_a_dead_letter_that_stops_nothing() -> None:
    seen = reserved()
    with pytest.raises(Permanent) as error:
        room().hears(seen.approval("bob"))
    assert (error.value.code, error.value.ours) == ("unknown_payout", False)


# ── how many ─────────────────────────────────────────────────────────────────────────────────────────────────────────

RULES: dict[str, Any] = {
    "approvals": [
        {"currency": "EUR", "above": "10000.00", "persons": 2},
        {"currency": "EUR", "above": "1000.00", "persons": 1},
        {"currency": "JPY", "above": "0", "persons": 0},
    ]
}


@pytest.mark.parametrize(
    ("minor", "persons"), [(1, 0), (100000, 0), (100001, 1), (1000000, 1), (1000001, 2), (10**12, 2)]
)
def test_the_highest_limit_that_the_amount_exceeds_says_how_many(minor: int, persons: int) -> None:
    assert Room(rules=RULES).policy.persons(euro(minor)) == persons


def test_a_currency_without_a_rule_needs_one_person_and_a_rule_may_say_none() -> None:
    policy = Room(rules=RULES).policy
    assert (policy.persons(Money.parse("1.000", "BHD")), policy.persons(Money.parse("100000", "JPY"))) == (1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"approvals": [{"currency": "EUR", "above": "1", "persons": 1}]},
        {"approvals": [{"currency": "EUX", "above": "1.00", "persons": 1}]},
        {"approvals": [{"currency": "EUR", "above": "1.00", "persons": -1}]},
        {"minimum": {"JPY": "1.00"}},
        {"screening_life_s": 0},
        {"minimal": {}},
    ],
)
def test_rules_that_cannot_hold_stop_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        PayoutRules.model_validate(wrong)


# ── a destination that was just changed ──────────────────────────────────────────────────────────────────────────────


def just_changed(by: str = "mallory (key 99999999)", ago: Any = HOUR, **rules: Any) -> Room:
    seen = room(**rules)
    seen.hears(seller(seller_revision=2, destination_changed_by=by, destination_changed_at=NOW - ago))
    seen.hears(requested(requested_by="schedule"))
    seen.screens()
    seen.reserves()
    return seen


def test_whoever_has_just_changed_the_destination_may_not_approve_and_one_more_must() -> None:
    seen = just_changed(**ONE)
    for name in ("mallory", "bob"):
        seen.approves(name)
    assert (seen.approvals(), seen.standing()[0]) == ([("mallory", "same_person"), ("bob", None)], "awaiting_approval")
    seen.approves("carla")
    assert seen.standing() == ("processing", None)


def test_an_amount_that_needs_nobody_needs_one_where_the_destination_was_just_changed() -> None:
    assert just_changed().standing() == ("awaiting_approval", None)


def test_after_the_cooling_period_a_change_says_nothing() -> None:
    assert just_changed(ago=DAY).standing() == ("processing", None)
    assert just_changed(ago=DAY - HOUR).standing() == ("awaiting_approval", None)


def changed_by(*persons: str, ago: Any = HOUR) -> dict[str, Any]:
    """The destination was changed by each of them, one after the other."""
    changes = tuple(DestinationChange(each, NOW - ago) for each in persons)
    last = {"destination_changed_by": persons[-1], "destination_changed_at": NOW - ago}
    return {"destination_changes": changes, **last}


@pytest.mark.parametrize("ago", [HOUR, 30 * DAY])
def test_whoever_has_set_the_destination_may_not_approve_though_another_one_has_touched_it_since(ago: Any) -> None:
    seen = room(**ONE)
    seen.hears(seller(seller_revision=2, **changed_by("operator mallory", "dan (key 1a2b3c4d)", ago=ago)))
    seen.hears(requested())
    seen.screens()
    seen.reserves()
    for name in ("mallory", "dan"):
        seen.approves(name)
    assert seen.approvals() == [("mallory", "same_person"), ("dan", "same_person")]
    assert seen.standing()[0] == "awaiting_approval"


@pytest.mark.parametrize(
    ("vouched", "why_not"),
    [(NOW - 10 * DAY, None), (NOW - 31 * DAY, "same_person")],
    ids=["after the change", "before the change"],
)
def test_a_pay_out_that_others_have_approved_vouches_for_who_set_its_destination(
    vouched: Any, why_not: str | None
) -> None:
    seen = room(**ONE)
    seen.hears(seller(seller_revision=2, **changed_by("operator dan", ago=30 * DAY)))
    seen.state.vouched = {("s-1", IBAN.fingerprint): vouched, ("s-1", "another account"): NOW}
    seen.hears(requested())
    seen.screens()
    seen.reserves()
    seen.approves("dan")
    assert seen.approvals() == [("dan", why_not)]


# ── until when ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_nobody_approves_in_a_week_expires_and_gives_the_money_back() -> None:
    seen = reserved(**ONE)
    seen.now = NOW + 7 * DAY
    assert names(seen.fires("approval")) == ["PayoutReleased", "PayoutStatusChanged"]
    assert seen.standing() == ("expired", "not_approved_in_time")


def test_an_approval_that_comes_with_the_end_of_the_week_is_too_late_in_any_order() -> None:
    seen = reserved(**TWO)
    seen.approves("bob")
    seen.now = NOW + 7 * DAY
    seen.approves("carla")
    assert seen.standing()[0] in ("processing", "screening")  # all have approved: nothing waits for that any more
    assert seen.fires("approval") == []


def test_what_is_approved_in_time_does_not_expire_by_that_timer() -> None:
    seen = reserved(**ONE)
    seen.hears(frozen())
    seen.approves("bob")
    seen.now = NOW + 8 * DAY
    assert seen.fires("approval") == []
    assert seen.standing() == ("on_hold", "seller_frozen")
