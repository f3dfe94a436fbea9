"""One database with the probe in it for the session, emptied for each test. Imported by the conftests that need it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from tests.conftest import MIGRATING, SECRET, delete_topics
from tests.contract import probe
from tests.contract.rooms import Books, Log, Process, add_probe
from tests.databases import copy_database, drop_database
from topics import catalog
from topics.runtime.making import topics as admin
from topics.runtime.outbox import outbox
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings

TOPICS = (*(topic for topic in probe.ROOM.reads if topic.on_kafka), *probe.ROOM.writes, probe.ROOM.dead_letters)


@pytest.fixture(scope="session")
def probe_database(servers: Servers, template: str) -> Iterator[str]:
    """A migrated database with the probe's schema."""
    name = f"tally_probe_{secrets.token_hex(4)}"
    copy_database(servers, template, name)
    settings = load_settings(postgres=servers.postgres, database=name, secret=SECRET)
    with psycopg.connect(servers.postgres_admin, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", [MIGRATING])
        add_probe(servers, settings)
    yield name
    drop_database(servers, name)


_EMPTY = (
    *("positions", "inbox", "parked", "outbox", "latest_outbox", "leases", "stops", "timers", "message_counts"),
    *("counts", "effects", "once", "texts", "broken"),
)


@pytest.fixture
def settings(servers: Servers, probe_database: str, tmp_path: Path) -> Settings:
    """An empty room; topics of its own, but none made yet."""
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=probe_database, options="-c search_path=probe")
    with psycopg.connect(dsn) as conn:
        conn.execute("; ".join(f"DELETE FROM {table}" for table in _EMPTY) + "; SELECT setval('hiccups', 1, false)")
    return load_settings(
        kafka=servers.kafka,
        postgres=servers.postgres,
        database=probe_database,
        secret=SECRET,
        home=tmp_path,
        topic_prefix=f"p{secrets.token_hex(5)}.",
        upstreams=frozenset({"shop"}),
    )


@pytest.fixture
def on_kafka(settings: Settings) -> Iterator[Settings]:
    """The same with the probe's topics."""
    wanted = {
        settings.topic_prefix + name: topic for topic in TOPICS for name in catalog.names(topic, settings.upstreams)
    }
    admin._make(admin.AdminClient(kafka_config(settings)), wanted, catalog.PARTITIONS, 1)
    yield settings
    delete_topics(settings)


@pytest.fixture
def books(servers: Servers, settings: Settings) -> Iterator[Books]:
    found = Books(servers, settings)
    yield found
    found.close()


@pytest.fixture
def process(settings: Settings) -> Iterator[Process]:
    """One process of the probe."""
    one = Process(settings)
    yield one
    one.store.close()


@pytest.fixture
def other(settings: Settings) -> Iterator[Process]:
    """Another process of the same room."""
    one = Process(settings)
    yield one
    one.store.close()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def swept_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that others have left are swept after half a second."""
    monkeypatch.setattr(outbox, "SWEEP_AFTER_S", 0.5)
