"""When and how a pay-out in another currency is converted, and what happens where it cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumers.payouts.stuck import _next
from operations.cli.payout_turn import turn
from schemas.conversions import Conversion, Quote
from schemas.money import Money
from schemas.payouts import PayoutReady, PayoutRefused, PayoutReleased, PayoutStatusChanged
from tests.unit.payouts_room import HARBOUR, HOUR, MINUTE, NOW, Room, euro, frozen, requested, room, seller
from topics.settings import PayoutProviderAccount

RATE = Quote("1.0825", 50)
AT_RATE = Conversion(Money(12_925, "USD"), "1.0825", 50, euro(11_940), euro(60))  # of EUR 120.00
LATER = Quote("1.1", 0)
AT_LATER = Conversion(Money(13_200, "USD"), "1.1", 0, euro(12_000), euro(0))


def in_dollars(**rules: object) -> Room:
    """EUR 120.00 asked for in dollars."""
    made = room(**rules)
    made.rates = {"EUR-USD": RATE}
    made.hears(requested(payout_currency="USD"))
    return made


def released(**rules: object) -> Room:
    made = in_dollars(**rules)
    made.screens()
    made.reserves()
    return made


def readies(seen: Room) -> list[Conversion | None]:
    return [ready.conversion for ready in seen.all_said(PayoutReady)]


def told(seen: Room) -> PayoutStatusChanged:
    return seen.all_said(PayoutStatusChanged)[-1]


def test_a_release_says_what_is_sent_and_what_that_costs() -> None:
    seen = released()
    (ready,) = seen.all_said(PayoutReady)
    assert (ready.amount, ready.conversion, ready.sent) == (euro(12_000), AT_RATE, AT_RATE.target)
    assert seen.releases()[0].conversion == AT_RATE
    assert (told(seen).amount, told(seen).payout_currency) == (euro(12_000), "USD")
    assert (told(seen).target, told(seen).rate) == (Money(12_925, "USD"), "1.0825")


def test_nothing_is_converted_to_the_wallets_own_currency() -> None:
    seen = room()
    seen.hears(requested(payout_currency="EUR"))
    assert seen.hears(requested()) == [], "the same request"
    seen.screens()
    seen.reserves()
    assert (readies(seen), seen.of().payout_currency, seen.of().sent) == ([None], None, None)


def test_another_currency_is_another_request() -> None:
    seen = in_dollars()
    (refused,) = seen.hears(requested())
    assert isinstance(refused, PayoutRefused)
    assert refused.code == "contents_conflict"


def test_what_is_approved_names_the_currency_of_what_is_sent() -> None:
    rules = {"approvals": [{"currency": "EUR", "above": "100.00", "persons": 1}]}
    seen = released(**rules)
    assert seen.standing() == ("awaiting_approval", None)
    assert seen.of().sha256 != replace(seen.of(), payout_currency=None).sha256
    assert seen.of().sha256 != replace(seen.of(), payout_currency="GBP").sha256


def test_the_rate_of_the_release_counts_and_none_before_it() -> None:
    seen = in_dollars(approvals=[{"currency": "EUR", "above": "100.00", "persons": 1}])
    seen.screens()
    seen.reserves()
    assert told(seen).target is None, "nobody has promised anything yet"
    seen.rates = {"EUR-USD": LATER}
    seen.approves("bob")
    assert readies(seen) == [AT_LATER]


def test_a_rate_that_changes_after_the_release_changes_nothing_of_it() -> None:
    seen = released()
    seen.rates = {}
    for what, status in (("submitted", "submitted"), ("paid", "paid"), ("returned", "returned")):
        seen.executes(what, conversion=AT_RATE)
        assert (seen.standing()[0], told(seen).target, told(seen).rate) == (status, AT_RATE.target, "1.0825")


def test_the_next_release_has_a_rate_of_its_own() -> None:
    seen = released()
    seen.rates = {"EUR-USD": LATER}
    seen.executes("not_sent", conversion=AT_RATE)
    assert readies(seen) == [AT_RATE, AT_LATER]
    assert told(seen).target == AT_LATER.target


def test_of_a_release_that_went_out_late_its_own_rate_is_told() -> None:
    """The provider had said that it did nothing, the next release was on its way, and the first one had gone out after all."""
    seen = released()
    seen.rates = {"EUR-USD": LATER}
    seen.executes("not_sent", conversion=AT_RATE)
    seen.executes("submitted", release_no=1, conversion=AT_RATE)
    assert (told(seen).status, told(seen).target, told(seen).rate) == ("submitted", AT_RATE.target, "1.0825")


def test_a_pay_out_whose_rate_is_taken_out_of_the_table_waits_with_one_look_an_hour() -> None:
    seen = in_dollars()
    seen.rates = {}
    seen.screens()
    seen.reserves()
    assert (seen.standing(), readies(seen)) == (("on_hold", "no_rate"), [])
    seen.now = NOW + 10 * MINUTE
    seen.hears(seller(seller_revision=2))
    seen.rates = {"EUR-USD": LATER}
    seen.now = NOW + HOUR
    seen.fires("provider")
    assert seen.standing() == ("screening", None)  # the answer of risk has become too old meanwhile
    seen.screens()
    assert readies(seen) == [AT_LATER]


def test_operators_are_told_which_rate_is_waited_for() -> None:
    code = _next("po-1", "on_hold", "no_rate")
    assert "TALLY_FX" in code
    row = {"payout_id": "po-1", "status": "on_hold", "code": "no_rate", "currency": "EUR", "payout_currency": "USD"}
    assert turn(row, []) == "waits for a rate from EUR to USD (TALLY_FX); looks every hour"


def test_a_release_that_was_not_sent_promises_no_rate_while_the_next_one_waits() -> None:
    seen = released()
    seen.rates = {}
    seen.executes("not_sent", conversion=AT_RATE)
    assert (seen.standing(), told(seen).target, told(seen).rate) == (("on_hold", "no_rate"), None, None)


def test_a_pay_out_that_waits_for_a_rate_ends_with_its_reservation() -> None:
    seen = in_dollars()
    seen.rates = {}
    seen.screens()
    seen.reserves()
    seen.now = NOW + 30 * 24 * HOUR
    seen.fires("reservation")
    assert seen.standing() == ("expired", "not_released_in_time")
    assert len(seen.all_said(PayoutReleased)) == 1


def test_a_frozen_seller_is_named_before_a_missing_rate() -> None:
    seen = in_dollars()
    seen.hears(frozen())
    seen.rates = {}
    seen.screens()
    seen.reserves()
    assert seen.standing() == ("on_hold", "seller_frozen")


@pytest.mark.parametrize(
    ("quote", "code"), [(Quote("0.00001", 0), "amount_too_small"), (Quote("100000000", 0), "amount_too_large")]
)
def test_all_that_is_too_little_or_too_much_to_convert_is_given_back_before_anybody_approves(
    quote: Quote, code: str
) -> None:
    seen = room(approvals=[])  # each needs a person
    seen.rates = {"EUR-USD": quote}
    seen.hears(requested(amount="all", payout_currency="USD"))
    seen.screens()
    seen.reserves(900 if code == "amount_too_small" else 10**12)
    assert seen.standing() == ("refused", code)
    assert len(seen.all_said(PayoutReleased)) == 1


def test_all_is_converted_as_the_wallet_names_it() -> None:
    seen = room()
    seen.rates = {"EUR-USD": RATE}
    seen.hears(requested(amount="all", payout_currency="USD"))
    seen.screens()
    seen.reserves(12_000)
    assert readies(seen) == [AT_RATE]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount": "0.10", "payout_currency": "GBP"}, "below_minimum"),
        ({"payout_currency": "GBP"}, "no_rate"),
        ({"amount": "all", "payout_currency": "GBP"}, "no_rate"),
        ({"amount": "0.50", "payout_currency": "JPY"}, "amount_too_small"),
        ({"payout_currency": "CHF"}, "no_provider"),
        ({}, "no_provider"),
    ],
    ids=str,
)
def test_the_request_is_refused_by_the_first_of_these(changes: dict[str, str], code: str) -> None:
    """The minimum is of what the wallet pays; the provider is one for what is sent."""
    dollars = HARBOUR.model_copy(update={"currencies": frozenset({"USD", "JPY"})})
    seen = asking(dollars)
    (refused,) = seen.hears(requested(**changes))
    assert isinstance(refused, PayoutRefused)
    assert refused.code == code


def asking(provider: PayoutProviderAccount) -> Room:
    made = Room(providers=(provider,), rules={"minimum": {"EUR": "0.20"}})
    made.rates = {"EUR-USD": RATE, "EUR-CHF": Quote("0.95", 0), "EUR-JPY": Quote("1.5", 0)}
    made.hears(seller())
    return made


def test_the_provider_is_one_that_sends_the_other_currency() -> None:
    euros = HARBOUR.model_copy(update={"name": "euros", "currencies": frozenset({"EUR"})})
    dollars = HARBOUR.model_copy(update={"name": "dollars", "currencies": frozenset({"USD"})})
    seen = asking(euros)
    seen.providers = (euros, dollars)
    seen.hears(requested(payout_currency="USD", amount="120.00"))
    seen.screens()
    seen.reserves()
    seen.approves("bob")
    assert [ready.provider for ready in seen.all_said(PayoutReady)] == ["dollars"]


@pytest.mark.parametrize("currency", ["usd", "XXX", "", "EURO"])
def test_a_currency_that_is_none_is_refused_by_its_field(currency: str) -> None:
    with pytest.raises(ValueError, match="payout_currency"):
        requested(payout_currency=currency)
