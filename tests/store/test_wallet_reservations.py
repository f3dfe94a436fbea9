"""Reservations on a real database: taken once, whoever else moves the wallet, and whoever says it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from consumers.ledger.consumer import build as build_ledger
from consumers.payments.consumer import build as build_payments
from consumers.wallet.consumer import build
from schemas.money import Money
from schemas.payouts import FundsReserved, FundsReturned, ReservationReleased, ReservationSettled
from tests.captures import capture
from tests.payouts import PAYOUT, failed, given_up, paid, placed, returned, submitted
from tests.store.hearing import Hearing
from topics import catalog
from topics.settings import Settings


@pytest.fixture
def wallet(stored: Settings) -> Iterator[Hearing]:
    with closing(Hearing(stored, build(stored))) as room:
        yield room


def fill(wallet: Hearing, minor: int = 25_000, seller: str = "seller-1") -> None:
    gross = Money(minor, "EUR")
    wallet.hears(capture(f"order-{seller}", seller_account=seller, gross=gross, fee=Money(0, "EUR"), net=gross))


def pockets(wallet: Hearing, seller: str = "seller-1") -> tuple[int, int]:
    [row] = wallet.rows("SELECT available, reserved FROM wallet_view WHERE seller_account = %s", seller)
    return row["available"], row["reserved"]


def states(wallet: Hearing) -> dict[str, str]:
    return {row["payout_id"]: row["state"] for row in wallet.rows("SELECT payout_id, state FROM reservation_view")}


def test_a_pay_out_s_way_through_the_wallet(wallet: Hearing) -> None:
    fill(wallet)
    said = [
        *wallet.hears(placed(None, keep=Money(15_000, "EUR"))),
        *wallet.hears(submitted()),
        *wallet.hears(paid(), returned(), submitted(2)),
        *wallet.hears(failed(2)),
    ]
    assert [(type(event), event.available.minor, event.reserved.minor) for event in said] == [  # type: ignore[union-attr]
        (FundsReserved, 15_000, 10_000),
        (ReservationSettled, 15_000, 0),
        (FundsReturned, 25_000, 0),
        (ReservationSettled, 15_000, 0),
        (FundsReturned, 25_000, 0),
    ]
    rows = wallet.rows(
        "SELECT kind, part, payment_order_id, amount, to_reserved FROM movement_view ORDER BY wallet_version OFFSET 1"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("reserved", "", PAYOUT, 0, 10_000),
        ("settled", "", PAYOUT, -10_000, -10_000),
        ("returned", "", PAYOUT, 10_000, 0),
        ("settled", "#2", PAYOUT, -10_000, 0),
        ("returned", "#2", PAYOUT, 10_000, 0),
    ]
    assert (states(wallet), wallet.dead) == ({PAYOUT: "returned"}, 0)


def test_its_balance_is_published_with_what_is_reserved(wallet: Hearing) -> None:
    fill(wallet)
    wallet.hears(placed())
    with wallet.store.transaction() as conn:
        [latest] = wallet.consumer.compacted[catalog.WALLET_BALANCES](conn, ["seller-1:EUR"])
    assert (latest.event.available, latest.event.reserved) == (Money(15_000, "EUR"), Money(10_000, "EUR"))  # type: ignore[union-attr]


def test_ledger_entries_of_pay_outs_are_posted_and_no_payment_s(stored: Settings) -> None:
    with closing(Hearing(stored, build_ledger(stored))) as ledger:
        journals = ledger.hears(submitted(), paid(), returned(returned=Money(9_900, "EUR")))
        assert ledger.hears(submitted(), paid()) == [], "said once more, under other ids"
        rows = ledger.rows("SELECT account, credits - debits AS owed FROM account_view ORDER BY account")
        assert [tuple(row.values()) for row in rows] == [
            ("bank:fees", -100),
            ("bank:main:clearing", 100),
            ("payouts:in-transit", 0),
            ("seller:seller-1:payable", 0),
        ]
        assert (len(journals), ledger.dead) == (3, 0)
    with closing(Hearing(stored, build_payments(stored))) as payments:
        assert (payments.hears(*journals), payments.dead) == ([], 0)


def test_a_reservation_given_up_is_never_made_again_though_the_inbox_forgot(wallet: Hearing) -> None:
    fill(wallet)
    first = wallet.hears(placed(), given_up())
    assert [type(event) for event in first] == [FundsReserved, ReservationReleased]
    assert wallet.hears(placed()) == wallet.hears(given_up(), placed()) == []
    assert (pockets(wallet), states(wallet), wallet.dead) == ((25_000, 0), {PAYOUT: "released"}, 0)
