"""A pay-out in another currency in the executor: what the provider is told, and what it must speak of."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from psp.payout_port import Returned
from schemas.conversions import Conversion
from schemas.errors import Permanent
from schemas.money import Money
from schemas.payouts import PayoutReady, PayoutReturned
from tests.unit.payout_cases import ACCEPTED, AMOUNT, FAILED, ID, PAID, PayoutDesk, notified, ready, withdrawn

USD = Money(12_925, "USD")
CONVERSION = Conversion(USD, "1.0825", 50, Money(11_940, "EUR"), Money(60, "EUR"))
LATER = Conversion(Money(13_200, "USD"), "1.1", 0, AMOUNT, Money(0, "EUR"))


def in_dollars(release_no: int = 1, conversion: Conversion | None = CONVERSION) -> PayoutReady:
    return ready(release_no, conversion=conversion)


@pytest.fixture
def desk() -> PayoutDesk:
    desk = PayoutDesk()
    desk.hears(in_dollars())
    return desk


def asked(desk: PayoutDesk, call_id: str = "") -> tuple[str, str]:
    request = json.loads(desk.calls[call_id or desk.call_id].request)
    return request["amount"], request["currency"]


def test_the_provider_is_told_to_send_the_other_currency(desk: PayoutDesk) -> None:
    assert asked(desk) == ("129.25", "USD")


def test_all_that_is_said_of_it_names_its_conversion(desk: PayoutDesk) -> None:
    desk.acts(ACCEPTED)
    desk.hears(notified(PAID, amount=USD))
    desk.hears(notified(Returned("refused", ID, Money(12_825, "USD"))))
    assert desk.names() == ["Submitted", "Paid", "Returned"]
    assert {(each.amount, each.conversion) for each in desk.said} == {(AMOUNT, CONVERSION)}  # type: ignore[union-attr]
    last = desk.said[-1]
    assert isinstance(last, PayoutReturned)
    assert last.returned == Money(12_825, "USD")


@pytest.mark.parametrize("amount", [AMOUNT, Money(12_924, "USD"), Money(12_925, "CAD")], ids=str)
def test_a_notification_of_what_was_not_sent_is_a_dead_letter(desk: PayoutDesk, amount: Money) -> None:
    desk.acts(ACCEPTED)
    with pytest.raises(Permanent, match="notification_mismatch"):
        desk.hears(notified(PAID, amount=amount))


@pytest.mark.parametrize("back", [AMOUNT, Money(12_926, "USD")], ids=str)
def test_more_than_was_sent_does_not_come_back(desk: PayoutDesk, back: Money) -> None:
    desk.acts(PAID)
    with pytest.raises(Permanent, match="notification_mismatch"):
        desk.hears(notified(Returned("refused", ID, back)))


def test_a_failure_after_it_was_paid_brings_back_all_that_was_sent(desk: PayoutDesk) -> None:
    desk.acts(PAID)
    desk.hears(notified(FAILED, amount=USD))
    last = desk.said[-1]
    assert isinstance(last, PayoutReturned)
    assert last.returned == USD


def test_a_contradiction_is_asked_about_by_what_was_sent(desk: PayoutDesk) -> None:
    desk.acts(FAILED)
    desk.hears(notified(PAID, amount=USD))
    assert asked(desk, desk.check_id()) == ("129.25", "USD")
    desk.acts(PAID, desk.check_id())
    assert desk.names()[-2:] == ["Submitted#2", "Paid#2"]
    assert desk.said[-1].conversion == CONVERSION  # type: ignore[union-attr]


def test_the_next_release_is_sent_at_its_own_rate(desk: PayoutDesk) -> None:
    desk.hears(withdrawn())
    desk.hears(in_dollars(2, LATER))
    assert asked(desk) == ("132.00", "USD")
    desk.acts(ACCEPTED)
    assert desk.said[-1].conversion == LATER  # type: ignore[union-attr]


@pytest.mark.parametrize("conversion", [None, replace(LATER, target=Money(13_200, "CAD"))], ids=["none", "other"])
def test_the_next_release_in_another_currency_is_a_dead_letter(desk: PayoutDesk, conversion: Conversion | None) -> None:
    desk.hears(withdrawn())
    with pytest.raises(Permanent, match="payout_changed"):
        desk.hears(in_dollars(2, conversion))


def test_the_same_release_at_another_rate_is_a_dead_letter(desk: PayoutDesk) -> None:
    with pytest.raises(Permanent, match="payout_changed"):
        desk.hears(in_dollars(1, LATER))
