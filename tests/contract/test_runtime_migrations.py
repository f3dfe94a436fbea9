"""A room's tables as a release before had them, with rows in them → as this one wants them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from alembic import command

from operations.stack.servers import Servers
from tests.conftest import MIGRATING, SECRET, copy_database, drop_database
from tests.contract import probe
from tests.contract.rooms import Books
from topics.runtime import migrate as migrations
from topics.runtime.outbox import Row, Unsaid, insert, lowest_rows
from topics.runtime.record import dump_headers
from topics.runtime.store import Store
from topics.settings import Settings, load_settings


@pytest.fixture
def fresh(servers: Servers, template: str) -> Iterator[Settings]:
    """A database that has no probe yet."""
    name = f"tally_migrated_{secrets.token_hex(4)}"
    copy_database(servers, template, name)
    yield load_settings(postgres=servers.postgres, database=name, secret=SECRET)
    drop_database(servers, name)


def upgrade(servers: Servers, settings: Settings, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=settings.database)
    whole = command.upgrade
    with psycopg.connect(servers.postgres_admin, autocommit=True) as conn, monkeypatch.context() as patch:
        conn.execute("SELECT pg_advisory_lock(%s)", [MIGRATING])
        patch.setattr(migrations.command, "upgrade", lambda config, _: whole(config, to))
        with psycopg.connect(dsn, autocommit=True) as there:
            migrations._make_schema(there, probe.ROOM, settings)
        migrations._upgrade(probe.ROOM, dsn)


def test_what_waits_in_the_outbox_waits_in_it_still(
    servers: Servers, fresh: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had a row for each record, whose id was that of its transaction and its place."""
    said = [
        Unsaid("wallet-movements.v1", b"a", [("ce_id", b"1"), ("odd", b"\xff")], b"{}"),
        Unsaid("probe.dlq.v1", None, [("none", None)], None),  # type: ignore[list-item]
        Unsaid("wallet-movements.v1", b"a", [], b"\xfe\x00"),
    ]
    upgrade(servers, fresh, monkeypatch, "runtime_005")
    books = Books(servers, fresh)
    for place, (topic, key, headers, value) in zip((70_000, 70_001, 80_000), said, strict=True):
        books.run(
            "INSERT INTO outbox (id, topic, key, headers, value) VALUES (%s, %s, %b, %b, %b)",
            *(place, topic, key, dump_headers(headers), value),
        )
    books.run("SELECT setval('outbox_block', 8)")
    books.close()

    upgrade(servers, fresh, monkeypatch, "heads")
    store = Store(fresh, "probe")
    with store.transaction() as conn:
        assert lowest_rows(conn, 2**62) == [Row(7, said[:2]), Row(8, said[2:])]
        (row,) = insert(conn, [Unsaid("wallet-movements.v1", b"a", [], b"later")])()
    assert (row.id, row.older) == (9, [7, 8])
    store.close()
