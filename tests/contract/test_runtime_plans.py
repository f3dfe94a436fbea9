"""What rooms ask all the time → a plan that reads no more than it needs, however large the tables have become."""

from __future__ import annotations

import itertools
import re
from typing import LiteralString

import pytest

from tests.contract.rooms import Books, Process
from topics.runtime.calls.rows import _HANDED_OVER, _RECORD, LEASED
from topics.runtime.delivery.inbox import CLAIM, TRIM
from topics.runtime.outbox.outbox import DELETE, INSERT, OLDER
from topics.runtime.shape.consumer import Connection

CLAIMS = "INSERT INTO inbox (id, hash) SELECT gen_random_uuid(), gen_random_uuid() FROM generate_series(1, 20000)"
ROWS = "INSERT INTO outbox SELECT n, ARRAY[n], '{}' FROM generate_series(1, 5000) AS n"
EMPTY = "SELECT pg_restore_relation_stats('schemaname', 'probe', 'relname', 'outbox', 'relpages', 100, 'reltuples', 0::real)"


def plan(conn: Connection, query: LiteralString) -> str:
    """As the rooms run it, for whatever values: with values at hand a plan could be made for those."""
    number = itertools.count(1)
    numbered = re.sub("%[sb]", lambda _: f"${next(number)}", query)
    return "\n".join(row[0] for row in conn.execute(f"EXPLAIN (GENERIC_PLAN) {numbered}".encode()))


def plan_among_claims(process: Process, query: LiteralString) -> str:
    with process.store.transaction() as conn:
        conn.execute(CLAIMS)
        conn.execute("ANALYZE inbox")
        return plan(conn, query)


def test_old_claims_are_found_without_reading_all_claims(process: Process) -> None:
    found = plan_among_claims(process, TRIM)
    assert "on inbox_claimed_at" in found
    assert "Seq Scan on inbox" not in found


def test_claims_are_looked_for_one_by_one_by_their_ids(process: Process) -> None:
    """By the index itself or by a bitmap of it is the same to us; which one it is depends on what was counted last."""
    found = plan_among_claims(process, CLAIM)
    assert re.search(r"(using|on) inbox_pkey .*\n +Index Cond: \(id = u.id\)", found), found
    assert "Join" not in found
    assert "hashed" not in found


def test_rows_of_the_outbox_are_deleted_by_their_ids(process: Process, books: Books) -> None:
    """Though the planner takes it for empty, as it is between busy moments: any index looks as good as another then."""
    books.run(ROWS)
    books.run(EMPTY)
    with process.store.transaction() as conn:
        found = plan(conn, DELETE)
    assert found.count("outbox_pkey") == found.count("Index Cond: (id = ANY") == 2
    assert "Join" not in found


def test_older_rows_of_the_outbox_are_looked_at_once(process: Process, books: Books) -> None:
    """One look for all the keys of a batch, whatever the planner believes of the rows that are there. Key by key with a
    table taken for empty it read all of it for each: 360 ms."""
    books.run(ROWS)
    books.run(EMPTY)
    with process.store.transaction() as conn:
        found = plan(conn, INSERT)
    assert found.count("on outbox ") == 2, "the insert, and the look"
    assert "HashSetOp Intersect" in found
    assert "Join" not in found, found


def test_records_of_older_rows_are_picked_by_a_hash_of_the_keys(process: Process, books: Books) -> None:
    """As a join it was a loop over all keys for each record: 48 µs of one, at 2,000."""
    books.run(ROWS)
    books.run(EMPTY)
    with process.store.transaction() as conn:
        found = plan(conn, OLDER)
    assert "hashed SubPlan" in found
    assert "outbox_pkey" in found
    assert "Semi Join" not in found


CALLS = """
INSERT INTO calls (id, subject, psp, request, deadline, cause_event_id, created_at, state, due_at)
SELECT lpad(n::text, 32, '0'), n::text, 'north', '', now(), '', now(), 'ended', now() FROM generate_series(1, 5000) AS n
"""


@pytest.mark.parametrize("query", [_RECORD, LEASED.unsent_text(), _HANDED_OVER])
def test_calls_that_came_back_are_found_by_their_ids(process: Process, query: LiteralString) -> None:
    """Though few are out at any time: all of them were read for each answer, 11 ms for a batch of 200."""
    with process.store.transaction() as conn:
        conn.execute(CALLS)
        conn.execute("ANALYZE calls")
        found = plan(conn, query)
        conn.rollback()
    assert "calls_pkey" in found
    assert "calls_leased" not in found
