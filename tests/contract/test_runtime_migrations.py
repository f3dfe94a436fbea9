"""A room's tables as a release before had them, with rows in them → as this one wants them."""

from __future__ import annotations

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from operations.stack.servers import Servers
from tests.conftest import MIGRATING
from tests.contract.rooms import Books, add_probe
from topics import catalog
from topics.runtime.making import migrate as migrations
from topics.runtime.making.revisions import predecessors
from topics.runtime.outbox.outbox import OutboxRecord, Row, insert, lowest_rows
from topics.runtime.shape.record import dump_headers
from topics.runtime.shape.store import Store
from topics.settings import Settings


def upgrade(servers: Servers, settings: Settings, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    whole = command.upgrade
    with psycopg.connect(servers.postgres_admin, autocommit=True) as conn, monkeypatch.context() as patch:
        conn.execute("SELECT pg_advisory_lock(%s)", [MIGRATING])
        patch.setattr(migrations.command, "upgrade", lambda config, _: whole(config, to))
        add_probe(servers, settings)


def test_what_waits_in_the_outbox_waits_in_it_still(
    servers: Servers, stored: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had a row for each record, whose id was that of its transaction and its place."""
    said = [
        OutboxRecord("wallet-movements.v1", b"a", [("ce_id", b"1"), ("odd", b"\xff")], b"{}"),
        OutboxRecord("probe.dlq.v1", None, [("none", None)], None),  # type: ignore[list-item]
        OutboxRecord("wallet-movements.v1", b"a", [], b"\xfe\x00"),
    ]
    upgrade(servers, stored, monkeypatch, "runtime_005")
    books = Books(servers, stored)
    for place, (topic, key, headers, value) in zip((70_000, 70_001, 80_000), said, strict=True):
        books.run(
            "INSERT INTO outbox (id, topic, key, headers, value) VALUES (%s, %s, %b, %b, %b)",
            *(place, topic, key, dump_headers(headers), value),
        )
    books.run("SELECT setval('outbox_block', 8)")
    books.close()

    upgrade(servers, stored, monkeypatch, "heads")
    store = Store(stored, "probe")
    with store.transaction() as conn:
        assert lowest_rows(conn, 2**62) == [Row(7, said[:2]), Row(8, said[2:])]
        (row,) = insert(conn, [OutboxRecord("wallet-movements.v1", b"a", [], b"later")])()
    assert (row.id, row.older) == (9, [7, 8])
    store.close()


@pytest.mark.parametrize("room", catalog.ROOMS, ids=lambda room: room.name)
def test_the_heads_of_the_files_say_what_alembic_finds_in_them(room: catalog.Room) -> None:
    script = ScriptDirectory.from_config(migrations.alembic_config(room))
    found = {each.revision: {each.down_revision, each.dependencies} - {None} for each in script.walk_revisions()}
    assert dict(predecessors(room)) == found
    assert len(found) > 10
