"""What the ledger posts about pay-outs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ledger import templates
from schemas.conversions import Conversion, Quote, convert
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


USD = Money(10_770, "USD")
CONVERTED = {"conversion": Conversion(USD, "1.0825", 50, Money(9_950, "EUR"), Money(50, "EUR"))}
EXCHANGE, SPREAD = "fx:EUR-USD", "platform:fx-spread"
WAY_OUT = [
    (PAYABLE, "debit", "100.00 EUR"),
    (EXCHANGE, "credit", "99.50 EUR"),
    (SPREAD, "credit", "0.50 EUR"),
    (EXCHANGE, "debit", "107.70 USD"),
    (TRANSIT, "credit", "107.70 USD"),
]
WAY_BACK = [
    (EXCHANGE, "debit", "99.50 EUR"),
    (SPREAD, "debit", "0.50 EUR"),
    (EXCHANGE, "credit", "107.70 USD"),
    (PAYABLE, "credit", "100.00 EUR"),
]


@pytest.mark.parametrize(
    ("event", "posted"),
    [
        (submitted(**CONVERTED), WAY_OUT),
        (paid(**CONVERTED), [(TRANSIT, "debit", "107.70 USD"), (CLEARING, "credit", "107.70 USD")]),
        (failed(**CONVERTED), [(TRANSIT, "debit", "107.70 USD"), *WAY_BACK]),
        (returned(returned=USD, **CONVERTED), [(CLEARING, "debit", "107.70 USD"), *WAY_BACK]),
        (
            returned(returned=Money(10_670, "USD"), **CONVERTED),
            [(CLEARING, "debit", "106.70 USD"), (FEES, "debit", "1.00 USD"), *WAY_BACK],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_converted_pay_out_goes_and_comes_back_at_the_rate_of_the_way_out(
    event: PayoutEvent, posted: list[tuple[str, str, str]]
) -> None:
    [journal] = post(no_books(), event).events
    assert isinstance(journal, JournalPosted)
    assert sorted((each.account, each.direction, str(each.amount)) for each in journal.entries) == sorted(posted)


@given(
    st.integers(1, 10**12),
    st.sampled_from([("USD", "1.0825"), ("JPY", "162.35"), ("BHD", "0.40815"), ("JPY", "0.0001"), ("BHD", "99999.5")]),
    st.integers(0, 9_999),
    st.integers(0, 10**6),
)
def test_whatever_is_converted_each_journal_balances_in_each_currency(
    minor: int, rate: tuple[str, str], bps: int, kept: int
) -> None:
    amount, to = Money(minor, "EUR"), rate[0]
    conversion = convert(amount, to, Quote(rate[1], bps))
    if isinstance(conversion, str):
        return
    terms = {"amount": amount, "conversion": conversion}
    sent = conversion.target.minor
    back = returned(returned=Money(max(sent - kept, 0), to), **terms)
    way = booked([submitted(**terms), paid(**terms), back])
    assert [sums(journal, by_account=False) for journal in way] == [{}, {}, {}]
    lost = min(kept, sent)
    left = {(CLEARING, to): -lost, (FEES, to): lost} if lost else {}
    assert sums(*way, by_account=True) == left, "the seller has all of it again, and the platform keeps no spread"
    assert sums(*booked([submitted(**terms), failed(**terms)]), by_account=True) == {}


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
