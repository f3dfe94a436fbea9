"""Revenue on a real database: hours that are over are summed once, whoever comes late, and whoever sums at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from consumers.payments.consumer import build
from consumers.payments.migrations.payments_007 import LINES_OF_BEFORE
from consumers.payments.revenue import sum_up
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.pay_in.sums import SUMS
from operations.stack.servers import Servers
from schemas.events import OrderPlaced
from schemas.money_back import Share
from tests.store.hearing import NOW, Hearing
from tests.unit.money_back_cases import (
    ask_capture,
    ask_refund,
    authorised,
    capture_reversed,
    eur,
    opened,
    part_captured,
    refund_reversed,
    refunded,
    won,
)
from tests.unit.payment_cases import captured, cleared, declined, requested
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.store import Store
from topics.settings import Settings

HOUR = timedelta(hours=1)


@pytest.fixture
def payments(stored: Settings) -> Iterator[Hearing]:
    hearing = Hearing(stored, build(stored))
    yield hearing
    hearing.close()


def capture(payments: Hearing, checkout_id: str, after: timedelta = timedelta(0)) -> None:
    """Two orders of 10.00 EUR each, of sellers s1 and s2, captured at that time."""
    payments.hears(*map(captured, placed(payments, checkout_id)), after=after)


def placed(payments: Hearing, checkout_id: str) -> list[OrderPlaced]:
    payments.hears(requested(checkout_id, prefix=f"{checkout_id}-"))
    return [event for event in payments.hears(cleared(checkout_id)) if isinstance(event, OrderPlaced)]


def summed(payments: Hearing, at: datetime) -> int:
    """As the room's upkeep does it: slice after slice, until nothing is left. → how many there were."""
    slices = 0
    while sum_slice(payments.store, at):
        slices += 1
    return slices


def sum_slice(store: Store, at: datetime) -> int:
    with store.transaction() as conn:
        return sum_up(conn, Retention(), at)


def revenue(payments: Hearing) -> list[tuple[Any, ...]]:
    rows = payments.rows("SELECT * FROM revenue_view ORDER BY day, owner, currency, seller_account")
    return [(row["day"].day, row["seller_account"], row["orders"], int(row["gross"]), int(row["fee"])) for row in rows]


def stored_sums(payments: Hearing) -> int:
    with payments.store.transaction() as conn:
        return int(conn.execute("SELECT coalesce(sum(orders), 0) FROM revenue_days").fetchall()[0][0])


def wrong_sums(settings: Settings) -> dict[str, str]:
    with Stores(settings) as stores:
        return {check.name: check.detail for check in check_sums(stores, SUMS, expected=False) if not check.ok}


def test_an_hour_that_is_over_is_summed_once_and_the_report_stays_as_it_was(payments: Hearing) -> None:
    capture(payments, "c1")
    first, second = placed(payments, "c2")
    payments.hears(captured(first), declined(second), after=12 * HOUR)
    told = [(5, "s1", 1, 1000, 100), (5, "s2", 1, 1000, 100), (6, "s1", 1, 1000, 100)]
    assert revenue(payments) == told
    assert summed(payments, NOW + timedelta(minutes=59)) == 2, "hours before that of the capture"
    assert stored_sums(payments) == 0
    for hours, orders in ((1, 2), (2, 2), (13, 3), (14, 3)):
        summed(payments, NOW + hours * HOUR + timedelta(minutes=6))
        assert stored_sums(payments) == orders
        assert revenue(payments) == told
    assert summed(payments, NOW + 14 * HOUR + timedelta(minutes=6)) == 0
    assert "revenue" not in wrong_sums(payments.settings)


def test_later_hours_are_added_to_the_sums_of_their_day(payments: Hearing) -> None:
    for hours in range(3):
        capture(payments, f"c{hours}", hours * HOUR)
        summed(payments, NOW + (hours + 1) * HOUR + timedelta(minutes=6))
    assert stored_sums(payments) == 6
    assert revenue(payments) == [(5, "s1", 3, 3000, 300), (5, "s2", 3, 3000, 300)]


def test_an_order_captured_by_a_clock_that_is_behind_counts_at_once_and_once(payments: Hearing) -> None:
    capture(payments, "c1")
    summed(payments, NOW + 2 * HOUR)
    capture(payments, "c2", timedelta(minutes=1))
    told = [(5, "s1", 2, 2000, 200), (5, "s2", 2, 2000, 200)]
    assert (revenue(payments), stored_sums(payments)) == (told, 2)
    assert "revenue" not in wrong_sums(payments.settings)
    for _ in range(2):
        summed(payments, NOW + 2 * HOUR)
        assert (revenue(payments), stored_sums(payments)) == (told, 4)


def manual(payments: Hearing) -> OrderPlaced:
    """An order of 10.00 EUR of seller s1, authorised, of which 3.00 are captured and 2.00 are asked for."""
    payments.hears(requested(orders=1, capture="manual"))
    [order] = [event for event in payments.hears(cleared()) if isinstance(event, OrderPlaced)]
    payments.hears(authorised(order), ask_capture("k1", "3.00"), ask_capture("k2", "2.00"))
    payments.hears(part_captured(order, "k1", 300))
    return order


def both_ways(payments: Hearing) -> list[tuple[Any, ...]]:
    """The report's lines: day, orders, gross, fee, refunded, charged back, fee returned."""
    names = ("orders", "gross", "fee", "refunded", "charged_back", "fee_returned")
    rows = payments.rows("SELECT * FROM revenue_view ORDER BY day")
    assert all(row["net"] == row["gross"] - row["fee"] for row in rows)
    return [(row["day"].day, *(int(row[name]) for name in names)) for row in rows]


def test_a_manual_order_counts_what_was_captured_on_the_day_of_each_capture(payments: Hearing) -> None:
    order = manual(payments)
    assert both_ways(payments) == [(5, 1, 300, 30, 0, 0, 0)]
    payments.hears(part_captured(order, "k2", 200), after=24 * HOUR)
    told = [(5, 1, 300, 30, 0, 0, 0), (6, 0, 200, 20, 0, 0, 0)]
    assert both_ways(payments) == told
    for hours in (2, 24, 26):
        summed(payments, NOW + hours * HOUR)
        assert both_ways(payments) == told
    assert payments.rows("SELECT count(*) FROM revenue_line_view WHERE NOT summed")[0]["count"] == 0
    assert wrong_sums(payments.settings) == {}


def test_what_goes_back_counts_once_also_where_its_hour_was_summed_before(payments: Hearing) -> None:
    order = manual(payments)
    payments.hears(part_captured(order, "k2", 200))
    payments.hears(ask_refund("r1", "1.00"))
    summed(payments, NOW + 2 * HOUR)
    late = NOW + 2 * HOUR
    for event, told in (
        (refunded(order, "r1", 100), (5, 1, 500, 50, 100, 0, 10)),
        (refund_reversed(order, "r1", 100), (5, 1, 500, 50, 0, 0, 0)),
        (refunded(order, "r1", 100, 2), (5, 1, 500, 50, 100, 0, 10)),
        (opened(order, 200), (5, 1, 500, 50, 100, 200, 30)),
        (won(order, 200), (5, 1, 500, 50, 100, 0, 10)),
        (capture_reversed(order, "k2", 200), (5, 1, 300, 30, 100, 0, 10)),
        (part_captured(order, "k2", 200, turn=2), (5, 1, 500, 50, 100, 0, 10)),
    ):
        payments.hears(event, after=HOUR / 2)
        assert both_ways(payments) == [told], event
        summed(payments, late)
        assert both_ways(payments) == [told], event
        assert wrong_sums(payments.settings) == {}
        payments.hears(event, after=HOUR / 2)
        assert both_ways(payments) == [told], "heard again it changes nothing"


def test_what_an_order_that_captured_itself_gives_back_stands_beside_its_gross(payments: Hearing) -> None:
    first, _ = placed(payments, "c1")
    payments.hears(captured(first))
    payments.hears(capture_reversed(first, None, 1000), after=24 * HOUR)
    assert both_ways(payments) == [(5, 1, 1000, 100, 0, 0, 0), (6, 0, -1000, -100, 0, 0, 0)]
    payments.hears(part_captured(first, None, 1000, turn=2), after=25 * HOUR)
    told = [(5, 1, 1000, 100, 0, 0, 0), (6, 0, 0, 0, 0, 0, 0)]
    assert both_ways(payments) == told
    summed(payments, NOW + 27 * HOUR)
    assert both_ways(payments) == told
    assert wrong_sums(payments.settings) == {}


def test_lines_of_facts_before_there_were_lines_are_made_from_the_history(payments: Hearing, servers: Servers) -> None:
    order = manual(payments)
    payments.hears(part_captured(order, "k2", 200), ask_refund("r1", "1.00"))
    for event in (refunded(order, "r1", 100), refund_reversed(order, "r1", 100), refunded(order, "r1", 100, 2)):
        payments.hears(event, after=HOUR)
    for event in (capture_reversed(order, "k1", 300), part_captured(order, "k1", 300, turn=2)):
        payments.hears(event, after=2 * HOUR)
    first, _ = placed(payments, "c2")
    payments.hears(captured(first))
    payments.hears(capture_reversed(first, None, 1000))
    dispute = [opened(order, 200), won(order, 200)]
    no_fee = Share(eur(200), eur(0), eur(200))
    payments.hears(*(event.model_copy(update={"share": no_fee}) for event in dispute))
    columns = "payment_order_id, kind, part, at, owner, currency, seller_account, psp, orders, gross, fee, event_id"
    lines = f"SELECT {columns} FROM revenue_lines ORDER BY 1, 2, 3"
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=payments.settings.database)
    with psycopg.connect(dsn, options="-c search_path=payments") as admin:
        before = admin.execute(lines.encode()).fetchall()
        admin.execute("DELETE FROM revenue_lines")
        admin.execute(LINES_OF_BEFORE.encode())
        assert admin.execute(lines.encode()).fetchall() == before
    assert len(before) == 10


def test_an_order_captured_between_closing_and_summing_counts_once(payments: Hearing) -> None:
    capture(payments, "c1")
    assert sum_slice(payments.store, NOW + 2 * HOUR), "closed"
    capture(payments, "c2")
    told = [(5, "s1", 2, 2000, 200), (5, "s2", 2, 2000, 200)]
    assert (revenue(payments), stored_sums(payments)) == (told, 0)
    summed(payments, NOW + 2 * HOUR)
    assert (revenue(payments), stored_sums(payments)) == (told, 4)
    assert summed(payments, NOW + 3 * HOUR)
    assert (revenue(payments), stored_sums(payments)) == (told, 4)


def test_an_hour_stays_open_while_a_batch_that_captures_in_it_is_on_its_way(
    payments: Hearing, stored: Settings
) -> None:
    """A process that hangs there holds nobody up: its hour is closed another time."""
    capture(payments, "c1")
    with closing(Store(stored, "payments")) as other, other.transaction() as conn:
        conn.execute("LOCK TABLE revenue_closed IN ROW SHARE MODE")  # as every batch that captures
        assert summed(payments, NOW + 2 * HOUR) == 0
        capture(payments, "c2")
    assert summed(payments, NOW + 2 * HOUR) == 2
    assert revenue(payments) == [(5, "s1", 2, 2000, 200), (5, "s2", 2, 2000, 200)]


def test_a_batch_that_captures_holds_its_hour_open(payments: Hearing, stored: Settings) -> None:
    orders = placed(payments, "c1")
    closed: list[int] = []
    save = payments.consumer.save

    def saving(conn: Any, changes: Any) -> Any:
        done = save(conn, changes)
        conn.execute("SELECT 1").fetchone()  # all before it has been done
        with closing(Store(stored, "payments")) as other:
            closed.append(sum_slice(other, NOW + 2 * HOUR))
        return done

    object.__setattr__(payments.consumer, "save", saving)
    payments.hears(*map(captured, orders))
    object.__setattr__(payments.consumer, "save", save)
    assert closed == [0]
    assert summed(payments, NOW + 2 * HOUR) == 2
    assert (revenue(payments), stored_sums(payments)) == ([(5, "s1", 1, 1000, 100), (5, "s2", 1, 1000, 100)], 2)


def test_two_processes_sum_an_hour_once(payments: Hearing, stored: Settings) -> None:
    capture(payments, "c1")
    assert sum_slice(payments.store, NOW + 2 * HOUR), "closed"
    with closing(Store(stored, "payments")) as other, payments.store.transaction() as conn:
        assert sum_up(conn, Retention(), NOW + 2 * HOUR)
        assert sum_slice(other, NOW + 2 * HOUR) == 0, "the other one is at it"
    assert stored_sums(payments) == 2


def test_the_room_cannot_take_back_what_it_summed(payments: Hearing) -> None:
    for statement in (
        "DELETE FROM revenue_days",
        "DELETE FROM revenue_summed",
        "DELETE FROM revenue_lines",
        "UPDATE revenue_lines SET gross = 0",
        "INSERT INTO revenue_summed VALUES (now())",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), payments.store.transaction() as conn:
            conn.execute(statement.encode())


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE revenue_days SET gross = gross + 1 WHERE seller_account = 's1'",
        "UPDATE revenue_days SET fee = fee - 1, net = net + 1 WHERE seller_account = 's1'",
        "UPDATE revenue_days SET orders = 2 WHERE seller_account = 's1'",
        "UPDATE revenue_days SET psp = 'southpay' WHERE seller_account = 's1'",
        "DELETE FROM revenue_days WHERE seller_account = 's1'",
        "UPDATE revenue_summed SET until = until + interval '1 day'",
        "UPDATE revenue_summed SET until = until - interval '1 day'",
        "INSERT INTO revenue_late VALUES ('c1-1', '2026-01-05')",
        "UPDATE orders SET owner = 'rival' WHERE payment_order_id = 'c2-1'",
    ],
)
def test_the_auditor_ties_the_sums_to_the_orders(payments: Hearing, servers: Servers, tampering: str) -> None:
    """And each order to its journal, elsewhere."""
    capture(payments, "c1")
    summed(payments, NOW + 2 * HOUR)
    capture(payments, "c2", 3 * HOUR)
    assert wrong_sums(payments.settings) == {}
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=payments.settings.database)
    with psycopg.connect(dsn, options="-c search_path=payments") as admin:
        assert admin.execute(tampering.encode()).rowcount
    wrong = wrong_sums(payments.settings)
    assert wrong.keys() == {"revenue"}
    assert "shop s1" in wrong["revenue"]
