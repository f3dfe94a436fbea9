"""What the ledger's tables hold, and what they refuse whoever asks."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from consumers.ledger.consumer import build
from consumers.ledger.decide import Books
from consumers.ledger.store import MOVE
from consumers.ledger.templates import Booking
from schemas.money import Money
from tests.captures import NOW, apply_all, capture, record
from tests.money_back import captured, opened, refunded, share, won
from topics import catalog
from topics.runtime.shape.consumer import AnyConsumer, Cause, Connection, Decision
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store
from topics.settings import Settings


@pytest.fixture
def ledger(stored: Settings) -> AnyConsumer:
    return build(stored)


@pytest.fixture
def store(stored: Settings) -> Iterator[Store]:
    store = Store(stored, "ledger")
    yield store
    store.close()


def balances(settings: Settings) -> dict[str, tuple[int, int, int]]:
    rows = read(
        settings, "ledger", "SELECT account || ' ' || currency AS name, debits, credits, version FROM account_view"
    )
    return {row["name"]: (row["debits"], row["credits"], row["version"]) for row in rows}


def test_captures_of_one_batch_are_summed_into_the_balances(
    stored: Settings, store: Store, ledger: AnyConsumer
) -> None:
    events = [capture("order-1"), capture("order-2"), capture("order-3", seller_account="seller-2")]
    apply_all(store, ledger, [record(event, event.payment_order_id) for event in events])
    assert balances(stored) == {
        "psp:northpay:receivable EUR": (3702, 0, 1),
        "seller:seller-1:payable EUR": (0, 2400, 1),
        "seller:seller-2:payable EUR": (0, 1200, 1),
        "platform:fees EUR": (0, 102, 1),
    }


def test_a_later_batch_finds_the_accounts_and_gives_them_a_new_version(
    stored: Settings, store: Store, ledger: AnyConsumer
) -> None:
    for order in ("order-1", "order-2"):
        apply_all(store, ledger, [record(capture(order), order)])
    assert balances(stored)["seller:seller-1:payable EUR"] == (0, 2400, 2)
    assert read(stored, "ledger", "SELECT * FROM wrong_balance_view") == []
    (total,) = read(stored, "ledger", "SELECT * FROM trial_balance_view")
    assert total == {"currency": "EUR", "accounts": 3, "debits": 2468, "credits": 2468}


def test_a_repeat_under_another_event_id_is_posted_once_within_a_batch_and_after_it(
    stored: Settings, store: Store, ledger: AnyConsumer
) -> None:
    apply_all(store, ledger, [record(capture(), "1"), record(capture(), "2")])
    assert apply_all(store, ledger, [record(capture(), "3")]).dead == 0
    assert len(read(stored, "ledger", "SELECT * FROM journal_view")) == 1
    assert balances(stored)["platform:fees EUR"] == (0, 34, 1)


def test_a_repeat_on_other_terms_is_a_dead_letter_and_moves_nothing(
    stored: Settings, store: Store, ledger: AnyConsumer
) -> None:
    apply_all(store, ledger, [record(capture(), "1")])
    other = capture(net=Money(1201, "EUR"), fee=Money(33, "EUR"))
    assert apply_all(store, ledger, [record(other, "2")]).dead == 1
    assert balances(stored)["seller:seller-1:payable EUR"] == (0, 1200, 1)


def test_an_entry_is_found_by_its_order_and_by_its_account(stored: Settings, store: Store, ledger: AnyConsumer) -> None:
    apply_all(store, ledger, [record(capture("order-1"), "1"), record(capture("order-2"), "2")])
    by_order = read(stored, "ledger", "SELECT account FROM entry_view WHERE payment_order_id = 'order-1' ORDER BY line")
    assert [row["account"] for row in by_order] == [
        "psp:northpay:receivable",
        "seller:seller-1:payable",
        "platform:fees",
    ]
    by_account = read(stored, "ledger", "SELECT payment_order_id FROM entry_view WHERE account = 'platform:fees'")
    assert sorted(row["payment_order_id"] for row in by_account) == ["order-1", "order-2"]


def test_money_back_is_posted_part_by_part_and_the_balances_are_what_is_left(
    stored: Settings, store: Store, ledger: AnyConsumer
) -> None:
    half, fee = share(617, 17), Money(1500, "EUR")
    batches = [
        [captured("c-1", half), captured("c-2", half), refunded("r-1", half)],
        [opened(half, fee, dispute_fee_on="platform"), won(half, dispute_fee_on="platform"), refunded("r-1", half)],
    ]
    for number, events in enumerate(batches):
        apply_all(store, ledger, [record(event, f"{number}-{place}") for place, event in enumerate(events)])
    rows = read(stored, "ledger", "SELECT template, part, lines FROM journal_view ORDER BY template, part")
    assert [tuple(row.values()) for row in rows] == [
        ("captured", "c-1", 3),
        ("captured", "c-2", 3),
        ("chargeback_opened", "dp_" + "0" * 24 + ".1", 5),
        ("chargeback_won", "dp_" + "0" * 24 + ".1", 3),
        ("refunded", "r-1", 3),
    ]
    assert {name: debits - credits for name, (debits, credits, _) in balances(stored).items()} == {
        "psp:northpay:receivable EUR": 617 - 1500,
        "psp:northpay:fees EUR": 1500,
        "seller:seller-1:payable EUR": -600,
        "platform:fees EUR": -17,
    }
    assert read(stored, "ledger", "SELECT * FROM wrong_balance_view") == []


def test_a_published_balance_is_the_balance_of_now(store: Store, ledger: AnyConsumer) -> None:
    apply_all(store, ledger, [record(capture("order-1"), "1")])
    with store.transaction() as conn:
        dirty = conn.execute("SELECT topic, key, version FROM latest_outbox ORDER BY key").fetchall()
        latest = ledger.compacted[catalog.ACCOUNT_BALANCES](conn, [key for _, key, _ in dirty])
    assert [(latest.key, latest.version) for latest in sorted(latest, key=lambda row: row.key)] == [
        (key, version) for _, key, version in dirty
    ]
    assert {row.event.account: row.event.credits for row in latest} == {  # type: ignore[union-attr]
        "psp:northpay:receivable": Money(0, "EUR"),
        "seller:seller-1:payable": Money(1200, "EUR"),
        "platform:fees": Money(34, "EUR"),
    }


def test_two_processes_that_open_the_same_accounts_lose_nothing(stored: Settings, ledger: AnyConsumer) -> None:
    def work(name: str) -> None:
        own = Store(stored, "ledger")
        for number in range(20):
            order = f"order-{name}-{number}"
            apply_all(own, ledger, [record(capture(order, seller_account=f"seller-{number}"), order)])
        own.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert balances(stored)["platform:fees EUR"] == (0, 40 * 34, 40)
    assert read(stored, "ledger", "SELECT * FROM wrong_balance_view") == []


def test_balances_are_moved_one_after_the_other_as_the_batch_has_sorted_them(store: Store) -> None:
    """So all lock them in one order, and nobody waits in a ring."""
    with store.transaction() as conn:
        rows = conn.execute(("EXPLAIN (GENERIC_PLAN) " + MOVE % ("$1", "$2", "$3", "$4")).encode()).fetchall()
    found = "\n".join(line for (line,) in rows)
    inner = "(Index Scan using balances_pkey on|Bitmap Heap Scan on) balances"
    assert re.search(rf"Nested Loop.*\n +->  Subquery Scan on m .*\n.*unnest.*\n +->  {inner}", found), found


# ── what the database itself refuses ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def conn(store: Store, ledger: AnyConsumer) -> Connection:
    """The room's own login, with one journal posted: account 1 debit, 2 and 3 credit in the order of their opening."""
    apply_all(store, ledger, [record(capture(), "1")])
    return store.connection()


def insert_journal(
    conn: Connection, lines: list[tuple[int, str, str, int]], account_ids: list[int] | None = None
) -> None:
    """Post by hand: (account, direction, currency, amount) per line."""
    journal_id = uuid.uuid4()
    conn.execute(
        "INSERT INTO journals VALUES (%s, 'captured', %s, 'c', %s, %s, %s)",
        [journal_id, str(journal_id), uuid.uuid4(), account_ids or [account for account, *_ in lines], NOW],
    )
    insert_entries(conn, journal_id, lines)


def insert_entries(
    conn: Connection, journal_id: object, lines: list[tuple[int, str, str, int]], first: int = 1
) -> None:
    accounts, directions, currencies, amounts = zip(*lines, strict=True)
    conn.execute(
        "INSERT INTO entries (account_id, journal_id, line, currency, direction, amount)"
        " SELECT account, %s, place + %s, currency, direction, amount"
        " FROM unnest(%s::integer[], %s::text[], %s::text[], %s::bigint[])"
        " WITH ORDINALITY AS t (account, direction, currency, amount, place)",
        [journal_id, first - 1, list(accounts), list(directions), list(currencies), list(amounts)],
    )


def test_a_balanced_journal_is_taken(conn: Connection) -> None:
    insert_journal(
        conn, [(1, "debit", "EUR", 5), (2, "credit", "EUR", 5), (1, "debit", "JPY", 7), (2, "credit", "JPY", 7)]
    )
    assert conn.execute("SELECT count(*) FROM entries").fetchone() == (3 + 4,)


@pytest.mark.parametrize(
    "lines",
    [
        [(1, "debit", "EUR", 5), (2, "credit", "EUR", 4)],
        [(1, "debit", "EUR", 5), (2, "debit", "EUR", 5)],
        [(1, "debit", "EUR", 5), (2, "credit", "USD", 5)],
        [(1, "debit", "EUR", 0), (2, "credit", "EUR", 0)],
        [(1, "debit", "EUR", -5), (2, "credit", "EUR", -5)],
    ],
)
def test_a_journal_that_does_not_balance_per_currency_is_refused(
    conn: Connection, lines: list[tuple[int, str, str, int]]
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        insert_journal(conn, lines)


def test_lines_other_than_the_journal_names_are_refused(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="not all of its lines"):
        insert_journal(conn, [(1, "debit", "EUR", 5), (2, "credit", "EUR", 5)], account_ids=[1, 3])


def test_entries_without_a_journal_are_refused(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="not all of its lines"):
        insert_entries(conn, uuid.uuid4(), [(1, "debit", "EUR", 5), (2, "credit", "EUR", 5)])


@pytest.mark.parametrize("first", [1, 4])
def test_nothing_can_be_added_to_a_journal_of_earlier(conn: Connection, first: int) -> None:
    (journal_id,) = conn.execute("SELECT journal_id FROM journals").fetchone() or ()
    with pytest.raises(psycopg.errors.IntegrityError):
        insert_entries(
            conn, journal_id, [(1, "debit", "EUR", 5), (2, "credit", "EUR", 5), (3, "credit", "EUR", 1)], first
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET account = 'platform:fees'",
        "DELETE FROM accounts",
        "UPDATE journals SET template = 'refunded'",
        "DELETE FROM journals",
        "UPDATE entries SET amount = 1",
        "DELETE FROM entries",
        "TRUNCATE entries",
        "DELETE FROM balances",
    ],
)
def test_the_room_itself_cannot_rewrite_the_books(conn: Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(statement)  # type: ignore[arg-type]


@pytest.mark.parametrize("statement", ["UPDATE entries SET amount = 1", "DELETE FROM journals", "TRUNCATE entries"])
def test_not_even_the_owner_of_the_tables_can_rewrite_the_books(
    stored: Settings, servers: object, conn: Connection, statement: str
) -> None:
    conn.commit()
    admin_dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=stored.database)  # type: ignore[attr-defined]
    with psycopg.connect(admin_dsn, options="-c search_path=ledger") as admin:
        with pytest.raises(psycopg.errors.CheckViolation, match="append-only"):
            admin.execute(statement)  # type: ignore[arg-type]
        admin.rollback()


def test_a_reader_sees_the_views_and_nothing_else(stored: Settings, conn: Connection) -> None:
    conn.commit()
    for view in ("account_view", "journal_view", "entry_view", "trial_balance_view"):
        assert read(stored, "ledger", f"SELECT * FROM {view}")  # type: ignore[arg-type]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        read(stored, "ledger", "SELECT * FROM entries")


def test_a_journal_is_not_posted_in_part(stored: Settings, store: Store, ledger: AnyConsumer) -> None:
    """Its first lines alone would balance, and the event would tell of all of them."""

    def twice_its_lines(state: Books, event: Booking, cause: Cause) -> Decision:
        decision = ledger.decide(state, event, cause)
        (posting,) = decision.changes
        journal = posting.journal.model_copy(update={"entries": posting.journal.entries * 2})
        return decision._replace(changes=[posting._replace(journal=journal)], events=[journal])

    apply_all(store, replace(ledger, decide=twice_its_lines), [record(capture(), "order-1")])
    assert read(stored, "ledger", "SELECT * FROM journal_view") == []
    assert balances(stored) == {}
