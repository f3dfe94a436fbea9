"""What the ledger posts, and what it refuses."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ledger import templates
from consumers.ledger.decide import Balance, Books, Side, decide
from schemas.errors import Permanent
from schemas.events import OutcomeUnknown, OutcomeUnresolved, PaymentCaptured, PaymentDeclined
from schemas.money import Money
from tests.captures import capture, cause
from topics.runtime.shape.consumer import Decision


class Opening(dict[Side, Balance]):
    """An account is opened when it is first looked at, as the store does."""

    def __missing__(self, side: Side) -> Balance:
        account, currency = side
        return Balance(len(self), account, currency, f"{account}:{currency}")


def no_books() -> Books:
    """The room's state without a database."""
    return Books(Opening())


def post(books: Books, event: object, seed: str = "1") -> Decision:
    decision = decide(books, event, cause(seed))  # type: ignore[arg-type]
    for change in decision.changes:
        books.fold(change)  # type: ignore[arg-type]
    return decision


def lines(decision: Decision) -> list[tuple[str, str, int]]:
    (journal,) = decision.events
    return [(e.account, e.direction, e.amount.minor) for e in journal.entries]  # type: ignore[union-attr]


def test_a_capture_is_owed_by_the_psp_and_owed_to_the_seller_less_our_fee() -> None:
    assert lines(post(no_books(), capture())) == [
        ("psp:northpay:receivable", "debit", 1234),
        ("seller:seller-1:payable", "credit", 1200),
        ("platform:fees", "credit", 34),
    ]


def test_no_fee_has_no_line() -> None:
    event = capture(fee=Money(0, "EUR"), net=Money(1234, "EUR"))
    assert lines(post(no_books(), event)) == [
        ("psp:northpay:receivable", "debit", 1234),
        ("seller:seller-1:payable", "credit", 1234),
    ]


def test_a_fee_that_takes_all_leaves_the_seller_no_line() -> None:
    event = capture(fee=Money(1234, "EUR"), net=Money(0, "EUR"))
    assert lines(post(no_books(), event)) == [
        ("psp:northpay:receivable", "debit", 1234),
        ("platform:fees", "credit", 1234),
    ]


@pytest.mark.parametrize("kind", [PaymentDeclined, OutcomeUnknown, OutcomeUnresolved])
def test_what_is_not_captured_is_not_posted(kind: type) -> None:
    terms = {**capture().terms(), "psp": "northpay", "call_id": "0" * 32, "code": "do_not_honor", "reason": "timeout"}
    assert post(no_books(), kind(**terms)) == Decision()


def test_the_same_capture_under_another_event_id_is_posted_once() -> None:
    books = no_books()
    post(books, capture(), "1")
    assert post(books, capture(), "2") == Decision()


@pytest.mark.parametrize(
    "changes",
    [
        {"net": Money(1201, "EUR"), "fee": Money(33, "EUR")},
        {"seller_account": "seller-2"},
        {"checkout_id": "checkout-2"},
        {"psp": "southpay"},
    ],
)
def test_a_second_capture_of_an_order_on_other_terms_is_a_dead_letter(changes: dict[str, object]) -> None:
    books = no_books()
    post(books, capture(), "1")
    with pytest.raises(Permanent, match="journal_differs"):
        post(books, capture(**changes), "2")


def test_the_same_event_always_gives_the_same_journal() -> None:
    assert post(no_books(), capture(), "7") == post(no_books(), capture(), "7")


varied = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["EUR", "JPY"]), st.integers(0, 10**9), st.integers(0, 10**6)).filter(
        lambda terms: terms[2] + terms[3] > 0
    ),
    max_size=12,
)


def model(events: list[PaymentCaptured]) -> Counter[tuple[str, str]]:
    """Debits less credits by account and currency, from each order's first capture: nothing of the ledger's own code."""
    balances: Counter[tuple[str, str]] = Counter()
    for event in {event.payment_order_id: event for event in reversed(events)}.values():
        currency = event.gross.currency
        balances[f"psp:{event.psp}:receivable", currency] += event.gross.minor
        balances[f"seller:{event.seller_account}:payable", currency] -= event.gross.minor - event.fee.minor
        balances["platform:fees", currency] -= event.fee.minor
    return balances


@given(varied, st.lists(st.integers(0, 11), max_size=20))
def test_any_sequence_with_repeats_gives_the_balances_that_a_small_model_predicts(
    terms: list[tuple[int, str, int, int]], repeats: list[int]
) -> None:
    orders = [
        capture(
            f"order-{number}",
            seller_account=f"seller-{seller}",
            gross=Money(net + fee, currency),
            net=Money(net, currency),
            fee=Money(fee, currency),
        )
        for number, (seller, currency, net, fee) in enumerate(terms)
    ]
    events = orders + [orders[number] for number in repeats if number < len(orders)]
    books, balances = no_books(), Counter[tuple[str, str]]()
    for place, event in enumerate(events):
        for journal in post(books, event, str(place)).events:
            for entry in journal.entries:  # type: ignore[union-attr]
                sign = 1 if entry.direction == "debit" else -1
                balances[entry.account, entry.amount.currency] += sign * entry.amount.minor
    assert +balances == +model(events)
    assert -balances == -model(events)


def test_accounts_are_named_as_the_books_say() -> None:
    assert templates.receivable("northpay") == "psp:northpay:receivable"
    assert templates.payable("s~1.a") == "seller:s~1.a:payable"
