"""Risk: the rules in order of precedence, and the same answer to the same checkout."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from consumers.risk.decide import Heard, decide
from consumers.risk.parties import Named
from consumers.risk.reviewing import Hold, Review
from consumers.risk.settings import RiskLimits
from consumers.risk.state import Screening, Screenings, payment_key
from schemas.currencies import DECIMALS
from schemas.envelope import EventId
from schemas.errors import Permanent
from schemas.events import RiskCleared, RiskDecided, RiskHeld, RiskRefused, RiskReviewed, ScreeningRequested
from schemas.money import Money
from topics.runtime.shape.consumer import Cause, Decision

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
LIMITS = RiskLimits(
    checkout_amount_max=Decimal("1000"), buyer_checkouts_per_hour_max=3, blocked_countries=frozenset({"KP"})
)
LISTED, BLOCKED, TOO_MUCH = {"name": "Mallory Doe"}, {"country": "KP"}, {"totals": (Money(100_001, "EUR"),)}


def screening(checkout_id: str = "c1", **more: Any) -> ScreeningRequested:
    usual = {
        "checkout_id": checkout_id,
        "owner": "shop",
        "buyer_account": "b1",
        "name": "Ada Lovelace",
        "country": "GB",
        "totals": (Money(100_000, "EUR"),),
        "sellers": ("s1",),
    }
    return ScreeningRequested(**{**usual, **more})


def known(checkouts: int = 0) -> Screenings:
    """Mallory is listed; the buyer has had so many checkouts within the hour."""
    recent = {"b1": checkouts} if checkouts else {}
    return Screenings(recent=recent, listed={"Mallory Doe": "sanctions@bbb"}, lists="pep@aaa,sanctions@bbb")


def screen(state: Screenings, event: Heard, limits: RiskLimits = LIMITS, by: str = "cause") -> Decision:
    if isinstance(event, ScreeningRequested) and event.name:
        state.named[payment_key(event.checkout_id)] = Named("buyer", event.buyer_account, event.name)
    decision = decide(state, event, Cause(EventId(by), "screenings.v1", None, NOW, 0), limits)
    for change in decision.changes:
        state.fold(change)  # type: ignore[arg-type]
    return decision


def said(decision: Decision) -> RiskDecided:
    [event] = decision.events
    assert isinstance(event, RiskDecided)
    return event


def test_nothing_against_it_clears_it() -> None:
    cleared = said(screen(known(), screening()))
    assert isinstance(cleared, RiskCleared)
    assert (cleared.rule, cleared.score, cleared.list_version) == ("none", 0, "pep@aaa,sanctions@bbb")


PRECEDENCE = [
    # each checkout breaks this rule and every rule below it
    ("listed_name", {**LISTED, **BLOCKED, **TOO_MUCH}),
    ("blocked_country", {**BLOCKED, **TOO_MUCH}),
    ("amount_limit", {**TOO_MUCH}),
    ("velocity_limit", {}),
]


@pytest.mark.parametrize(("rule", "asked"), PRECEDENCE)
def test_the_first_rule_that_speaks_refuses(rule: str, asked: dict[str, Any]) -> None:
    refused = said(screen(known(checkouts=3), screening(**asked)))
    assert isinstance(refused, RiskRefused)
    assert (refused.rule, refused.score) == (rule, 100)


def test_a_listed_name_says_which_list_holds_it() -> None:
    assert said(screen(known(), screening(**LISTED))).list_version == "sanctions@bbb"


def test_a_buyer_without_name_or_country_is_screened_by_number_alone() -> None:
    assert said(screen(known(), screening(name=None, country=None))).rule == "none"


@pytest.mark.parametrize(
    ("total", "rule"),
    [
        (Money(100_000, "EUR"), "none"),
        (Money(100_001, "EUR"), "amount_limit"),
        (Money(1000, "JPY"), "none"),
        (Money(1001, "JPY"), "amount_limit"),
        (Money(1_000_000, "BHD"), "none"),
        (Money(1_000_001, "BHD"), "amount_limit"),
    ],
)
def test_the_amount_limit_counts_in_the_currencys_own_major_units(total: Money, rule: str) -> None:
    assert said(screen(known(), screening(totals=(Money(1, "USD"), total)))).rule == rule


@pytest.mark.parametrize(
    ("amount", "currency", "rule"),
    [
        ("1250000", "VND", "none"),  # some 48 dollars
        ("20000000000", "VND", "none"),
        ("20000000001", "VND", "amount_limit"),
        ("1000000.000", "KWD", "amount_limit"),  # some 3.2 million dollars
        ("200000.000", "KWD", "none"),
        ("1000000.00", "EUR", "none"),
        ("1000000.01", "USD", "amount_limit"),
        ("200000000", "JPY", "none"),
    ],
)
def test_each_currency_has_a_limit_of_its_own_where_nobody_says(amount: str, currency: str, rule: str) -> None:
    event = screening(totals=(Money.parse(amount, currency),))
    decision = decide(known(), event, Cause(EventId("cause"), "screenings.v1", None, NOW, 0), RiskLimits())
    assert said(decision).rule == rule


@pytest.mark.parametrize("currency", sorted(DECIMALS))
def test_every_currency_that_can_be_charged_takes_a_small_sum_and_refuses_a_monstrous_one(currency: str) -> None:
    cause = Cause(EventId("cause"), "screenings.v1", None, NOW, 0)
    limit = int(RiskLimits().checkout_amount_max[currency]) * 10 ** DECIMALS[currency]
    for minor, rule in ((limit // 1000, "none"), (limit + 1, "amount_limit")):
        event = screening(totals=(Money(minor, currency),))
        assert said(decide(known(), event, cause, RiskLimits())).rule == rule


def test_a_buyers_checkouts_add_up_within_one_batch() -> None:
    state = known(checkouts=1)
    rules = [said(screen(state, screening(f"c{number}"))).rule for number in range(4)]
    assert rules == ["none", "none", "velocity_limit", "velocity_limit"]


def test_other_buyers_are_not_counted() -> None:
    assert said(screen(known(checkouts=3), screening(buyer_account="b2"))).rule == "none"


def test_a_checkout_screened_before_gets_the_same_answer() -> None:
    state = known()
    first = said(screen(state, screening()))
    again = screen(state, screening(**BLOCKED))
    assert said(again) == first
    assert not again.changes


def test_the_kept_row_holds_no_name() -> None:
    decision = screen(known(), screening(**LISTED))
    [row] = [change for change in decision.changes if isinstance(change, Screening)]
    assert "Mallory" not in repr(row)
    assert (row.outcome, row.rule) == ("refused", "listed_name")


# ── what waits for a person ──────────────────────────────────────────────────────────────────────────────────────────

REVIEWING = LIMITS.model_copy(
    update={"checkout_amount_review": {"EUR": Decimal("100")}, "lists_required": frozenset({"ofac"})}
)
SMALL = {"totals": (Money(10_000, "EUR"),)}


def with_list(*names: str) -> Screenings:
    return Screenings(lists="ofac@abc", current=frozenset(names))


def reviewed(decision: str = "clear", actor: str = "anna", **more: Any) -> RiskReviewed:
    usual = {"subject": "c1", "screen_no": 1, "decision": decision, "actor": actor, "reason": "invoice seen"}
    return RiskReviewed(**{**usual, **more})


HOLDS = [
    # each checkout breaks this rule and every rule below it
    ("refused", "blocked_country", BLOCKED, ()),
    ("held", "no_list", {}, ()),
    ("held", "amount_review", {}, ("ofac",)),
    ("cleared", "none", SMALL, ("ofac",)),
]


@pytest.mark.parametrize(("outcome", "rule", "asked", "lists"), HOLDS)
def test_what_refuses_goes_before_what_holds(
    outcome: str, rule: str, asked: dict[str, Any], lists: tuple[str, ...]
) -> None:
    decision = screen(with_list(*lists), screening(**asked), REVIEWING)
    kind = {"refused": RiskRefused, "held": RiskHeld, "cleared": RiskCleared}[outcome]
    assert (type(said(decision)), said(decision).rule) == (kind, rule)
    assert [change.outcome for change in decision.changes if isinstance(change, Screening)] == [outcome]


def test_a_missing_list_holds_every_payment_and_never_clears_one() -> None:
    assert isinstance(said(screen(with_list("eu"), screening(**SMALL), REVIEWING)), RiskHeld)
    assert isinstance(said(screen(with_list("eu", "ofac"), screening(**SMALL), REVIEWING)), RiskCleared)


def test_an_amount_is_reviewed_in_the_currencies_that_are_named_alone() -> None:
    state = with_list("ofac")
    assert said(screen(state, screening(totals=(Money(10_001, "EUR"),)), REVIEWING)).rule == "amount_review"
    assert said(screen(state, screening("c2", totals=(Money(90_000, "USD"),)), REVIEWING)).rule == "none"


def test_a_persons_decision_is_said_with_the_rule_that_held_and_that_person() -> None:
    state = with_list("ofac")
    screen(state, screening(), REVIEWING)
    cleared = said(screen(state, reviewed(), REVIEWING, "review"))
    assert isinstance(cleared, RiskCleared)
    assert (cleared.rule, cleared.actor, cleared.list_version) == ("amount_review", "anna", "ofac@abc")


def test_the_first_review_counts_and_a_second_is_kept_and_changes_nothing() -> None:
    state = with_list("ofac")
    screen(state, screening(), REVIEWING)
    screen(state, reviewed("refuse"), REVIEWING, "first")
    second = screen(state, reviewed("clear", "bert"), REVIEWING, "second")
    [kept] = second.changes
    assert isinstance(kept, Review)
    assert (kept.counts, kept.actor, second.events) == (False, "bert", ())


def test_a_checkout_that_is_asked_about_again_hears_what_was_said_last() -> None:
    state = with_list("ofac")
    screen(state, screening(), REVIEWING)
    assert isinstance(said(screen(state, screening(), REVIEWING)), RiskHeld)
    screen(state, reviewed(), REVIEWING, "review")
    again = screen(state, screening(), REVIEWING)
    assert (type(said(again)), said(again).actor, again.changes) == (RiskCleared, "anna", ())


@pytest.mark.parametrize("wrong", [{"subject": "c2"}, {"screen_no": 2}, {"about": "buyer"}])
def test_a_review_of_what_is_not_held_is_a_dead_letter(wrong: dict[str, Any]) -> None:
    state = with_list("ofac")
    screen(state, screening(), REVIEWING)
    with pytest.raises(Permanent, match="unknown_screening"):
        screen(state, reviewed(**wrong), REVIEWING, "review")


def test_a_review_of_a_buyer_says_nothing_about_any_payment() -> None:
    state = with_list("ofac")
    state.fold(Hold("buyer", "b1", 1, "near_hit", 93, "ofac@abc", "b1", None, NOW))
    decision = screen(state, reviewed(about="buyer", subject="b1"), REVIEWING, "review")
    assert (decision.events, len(decision.changes)) == ((), 1)
