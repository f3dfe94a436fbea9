"""What the wallet's tables hold, and what they refuse whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from consumers.wallet.consumer import build
from schemas.money import Money
from tests.captures import apply_all, capture, record
from tests.money_back import capture_reversed, captured, opened, refund_reversed, refunded, share
from topics import catalog
from topics.runtime.shape.consumer import AnyConsumer
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store
from topics.settings import Settings


@pytest.fixture
def wallet(stored: Settings) -> AnyConsumer:
    return build(stored)


@pytest.fixture
def store(stored: Settings) -> Iterator[Store]:
    store = Store(stored, "wallet")
    yield store
    store.close()


def wallets(settings: Settings) -> dict[tuple[str, str], tuple[int, int]]:
    rows = read(settings, "wallet", "SELECT * FROM wallet_view")
    return {(row["seller_account"], row["currency"]): (row["available"], row["version"]) for row in rows}


def in_yen(order: str, **changes: object) -> object:
    return capture(order, gross=Money(500, "JPY"), fee=Money(0, "JPY"), net=Money(500, "JPY"), **changes)


def test_wallets_are_opened_on_first_use_and_credited_by_currency(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    events = [capture("order-1"), in_yen("order-2"), capture("order-3", seller_account="seller-2"), capture("order-4")]
    apply_all(store, wallet, [record(event, str(place)) for place, event in enumerate(events)])  # type: ignore[arg-type]
    assert wallets(stored) == {
        ("seller-1", "EUR"): (2400, 2),
        ("seller-1", "JPY"): (500, 1),
        ("seller-2", "EUR"): (1200, 1),
    }


def test_movements_tell_the_balances_after_each_in_order(stored: Settings, store: Store, wallet: AnyConsumer) -> None:
    for batch in (["order-1", "order-2"], ["order-3"]):
        apply_all(store, wallet, [record(capture(order), order) for order in batch])
    rows = read(stored, "wallet", "SELECT * FROM movement_view ORDER BY wallet_version")
    assert [(row["payment_order_id"], row["amount"], row["available_after"]) for row in rows] == [
        ("order-1", 1200, 1200),
        ("order-2", 1200, 2400),
        ("order-3", 1200, 3600),
    ]


def test_a_repeat_under_another_event_id_credits_once_within_a_batch_and_after_it(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    apply_all(store, wallet, [record(capture(), "1"), record(capture(), "2")])
    assert apply_all(store, wallet, [record(capture(), "3")]).dead == 0
    assert wallets(stored) == {("seller-1", "EUR"): (1200, 1)}
    assert read(stored, "wallet", "SELECT gross_total, orders FROM buyer_view") == [{"gross_total": 1234, "orders": 1}]


def test_a_repeat_on_other_terms_is_a_dead_letter_and_moves_nothing(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    apply_all(store, wallet, [record(capture(), "1")])
    assert apply_all(store, wallet, [record(capture(seller_account="seller-2"), "2")]).dead == 1
    assert wallets(stored)["seller-1", "EUR"] == (1200, 1)
    assert wallets(stored).get(("seller-2", "EUR"), (0, 0)) == (0, 0)


def test_a_buyers_total_grows_with_each_order_by_currency(stored: Settings, store: Store, wallet: AnyConsumer) -> None:
    events = [capture("order-1"), in_yen("order-2"), capture("order-3", seller_account="seller-2")]
    for place, event in enumerate(events):
        apply_all(store, wallet, [record(event, str(place))])  # type: ignore[arg-type]
    rows = read(stored, "wallet", "SELECT currency, gross_total, orders FROM buyer_view ORDER BY currency")
    assert rows == [
        {"currency": "EUR", "gross_total": 2468, "orders": 2},
        {"currency": "JPY", "gross_total": 500, "orders": 1},
    ]


def test_a_published_balance_is_the_balance_of_now(store: Store, wallet: AnyConsumer) -> None:
    apply_all(store, wallet, [record(capture("order-1"), "1"), record(capture("order-2"), "2")])
    with store.transaction() as conn:
        dirty = conn.execute("SELECT topic, key, version FROM latest_outbox").fetchall()
        (latest,) = wallet.compacted[catalog.WALLET_BALANCES](conn, [key for _, key, _ in dirty])
    assert dirty == [("wallet-balances.v1", "seller-1:EUR", 2)]
    assert (latest.key, latest.version, latest.event.available) == ("seller-1:EUR", 2, Money(2400, "EUR"))  # type: ignore[union-attr]


def test_two_processes_that_open_the_same_wallets_lose_nothing(stored: Settings, wallet: AnyConsumer) -> None:
    def work(name: str) -> None:
        own = Store(stored, "wallet")
        for number in range(20):
            order = f"order-{name}-{number}"
            sellers = [number % 5, (number + 1) % 5]
            apply_all(
                own,
                wallet,
                [record(capture(f"{order}-{s}", seller_account=f"seller-{s}"), f"{order}-{s}") for s in sellers],
            )
        own.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wallets(stored) == {(f"seller-{number}", "EUR"): (16 * 1200, 16) for number in range(5)}
    (buyer,) = read(stored, "wallet", "SELECT gross_total, orders FROM buyer_view")
    assert buyer == {"gross_total": 80 * 1234, "orders": 80}


HALF = share(617, 17)


def test_money_back_takes_a_wallet_below_zero_and_each_movement_says_which_part_it_is(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    batches = [
        [captured("c-1", HALF), captured("c-2", HALF), refunded("r-1", share(1234, 34))],
        [opened(HALF), refund_reversed("r-1", share(1234, 34)), capture_reversed("c-2", HALF)],
    ]
    for number, events in enumerate(batches):
        apply_all(store, wallet, [record(event, f"{number}-{place}") for place, event in enumerate(events)])
    rows = read(
        stored, "wallet", "SELECT kind, part, amount, available_after FROM movement_view ORDER BY wallet_version"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("captured", "c-1", 600, 600),
        ("captured", "c-2", 600, 1200),
        ("refunded", "r-1", -1200, 0),
        ("chargeback_opened", "dp_" + "0" * 24 + ".1", -600, -600),
        ("refund_reversed", "r-1", 1200, 600),
        ("capture_reversed", "c-2", -600, 0),
    ]


def test_a_refund_waits_behind_its_capture_that_could_not_be_booked(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    """One topic and one key: what cannot be credited is never debited before it."""
    much = {of: Money(2**63 - 100, "EUR") for of in ("gross", "net")} | {"fee": Money(0, "EUR")}
    apply_all(store, wallet, [record(capture("order-0"), "0"), record(capture("order-2"), "2")])
    apply_all(store, wallet, [record(capture("order-1", **much), "1")])
    apply_all(store, wallet, [record(refunded("r1", share(500, 0)), "r1")])
    apply_all(store, wallet, [record(refunded("r2", share(500, 0), "order-2"), "r2")])
    assert wallets(stored) == {("seller-1", "EUR"): (1900, 3)}
    waiting = read(stored, "wallet", "SELECT key, state FROM parked WHERE state IN ('parked', 'dead')")
    assert [bytes(row["key"]) for row in waiting] == [b"order-1", b"order-1"]


def test_a_part_that_was_moved_in_an_earlier_batch_is_not_moved_again(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    for seed in ("1", "2"):
        events = [captured("c-1", HALF), refunded("r-1", HALF)]
        assert apply_all(store, wallet, [record(event, f"{event.key}{seed}{event}") for event in events]).dead == 0
    assert wallets(stored) == {("seller-1", "EUR"): (0, 2)}


def test_a_buyer_has_paid_what_was_captured_and_got_back_what_was_refunded(
    stored: Settings, store: Store, wallet: AnyConsumer
) -> None:
    for number, event in enumerate([captured("c-1", HALF), captured("c-2", HALF), refunded("r-1", HALF)]):
        apply_all(store, wallet, [record(event, str(number))])
    (buyer,) = read(stored, "wallet", "SELECT gross_total, refunded_total, orders FROM buyer_view")
    assert buyer == {"gross_total": 1234, "refunded_total": 617, "orders": 1}


@pytest.mark.parametrize(
    "statement", ["UPDATE movements SET amount = 1", "DELETE FROM movements", "DELETE FROM wallets"]
)
def test_the_room_itself_cannot_rewrite_movements(store: Store, wallet: AnyConsumer, statement: str) -> None:
    apply_all(store, wallet, [record(capture(), "1")])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        store.connection().execute(statement)  # type: ignore[arg-type]


def test_not_even_the_owner_of_the_tables_can_rewrite_movements(
    stored: Settings, servers: object, store: Store, wallet: AnyConsumer
) -> None:
    apply_all(store, wallet, [record(capture(), "1")])
    admin_dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=stored.database)  # type: ignore[attr-defined]
    with psycopg.connect(admin_dsn, options="-c search_path=wallet") as admin:
        with pytest.raises(psycopg.errors.CheckViolation, match="append-only"):
            admin.execute("DELETE FROM movements")
        admin.rollback()
