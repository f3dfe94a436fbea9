"""What a correction may move, and that wallet and ledger move the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.wallet.decide import decide as decide_wallet
from consumers.wallet.wallet import Wallet, Wallets
from schemas.corrections import CorrectionApproved, SellerMovement, check, fault_of, movements_of
from schemas.errors import Permanent
from schemas.journals import JournalPosted, LedgerEntry
from schemas.money import Money
from schemas.money_back import WalletCorrected
from tests.captures import capture, cause
from tests.corrections import LOSSES, PAYABLE, RECEIVABLE, Line, correction, entries, made_of
from tests.unit.test_ledger_decide import no_books, post
from topics.runtime.shape.consumer import Decision

ALLOWED = (PAYABLE, RECEIVABLE, "psp:northpay:fees", "psp:northpay:balance", "bank:main:clearing", "suspense", LOSSES)
ALLOWED += ("platform:fees", "bank:fees")
FORBIDDEN = (
    "bank:main",
    "platform:fx",
    "platform:fx-spread",
    "fx:EUR-USD",
    "payouts:in-transit",
    "psp:northpay:reserve",
)
FORBIDDEN += (
    "seller:s 1:payable",
    "seller:s:payable:x",
    "bank:a:b:clearing",
    "",
    "suspense2",
    "psp:northpay:fx",
    "Suspense",
)


class Opening(dict[tuple[str, str], Wallet]):
    """A wallet is opened when it is first looked at, as the store does."""

    def __missing__(self, side: tuple[str, str]) -> Wallet:
        return Wallet(*side)


def no_wallets() -> Wallets:
    return Wallets(Opening())


def move(state: Wallets, event: object, seed: str = "1") -> Decision:
    decision = decide_wallet(state, event, cause(seed))  # type: ignore[arg-type]
    for change in decision.changes:
        state.fold(change)  # type: ignore[arg-type]
    return decision


@pytest.mark.parametrize("account", ALLOWED)
def test_a_correction_moves_the_accounts_of_its_list(account: str) -> None:
    check(correction((account, "debit", 5), (LOSSES, "credit", 5)))


@pytest.mark.parametrize("account", FORBIDDEN)
def test_a_correction_moves_no_other_account_in_any_room(account: str) -> None:
    event = made_of(entries((account, "debit", 5), (LOSSES, "credit", 5)))
    for heard in (lambda: check(event), lambda: move(no_wallets(), event), lambda: post(no_books(), event)):
        with pytest.raises(Permanent, match="account_not_allowed"):
            heard()


UNLIKE: dict[str, tuple[str, CorrectionApproved]] = {
    "unbalanced": ("unbalanced", correction((PAYABLE, "debit", 5), (LOSSES, "credit", 4))),
    "each currency balances by itself": (
        "unbalanced",
        made_of(entries((PAYABLE, "debit", 5)) + entries((LOSSES, "credit", 5), currency="USD")),
    ),
    "of nothing": ("invalid_amount", correction((PAYABLE, "debit", 0), (LOSSES, "credit", 0))),
    "below zero": ("invalid_amount", correction((PAYABLE, "debit", -5), (LOSSES, "credit", -5))),
    "the seller gets nothing": ("movements_differ", correction(movements=())),
    "the seller gets more": (
        "movements_differ",
        correction(movements=(SellerMovement("seller-1", Money(-501, "EUR")),)),
    ),
    "another seller": ("movements_differ", correction(movements=(SellerMovement("seller-2", Money(-500, "EUR")),))),
    "another currency": ("movements_differ", correction(movements=(SellerMovement("seller-1", Money(-500, "USD")),))),
    "in two parts": (
        "movements_differ",
        correction(movements=(SellerMovement("seller-1", Money(-250, "EUR")),) * 2),
    ),
    "a seller that the entries do not move": (
        "movements_differ",
        correction(
            (LOSSES, "debit", 5), (RECEIVABLE, "credit", 5), movements=(SellerMovement("seller-1", Money(5, "EUR")),)
        ),
    ),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_what_does_not_agree_is_booked_by_neither_room(case: str) -> None:
    code, event = UNLIKE[case]
    for heard in (lambda: check(event), lambda: move(no_wallets(), event), lambda: post(no_books(), event)):
        with pytest.raises(Permanent) as refused:
            heard()
        assert refused.value.code == code


@pytest.mark.parametrize(
    "changed",
    [
        {"reason": ""},
        {"reason": "  "},
        {"reason": "card 4111 1111 1111 1111"},
        {"entries": ()},
        {"correction_id": "x"},
        {"sha256": "short"},
    ],
)
def test_a_correction_without_its_parts_is_none(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changed))):
        correction(**changed)


def test_the_same_correction_is_booked_once_under_whatever_id_it_comes() -> None:
    state, books = no_wallets(), no_books()
    first = move(state, correction()), post(books, correction())
    again = move(state, correction(), "2"), post(books, correction(), "2")
    assert [bool(each.events) for each in (*first, *again)] == [True, True, False, False]
    other = correction((PAYABLE, "debit", 501), (RECEIVABLE, "credit", 501))
    with pytest.raises(Permanent, match="movement_differs"):
        move(state, other, "3")
    with pytest.raises(Permanent, match="journal_differs"):
        post(books, other, "3")


def test_a_wallet_may_go_below_zero_and_says_what_was_corrected() -> None:
    state = no_wallets()
    move(state, capture())
    (said,) = move(state, correction((PAYABLE, "debit", 1500), (LOSSES, "credit", 1500)), "2").events
    assert isinstance(said, WalletCorrected)
    assert (said.wallet, said.amount, said.available) == ("seller-1:EUR", Money(-1500, "EUR"), Money(-300, "EUR"))
    assert (said.correction_id, said.wallet_version) == (f"{1:032x}", 2)


def test_the_journal_is_the_entries_as_they_are() -> None:
    (journal,) = post(no_books(), correction()).events
    assert isinstance(journal, JournalPosted)
    assert (journal.template, journal.key, journal.entries) == ("corrected", f"{1:032x}", correction().entries)


def test_a_correction_may_move_several_sellers_in_several_currencies() -> None:
    booked = entries((PAYABLE, "debit", 5), ("seller:s-2:payable", "credit", 5))
    booked += entries((PAYABLE, "credit", 7), (LOSSES, "debit", 7), currency="USD")
    said = move(no_wallets(), made_of(booked)).events
    moved = {(e.wallet, e.amount.minor) for e in said if isinstance(e, WalletCorrected)}
    assert moved == {("seller-1:EUR", -5), ("seller-1:USD", 7), ("s-2:EUR", 5)}
    assert len({e.movement_id for e in said if isinstance(e, WalletCorrected)}) == 3


# ── any order, any repeats ───────────────────────────────────────────────────────────────────────────────────────────

ACCOUNTS = (PAYABLE, "seller:seller-2:payable", RECEIVABLE, "suspense", LOSSES)


@st.composite
def corrections(draw: st.DrawFn) -> CorrectionApproved:
    number = draw(st.integers(1, 6))
    lines: list[Line] = []
    for _ in range(draw(st.integers(1, 3))):
        minor = draw(st.integers(1, 10_000))
        debit, credit = draw(st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(ACCOUNTS)))
        lines += [(debit, "debit", minor), (credit, "credit", minor)]
    event = correction(*lines, number=number, currency=draw(st.sampled_from(["EUR", "JPY"])))
    wrong = draw(st.sampled_from(["", "", "", "movements", "account"]))
    if wrong == "movements":
        return event.model_copy(update={"movements": (SellerMovement("seller-1", Money(1, "EUR")),)})
    return event if not wrong else made_of((*event.entries, *entries(("bank:main", "debit", 1))), number)


@given(st.lists(corrections(), max_size=12), st.randoms())
def test_in_any_order_and_however_often_wallet_and_ledger_move_the_same(
    said: Sequence[CorrectionApproved], dice: object
) -> None:
    """Each room hears all of it, in the topic's order by key, under new ids and again; each refuses what the other refuses."""
    first = {
        event.correction_id: event for event in reversed(said)
    }  # one id is one correction: as its speaker makes them
    heard = [*first.values(), *first.values()]
    state, books = no_wallets(), no_books()
    refused: tuple[list[str], list[str]] = ([], [])
    for room, deliver in enumerate((lambda e, s: move(state, e, s), lambda e, s: post(books, e, s))):
        order = list(heard)
        dice.shuffle(order)  # type: ignore[attr-defined]
        for number, event in enumerate(order):
            try:
                deliver(event, f"{room} {number}")
            except Permanent as why:
                refused[room].append(f"{event.correction_id} {why.code}")
    assert Counter(refused[0]) == Counter(refused[1])
    owed: Counter[tuple[str, str]] = Counter()
    for posting in books.postings.values():
        owed.update(
            {(m.seller_account, m.amount.currency): m.amount.minor for m in movements_of(posting.journal.entries)}
        )
    held = {side: wallet.available for side, wallet in state.wallets.items() if wallet.available}
    assert held == {side: minor for side, minor in owed.items() if minor}
    for event in first.values():
        posted = (event.correction_id, "corrected", "") in books.postings
        assert posted is (fault_of(event.movements, event.entries) is None)


def test_an_entry_of_a_journal_is_what_the_ledger_calls_one() -> None:
    assert correction().entries[0] == LedgerEntry(PAYABLE, "debit", Money(500, "EUR"))
