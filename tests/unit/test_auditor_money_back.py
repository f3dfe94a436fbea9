"""The auditor's comparisons of money back, on books made by hand: what agrees is silent, what does not is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from operations.auditor.engine.findings import Finding
from operations.auditor.money_back import amounts, disputes, effects, fees, operations, revenue
from operations.auditor.money_back.books import (
    Books,
    Call,
    FeeRules,
    Line,
    Operation,
    PaymentsDispute,
    PaymentsOperation,
    Revenue,
    Stage,
    Terms,
)
from operations.auditor.money_back.page import CHECKS
from operations.auditor.rows import Attempt, Journal, Movement, event_id_of
from schemas.envelope import derive_id, time_ms_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DP = "dp_1"


def cause(seed: str) -> str:
    return derive_id(seed, "test", 0, 1)


def placed(request: str) -> str:
    return derive_id(cause(request), "payments", 0, time_ms_of(cause(request)))


def operation(kind: str, id_: str, amount: int, fee: int, order: str = "o", seq: int = 1, **facts: object) -> Operation:
    """One that is done, by an event of its own."""
    told: dict[str, object] = {
        "order_id": order,
        "seq": seq,
        "kind": kind,
        "id": id_,
        "amount": amount,
        "fee": fee,
        "currency": "EUR",
        "final": kind == "void",
        "state": "done",
        "turn": 1,
        "call_id": f"call {id_}",
        "psp": "north",
        "psp_reference": f"at north {id_}",
        "checks": 0,
        "checking": None,
        "cause": placed(id_),
        "outcome": cause(f"reply {id_}"),
        "place": 0,
        "placed_at": NOON,
    }
    return Operation(**{**told, **facts})  # type: ignore[arg-type]


def stage(state: str, number: int = 1, **facts: object) -> Stage:
    told: dict[str, object] = {
        "psp": "north",
        "reference": "D1",
        "stage": number,
        "order_id": "o",
        "dispute_id": DP,
        "state": state,
        "amount": 300,
        "fee": 0,
        "currency": "EUR",
        "dispute_fee": 1500,
        "fee_currency": "EUR",
        "checking": None,
        "outcome": cause(f"{state} {number}"),
        "place": 0,
        "placed_at": NOON,
    }
    return Stage(**{**told, **facts})  # type: ignore[arg-type]


def book(books: Books, order: str, kind: str, part: str, event_id: str, gross: int, net: int, fee: int) -> None:
    """One fact in wallet and ledger: signed amounts, of seller s at north."""
    books.movements.setdefault(order, []).append(Movement(event_id, "s", "EUR", net, kind, part))
    lines, total = 3 if fee else 2, max(abs(gross), abs(net))
    accounts = ("psp:north:receivable", gross, "seller:s:payable", net)
    journal = Journal(event_id, "EUR", lines, lines, total, total, *accounts, fee, kind, part)
    books.journals.setdefault(order, []).append(journal)


def add(books: Books, done: Operation, gross: int = 0, net: int = 0, fee: int = 0) -> None:
    """An operation that was asked for, called and, where it is done, listed and booked."""
    status = {"done": "succeeded", "failed": "failed"}.get(done.state, "processing")
    books.operations[done.kind, done.id] = done
    books.asked[done.kind, done.id] = PaymentsOperation(
        done.order_id, done.amount, done.final, status, done.state == "done", done.state == "done", True, cause(done.id)
    )
    if done.state == "done":
        books.calls[done.call_id] = Call("ended", NOON)
        line = Line("north", done.order_id, f"at north {done.id}", "succeeded", done.amount, "EUR")
        books.listed.setdefault(done.kind, {})[done.call_id] = [line]
        if gross:
            kind = {"capture": "captured", "refund": "refunded"}[done.kind]
            book(books, done.order_id, kind, done.id, event_id_of(cause(f"reply {done.id}"), 0), gross, net, fee)


def true_books() -> Books:
    """`o`: EUR 12.34 that the charge took, half refunded, 3.00 charged back and won, then a second stage opened.
    `m`: half of EUR 12.34 captured, the rest voided. `r`: a charge that the PSP took back, and did again."""
    books = Books(orders={"o", "m", "r"})
    for order in ("o", "m", "r"):
        manual = order == "m"
        books.attempts[order] = Attempt(
            "captured", "north", f"charge {order}", "ch", 1234, "EUR", "", cause(order), manual, 3
        )
        books.terms[order] = Terms("s", "EUR", 1234, 34)
        books.rules[order] = FeeRules("proportional", "none")
        if not manual:
            book(books, order, "captured", "", event_id_of(cause(order), 0), 1234, 1200, 34)
    add(books, operation("refund", "r-1", 617, 17), -617, -600, -17)
    add(books, operation("refund", "r-2", 2000, 0, seq=2, state="failed", psp_reference=None))
    add(books, operation("refund", "r-3", 10, 0, seq=3, state="waiting", psp_reference=None, outcome=None, place=None))
    add(books, operation("capture", "c-1", 617, 17, order="m"), 617, 600, 17)
    add(books, operation("void", "v-1", 617, 0, order="m", seq=2))
    add_reversed(books)
    add_disputes(books)
    count(books, "o", "refunded", "r-1", back=617, fee_returned=17)
    count(books, "m", "captured", "c-1", orders=1, gross=617, fee=17)
    count(books, "r", "capture_reversed", "", gross=-1234, fee=-34)
    count(books, "r", "captured", "#2", gross=1234, fee=34)
    count(books, "o", "chargeback_opened", f"{DP}.1", back=300)
    count(books, "o", "chargeback_won", f"{DP}.1", back=-300)
    count(books, "o", "chargeback_opened", f"{DP}.2", back=300)
    return books


def count(books: Books, order: str, kind: str, part: str, **counted: int) -> None:
    """A line of the revenue report."""
    amounts_ = {"orders": 0, "gross": 0, "fee": 0, "back": 0, "fee_returned": 0, **counted}
    books.revenue[order, kind, part] = Revenue(order, kind, part, "s", "EUR", "north", **amounts_)


def recount(books: Books, key: tuple[str, str, str], **facts: object) -> None:
    books.revenue[key] = books.revenue[key]._replace(**facts)  # type: ignore[arg-type]


def add_reversed(books: Books) -> None:
    automatic = operation("capture", "auto~r", 1234, 34, order="r", seq=0, turn=2, call_id="charge r", checks=2)
    books.operations["capture", "auto~r"] = automatic
    books.asked["capture", "auto~r"] = PaymentsOperation(
        "r", 1234, None, "succeeded", True, True, False, cause("auto~r")
    )
    books.listed["charge"] = {"charge r": [Line("north", "r", "at north auto~r", "succeeded", 1234, "EUR")]}
    book(books, "r", "capture_reversed", "", cause("taken back"), -1234, -1200, -34)
    book(books, "r", "captured", "#2", event_id_of(cause("reply auto~r"), 0), 1234, 1200, 34)


def add_disputes(books: Books) -> None:
    for number, state in ((1, "won"), (2, "opened")):
        books.stages[DP, number] = stage(state, number)
        books.told[DP, number] = PaymentsDispute("o", state, True, True)
        books.disputes["north", "D1", number] = Line("north", "o", "", state, 300, "EUR")
        books.opened_at[f"{DP}.{number}"] = NOON
    book(books, "o", "chargeback_opened", f"{DP}.1", cause("opened"), -1800, -1800, 0)
    book(books, "o", "chargeback_won", f"{DP}.1", event_id_of(cause("won 1"), 0), 300, 300, 0)
    book(books, "o", "chargeback_opened", f"{DP}.2", event_id_of(cause("opened 2"), 0), -1800, -300, 0)


def findings(books: Books) -> set[Finding]:
    return {
        *operations.compare_operations(books),
        *operations.compare_listings(books),
        *amounts.compare_amounts(books),
        *fees.compare_fees(books),
        *effects.compare_effects(books),
        *revenue.compare_revenue(books),
        *disputes.compare_disputes(books),
    }


def test_true_books_say_nothing() -> None:
    assert findings(true_books()) == set()


def change(books: Books, key: tuple[str, str], **facts: object) -> None:
    books.operations[key] = books.operations[key]._replace(**facts)  # type: ignore[arg-type]


def drop(effects_: list[Movement] | list[Journal], kind: str) -> None:
    effects_[:] = [each for each in effects_ if each.kind != kind]  # type: ignore[index,assignment]


def lower(effects_: list[Movement], kind: str) -> None:
    effects_[:] = [each._replace(amount=each.amount - 1) if each.kind == kind else each for each in effects_]


def asked(books: Books, id_: str, **facts: object) -> None:
    key = ("refund", id_)
    books.asked[key] = books.asked[key]._replace(**facts)  # type: ignore[arg-type]


def listed(books: Books, kind: str, call: str, **facts: object) -> None:
    (line,) = books.listed[kind][call]  # type: ignore[index]
    books.listed[kind][call] = [line._replace(**facts)]  # type: ignore[index,arg-type]


TAMPERED: dict[str, list[Callable[[Books], object]]] = {
    "operations_attempted": [lambda b: b.operations.pop(("refund", "r-3"))],
    "operations_placed": [
        lambda b: b.asked.pop(("refund", "r-2")),
        lambda b: change(b, ("refund", "r-3"), cause=cause("another")),
        lambda b: asked(b, "r-3", amount=11),
    ],
    "operations_called": [
        lambda b: b.calls.pop("call r-1"),
        lambda b: b.calls.update({"call r-1": Call("due", NOON)}),
        lambda b: change(b, ("refund", "r-3"), state="calling"),
    ],
    "operations_at_psp": [
        lambda b: b.listed["refund"].clear(),
        lambda b: b.listed["refund"]["call r-1"].append(b.listed["refund"]["call r-1"][0]),
        lambda b: listed(b, "refund", "call r-1", amount=616),
        lambda b: listed(b, "refund", "call r-1", status="reversed"),
        lambda b: listed(b, "charge", "charge r", status="reversed"),
    ],
    "psp_operations_known": [
        lambda b: b.listed["refund"].update({"nobody's": [Line("north", "o", "x", "succeeded", 5, "EUR")]}),
        lambda b: b.listed["refund"].update({"call r-2": [Line("north", "o", "x", "succeeded", 2000, "EUR")]}),
        lambda b: b.listed["refund"].update({"call r-3": [Line("north", "o", "x", "succeeded", 10, "EUR")]}),
    ],
    "orders_never_over": [
        lambda b: change(b, ("capture", "c-1"), amount=1235),
        lambda b: change(b, ("refund", "r-1"), amount=1235),
        lambda b: (  # a refund that was begun after the second stage was known: 617 + 618 + 300 of 1234
            change(b, ("refund", "r-3"), amount=618, state="calling"),
            b.calls.update({"call r-3": Call("due", NOON + timedelta(1))}),
        ),
    ],
    "fees_shared": [
        lambda b: change(b, ("capture", "c-1"), fee=16),
        lambda b: change(b, ("refund", "r-1"), fee=300),
        lambda b: change(b, ("refund", "r-1"), fee=16),  # a cent, though a dispute of two stages is about the order
        lambda b: change(b, ("capture", "auto~r"), fee=33),  # of the turn after a reversal
        lambda b: b.stages.update({(DP, 2): b.stages[DP, 2]._replace(fee=1)}),
        lambda b: b.rules.update(o=FeeRules("none", "none")),
        lambda b: b.rules.update(o=FeeRules("full", "none")),
        lambda b: b.rules.update(o=FeeRules("proportional", "proportional")),
    ],
    "refunds_in_wallet": [
        lambda b: drop(b.movements["o"], "refunded"),
        lambda b: lower(b.movements["o"], "refunded"),
    ],
    "refunds_in_ledger": [lambda b: drop(b.journals["o"], "refunded")],
    "later_captures_in_wallet": [
        lambda b: drop(b.movements["m"], "captured"),
        lambda b: lower(b.movements["m"], "captured"),
    ],
    "later_captures_in_ledger": [lambda b: drop(b.journals["m"], "captured")],
    "disputes_in_wallet": [
        lambda b: drop(b.movements["o"], "chargeback_opened"),
        lambda b: drop(b.movements["o"], "chargeback_won"),
        lambda b: lower(b.movements["o"], "chargeback_opened"),
    ],
    "disputes_in_ledger": [lambda b: drop(b.journals["o"], "chargeback_won")],
    "reversals_booked": [
        lambda b: drop(b.movements["r"], "capture_reversed"),
        lambda b: drop(b.journals["r"], "capture_reversed"),
        lambda b: lower(b.movements["r"], "capture_reversed"),
    ],
    "money_back_caused": [
        lambda b: book(b, "o", "refunded", "r-9", cause("nothing"), -1, -1, 0),
        lambda b: book(b, "o", "refunded", "r-1#2", cause("nothing"), -617, -600, -17),
        lambda b: b.stages.clear(),
    ],
    "operations_flagged": [
        lambda b: asked(b, "r-1", status="processing"),
        lambda b: asked(b, "r-1", wallet_updated=False),
        lambda b: asked(b, "r-1", ledger_updated=False),
        lambda b: b.told.pop((DP, 2)),
        lambda b: b.told.update({(DP, 2): PaymentsDispute("o", "opened", True, False)}),
        lambda b: drop(b.journals["o"], "refunded"),
    ],
    "revenue_booked": [
        lambda b: b.revenue.pop(("m", "captured", "c-1")),
        lambda b: count(b, "o", "refunded", "r-9", back=1),
        lambda b: recount(b, ("m", "captured", "c-1"), gross=616),
        lambda b: recount(b, ("m", "captured", "c-1"), orders=0),
        lambda b: recount(b, ("r", "captured", "#2"), orders=1),
        lambda b: recount(b, ("o", "refunded", "r-1"), fee_returned=16),
        lambda b: recount(b, ("o", "refunded", "r-1"), psp="south"),
        lambda b: recount(b, ("o", "chargeback_opened", f"{DP}.2"), back=301),
        lambda b: recount(b, ("o", "chargeback_won", f"{DP}.1"), back=-299),
    ],
    "disputes_known": [
        lambda b: b.stages.pop((DP, 2)),
        lambda b: b.disputes.clear(),
        lambda b: b.disputes.update({("north", "D1", 2): Line("north", "o", "", "lost", 300, "EUR")}),
        lambda b: b.disputes.update({("north", "D1", 2): Line("north", "o", "", "opened", 301, "EUR")}),
    ],
}


def test_every_check_of_the_page_is_tampered_with() -> None:
    assert set(TAMPERED) == set(CHECKS)


@pytest.mark.parametrize(("check", "tamper"), [(check, tamper) for check, ways in TAMPERED.items() for tamper in ways])
def test_what_does_not_agree_is_named(check: str, tamper: Callable[[Books], object]) -> None:
    books = true_books()
    tamper(books)
    assert check in {finding.check for finding in findings(books)}


def test_what_is_missing_may_be_on_its_way_and_says_from_where_to_where() -> None:
    books = true_books()
    books.movements["o"].clear()
    books.journals["o"].clear()
    asked(books, "r-1", status="processing")
    books.operations.pop(("refund", "r-3"))
    hops = {finding.check: finding.hop for finding in findings(books)}
    assert hops["refunds_in_wallet"] is effects.TO_WALLET
    assert hops["refunds_in_ledger"] is effects.TO_LEDGER
    assert hops["operations_attempted"] is operations.PLACED


def test_what_the_psp_contradicts_is_being_asked_about_and_not_wrong_meanwhile() -> None:
    books = true_books()
    listed(books, "refund", "call r-1", status="reversed")
    change(books, ("refund", "r-1"), checking="open")
    assert findings(books) == set()


def test_money_that_went_back_twice_by_the_psp_s_own_doing_is_told_and_not_judged() -> None:
    books = true_books()
    books.stages[DP, 2] = books.stages[DP, 2]._replace(amount=1234)
    books.disputes["north", "D1", 2] = Line("north", "o", "", "opened", 1234, "EUR")
    assert amounts.returned_twice(books) == 1
    assert "orders_never_over" not in {finding.check for finding in findings(books)}


@pytest.mark.parametrize("fee", [0, 17, 34])
def test_a_refund_in_full_gives_back_nothing_a_share_or_all_of_the_fee(fee: int) -> None:
    books = Books(operations={("refund", "r"): operation("refund", "r", 1234 if fee == 34 else 617, fee)})
    books.attempts["o"] = Attempt("captured", "north", "charge o", "ch", 1234, "EUR", "", cause("o"), False, 1)
    books.terms["o"] = Terms("s", "EUR", 1234, 34)
    assert list(amounts.compare_amounts(books)) == []
