"""Pay-outs on a real database: what is stored is what is decided by, and a freeze and a release never miss each other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from consumers.payouts.consumer import build
from consumers.payouts.settings import PayoutRules
from operations.stack.settings import AllSettings
from schemas.money import Money
from schemas.payouts import (
    FundsReserved,
    PayoutApproved,
    PayoutPaid,
    PayoutReady,
    PayoutRiskCleared,
    PayoutStatusChanged,
    PayoutSubmitted,
)
from tests.store.hearing import NOW, Hearing
from tests.unit.payouts_room import HARBOUR, IBAN, frozen, requested, seller

LONG_AGO = NOW - timedelta(days=30)
RULES = {"approvals": [{"currency": "EUR", "above": "100.00", "persons": 1}]}


@pytest.fixture
def payouts(stored: AllSettings) -> Iterator[Hearing]:
    """A room that knows one seller. More than EUR 100.00 need one person."""
    chosen = stored.model_copy(update={"payouts": PayoutRules.model_validate(RULES), "payout_providers": (HARBOUR,)})
    room = Hearing(chosen, build(chosen))
    room.hears(seller(destination_changed_at=LONG_AGO))
    yield room
    room.close()


def cleared(payout_id: str = "po-1", screen_no: int = 1) -> PayoutRiskCleared:
    return PayoutRiskCleared(
        payout_id=payout_id, screen_no=screen_no, rule="none", list_version="1", score=0, decided_at=NOW
    )


def reserved(payout_id: str = "po-1", minor: int = 12000) -> FundsReserved:
    none = Money(0, "EUR")
    return FundsReserved(
        payout_id=payout_id,
        movement_id="m",
        seller_account="s-1",
        amount=Money(minor, "EUR"),
        available=none,
        pending=none,
        reserved=none,
        wallet_version=1,
    )


def one(room: Hearing, view: str = "payout_view") -> dict[str, Any]:
    (row,) = room.rows(f"SELECT * FROM {view}")
    return row


def test_a_pay_out_is_stored_read_again_and_shown_whole(payouts: Hearing) -> None:
    payouts.hears(requested(description='"May"'))
    payouts.hears(cleared())
    payouts.hears(reserved())
    waiting = one(payouts)
    assert (waiting["status"], waiting["approvals_needed"], waiting["approvals_given"]) == ("awaiting_approval", 1, 0)
    approval = PayoutApproved(
        payout_id="po-1", approver="Bob", decision="approved", sha256=waiting["sha256"], reason="invoice 88 seen"
    )
    payouts.hears(approval)
    (ready,) = payouts.all_said(PayoutReady)
    assert (ready.destination, ready.amount) == (IBAN, Money(12000, "EUR"))
    told = {name: getattr(ready, name) for name in ("payout_id", "owner", "seller_account", "amount", "release_no")}
    told |= {"provider": "harbour", "bank_account": "main", "call_id": "0" * 32, "provider_reference": "tr-1"}
    payouts.hears(PayoutSubmitted(**told), PayoutPaid(**told))
    shown = one(payouts)
    assert (shown["status"], shown["detail"], shown["amount"], shown["description"]) == ("paid", None, 12000, '"May"')
    assert (shown["destination_masked"], shown["provider_reference"]) == ("DE89 … 3000", "tr-1")
    statuses = [row["status"] for row in payouts.rows("SELECT status FROM history_view ORDER BY id")]
    assert statuses == ["screening", "reserving", "awaiting_approval", "processing", "submitted", "paid"]
    assert [event.status for event in payouts.all_said(PayoutStatusChanged)] == statuses
    assert one(payouts, "approval_view")["why_not"] is None
    assert (one(payouts, "release_view")["outcome"], one(payouts, "screening_view")["counts"]) == ("paid", True)
    assert payouts.dead == 0


def test_a_batch_of_all_steps_comes_to_the_same(payouts: Hearing) -> None:
    payouts.hears(requested(amount="100.00"), requested(amount="100.00"), cleared(), reserved(minor=10000))
    assert (one(payouts)["status"], len(payouts.all_said(PayoutReady))) == ("processing", 1)
    assert [type(event).__name__ for event in payouts.hears(frozen())] == ["PayoutWithdrawn"]
