"""What the API and operators read often, among many payments: how many rows PostgreSQL looks at to answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest

from consumers.payments.revenue import sum_up
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from producers.paging import NEWEST
from producers.routes.payments import Filters, page_of
from producers.routes.reports import Revenue, lines_of
from tests.conftest import SECRET
from tests.databases import copy_database, drop_database
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.store import Store

COUNT = 20_000  # payments of one order each, in 20 days
LAST_HOUR = datetime(2026, 1, 20, 23, 10, tzinfo=UTC)
Reading = psycopg.Connection[Any]

# One in a hundred failed; nobody's is in review or refused; half of them are one seller's; the other owner has few.
PAYMENTS = f"""
INSERT INTO payments (checkout_id, owner, buyer_account, token, metadata, contents, status, done_at, version, deadline,
                      received_at, event_id)
SELECT 'c' || n, CASE WHEN n % 50 = 0 THEN 'other' ELSE 'shop' END, 'buyer-' || n % 2, 't', '{{}}', '',
       CASE WHEN n > {COUNT} - 10 THEN 'executing' WHEN n % 100 = 7 THEN 'failed' ELSE 'succeeded' END,
       CASE WHEN n <= {COUNT} - 10 THEN at END, 1, at, at, gen_random_uuid()
  FROM (SELECT n, timestamptz '2026-01-01Z' + n * interval '20 days' / {COUNT} AS at FROM generate_series(1, {COUNT}) AS n) AS p
"""
ORDERS = """
INSERT INTO orders (payment_order_id, checkout_id, position, seller_account, currency, gross, fee, net, status, detail,
                    wallet_updated, ledger_updated, psp, psp_reference, captured_at, version, owner, received_at)
SELECT 'o' || checkout_id, checkout_id, 1, 'seller-' || CASE WHEN id % 2 = 0 THEN 0 ELSE id % 20 END, 'EUR', 100, 10, 90,
       CASE status WHEN 'succeeded' THEN 'SUCCESS' WHEN 'failed' THEN 'FAILED' ELSE 'EXECUTING' END, '', true, true,
       'northpay', 'ch_' || id, CASE WHEN status = 'succeeded' THEN received_at END, 1, owner, received_at
  FROM (SELECT *, substr(checkout_id, 2)::int AS id FROM payments) AS p ORDER BY id
"""


@pytest.fixture(scope="module")
def reading(servers: Servers, template: str) -> Iterator[Reading]:
    """As payments' reader, with statistics and summaries as autovacuum makes them, and all hours but the last summed."""
    settings = load_settings(postgres=servers.postgres, database=f"tally_p{secrets.token_hex(5)}", secret=SECRET)
    copy_database(servers, template, settings.database)
    admin_dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=settings.database)
    with psycopg.connect(admin_dsn, autocommit=True, options="-c search_path=payments") as admin:
        for statement in (PAYMENTS, ORDERS, "VACUUM ANALYZE payments", "VACUUM ANALYZE orders"):
            admin.execute(statement.encode())
        with closing(Store(settings, "payments")) as store:
            for _ in ("close", "sum"):
                with store.transaction() as conn:
                    assert sum_up(conn, Retention(), LAST_HOUR)
        admin.execute("VACUUM ANALYZE revenue_days")
    options = "-c search_path=payments -c default_transaction_read_only=on"
    with psycopg.connect(settings.dsn("tally_payments_read"), options=options) as conn:
        yield conn
    drop_database(servers, settings.database)


def read(conn: Reading, statement: LiteralString, values: Mapping[str, object]) -> tuple[int, int]:
    """→ rows of the answer, and rows of tables that were looked at for it."""
    explained = conn.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, values).fetchone()
    assert explained is not None
    plan = explained[0][0]["Plan"]
    return plan["Actual Rows"], looked_at(plan)


def looked_at(plan: Mapping[str, Any]) -> int:
    removed = sum(plan.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
    scanned = (plan["Actual Rows"] + removed) * plan["Actual Loops"] if "Relation Name" in plan else 0
    return int(scanned) + sum(map(looked_at, plan.get("Plans", ())))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, 50),
        ({"status": "in_review"}, 0),
        ({"status": "refused"}, 0),
        ({"status": "partially_succeeded"}, 0),
        ({"status": "executing"}, 9),
        ({"status": "failed"}, 50),
        ({"status": "succeeded"}, 50),
        ({"is_payment_done": "false"}, 9),
        ({"is_payment_done": "true"}, 50),
        ({"seller_account": "seller-0"}, 50),
        ({"seller_account": "seller-0", "to": "2026-01-10"}, 50),
        ({"seller_account": "seller-7", "status": "succeeded"}, 50),
        ({"seller_account": "nobody"}, 0),
        ({"buyer_account": "buyer-1"}, 50),
        ({"buyer_account": "nobody"}, 0),
        ({"status": "failed", "to": "2026-01-10"}, 50),
    ],
)
def test_a_list_of_payments_looks_at_little_more_than_it_shows(
    reading: Reading, query: dict[str, str], found: int
) -> None:
    filters = Filters.model_validate_strings(query)
    values = filters.model_dump() | {"owner": "shop", "at": NEWEST, "checkout_id": ""}
    shown, looked = read(reading, page_of(filters), values)
    assert shown == found
    assert looked <= 10 * (found + 10), "of 20,000"


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("SELECT * FROM payment_view ORDER BY received_at DESC LIMIT 50", 50),
        ("SELECT * FROM payment_view ORDER BY received_at DESC, checkout_id DESC LIMIT 50", 50),
        ("SELECT checkout_id, payment_order_id FROM order_view ORDER BY received_at DESC LIMIT 50", 50),
    ],
)
def test_the_newest_payments_of_all_owners_are_read_and_no_others(
    reading: Reading, statement: LiteralString, found: int
) -> None:
    shown, looked = read(reading, statement, {})
    assert shown == found
    assert looked <= 10 * found


def test_a_psps_reference_is_looked_for_where_it_can_be(reading: Reading) -> None:
    """In a summary of each range of pages, some 4,000 orders; the last one has none yet."""
    of_reference = "SELECT payment_order_id FROM order_view WHERE psp_reference = %(reference)s"
    shown, looked = read(reading, of_reference, {"reference": "ch_5000"})
    assert shown == 1
    assert looked < COUNT / 2
    assert "orders_by_psp_reference" in json.dumps(
        reading.execute("EXPLAIN " + of_reference, {"reference": "x"}).fetchall()
    )


@pytest.mark.parametrize("owner", ["shop", None])
@pytest.mark.parametrize("by", [["day", "seller", "psp"], ["day"]])
def test_revenue_reads_the_orders_of_the_open_hour_and_of_no_other(
    reading: Reading, owner: str | None, by: list[Any]
) -> None:
    asked = Revenue.model_validate({"from": "2026-01-01", "to": "2026-01-31", "by": by})
    shown, looked = read(reading, lines_of(asked, owner), asked.model_dump() | {"owner": owner, "limit": 10_001})
    assert shown == 20 * (11 if "seller" in by else 1)
    assert looked < COUNT / 2, "the sums, and one or two ranges of orders"
