"""What the ledger posts, and what it refuses."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ledger import templates
from consumers.ledger.decide import Balance, Books, Side, decide
from schemas.errors import Permanent
from schemas.events import AnyEvent, OutcomeUnknown, OutcomeUnresolved, PaymentCaptured, PaymentDeclined
from schemas.journals import JournalPosted
from schemas.money import Money
from schemas.money_back import Share
from tests.captures import capture, cause
from tests.money_back import (
    DISPUTE_ID,
    capture_reversed,
    captured,
    lost,
    opened,
    refund_reversed,
    refunded,
    share,
    won,
)
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


# ── captures in parts, and money that goes back ──────────────────────────────────────────────────────────────────────

HALF = share(617, 17)


def journals(*events: AnyEvent) -> list[JournalPosted]:
    """Of one order; each event under an id of its own."""
    books = no_books()
    said = [event for place, heard in enumerate(events) for event in post(books, heard, str(place)).events]
    return [event for event in said if isinstance(event, JournalPosted)]


def test_each_capture_of_an_order_is_a_journal_of_its_own() -> None:
    first, second = journals(captured("c-1", HALF), captured("c-2", HALF))
    assert [(first.template, first.part), (second.template, second.part)] == [("captured", "c-1"), ("captured", "c-2")]
    assert first.entries == second.entries


def test_a_capture_of_the_whole_says_what_it_always_said() -> None:
    (journal,) = journals(capture())
    assert "part" not in journal.model_dump_json(exclude_none=True)


def test_a_refund_lowers_what_we_owe_the_seller_and_what_the_psp_owes_us() -> None:
    assert lines(post(no_books(), refunded("r-1", HALF))) == [
        ("seller:seller-1:payable", "debit", 600),
        ("platform:fees", "debit", 17),
        ("psp:northpay:receivable", "credit", 617),
    ]


def test_a_refund_that_keeps_the_fee_has_no_line_for_it() -> None:
    assert lines(post(no_books(), refunded("r-1", share(617, 0)))) == [
        ("seller:seller-1:payable", "debit", 617),
        ("psp:northpay:receivable", "credit", 617),
    ]


def test_a_fee_and_a_net_below_zero_change_sides() -> None:
    assert lines(post(no_books(), refunded("r-1", share(1, 2)))) == [
        ("seller:seller-1:payable", "credit", 1),
        ("platform:fees", "debit", 2),
        ("psp:northpay:receivable", "credit", 1),
    ]
    assert lines(post(no_books(), captured("c-1", share(1, -1)))) == [
        ("psp:northpay:receivable", "debit", 1),
        ("seller:seller-1:payable", "credit", 2),
        ("platform:fees", "debit", 1),
    ]


@pytest.mark.parametrize("terms", [{}, {"dispute_fee_on": "seller"}])
def test_a_dispute_fee_of_the_seller_is_a_debt_of_theirs(terms: dict[str, object]) -> None:
    assert lines(post(no_books(), opened(HALF, Money(1500, "EUR"), **terms)))[3:] == [
        ("seller:seller-1:payable", "debit", 1500),
        ("psp:northpay:receivable", "credit", 1500),
    ]


@pytest.mark.parametrize(
    ("fee", "terms"), [(Money(1500, "EUR"), {"dispute_fee_on": "platform"}), (Money(1500, "USD"), {})]
)
def test_a_dispute_fee_of_the_platform_is_a_cost_of_that_psp(fee: Money, terms: dict[str, object]) -> None:
    """Also one in a currency in which the seller was not paid: no rate is known for it."""
    (journal,) = journals(opened(HALF, fee, **terms))
    assert [(e.account, e.direction, e.amount) for e in journal.entries[3:]] == [
        ("psp:northpay:fees", "debit", fee),
        ("psp:northpay:receivable", "credit", fee),
    ]


def test_parts_turns_and_stages_are_journals_of_their_own() -> None:
    posted = journals(
        capture(),
        refunded("r-1", HALF),
        refund_reversed("r-1", HALF),
        refunded("r-1", HALF, turn=2),
        opened(HALF),
        won(HALF),
        opened(HALF, stage=2),
        lost(HALF, stage=2),
        capture_reversed(None, share(1234, 34)),
        captured(None, share(1234, 34), turn=2),
    )
    assert [(journal.template, journal.part) for journal in posted] == [
        ("captured", None),
        ("refunded", "r-1"),
        ("refund_reversed", "r-1"),
        ("refunded", "r-1#2"),
        ("chargeback_opened", f"{DISPUTE_ID}.1"),
        ("chargeback_won", f"{DISPUTE_ID}.1"),
        ("chargeback_opened", f"{DISPUTE_ID}.2"),
        ("capture_reversed", None),
        ("captured", "#2"),
    ]


@pytest.mark.parametrize(
    "event",
    [refunded("r-1", HALF), capture_reversed("c-1", HALF), refund_reversed("r-1", HALF), opened(HALF), won(HALF)],
    ids=lambda event: type(event).__name__,
)
def test_the_same_fact_is_posted_once_and_on_other_terms_is_a_dead_letter(event: AnyEvent) -> None:
    books = no_books()
    post(books, event, "1")
    assert post(books, event, "2") == Decision()
    with pytest.raises(Permanent, match="journal_differs"):
        post(books, event.model_copy(update={"seller_account": "seller-2"}), "3")


def test_a_dispute_about_nothing_has_no_journal() -> None:
    assert post(no_books(), opened(share(0, 0))) == Decision()


signed = st.integers(-(10**6), 10**6)
bearers = st.sampled_from([None, "seller", "platform"])
fees = st.one_of(st.none(), st.builds(Money, signed, st.sampled_from(["EUR", "USD"])))


@given(signed, signed, fees, bearers)
def test_every_template_nets_to_zero_per_currency_for_every_sign(
    gross: int, fee: int, dispute_fee: Money | None, bearer: str | None
) -> None:
    of: Share = share(gross, fee)
    there: dict[str, tuple[templates.Booked | None, templates.Booked | None]] = {
        "capture": (templates.booked(captured("c", of)), templates.booked(capture_reversed("c", of))),
        "refund": (templates.booked(refunded("r", of)), templates.booked(refund_reversed("r", of))),
        "dispute": (
            templates.booked(opened(of, dispute_fee, dispute_fee_on=bearer)),
            templates.booked(won(of, dispute_fee, dispute_fee_on=bearer)),
        ),
    }
    for posted, back in there.values():
        assert posted is not None
        assert back is not None
        assert sums(posted, by_account=False) == sums(back, by_account=False) == {}
        assert all(entry.amount.minor > 0 for entry in posted.entries + back.entries)
        assert sums(posted, back, by_account=True) == {}


def sums(*booked: templates.Booked, by_account: bool) -> dict[tuple[str, str], int]:
    """What is left of the lines, by currency or by account and currency."""
    found: Counter[tuple[str, str]] = Counter()
    for journal in booked:
        for entry in journal.entries:
            sign = 1 if entry.direction == "debit" else -1
            found[entry.account if by_account else "", entry.amount.currency] += sign * entry.amount.minor
    return {key: minor for key, minor in found.items() if minor}
