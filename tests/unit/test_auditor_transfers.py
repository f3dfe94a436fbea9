"""The auditor's comparison of pay-outs with providers' listings, on books made by hand: what agrees is silent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from operations.auditor.transfers.books import Line, PayoutCall, SentPayout, TransferBooks
from operations.auditor.transfers.compare import (
    CALLED,
    KNOWN,
    SENT_ONCE,
    compare_calls,
    compare_listings,
    further_there,
)

STATES = {
    "calling": None,
    "unknown": "paid",
    "unresolved": "accepted",
    "submitted": "paid",
    "paid": "paid",
    "rejected": "rejected",
    "failed": "failed",
    "returned": "returned",
    "not_sent": None,
}
OPEN = ("calling", "unknown", "submitted")


def sent(id_: str, state: str, release_no: int = 1, **changes: object) -> SentPayout:
    back = 900 if state == "returned" else None
    theirs = f"tr {id_}" if state in ("submitted", "paid", "rejected", "failed", "returned") else None
    row = SentPayout(release_no, f"call {id_} {release_no}", "harbour", state, 1000, "EUR", back, theirs, None)
    return row._replace(**changes)


def line(id_: str, status: str, **changes: object) -> Line:
    row = Line("harbour", id_, f"tr {id_}", status, 1000, "EUR", 900 if status == "returned" else None)
    return row._replace(**changes)


def true_books() -> TransferBooks:
    """One pay-out in each state, as its provider has it; `again` was withdrawn once and then paid."""
    books = TransferBooks()
    for state, status in STATES.items():
        books.payouts[state] = sent(state, state)
        books.calls[state].append(PayoutCall(f"call {state} 1", "payout", state in OPEN))
        if status:
            books.listed[f"call {state} 1"].append(line(state, status))
    books.payouts["again"] = sent("again", "paid", 2)
    books.calls["again"] += [PayoutCall("call again 1", "payout", False), PayoutCall("call again 2", "payout", False)]
    books.listed["call again 2"].append(line("again", "paid"))
    books.calls["paid"].append(PayoutCall("check paid", "payout_check", True))
    return books


def found(books: TransferBooks) -> set[tuple[str, str]]:
    return {(one.check, one.key) for one in (*compare_calls(books), *compare_listings(books))}


def test_what_agrees_is_silent_and_what_is_further_at_the_provider_is_counted() -> None:
    assert found(true_books()) == set()
    assert further_there(true_books()) == 2


def change(payout: str, **changes: object) -> Callable[[TransferBooks], None]:
    return lambda books: books.payouts.update({payout: books.payouts[payout]._replace(**changes)})


def listed(call: str, *lines: Line) -> Callable[[TransferBooks], None]:
    return lambda books: books.listed.update({call: list(lines)})


def call(payout: str, *calls: PayoutCall) -> Callable[[TransferBooks], None]:
    return lambda books: books.calls.update({payout: list(calls)})


TAMPERED: dict[str, tuple[Callable[[TransferBooks], None], set[tuple[str, str]]]] = {
    "sent twice under one key": (
        listed("call paid 1", line("paid", "paid"), line("paid", "accepted", provider_reference="tr 2")),
        {(SENT_ONCE, "paid"), (KNOWN, "paid")},
    ),
    "sent by two releases": (
        listed("call again 1", line("again", "paid")),
        {(SENT_ONCE, "again"), (KNOWN, "again")},
    ),
    "rejected once, then sent": (listed("call again 1", line("again", "rejected")), set()),
    "a return that nobody heard": (listed("call paid 1", line("paid", "returned")), {(KNOWN, "paid")}),
    "paid here, failed there": (listed("call paid 1", line("paid", "failed")), {(KNOWN, "paid")}),
    "paid here, accepted there": (listed("call paid 1", line("paid", "accepted")), {(KNOWN, "paid")}),
    "paid here, nothing there": (listed("call paid 1"), {(KNOWN, "paid")}),
    "submitted here, nothing there": (listed("call submitted 1"), {(KNOWN, "submitted")}),
    "failed here, paid there": (listed("call failed 1", line("failed", "paid")), {(KNOWN, "failed")}),
    "rejected here, paid there": (listed("call rejected 1", line("rejected", "paid")), {(KNOWN, "rejected")}),
    "not sent, and paid there": (listed("call not_sent 1", line("not_sent", "paid")), {(KNOWN, "not_sent")}),
    "rejected, and never kept there": (listed("call rejected 1"), set()),
    "another amount": (listed("call paid 1", line("paid", "paid", amount=1001)), {(KNOWN, "paid")}),
    "another currency": (listed("call paid 1", line("paid", "paid", currency="USD")), {(KNOWN, "paid")}),
    "another pay-out": (listed("call paid 1", line("other", "paid")), {(KNOWN, "paid")}),
    "another transfer": (listed("call paid 1", line("paid", "paid", provider_reference="x")), {(KNOWN, "paid")}),
    "less came back": (listed("call returned 1", line("returned", "returned", returned=1)), {(KNOWN, "returned")}),
    "a return that is called a failure": (listed("call returned 1", line("returned", "failed")), set()),
    "not ours": (listed("call of nobody", line("nobody", "paid")), {(KNOWN, "nobody")}),
    "not ours, and rejected": (listed("call of nobody", line("nobody", "rejected")), set()),
    "contradicted, and the provider is asked": (change("failed", checking="open"), set()),
    "one call too many": (
        call("paid", PayoutCall("call paid 1", "payout", False), PayoutCall("call paid 0", "payout", False)),
        {(CALLED, "paid")},
    ),
    "no call": (call("paid"), {(CALLED, "paid"), (KNOWN, "paid")}),
    "open, and paid": (call("paid", PayoutCall("call paid 1", "payout", True)), {(CALLED, "paid")}),
    "ended, and open": (call("calling", PayoutCall("call calling 1", "payout", False)), {(CALLED, "calling")}),
    "an earlier release is open": (
        call("again", PayoutCall("call again 1", "payout", True), PayoutCall("call again 2", "payout", False)),
        {(CALLED, "again")},
    ),
    "calls of no pay-out": (call("nobody", PayoutCall("call nobody 1", "payout", False)), {(CALLED, "nobody")}),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_does_not_agree_is_named(case: str) -> None:
    tamper, wrong = TAMPERED[case]
    books = true_books()
    tamper(books)
    assert found(books) == wrong


def test_what_is_contradicted_is_not_judged_while_the_provider_is_asked() -> None:
    books = true_books()
    listed("call failed 1", line("failed", "paid"))(books)
    assert found(books) == {(KNOWN, "failed")}
    change("failed", checking="open")(books)
    assert found(books) == set()
    change("failed", checking="unanswered")(books)
    assert found(books) == {(KNOWN, "failed")}
