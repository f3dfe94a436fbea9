"""Rules in settings → which PSP gets an order."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from consumers.executor.routing import Routing, scheme_of
from consumers.executor.settings import ExecutorSettings, RoutingRule
from schemas.money import Money
from tests.unit.executor_cases import order
from topics.settings import PspAccount, SettingsError

NORTH = PspAccount(name="north", adapter="northpay", url="http://127.0.0.1:1", api_key="k")
SOUTH = PspAccount(name="south", adapter="southpay", url="http://127.0.0.1:1", api_key="k")


def routing(*rules: RoutingRule) -> Routing:
    return Routing.of(ExecutorSettings(home=Path("unused"), psps=(NORTH, SOUTH), routing=rules))


def shares(routes: Routing) -> Counter[str | None]:
    return Counter(routes.choose(order(f"order-{number}")) for number in range(2000))


def test_without_rules_every_psp_gets_its_share() -> None:
    assert min(shares(routing()).values()) > 800


def test_weights_are_shares() -> None:
    found = shares(routing(RoutingRule(psp="north", weight=3), RoutingRule(psp="south", weight=1)))
    assert found["north"] == pytest.approx(1500, abs=100)


def test_the_same_order_always_goes_to_the_same_psp() -> None:
    assert routing().choose(order()) == routing().choose(order())


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        (RoutingRule(psp="north"), True),
        (RoutingRule(psp="north", currencies=frozenset({"EUR", "USD"})), True),
        (RoutingRule(psp="north", currencies=frozenset({"JPY"})), False),
        (RoutingRule(psp="north", schemes=frozenset({"visa"})), True),
        (RoutingRule(psp="north", schemes=frozenset({"amex"})), False),
        (RoutingRule(psp="north", amount_min=Decimal("12.34"), amount_max=Decimal("12.34")), True),
        (RoutingRule(psp="north", amount_min=Decimal("12.35")), False),
        (RoutingRule(psp="north", amount_max=Decimal("12.33")), False),
    ],
)
def test_every_stated_condition_must_hold(rule: RoutingRule, holds: bool) -> None:
    assert routing(rule).choose(order()) == ("north" if holds else None)


def test_amounts_are_compared_in_the_order_s_own_currency() -> None:
    rule = RoutingRule(psp="south", amount_min=Decimal(1000))
    assert routing(rule).choose(order(gross=Money(1000, "JPY"))) == "south"
    assert routing(rule).choose(order(gross=Money(1000, "BHD"))) is None


def test_a_token_may_tell_its_scheme() -> None:
    assert [scheme_of(token) for token in ("tok_visa", "tok_amex_1", "tok_429_once")] == ["visa", "amex", None]


def test_a_rule_about_an_unknown_psp_names_the_setting() -> None:
    with pytest.raises(SettingsError, match=r"TALLY_ROUTING.*'nowhere'"):
        routing(RoutingRule(psp="nowhere"))
