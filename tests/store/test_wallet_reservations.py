"""Reservations on a real database: taken once, whoever else moves the wallet, and whoever says it again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime

import pytest

from consumers.ledger.consumer import build as build_ledger
from consumers.payments.consumer import build as build_payments
from consumers.wallet.consumer import build
from schemas.events import AnyEvent, TimerFired
from schemas.money import Money
from schemas.payouts import FundsReserved, FundsReturned, ReservationReleased, ReservationSettled
from tests.captures import capture
from tests.payouts import PAYOUT, failed, given_up, paid, placed, returned, submitted
from tests.store.hearing import Hearing
from tests.unit.test_wallet_holdings import held
from topics import catalog
from topics.runtime.shape import failpoints
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


def test_a_reservation_given_up_is_never_made_again_though_the_inbox_forgot(stored: Settings, wallet: Hearing) -> None:
    fill(wallet)
    story = (placed(), given_up())
    with closing(Hearing(stored, build(stored), "first")) as first:
        assert [type(event) for event in first.hears(*story)] == [FundsReserved, ReservationReleased]
    with wallet.store.transaction() as conn:
        conn.execute("DELETE FROM inbox")
    with closing(Hearing(stored, build(stored), "first")) as again:  # the same ids once more
        assert again.hears(*story) == again.hears(*story) == []
        assert again.dead == 0
    assert (pockets(wallet), states(wallet)) == ((25_000, 0), {PAYOUT: "released"})


# ── two processes ────────────────────────────────────────────────────────────────────────────────────────────────────


def in_step(settings: Settings, one: Sequence[Sequence[AnyEvent]], other: Sequence[Sequence[AnyEvent]]) -> int:
    """Two processes hear a batch each at the same moment, as often as there are batches. → how many dead letters"""
    both, rooms = threading.Barrier(2), [Hearing(settings, build(settings), name) for name in ("one", "other")]

    def work(room: Hearing, batches: Sequence[Sequence[AnyEvent]]) -> None:
        for batch in batches:
            both.wait(60)
            room.hears(*batch, topic="timers" if isinstance(batch[0], TimerFired) else None)

    threads = [threading.Thread(target=work, args=each) for each in zip(rooms, (one, other), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    for room in rooms:
        room.close()
    return sum(room.dead for room in rooms)


def of_each(sellers: Sequence[str], event: Callable[..., AnyEvent], *values: object) -> list[list[AnyEvent]]:
    """For each seller the event of the pay-out that has the seller's name."""
    return [[event(*values, payout_id=seller, seller_account=seller)] for seller in sellers]


# What must hold of each wallet, whatever came first: its pockets, its movements and its reservations.
OFF = """
SELECT w.seller_account FROM wallet_view w
  LEFT JOIN reservation_view r ON r.payout_id = w.seller_account AND r.state = 'reserved'
  LEFT JOIN LATERAL (SELECT sum(amount) AS moved, count(*) AS n FROM movement_view m
                      WHERE m.seller_account = w.seller_account) m ON true
 WHERE w.available < 0 OR w.reserved <> coalesce(r.amount, 0) OR w.version <> m.n
    OR w.available + w.pending + w.reserved <> m.moved
"""


def test_a_reservation_of_all_and_what_else_moves_its_wallet_never_miss_each_other(
    stored: Settings, wallet: Hearing
) -> None:
    """1,000 times: all of a wallet is reserved by one process while another captures, or its hour has come."""
    sellers = [f"s-{number:03}" for number in range(1000)]
    wallet.hears(*(held(f"a-{seller}", seller_account=seller, days=1) for seller in sellers))
    hour = bucket_of(wallet)
    others: list[list[AnyEvent]] = [[capture(f"b-{seller}", seller_account=seller)] for seller in sellers[:500]]
    others += [[TimerFired(kind="available", timer_key=f"{each}:EUR", due_at=hour)] for each in sellers[500:]]
    assert in_step(stored, of_each(sellers, placed, None), others) == 0
    assert wallet.rows(OFF) == []
    found = wallet.rows("SELECT state, amount, count(*) AS n FROM reservation_view GROUP BY 1, 2")
    assert sum(row["n"] for row in found) == 1000
    assert {(row["state"], row["amount"]) for row in found} <= {("reserved", 1200), ("refused", 0)}


def test_two_pay_outs_of_one_wallet_never_have_the_same_money(stored: Settings, wallet: Hearing) -> None:
    sellers = [f"s-{number:02}" for number in range(100)]
    wallet.hears(*(capture(f"a-{seller}", seller_account=seller) for seller in sellers))
    one = [[placed(Money(1_000, "EUR"), payout_id=f"{each}-1", seller_account=each)] for each in sellers]
    other = [[placed(Money(1_000, "EUR"), payout_id=f"{each}-2", seller_account=each)] for each in sellers]
    assert in_step(stored, one, other) == 0
    rows = wallet.rows("SELECT state, count(*) AS n FROM reservation_view GROUP BY 1 ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [("refused", 100), ("reserved", 100)]
    assert len(wallet.rows("SELECT 1 FROM wallet_view WHERE (available, reserved) = (200, 1000)")) == 100


def test_a_cancel_and_a_late_yes_end_alike_whichever_comes_first(stored: Settings, wallet: Hearing) -> None:
    sellers = [f"s-{number:02}" for number in range(100)]
    wallet.hears(*(capture(f"a-{seller}", seller_account=seller) for seller in sellers))
    wallet.hears(*(event for [event] in of_each(sellers, placed, Money(1_000, "EUR"))))
    late = [[submitted(payout_id=each, seller_account=each, amount=Money(1_000, "EUR"))] for each in sellers]
    assert in_step(stored, of_each(sellers, given_up), late) == 0
    assert set(states(wallet).values()) == {"settled"}
    assert len(wallet.rows("SELECT 1 FROM wallet_view WHERE (available, reserved) = (200, 0)")) == 100


def test_the_same_events_heard_by_two_processes_move_once(stored: Settings, wallet: Hearing) -> None:
    """As where a process was taken for dead: here the ids differ even, so that no inbox helps."""
    sellers = [f"s-{number:02}" for number in range(50)]
    wallet.hears(*(capture(f"a-{seller}", seller_account=seller) for seller in sellers))
    terms = [{"payout_id": each, "seller_account": each, "amount": Money(1_000, "EUR")} for each in sellers]
    steps: list[list[AnyEvent]] = [[placed(**each)] for each in terms]  # type: ignore[arg-type]
    steps += [[event(**each)] for event in (submitted, returned) for each in terms]  # type: ignore[operator]
    assert in_step(stored, steps, steps) == 0
    assert (set(states(wallet).values()), wallet.rows(OFF)) == ({"returned"}, [])
    assert len(wallet.rows("SELECT 1 FROM wallet_view WHERE (available, version) = (1200, 4)")) == 50


PLACES = ("after_claim", "after_load", "after_decide", "after_save", "after_outbox", "before_commit", "after_commit")


def test_a_process_that_is_killed_at_any_step_reserves_and_settles_once(stored: Settings, wallet: Hearing) -> None:
    fill(wallet)
    events = [placed(Money(100, "EUR"), payout_id=place) for place in PLACES]
    events += [submitted(payout_id=place, amount=Money(100, "EUR")) for place in PLACES]  # type: ignore[misc]
    for number, event in enumerate(events):
        assert killed(stored, PLACES[number % len(PLACES)], f"event {number}", event) == signal.SIGKILL
        with closing(Hearing(stored, build(stored), f"event {number}")) as after:
            after.hears(event)
    assert (pockets(wallet), set(states(wallet).values())) == ((24_300, 0), {"settled"})
    [row] = wallet.rows("SELECT version FROM wallet_view")
    assert row["version"] == 1 + 2 * len(PLACES)


def killed(settings: Settings, place: str, name: str, event: AnyEvent) -> int:
    """Another process that hears the event and is killed at a failpoint. → by which signal"""
    pid = os.fork()
    if not pid:
        failpoints._plan[place] = (signal.SIGKILL, 1)
        Hearing(settings, build(settings), name).hears(event)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def bucket_of(wallet: Hearing) -> datetime:
    [row] = wallet.rows("SELECT DISTINCT available_from FROM holding_view")
    found: datetime = row["available_from"]
    return found
