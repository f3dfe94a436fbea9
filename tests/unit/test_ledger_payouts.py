"""What the ledger posts about pay-outs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ledger import templates
from schemas.errors import Permanent
from schemas.journals import JournalPosted
from schemas.money import Money
from schemas.payouts import PayoutEvent
from tests.payouts import PAYOUT, failed, not_sent, paid, refused, returned, submitted, unknown, unresolved
from tests.unit.test_ledger_decide import lines, no_books, post, sums
from topics.runtime.shape.consumer import Decision

PAYABLE, TRANSIT, CLEARING, FEES = "seller:seller-1:payable", "payouts:in-transit", "bank:main:clearing", "bank:fees"


@pytest.mark.parametrize(
    ("event", "posted"),
    [
        (submitted(), [(PAYABLE, "debit", 10_000), (TRANSIT, "credit", 10_000)]),
        (paid(), [(TRANSIT, "debit", 10_000), (CLEARING, "credit", 10_000)]),
        (failed(), [(PAYABLE, "credit", 10_000), (TRANSIT, "debit", 10_000)]),
        (returned(), [(CLEARING, "debit", 10_000), (PAYABLE, "credit", 10_000)]),
        (
            returned(returned=Money(9_950, "EUR")),
            [(CLEARING, "debit", 9_950), (FEES, "debit", 50), (PAYABLE, "credit", 10_000)],
        ),
        (returned(returned=Money(0, "EUR")), [(FEES, "debit", 10_000), (PAYABLE, "credit", 10_000)]),
    ],
)
def test_the_journal_of_each_event(event: PayoutEvent, posted: list[tuple[str, str, int]]) -> None:
    decision = post(no_books(), event)
    assert lines(decision) == posted
    [journal] = decision.events
    assert isinstance(journal, JournalPosted)
    assert (journal.key, journal.payout_id, journal.payment_order_id, journal.checkout_id) == (
        PAYOUT,
        PAYOUT,
        None,
        None,
    )


@pytest.mark.parametrize("event", [refused(), unknown(), unresolved(), not_sent()])
def test_what_never_left_is_not_posted(event: PayoutEvent) -> None:
    assert post(no_books(), event) == Decision()


@pytest.mark.parametrize("event", [submitted(), paid(), failed(), returned()], ids=lambda event: type(event).__name__)
def test_each_turn_is_posted_once_and_on_other_terms_is_a_dead_letter(event: PayoutEvent) -> None:
    books = no_books()
    post(books, event, "1")
    assert post(books, event, "2") == Decision()
    again = event.model_copy(update={"turn": 2})
    [journal] = post(books, again, "3").events
    assert isinstance(journal, JournalPosted)
    assert journal.part == "#2"
    assert post(books, again, "4") == Decision()
    with pytest.raises(Permanent, match="journal_differs"):
        post(books, event.model_copy(update={"amount": Money(10_001, "EUR")}), "5")


amounts = st.integers(1, 10**12)


@given(amounts, amounts)
def test_whatever_comes_back_the_seller_has_all_of_it_and_nothing_stays_in_transit(minor: int, kept: int) -> None:
    terms = {"amount": Money(minor, "EUR")}
    back = returned(returned=Money(max(minor - kept, 0), "EUR"), **terms)
    way = booked([submitted(**terms), paid(**terms), back])
    assert all(entry.amount.minor > 0 for journal in way for entry in journal.entries)
    assert [sums(journal, by_account=False) for journal in way] == [{}, {}, {}]
    lost = min(kept, minor)
    assert sums(*way, by_account=True) == {(CLEARING, "EUR"): -lost, (FEES, "EUR"): lost}
    assert sums(*booked([submitted(**terms), failed(**terms)]), by_account=True) == {}


def booked(events: Sequence[templates.Booking]) -> list[templates.Booked]:
    found = [templates.booked(event) for event in events]
    return [journal for journal in found if journal is not None]
