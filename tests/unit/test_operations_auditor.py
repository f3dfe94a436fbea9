"""The comparisons of the auditor on books made by hand: what agrees is silent, what does not is named."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from operations.auditor.audit import PAGES
from operations.auditor.engine.compare import compared
from operations.auditor.engine.findings import Finding, heard
from operations.auditor.engine.lag import Lag, check_lag
from operations.auditor.engine.page import PlannedCheck
from operations.auditor.engine.report import Check, Report, judged
from operations.auditor.engine.run import Patience, Run
from operations.auditor.pay_in.books import Books, Call, Charge, Order, Payment, Request
from operations.auditor.pay_in.charges import compare_charges
from operations.auditor.pay_in.checkouts import compare_checkouts
from operations.auditor.pay_in.orders import TO_LEDGER, TO_WALLET, captured_event_id, compare_orders
from operations.auditor.rows import Attempt, Journal, Movement
from schemas import events
from schemas.envelope import derive_id, time_ms_of
from topics import catalog

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
            "o": [Journal(cause, "EUR", 3, 3, 1234, 1234, "psp:north:receivable", 1234, "seller:s:payable", 1200, 34)]
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


def test_what_else_moved_an_order_s_money_is_no_effect_of_its_capture_and_must_balance_too() -> None:
    books = true_books()
    books.movements["o"].append(Movement("other", "s", "EUR", 100, "goodwill"))
    books.journals["o"].append(Journal("other", "EUR", 2, 2, 100, 100, None, 0, "seller:s:payable", 100, 0, "goodwill"))
    assert found(books) == set()
    books.journals["o"][-1] = books.journals["o"][-1]._replace(net=99, credits=99)
    assert found(books) == {"journals_balanced", "wallet_equals_payable"}
    del books.movements["o"][0], books.journals["o"][0]
    assert {"captures_in_wallet", "captures_in_ledger"} <= found(books), "the other is not the capture's effect"


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


def test_a_charge_that_its_psp_took_back_is_compared_with_what_lies_behind_it_and_missed_where_nothing_does() -> None:
    books = true_books()
    books.charges["call"] = [Charge("north", "ch_1", "o", 1234, "EUR", True)]
    assert found(books) == {"captures_charged"}
    books.attempts["o"] = books.attempts["o"]._replace(behind=1)
    assert found(books) == set()


def manual_books(state: str, status: str) -> Books:
    """As the true ones, of an order that was authorised and captured in two parts, or not at all."""
    books = true_books()
    books.attempts["o"] = books.attempts["o"]._replace(state=state, manual=True, behind=2)
    books.orders["o"] = books.orders["o"]._replace(
        status=status, wallet_updated=status == "SUCCESS", ledger_updated=status == "SUCCESS", psp_reference="cap_1"
    )
    books.movements["o"], books.journals["o"] = [], []
    if status == "SUCCESS":
        books.movements["o"] = [Movement(f"cause {part}", "s", "EUR", 600, part=part) for part in "ab"]
    return books


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("authorised", "EXECUTING"),
        ("authorised", "SUCCESS"),
        ("captured", "SUCCESS"),
        ("voided", "FAILED"),
        ("expired", "FAILED"),
    ],
)
def test_an_order_that_is_captured_in_parts_is_not_compared_with_its_charge(state: str, status: str) -> None:
    books = manual_books(state, status)
    books.charges.clear()
    assert {finding.check for finding in compare_orders(books)} <= {"flags_caused"}  # its journals are not there
    books.orders["o"] = books.orders["o"]._replace(
        status="FAILED" if state in ("authorised", "captured") else "SUCCESS"
    )
    assert "states_caused" in {finding.check for finding in compare_orders(books)}


@pytest.mark.parametrize("state", ["voided", "expired"])
def test_a_psp_that_took_the_money_of_what_was_given_up_is_named(state: str) -> None:
    assert {finding.check for finding in compare_charges(manual_books(state, "FAILED"))} == {"charges_captured"}


def test_a_debit_is_compared_with_what_less_is_owed_in_each_currency() -> None:
    books = true_books()
    books.movements["o"].append(Movement("dispute", "s", "EUR", -500, "chargeback_opened", "d.1"))
    accounts = ("psp:north:receivable", -500, "seller:s:payable", -500)
    books.journals["o"] += [
        Journal("dispute", "EUR", 4, 2, 500, 500, *accounts, 0, "chargeback_opened", "d.1"),
        Journal(
            "dispute", "USD", 4, 2, 1500, 1500, "psp:north:receivable", -1500, None, 0, 0, "chargeback_opened", "d.1"
        ),
    ]
    assert found(books) == set()
    books.movements["o"][-1] = books.movements["o"][-1]._replace(amount=-499)
    assert found(books) == {"wallet_equals_payable"}
    books.movements["o"][-1] = books.movements["o"][-1]._replace(amount=-500, currency="USD")
    assert found(books) == {"wallet_equals_payable"}
    del books.journals["o"][-1]
    assert found(books) == {"wallet_equals_payable", "journals_balanced"}


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


# ── the engine, and what pages give it ───────────────────────────────────────────────────────────────────────────────

# Between rooms, and no page's: what is compared inside is reconciliation's own check, and what it says of breaks makes rooms ask
# or wait; what a notification tells is asked at the PSP, deliveries have checks of their own, and
# sellers' terms are compared as they stand (`sellers_said`). No door keeps what a person does: the person waits for it, and
# pages look at what follows from it in payments, wallet and ledger.
ON_NO_PAGE = {
    (catalog.OPERATOR_ACTIONS, "risk"),
    (catalog.BREAKS, "executor"),
    (catalog.BREAKS, "payouts"),
    (catalog.WALLET_MOVEMENTS, "reconciliation"),
    (catalog.PAYOUT_MOVEMENTS, "reconciliation"),
    (catalog.LEDGER_ENTRIES, "reconciliation"),
    (catalog.PSP_NOTIFICATIONS, "executor"),
    (catalog.SELLERS, "payments"),
    (catalog.SELLERS, "payouts"),
    (catalog.WEBHOOK_ENDPOINTS, "webhooks"),
    (catalog.PAYMENTS, "webhooks"),
    (catalog.PAYOUTS, "webhooks"),
}


def test_every_way_between_rooms_is_looked_at_by_a_page() -> None:
    """A topic, or a room that hears one, which is new in the catalogue is on a page, or on the list above."""
    ways = {(topic, room.name) for room in catalog.CONSUMERS for topic in room.reads if topic.on_kafka}
    pages = [page(cast(Run, None)) for page in PAGES]
    assert ways - {(hop.topic, hop.hearer) for page in pages for hop in page.hops} == ON_NO_PAGE


def test_a_page_cannot_name_a_way_that_the_catalogue_has_not() -> None:
    with pytest.raises(LookupError, match="risk does not hear PaymentCaptured"):
        heard(events.PaymentCaptured, "risk")
    with pytest.raises(LookupError, match="no topic says Event"):
        heard(events.Event, "risk")


class Promises:
    """A page of its own flow, about which the engine knows nothing. Of what looks wrong, `kept` is right at the next look."""

    hops = topics = sums = ()
    looks: Mapping[str, object] = {}
    settled = True

    def __init__(self, broken: Sequence[str], kept: Sequence[str], unknown: str = "") -> None:
        self._broken, self._kept, self._unknown = broken, kept, unknown
        self.asked: list[set[str]] = []

    def _findings(self, keys: Sequence[str]) -> set[Finding]:
        return {Finding("promises_kept", key, "broken") for key in keys}

    def first_look(self) -> set[Finding]:
        return self._findings([*self._broken, *self._kept])

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        self.asked.append({finding.key for finding in suspects})
        return self._findings([*self._broken, "another's"])

    def counted(self) -> Iterator[PlannedCheck]:
        yield PlannedCheck("promises_kept", 3, True, self._unknown)


def looked_at(page: Promises) -> list[Check]:
    run = SimpleNamespace(stores=None, reading=None, patience=Patience((0, 0, 0)), tell=lambda _: None)
    return list(compared(cast(Run, run), [page]))  # type: ignore[list-item]


def test_only_what_is_wrong_at_every_look_counts_whichever_flow_it_is_of() -> None:
    page = Promises(["a"], ["b"])
    assert looked_at(page)[0] == Check("promises_kept", False, 3, "a: broken")
    assert page.asked == [{"a", "b"}, {"a"}, {"a"}]
    assert looked_at(Promises([], ["b"]))[0] == Check("promises_kept", True, 3, "")


def test_what_cannot_be_compared_is_not_ok() -> None:
    said = looked_at(Promises([], [], unknown="the bank is silent"))[0]
    assert said == Check("promises_kept", False, 0, "the bank is silent, so it cannot be compared")
