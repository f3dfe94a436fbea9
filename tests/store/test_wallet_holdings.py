"""Holdings on a real database: read only with the wallet locked, released once whoever fires, and looked at by the auditor."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest

from consumers.wallet import store as wallet_store
from consumers.wallet.consumer import build
from operations.auditor import holdings as audited
from operations.auditor.balances import SUMS, check_kinds
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.engine.unfinished import timers as timers_fire
from operations.stack.servers import Servers
from schemas.fees import Reserve
from tests.captures import NOW, apply_all, capture, record
from tests.money_back import refunded, share
from tests.unit.test_wallet_holdings import DAY, held
from topics.runtime.calls import timers
from topics.runtime.delivery.apply import apply
from topics.runtime.delivery.fire import fire
from topics.runtime.shape import failpoints
from topics.runtime.shape.consumer import AnyConsumer
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store
from topics.settings import Settings

DUE = NOW + 2 * DAY


@pytest.fixture
def wallet(stored: Settings) -> AnyConsumer:
    return build(stored)


@pytest.fixture
def store(stored: Settings) -> Iterator[Store]:
    with closing(Store(stored, "wallet")) as store:
        yield store


def hold(store: Store, wallet: AnyConsumer, *orders: str, **more: Any) -> None:
    """EUR 12.00 each, held back until DUE."""
    apply_all(store, wallet, [record(held(order, **more), order) for order in orders])


def fire_all(store: Store, wallet: AnyConsumer, now: datetime = DUE, holder: str = "one") -> int:
    """→ how many messages."""
    return sum(applied.messages for applied in fire(store, wallet, holder, now))


def pockets(settings: Settings, seller: str = "seller-1") -> tuple[int, int]:
    rows = read(settings, "wallet", "SELECT available, pending FROM wallet_view WHERE seller_account = %s", [seller])
    return rows[0]["available"], rows[0]["pending"]


def count(settings: Settings, what: str) -> int:
    return int(read(settings, "wallet", f"SELECT count(*) AS n FROM {what}")[0]["n"])


def test_money_that_is_held_back_becomes_available_by_one_movement_with_all_pockets(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    hold(store, wallet, "order-1", "order-2", reserve=Reserve("50.00", 90))
    assert (pockets(stored), fire_all(store, wallet, DUE - timedelta(seconds=1))) == ((0, 2400), 0)
    assert fire_all(store, wallet) == 1
    rows = read(
        stored,
        "wallet",
        "SELECT kind, amount, to_pending, available_after, pending_after FROM movement_view ORDER BY wallet_version",
    )
    assert [tuple(row.values()) for row in rows] == [
        ("captured", 1200, 1200, 0, 1200),
        ("captured", 1200, 1200, 0, 2400),
        ("available", 0, -1200, 1200, 1200),
    ]
    assert (fire_all(store, wallet), count(stored, "timers")) == (0, 1)
    assert fire_all(store, wallet, NOW + 90 * DAY) == 1
    assert (pockets(stored), count(stored, "timers")) == ((2400, 0), 0)


def test_a_seller_without_terms_gets_no_more_rows(stored: Settings, store: Store, wallet: AnyConsumer) -> None:
    apply_all(store, wallet, [record(capture(), "1")])
    assert (pockets(stored), count(stored, "holding_view"), count(stored, "timers")) == ((1200, 0), 0, 0)


def test_a_refund_of_another_batch_finds_its_orders_holdings(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    hold(store, wallet, "order-1", "order-2")
    apply_all(store, wallet, [record(refunded("r-1", share(1500, 0)), "r-1")])
    assert pockets(stored) == (-300, 1200)
    apply_all(store, wallet, [record(refunded("r-1", share(1500, 0)), "again")])
    assert fire_all(store, wallet) == 1
    assert pockets(stored) == (900, 0)


def test_what_is_too_much_for_one_batch_comes_with_the_same_timers_set_again(
    stored: Settings, store: Store, wallet: AnyConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wallet_store, "RELEASED_MAX", 4)
    for seller in ("seller-1", "Seller-2", "seller_3"):
        hold(store, wallet, *(f"{seller}-{number}" for number in range(3)), seller_account=seller)
    fired = 0
    while count(stored, "timers") and fired < 20:
        fired += fire_all(store, wallet)
    assert [pockets(stored, seller) for seller in ("seller-1", "Seller-2", "seller_3")] == [(3600, 0)] * 3
    assert 3 < fired < 20


def test_what_two_processes_fire_is_released_once(stored: Settings, store: Store, wallet: AnyConsumer) -> None:
    """The lease keeps them apart usually: here both have read the same rows, as a process does that slept past its lease."""
    sellers = [f"seller-{number}" for number in range(20)]
    for seller in sellers:
        hold(store, wallet, f"order-{seller}", seller_account=seller)
    with store.transaction() as conn:
        due = timers.due(conn, DUE)

    def work() -> None:
        with closing(Store(stored, "wallet")) as own:
            list(apply(own, wallet, due, None, DUE))

    in_parallel([work, work])
    assert {pockets(stored, seller) for seller in sellers} == {(1200, 0)}
    assert (count(stored, "movement_view WHERE kind = 'available'"), count(stored, "timers")) == (20, 0)


def test_no_money_is_pending_for_ever_when_a_capture_and_the_timer_of_its_wallet_meet(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    """1,000 times: a wallet's hour is fired by one process while another adds a capture of the same hour."""
    sellers = [f"seller-{number}" for number in range(1000)]
    apply_all(store, wallet, [record(held(f"a-{each}", seller_account=each), f"a-{each}") for each in sellers])
    with store.transaction() as conn:
        due = timers.due(conn, DUE, len(sellers))
    both = threading.Barrier(2)

    def capturing(own: Store) -> None:
        for timer in due:
            seller = orjson.loads(timer.value or b"")["timer_key"].partition(":")[0]
            capture_too = record(held(f"b-{seller}", seller_account=seller), f"b-{seller}")
            both.wait(60)
            apply_all(own, wallet, [capture_too])

    def firing(own: Store) -> None:
        for timer in due:
            both.wait(60)
            list(apply(own, wallet, [timer], None, DUE))

    with closing(Store(stored, "wallet")) as one, closing(Store(stored, "wallet")) as other:
        in_parallel([lambda: capturing(one), lambda: firing(other)])
    while count(stored, "timers"):
        fire_all(store, wallet)
    assert count(stored, "wallet_view WHERE (available, pending) = (2400, 0)") == len(sellers)


def in_parallel(works: Sequence[Any]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


PLACES = ("after_claim", "after_load", "after_decide", "after_save", "after_outbox", "before_commit", "after_commit")


def doomed(settings: Settings, place: str, how: signal.Signals) -> int:
    """Another process that fires what is due and gets this signal at a failpoint. → its id"""
    pid = os.fork()
    if not pid:
        failpoints._plan[place] = (how, 1)
        with closing(Store(settings, "wallet")) as own:
            fire_all(own, build(settings), holder="doomed")
        os._exit(0)
    return pid


def test_a_process_that_is_killed_at_any_step_of_a_timer_releases_its_money_once(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    sellers = [f"seller-{place}" for place in PLACES]
    for seller in sellers:
        hold(store, wallet, f"order-{seller}", seller_account=seller)
    for place in PLACES:
        assert os.waitpid(doomed(stored, place, signal.SIGKILL), 0)[1] == signal.SIGKILL
        _end_lease(stored, store)
    fire_all(store, wallet)
    assert {pockets(stored, seller) for seller in sellers} == {(1200, 0)}
    assert (count(stored, "movement_view WHERE kind = 'available'"), count(stored, "timers")) == (len(sellers), 0)


def test_a_process_that_sleeps_past_its_lease_releases_nothing_twice(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    hold(store, wallet, "order-1")
    sleeper = doomed(stored, "after_decide", signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(sleeper, os.WUNTRACED)[1])
    _end_lease(stored, store)
    other = threading.Thread(target=fire_all, args=(Store(stored, "wallet"), wallet, DUE, "two"))
    other.start()  # waits for the sleeper's claim
    os.kill(sleeper, signal.SIGCONT)
    assert os.waitpid(sleeper, 0)[1] == 0
    other.join(60)
    assert (pockets(stored), count(stored, "timers")) == ((1200, 0), 0)
    assert count(stored, "movement_view WHERE kind = 'available'") == 1


def _end_lease(settings: Settings, store: Store) -> None:
    with store.transaction() as conn:
        conn.execute("UPDATE leases SET until = clock_timestamp() WHERE name = 'timers'")


def test_a_clock_that_goes_forward_and_back_releases_each_holding_once(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    hold(store, wallet, "order-1")
    fire_all(store, wallet, DUE)
    assert (fire_all(store, wallet, NOW), pockets(stored)) == (0, (1200, 0)), "what is available stays so"
    hold(store, wallet, "order-2")
    assert (fire_all(store, wallet, NOW), pockets(stored)) == (0, (1200, 1200))
    assert (fire_all(store, wallet, DUE), pockets(stored)) == (1, (2400, 0))


# ── the auditor ──────────────────────────────────────────────────────────────────────────────────────────────────────


def red(settings: Settings, now: datetime) -> set[str]:
    with Stores(settings) as stores:
        wallets = [each for each in SUMS if each.room == "wallet"]
        checks = check_sums(stores, (*wallets, *audited.SUMS), expected=True)
        checks += check_sums(stores, (audited.RELEASES,), expected=True)
        checks.append(check_kinds(stores, {"captured", "refunded", *audited.KINDS}, expected=True))
        found = {check.name for check in checks if not check.ok}
        looks = {"holdings_released": audited.released, "timers_fire": timers_fire}
        return found | {name for name, look in looks.items() if look(stores, now).wrong}


@pytest.fixture
def books(stored: Settings, store: Store, wallet: AnyConsumer) -> Settings:
    """One holding released, one half refunded, one whose time is yet to come."""
    hold(store, wallet, "order-1", days=1)
    hold(store, wallet, "order-2", "order-3")
    apply_all(store, wallet, [record(refunded("r-1", share(600, 0), "order-2"), "r-1")])
    fire_all(store, wallet, NOW + DAY)
    return stored


BREAKS = {
    "pending that no holding explains": (
        "UPDATE wallet.holdings SET remaining = remaining + 1 WHERE payment_order_id = 'order-3'",
        {"wallet_pending_held"},
    ),
    "a holding that was released without a movement": (
        "UPDATE wallet.holdings SET released_by = gen_random_uuid() WHERE payment_order_id = 'order-3'",
        {"wallet_pending_held", "releases_held"},
    ),
    "a movement that released more than its holdings": (
        "UPDATE wallet.holdings SET remaining = remaining - 1 WHERE payment_order_id = 'order-1'",
        {"releases_held"},
    ),
    "a movement whose pockets do not follow": (
        "UPDATE wallet.movements SET available_after = available_after - 5, pending_after = pending_after + 5"
        " WHERE kind = 'refunded'",
        {"wallet_pockets_step"},
    ),
    "money moved between pockets without a movement": (
        "UPDATE wallet.wallets SET available = available + 5, pending = pending - 5",
        {"wallet_pending_held"},
    ),
}


@pytest.mark.parametrize("case", BREAKS)
def test_the_auditor_is_silent_on_true_holdings_and_names_what_was_changed(
    servers: Servers, books: Settings, case: str
) -> None:
    assert red(books, NOW + DAY) == set()
    statement, checks = BREAKS[case]
    admin = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=books.database)
    with psycopg.connect(admin) as conn:
        conn.execute("SET session_replication_role = replica")  # past the triggers
        conn.execute(statement)  # type: ignore[arg-type]
    assert red(books, NOW + DAY) == checks


def test_the_auditor_names_what_should_have_been_released_by_now(books: Settings) -> None:
    assert red(books, DUE + timedelta(minutes=5)) == set()
    assert red(books, DUE + timedelta(minutes=11)) == {"timers_fire"}
    assert red(books, DUE + timedelta(minutes=71)) == {"timers_fire", "holdings_released"}
