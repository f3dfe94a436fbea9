"""A pay-out's way: what the room says at each step, and where the pay-out then stands."""

from __future__ import annotations

from schemas.payouts import PayoutPlaced, PayoutReady, PayoutScreeningRequested, PayoutStatusChanged
from tests.unit.payouts_room import IBAN, NOW, asked, euro, names, requested, reserved, room


def test_a_pay_out_is_screened_reserved_released_and_paid() -> None:
    seen = room()
    assert names(seen.hears(requested())) == ["PayoutScreeningRequested", "PayoutStatusChanged"]
    (question,) = seen.all_said(PayoutScreeningRequested)
    assert (question.screen_no, question.destination, question.amount) == (1, IBAN, euro(12000))
    assert names(seen.screens()) == ["PayoutPlaced", "PayoutStatusChanged"]
    assert seen.all_said(PayoutPlaced)[0].amount == euro(12000)
    assert names(seen.reserves()) == ["PayoutReady", "PayoutStatusChanged"]
    (ready,) = seen.all_said(PayoutReady)
    assert (ready.release_no, ready.provider, ready.bank_account, ready.amount) == (1, "harbour", "main", euro(12000))
    assert (ready.deadline - NOW).total_seconds() == 900
    seen.executes("submitted")
    seen.executes("paid")
    assert seen.told() == ["screening", "reserving", "processing", "submitted", "paid"] == seen.history()
    assert {event.owner for event in seen.all_said(PayoutStatusChanged)} == {"shop"}


def test_a_pay_out_of_all_has_its_amount_by_the_reservation() -> None:
    seen = room(minimum={"EUR": "5.00"})
    seen.hears(requested(amount="all"))
    seen.screens()
    (placed,) = seen.all_said(PayoutPlaced)
    assert (placed.amount, placed.minimum, placed.keep) == (None, euro(500), None)
    seen.reserves(777)
    assert seen.all_said(PayoutReady)[0].amount == euro(777)


def test_the_same_request_again_changes_nothing() -> None:
    seen = asked()
    assert seen.hears(requested()) == []
    assert len(seen.all_said(PayoutScreeningRequested)) == 1


def test_a_second_answer_of_the_wallet_changes_nothing() -> None:
    seen = reserved()
    assert seen.reserves() == []
    assert len(seen.all_said(PayoutReady)) == 1
