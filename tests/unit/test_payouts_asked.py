"""Requests for pay-outs: each refusal, which of two comes first, and what a refused request leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import Permanent
from schemas.payouts import PayoutCancelRequested, PayoutRefused, PayoutRequested, PayoutScreeningRequested
from tests.unit.payouts_room import HARBOUR, NOW, Room, asked, cancelled, names, requested, reserved, room, seller
from topics.runtime.shape.consumer import Broken

OF_ITALY = HARBOUR.model_copy(update={"countries": frozenset({"IT"})})
OF_DOLLARS = HARBOUR.model_copy(update={"currencies": frozenset({"USD"})})

# In order of precedence: what is so, and how it is refused. Each case has all that stand below it, too.
LADDER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("unknown_seller", {"owner": "another"}),
    ("seller_closed", {"state": "closed"}),
    ("below_minimum", {"minimum": {"EUR": "120.01"}}),
    ("no_destination", {"destination": None}),
    ("blocked_country", {"blocked": frozenset({"DE"})}),
    ("no_provider", {"providers": (OF_ITALY, OF_DOLLARS)}),
)


def with_faults(faults: dict[str, Any]) -> Room:
    terms = {name: faults[name] for name in ("owner", "state", "destination") if name in faults}
    made = Room(providers=faults.get("providers", (HARBOUR,)), blocked=faults.get("blocked", frozenset()))
    made.rules |= {name: faults[name] for name in ("minimum",) if name in faults}
    made.hears(seller(**terms))
    return made


@pytest.mark.parametrize("place", range(len(LADDER)), ids=[code for code, _ in LADDER])
def test_a_refusal_comes_before_those_below_it(place: int) -> None:
    faults: dict[str, Any] = {}
    for _, fault in LADDER[place:]:
        faults |= fault
    seen = with_faults(faults)
    (refused,) = seen.hears(requested())
    assert isinstance(refused, PayoutRefused)
    assert (refused.code, refused.owner, refused.payout_id) == (LADDER[place][0], "shop", "po-1")
    assert seen.state.payouts == {}


def test_another_owners_seller_is_told_apart_from_none_by_nobody() -> None:
    none, others = Room(), with_faults({"owner": "another"})
    assert none.hears(requested()) == others.hears(requested())


def test_a_frozen_sellers_pay_out_is_taken_up() -> None:
    seen = with_faults({"state": "frozen"})
    assert names(seen.hears(requested())) == ["PayoutScreeningRequested", "PayoutStatusChanged"]


def test_all_is_not_refused_for_the_minimum_here() -> None:
    seen = room(minimum={"EUR": "120.01"})
    assert "PayoutRefused" not in names(seen.hears(requested(amount="all")))


def test_a_refused_id_may_be_asked_for_again() -> None:
    seen = Room()
    seen.hears(requested())
    seen.hears(seller())
    assert names(seen.hears(requested())) == ["PayoutScreeningRequested", "PayoutStatusChanged"]


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

OTHER = {"amount": "120.01", "currency": "USD", "seller_account": "s-2", "description": "May"}


@pytest.mark.parametrize("field", OTHER)
def test_a_known_id_with_other_contents_is_a_conflict(field: str) -> None:
    seen = asked()
    (refused,) = seen.hears(requested(**{field: OTHER[field]}))
    assert isinstance(refused, PayoutRefused)
    assert (refused.code, refused.owner) == ("contents_conflict", "shop")
    assert seen.of().currency == "EUR"


def test_another_owner_hears_that_the_id_is_taken_and_nothing_more() -> None:
    seen = asked()
    (refused,) = seen.hears(requested(owner="another"))
    assert isinstance(refused, PayoutRefused)
    assert (refused.code, refused.owner, refused.detail) == ("id_taken", "another", "payout_id: this id is taken")


def test_who_asks_and_when_is_no_part_of_the_contents() -> None:
    seen = asked()
    assert seen.hears(requested(requested_by="shop (key ffffffff)", received_at=NOW)) == []


def test_an_id_of_another_owner_goes_before_all_else() -> None:
    seen = asked()
    seen.hears(seller(seller_revision=2, state="closed"))
    (refused,) = seen.hears(requested(owner="another", seller_account="s-9"))
    assert isinstance(refused, PayoutRefused)
    assert refused.code == "id_taken"


# ── an upstream's own topic ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_upstream_is_the_owner_of_what_comes_by_its_topic() -> None:
    seen = room()
    seen.hears(requested(owner=None, requested_by=None), upstream="shop")
    assert (seen.of().owner, seen.of().requested_by) == ("shop", "shop")


@pytest.mark.parametrize(
    ("claimed", "code"),
    [
        ({"owner": "shop"}, "owner_claimed"),
        ({"owner": None, "requested_by": "alice"}, "person_claimed"),
        ({"owner": None, "requested_by": None, "received_at": NOW}, "time_claimed"),
    ],
)
def test_an_upstream_may_not_say_what_the_doors_alone_say(claimed: dict[str, Any], code: str) -> None:
    seen = room()
    (refused,) = seen.hears(requested(**claimed), upstream="shop")
    assert isinstance(refused, PayoutRefused)
    assert (refused.code, refused.owner) == (code, "shop")


@pytest.mark.parametrize("kind", [PayoutRequested, PayoutCancelRequested])
def test_a_message_that_breaks_the_contract_is_refused_to_its_sender(kind: type[Any]) -> None:
    broken = Broken(kind, "auto~1", None, "payout_id", "reserved_id", "an id must not begin with auto~", {})
    (refused,) = Room().hears(broken, upstream="shop")
    assert isinstance(refused, PayoutRefused)
    assert (refused.payout_id, refused.owner, refused.code) == ("auto~1", "shop", "reserved_id")


def test_a_broken_message_of_nobody_is_a_dead_letter_that_stops_nothing() -> None:
    broken = Broken(PayoutRequested, "po-1", None, "amount", "invalid_amount", "not a number", {})
    with pytest.raises(Permanent) as error:
        Room().hears(broken)
    assert (error.value.code, error.value.ours) == ("malformed", False)


# ── cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cancel_before_the_reservation_ends_it_with_nothing_to_give_back() -> None:
    seen = asked()
    assert names(seen.hears(cancelled())) == ["PayoutStatusChanged"]
    assert seen.standing() == ("cancelled", None)


def test_a_cancel_while_the_wallet_is_asked_gives_up_what_it_may_reserve() -> None:
    seen = asked()
    seen.screens()
    assert names(seen.hears(cancelled())) == ["PayoutReleased", "PayoutStatusChanged"]
    assert seen.reserves() == []  # the wallet hears the rest
    assert seen.standing() == ("cancelled", None)


def test_a_cancel_after_the_release_asks_not_to_send_it_and_ends_it_once_that_is_sure() -> None:
    seen = reserved()
    assert names(seen.hears(cancelled())) == ["PayoutWithdrawn"]
    assert seen.standing() == ("processing", None)
    assert seen.hears(cancelled()) == []
    assert names(seen.executes("not_sent", code="withdrawn")) == ["PayoutReleased", "PayoutStatusChanged"]
    assert seen.standing() == ("cancelled", None)


def test_a_cancel_that_is_too_late_is_told_with_the_submission() -> None:
    seen = reserved()
    seen.hears(cancelled())
    seen.executes("submitted")
    assert seen.standing() == ("submitted", "too_late")
    seen.executes("paid")
    assert seen.standing() == ("paid", None)


def test_a_cancel_of_what_has_left_is_told_and_changes_nothing() -> None:
    seen = reserved()
    seen.executes("submitted")
    before = seen.of()
    (told,) = seen.hears(cancelled())
    assert (told.status, told.code) == ("submitted", "too_late")  # type: ignore[union-attr]
    assert seen.of() == before


def test_a_cancel_of_what_is_cancelled_says_nothing() -> None:
    seen = asked()
    seen.hears(cancelled())
    assert seen.hears(cancelled()) == []


@pytest.mark.parametrize("owner", ["shop", "another"])
def test_a_cancel_of_what_one_does_not_have_is_refused_alike(owner: str) -> None:
    seen = asked() if owner == "another" else room()
    (refused,) = seen.hears(cancelled(owner=owner))
    assert isinstance(refused, PayoutRefused)
    assert (refused.code, refused.detail) == ("unknown_payout", "payout_id: you have no such pay-out")


def test_a_cancelled_pay_out_is_never_asked_about_again() -> None:
    seen = asked()
    seen.hears(cancelled())
    seen.screens("cleared")
    seen.hears(requested())
    assert len(seen.all_said(PayoutScreeningRequested)) == 1
    assert seen.standing() == ("cancelled", None)
