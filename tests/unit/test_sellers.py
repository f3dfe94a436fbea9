"""What may be set of a seller, and what it comes to: fees by plan, and the terms of orders."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.payments.policy import Policy
from schemas.events import OrderPlaced, PaymentRefused, ScreeningRequested
from schemas.fees import FeePlan, Reserve
from schemas.money import Money
from schemas.requests import field_errors
from schemas.sellers import SellerRequest, SellerSet
from tests.unit.payment_cases import POLICY, Story, captured, cleared, placed_story, requested

PLAN = FeePlan("2.90", (Money(30, "EUR"), Money(25, "USD")))


def seller(account: str = "s1", revision: int = 1, **terms: Any) -> SellerSet:
    return SellerSet(seller_account=account, owner="shop", seller_revision=revision, **({"state": "active"} | terms))


def without_fee(checkout_id: str = "c1", prefix: str = "o", amount: str = "10.00") -> Any:
    order = {"payment_order_id": f"{prefix}1", "seller_account": "s1", "amount": amount, "currency": "EUR"}
    return requested(checkout_id, payment_orders=(order,))


# ── the fee by plan ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("plan", "gross", "fee"),
    [
        (PLAN, Money(1000, "EUR"), 59),  # 29 + 30
        (PLAN, Money(1034, "EUR"), 59),  # 29.986: in favour of the seller
        (PLAN, Money(1000, "USD"), 54),
        (PLAN, Money(1000, "JPY"), 29),  # no fixed amount in yen
        (PLAN, Money(20, "EUR"), 20),  # never more than the gross
        (FeePlan("0.00", ()), Money(1000, "EUR"), 0),
        (FeePlan("100.00", ()), Money(1000, "EUR"), 1000),
        (FeePlan("0.01", ()), Money(9_999, "EUR"), 0),
        (FeePlan("0.01", ()), Money(10_000, "EUR"), 1),
        (FeePlan("2.9", ()), Money(1000, "EUR"), 29),  # as an older record may write it
    ],
)
def test_a_fee_by_plan_is_rounded_down_and_at_most_the_gross(plan: FeePlan, gross: Money, fee: int) -> None:
    assert plan.fee(gross) == Money(fee, gross.currency)


@given(st.integers(0, 10_000), st.integers(0, 10**15), st.integers(0, 10**6))
def test_no_fee_takes_more_than_its_share_and_the_fixed_amount_nor_a_unit_less(
    hundredths: int, gross: int, fixed: int
) -> None:
    plan = FeePlan(f"{hundredths // 100}.{hundredths % 100:02}", (Money(fixed, "EUR"),))
    fee = plan.fee(Money(gross, "EUR")).minor
    assert fee == gross or 0 <= gross * hundredths - (fee - fixed) * 10_000 < 10_000


# ── what payments does with it ───────────────────────────────────────────────────────────────────────────────────────


def test_an_order_that_names_no_fee_has_the_sellers_and_one_that_names_a_fee_keeps_it() -> None:
    story = Story()
    story.hears(seller(fee_plan=PLAN), without_fee(), cleared(), requested("c2", orders=1, prefix="p"), cleared("c2"))
    assert [order.fee.minor for order in story.placed()] == [59, 100]
    assert [order.net.minor for order in story.placed()] == [941, 900]


def test_an_order_without_a_fee_of_a_seller_without_a_plan_has_none() -> None:
    story = Story()
    story.hears(without_fee(), cleared())
    assert [order.fee.minor for order in story.placed()] == [0]


def test_orders_keep_the_terms_by_which_they_were_asked_for() -> None:
    story = Story()
    story.hears(seller(fee_plan=PLAN), without_fee(), seller(revision=2, fee_plan=FeePlan("5.00")), cleared())
    story.hears(without_fee("c2", "p"), cleared("c2"))
    assert [order.fee.minor for order in story.placed()] == [59, 50]


def test_an_older_record_behind_a_newer_one_changes_nothing() -> None:
    story = Story()
    story.hears(seller(revision=2, hold_days=7), seller(revision=1, hold_days=2), without_fee(), cleared())
    assert [order.hold_days for order in story.placed()] == [7]


def test_a_sellers_terms_travel_with_its_orders_to_their_executions() -> None:
    reserve = Reserve("10.00", 90)
    story = Story()
    rules: dict[str, Any] = {"fee_refund": "none", "fee_chargeback": "full", "dispute_fee_on": "platform"}
    story.hears(seller(hold_days=2, reserve=reserve, **rules), requested(orders=2), cleared())
    first, second = story.placed()
    assert (first.hold_days, first.reserve) == (2, reserve)
    assert (first.fee_refund, first.fee_chargeback, first.dispute_fee_on) == ("none", "full", "platform")
    assert (second.hold_days, second.reserve, second.fee_refund) == (None, None, None), "s2 is nobody's"
    assert captured(first).terms() == first.terms()


def test_what_a_seller_says_goes_before_what_the_installation_says() -> None:
    house = Policy(3600, b"k", fee_refund="full", fee_chargeback="full", dispute_fee_on="platform")
    own = seller(fee_refund="proportional", dispute_fee_on="seller")
    terms = {"fee_refund": None, "fee_chargeback": "full", "dispute_fee_on": None, "hold_days": None, "reserve": None}
    assert house.terms(own) == terms
    assert POLICY.terms(seller()) == dict.fromkeys(terms), "as an order says nothing of them"


def test_an_order_of_a_seller_that_nobody_registered_says_nothing_new() -> None:
    _, (order,) = placed_story(orders=1)
    said = json.loads(order.model_dump_json(exclude_none=True))
    assert said.keys() == set(OrderPlaced.model_fields) - {
        "capture",
        "return_url",
        "fee_refund",
        "fee_chargeback",
        "dispute_fee_on",
        "hold_days",
        "reserve",
    }


@pytest.mark.parametrize("known", [True, False])
def test_a_closed_seller_takes_no_new_payment_and_keeps_those_that_were_asked_for(known: bool) -> None:
    story = Story()
    story.hears(*([requested()] if known else []), seller(state="closed"), requested())
    assert [said.code for said in story.all_said(PaymentRefused)] == ([] if known else ["seller_closed"])
    assert len(story.all_said(ScreeningRequested)) == int(known)


def test_a_frozen_seller_is_credited_as_always() -> None:
    story = Story()
    story.hears(seller(state="frozen"), requested(orders=1), cleared())
    assert len(story.placed()) == 1


def test_where_sellers_must_be_registered_a_payment_for_another_is_refused() -> None:
    story = Story(Policy(3600, b"k" * 32, sellers="refuse"))
    story.hears(seller("s1"), requested(orders=2), requested("c2", orders=1, prefix="p"))
    (said,) = story.all_said(PaymentRefused)
    assert (said.checkout_id, said.code, said.detail) == ("c1", "unknown_seller", "seller_account s2")
    assert [said.checkout_id for said in story.all_said(ScreeningRequested)] == ["c2"]


# ── what may be asked for ────────────────────────────────────────────────────────────────────────────────────────────


def asked(text: str) -> str:
    """The code and the field of what is wrong; nothing where nothing is."""
    try:
        SellerRequest.model_validate_json(text)
    except ValidationError as error:
        first = field_errors(error, text.encode())[0]
        return f"{first.code} {first.field}"
    return ""


FIXED = '{"amount": "0.30", "currency": "EUR"}'


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{}", ""),
        ('{"hold_days": 180, "reserve": {"percent": "100", "days": 365}}', ""),
        ('{"hold_days": 181}', "invalid_days hold_days"),
        ('{"hold_days": -1}', "invalid_days hold_days"),
        ('{"hold_days": "2"}', "invalid_days hold_days"),
        ('{"reserve": {"percent": "10", "days": 366}}', "invalid_days reserve.days"),
        ('{"reserve": {"percent": "10", "days": 0}}', "invalid_days reserve.days"),
        ('{"reserve": {"percent": "100.01", "days": 1}}', "invalid_percent reserve.percent"),
        ('{"reserve": {"percent": "10"}}', "missing_field reserve.days"),
        ('{"fee_plan": {"percent": "101"}}', "invalid_percent fee_plan.percent"),
        ('{"fee_plan": {"percent": 2.9}}', "invalid_percent fee_plan.percent"),
        ('{"fee_plan": {"percent": "-1"}}', "invalid_percent fee_plan.percent"),
        ('{"fee_plan": {"percent": "2.90000000000000000000"}}', "invalid_percent fee_plan.percent"),
        ('{"fee_plan": {"percent": "2,9"}}', "invalid_percent fee_plan.percent"),
        ('{"fee_plan": {"percent": "2.9", "fixed": [{"amount": "0.3", "currency": "EUR"}]}}', "wrong_decimals"),
        ('{"fee_plan": {"percent": "2.9", "fixed": [{"amount": "-0.30", "currency": "EUR"}]}}', "not_positive"),
        ('{"fee_plan": {"percent": "2.9", "fixed": [{"amount": "0.30", "currency": "XXX"}]}}', "unknown_currency"),
        ('{"fee_plan": {"percent": "2.9", "fixed": [' + f"{FIXED}, {FIXED}]}}}}", "repeated_currency fee_plan.fixed"),
        ('{"fee_refund": "half"}', "invalid_fee_rule fee_refund"),
        ('{"dispute_fee_on": "buyer"}', "invalid_fee_rule dispute_fee_on"),
        ('{"state": "open"}', "invalid_state state"),
        ('{"country": "de"}', "invalid_country country"),
        ('{"name": "%s"}' % ("x" * 201), "invalid_text name"),
        ('{"name": "4111 1111 1111 1111"}', "card_number name"),
        ('{"seller_account": "s1"}', "unknown_field seller_account"),
    ],
)
def test_a_request_about_a_seller_is_taken_or_names_the_field_at_fault(text: str, wrong: str) -> None:
    assert asked(text).startswith(wrong)
    assert bool(asked(text)) == bool(wrong)


def test_the_same_plan_written_otherwise_is_the_same() -> None:
    fixed = ('{"amount": "0.30", "currency": "USD"}', FIXED)
    texts = (
        '{"fee_plan": {"percent": "2.9", "fixed": [' + ",".join(fixed) + "]}}",
        '{"state": "active", "fee_plan": {"percent": "2.90", "fixed": [' + ",".join(reversed(fixed)) + "]}}",
    )
    first, second = (SellerRequest.model_validate_json(text) for text in texts)
    assert first == second
