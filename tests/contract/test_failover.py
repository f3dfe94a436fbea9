"""A database that goes read-only, or whose place another takes: whatever was connected to it leaves it behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import LiteralString

import psycopg
import pytest

from operations.auditor.engine.stores import Stores
from operations.bench import ledger as bench_ledger
from operations.bench import letters as bench_letters
from operations.cli.commands import stuck
from operations.stack.postgres import postgres_answers
from producers.keys import create_key, list_keys
from producers.reading import Reader
from tests.contract.failover import ROLES, Pair, Server, pair
from tests.contract.running import wait
from tests.stack.memory import quick_folder
from topics.catalog import ROOMS
from topics.runtime.dead_letters.listing import effects, list_letters, operator_reader, operator_transaction
from topics.runtime.making.migrate import migrate
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store, error_kind
from topics.settings import Settings

PORT = "SELECT inet_server_port()"
Turn = Callable[[Server, bool], None]
LEASE = "INSERT INTO leases (name, holder, until) VALUES (%s, 'me', now())"


@pytest.fixture(scope="module")
def two() -> Iterator[Pair]:
    with quick_folder() as folder, pair(folder) as found:
        yield found


# ── several hosts in one DSN ─────────────────────────────────────────────────────────────────────────────────────────


def by_store(settings: Settings) -> int:
    """Rooms, outbox, senders, doors, sweeps: each has a store."""
    ports = set()
    for room in ROOMS:
        with closing(Store(settings, room.name)) as store, store.transaction() as conn:
            conn.execute(LEASE + " ON CONFLICT DO NOTHING", [room.name])
            ports.add(conn.execute(PORT).fetchall()[0][0])
    (port,) = ports
    return int(port)


def by_reader(settings: Settings) -> int:
    """The API's GETs."""

    async def ask() -> int:
        reader = Reader(settings, "payments")
        rows = await reader.rows("SELECT inet_server_port() AS port, current_setting('transaction_read_only') AS only")
        await reader.close()
        assert rows[0]["only"] == "on"
        return int(rows[0]["port"])

    return asyncio.run(ask())


def by_auditor(settings: Settings) -> int:
    with Stores(settings) as stores:
        assert stores.one("ledger", "SHOW transaction_read_only") == ("on",)
        return int(stores.one("ledger", PORT)[0])


def by_views(settings: Settings) -> int:
    """`tally show`, `wallet`, `ledger`, `webhooks`."""
    return int(read(settings, "wallet", "SELECT inet_server_port() AS port")[0]["port"])


def by_operators(settings: Settings) -> int:
    with operator_transaction(settings, "payments") as conn:
        conn.execute("UPDATE parked SET rung = 0")
        return int(conn.execute(PORT).fetchall()[0][0])


def by_looking(settings: Settings) -> int:
    assert list_letters(settings) == []
    assert effects(settings, "payments", ["0" * 32]) == set()
    with operator_reader(settings, "payments") as conn:
        return int(conn.execute(PORT).fetchall()[0][0])


def by_bench(settings: Settings) -> int:
    with bench_ledger._connected(settings) as one, bench_letters._connected(settings) as other:
        assert one.execute(PORT).fetchall() == other.execute(PORT).fetchall()
        return int(one.execute(PORT).fetchall()[0][0])


@pytest.mark.parametrize(
    "by", [by_store, by_reader, by_auditor, by_views, by_operators, by_looking, by_bench], ids=lambda by: by.__name__
)
@pytest.mark.parametrize("named", ["dsns", "TALLY_POSTGRES"])
def test_of_several_hosts_all_go_to_the_one_that_takes_writes(
    two: Pair, by: Callable[[Settings], int], named: str
) -> None:
    settings = two.settings if named == "dsns" else two.settings.model_copy(update={"dsns": {}})
    assert by(settings) == two.primary.port


def test_commands_of_several_hosts_work_as_with_one(two: Pair) -> None:
    assert migrate(two.settings, two.admin) == []
    assert postgres_answers(two.admin)
    create_key(two.settings, "shop", ["payments:read"])
    assert [key.owner for key in list_keys(two.settings)] == ["shop"]
    assert stuck.find_stuck(two.settings) == []


# ── read-only, and back ──────────────────────────────────────────────────────────────────────────────────────────────

END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'pair'"
SETTING = "SET default_transaction_read_only = on"
RESET = "RESET default_transaction_read_only"


def server_reloaded(server: Server, only: bool) -> None:
    """Of sessions that are open, too."""
    server.run(f"ALTER SYSTEM {SETTING if only else RESET}")
    server.run("SELECT pg_reload_conf()")


def database_set(server: Server, only: bool) -> None:
    """A failover as managed services do it: sessions end, and new ones may only read."""
    server.run(f"ALTER DATABASE pair {SETTING if only else RESET}")
    if only:
        server.run(END)


def roles_set(server: Server, only: bool) -> None:
    for role in ROLES:
        server.run(f"ALTER ROLE {role} {SETTING if only else RESET}")  # type: ignore[arg-type]
    if only:
        server.run(END)


@pytest.mark.parametrize("turn", [server_reloaded, database_set, roles_set], ids=lambda turn: turn.__name__)
def test_while_nothing_can_be_written_stores_are_away_and_reading_goes_on(two: Pair, turn: Turn) -> None:
    settings = two.settings.model_copy(update={"dsns": {}, "postgres": f"127.0.0.1:{two.primary.port}"})
    with closing(Store(settings, "payments")) as store:
        write(store)
        turn(two.primary, True)
        try:
            wait("it is refused", lambda: refused(store), limit_s=10)
            assert refused(store), "a new connection that may only read is none"
            assert by_reader(settings) == by_auditor(settings) == by_views(settings) == by_looking(settings)
            assert refused(store)
        finally:
            turn(two.primary, False)
        wait("it goes on, without a restart", lambda: not refused(store), limit_s=10)


def write(store: Store) -> None:
    with store.batch() as conn:
        conn.execute("DELETE FROM leases WHERE name = 'a test'")


def refused(store: Store) -> bool:
    """Whether a write fails as it does while a database is away: nobody's message is at fault."""
    try:
        write(store)
    except psycopg.Error as error:
        return error_kind(error) == "away"
    return False


@pytest.mark.parametrize("words", ["SET default_transaction_read_only = on", "SET TRANSACTION READ ONLY"])
def test_a_connection_that_has_turned_read_only_is_left_behind(two: Pair, words: LiteralString) -> None:
    with closing(Store(two.settings, "payments")) as store:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            turn_and_write(store, words)
        write(store)


def turn_and_write(store: Store, words: LiteralString) -> None:
    with store.transaction() as conn:
        conn.execute(words)
        if "default" in words:
            conn.commit()
        conn.execute("DELETE FROM leases WHERE name = 'a test'")


def test_a_reader_asks_a_new_connection_before_it_believes_an_old_one(two: Pair) -> None:
    """A column that was added to a view, a snapshot that a standby cancelled: the old connection's trouble, not ours."""

    async def ask() -> list[dict[str, object]]:
        reader = Reader(two.settings, "payments")
        await asyncio.gather(*(reader.rows("SELECT pg_sleep(0.05)") for _ in range(4)))
        for conn in reader._idle:
            await conn.execute("BEGIN")
            with suppress(psycopg.Error):
                await conn.execute("SELECT 1 / 0")  # from now on all that it is asked fails
        found = await reader.rows("SELECT 1 AS one")
        await reader.close()
        return found

    assert asyncio.run(ask()) == [{"one": 1}]


def test_when_the_standby_takes_over_everybody_goes_there(two: Pair) -> None:
    """The last of these tests: there is no way back."""
    with closing(Store(two.settings, "payments")) as store:
        write(store)
        two.primary.stop()
        assert refused(store)
        assert refused(store), "the standby takes no writes yet"
        two.standby.run("SELECT pg_promote()")
        wait("it goes on", lambda: not refused(store), limit_s=20)
        assert store.connection().info.port == two.standby.port
    for by in (by_store, by_reader, by_auditor, by_views, by_operators, by_looking, by_bench):
        assert by(two.settings) == two.standby.port
