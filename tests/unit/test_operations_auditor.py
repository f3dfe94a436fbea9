"""The comparisons of the auditor on books made by hand: what agrees is silent, what does not is named."""

from __future__ import annotations

from operations.auditor.engine.report import Check, Report, judged
from operations.auditor.engine.unfinished import Lag, check_lag
from operations.auditor.pay_in.books import Attempt, Books, Call, Charge, Journal, Movement, Order, Payment, Request
from operations.auditor.pay_in.compare import (
    TO_LEDGER,
    TO_WALLET,
    captured_event_id,
    compare_charges,
    compare_checkouts,
    compare_orders,
)
from schemas.envelope import derive_id, time_ms_of

CLEARED = derive_id("cleared", "test", 0, 1)
REPLIED = derive_id("replied", "test", 0, 1)


def true_books() -> Books:
    """One checkout with one order of EUR 12.34, fee 34 cents, captured and booked."""
    attempt = Attempt("captured", "north", "call", "ch_1", 1234, "EUR", _placed(), REPLIED)
    cause = captured_event_id(attempt)
    return Books(
        requests={"c": Request("shop", "event")},
        payments={"c": Payment("shop", "succeeded", "event", 1)},
        screenings={"c": "cleared"},
        orders={"o": Order("c", 0, "s", "EUR", 1234, 34, 1200, "SUCCESS", "", True, True, "north", "ch_1")},
        placed_by={"o": CLEARED},
        attempts={"o": attempt},
        calls={"call": Call("o", "ended", "captured")},
        movements={"o": [Movement(cause, "s", "EUR", 1200)]},
        journals={
            "o": [
                Journal(cause, "EUR", 1, 3, 3, 1234, 1234, "psp:north:receivable", 1234, "seller:s:payable", 1200, 34)
            ]
        },
        charges={"call": [Charge("north", "ch_1", "o", 1234, "EUR")]},
    )


def _placed() -> str:
    return derive_id(CLEARED, "payments", 0, time_ms_of(CLEARED))


def found(books: Books) -> set[str]:
    findings = [*compare_checkouts(books), *compare_orders(books), *compare_charges(books)]
    return {finding.check for finding in findings}


def test_true_books_say_nothing() -> None:
    assert found(true_books()) == set()


def test_a_missing_effect_may_be_on_its_way_and_says_from_where_to_where() -> None:
    books = true_books()
    books.movements.clear()
    books.journals.clear()
    hops = {finding.check: finding.hop for finding in compare_orders(books)}
    assert hops["captures_in_wallet"] is TO_WALLET
    assert hops["captures_in_ledger"] is TO_LEDGER


def test_an_effect_without_a_cause_is_never_on_its_way() -> None:
    books = true_books()
    books.attempts.clear()
    hops = {finding.check: finding.hop for finding in compare_orders(books)}
    assert hops["movements_caused"] is None
    assert hops["journals_caused"] is None


def test_a_charge_while_its_call_is_unknown_is_no_finding_but_after_a_decline_it_is() -> None:
    books = true_books()
    for state, wanted in (("unknown", set()), ("unresolved", set()), ("declined", {"charges_captured"})):
        books.attempts["o"] = books.attempts["o"]._replace(state=state)
        assert {finding.check for finding in compare_charges(books)} == wanted


def test_the_same_order_at_two_psps_was_charged_twice() -> None:
    books = true_books()
    books.charges["other"] = [Charge("south", "p_1", "o", 1234, "EUR")]
    assert {"orders_charged_once", "charges_captured"} <= found(books)


def test_an_order_of_which_the_seller_gets_nothing_has_no_payable_and_is_fine() -> None:
    books = true_books()
    books.orders["o"] = books.orders["o"]._replace(fee=1234, net=0)
    books.movements["o"] = [books.movements["o"][0]._replace(amount=0)]
    books.journals["o"] = [books.journals["o"][0]._replace(payable=None, net=0, fee=1234, lines=2, found=2)]
    assert found(books) == set()


def test_an_order_that_expired_before_it_was_placed_needs_no_attempt() -> None:
    books = true_books()
    books.orders["o"] = books.orders["o"]._replace(status="FAILED", wallet_updated=False, ledger_updated=False)
    for part in (books.placed_by, books.attempts, books.calls, books.movements, books.journals, books.charges):
        part.clear()  # type: ignore[attr-defined]
    assert found(books) == set()


def test_nothing_examined_where_there_should_be_something_is_not_ok() -> None:
    assert not judged("x", 0, [], expected=True).ok
    assert judged("x", 0, [], expected=False).ok
    assert not Report((Check("a", True, 1, ""), Check("b", False, 0, ""))).ok


def test_a_room_that_moves_is_behind_and_one_that_does_not_stands_still() -> None:
    where = ("wallet", ("executions.v1", 0))
    first = Lag({where: 5}, {where: 10}, {})
    assert check_lag(first, Lag({where: 6}, {where: 20}, {})).ok
    assert not check_lag(first, Lag({where: 5}, {where: 20}, {})).ok
    assert not check_lag(first, Lag({where: 5}, {}, {where: "stands at 5, and Kafka ends at 3"})).ok
