"""What the ledger posts about settlements and bank statements."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from schemas.errors import Permanent
from schemas.journals import JournalPosted
from schemas.money import Money
from schemas.settlements import (
    AmountRole,
    BookedAmount,
    Settled,
    SettlementMatched,
    SettlementReclassified,
    StatementMatched,
)
from tests.unit.test_ledger_decide import lines, no_books, post
from topics.runtime.shape.consumer import Decision

SUBJECT = "northpay-eu/238"


def amounts(**by_role: int) -> tuple[BookedAmount, ...]:
    return tuple(_amount(role, minor) for role, minor in by_role.items())  # type: ignore[arg-type]


def _amount(role: AmountRole, minor: int) -> BookedAmount:
    return BookedAmount(role, Money(minor, "EUR"))


def matched(revision: int = 1, **by_role: int) -> SettlementMatched:
    return SettlementMatched(
        subject=SUBJECT, revision=revision, psp="northpay", bank_account="main", amounts=amounts(**by_role)
    )


@pytest.mark.parametrize(
    ("event", "template", "posted"),
    [
        (
            matched(receivable=-10_000, suspense=-700, fees=290, balance=410, bank_clearing=10_000),
            "settled",
            [
                ("psp:northpay:receivable", "credit", 10_000),
                ("suspense", "credit", 700),
                ("psp:northpay:fees", "debit", 290),
                ("psp:northpay:balance", "debit", 410),
                ("bank:main:clearing", "debit", 10_000),
            ],
        ),
        (
            matched(reserve=500, receivable=-501, losses=1, fees=0),
            "settled",
            [
                ("psp:northpay:reserve", "debit", 500),
                ("psp:northpay:receivable", "credit", 501),
                ("platform:losses", "debit", 1),
            ],
        ),
        (
            SettlementReclassified(
                subject=SUBJECT, revision=2, psp="northpay", amounts=amounts(suspense=700, receivable=-700)
            ),
            "reclassified",
            [("suspense", "debit", 700), ("psp:northpay:receivable", "credit", 700)],
        ),
        (
            StatementMatched(
                subject="main/2026-07",
                revision=1,
                psp="main",
                bank_account="main",
                amounts=amounts(bank=9_990, bank_fees=10, bank_clearing=-10_000),
            ),
            "statement",
            [("bank:main", "debit", 9_990), ("bank:fees", "debit", 10), ("bank:main:clearing", "credit", 10_000)],
        ),
    ],
)
def test_the_journal_of_each_event(event: Settled, template: str, posted: list[tuple[str, str, int]]) -> None:
    decision = post(no_books(), event)
    assert lines(decision) == posted
    [journal] = decision.events
    assert isinstance(journal, JournalPosted)
    assert (journal.template, journal.key, journal.settlement, journal.part) == (
        template,
        event.subject,
        event.subject,
        str(event.revision),
    )
    assert (journal.payment_order_id, journal.checkout_id, journal.payout_id) == (None, None, None)


def test_each_revision_is_posted_once_and_in_other_amounts_is_a_dead_letter() -> None:
    books = no_books()
    first = matched(receivable=-100, balance=100)
    assert post(books, first, "1").events
    assert post(books, first, "2") == Decision()
    assert post(books, matched(2, receivable=-5, balance=5), "3").events
    with pytest.raises(Permanent, match="journal_differs"):
        post(books, matched(receivable=-101, balance=101), "4")


def test_amounts_that_do_not_balance_are_no_event() -> None:
    with pytest.raises(ValidationError, match="sum to zero"):
        matched(receivable=-100, balance=99)


def test_every_role_has_an_account_of_its_own() -> None:
    """What the design gives no account would be a bug at the first file that needs it."""
    names = {
        lines(post(no_books(), matched(**{role: 5, "balance": -5})))[0][0]
        for role in get_args(AmountRole)
        if role != "balance"
    }
    assert len(names) == len(get_args(AmountRole)) - 1
