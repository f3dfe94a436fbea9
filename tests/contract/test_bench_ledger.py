"""`tally bench ledger` measures the real room and leaves nothing behind."""

from __future__ import annotations

import time

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from operations.bench import ledger
from operations.bench.ledger import LedgerPlan, run
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from tests.conftest import SECRET
from tests.databases import copy_database


def databases_and_topics(servers: Servers) -> tuple[set[str], set[str]]:
    with psycopg.connect(servers.postgres_admin) as conn:
        names = {row[0] for row in conn.execute("SELECT datname FROM pg_database WHERE datname LIKE 'tally_bench%'")}
    topics = AdminClient({"bootstrap.servers": servers.kafka}).list_topics(timeout=15).topics
    return names, {name for name in topics if name.startswith("bench")}


def test_the_figures_are_there_and_nothing_else_stays(
    servers: Servers, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "migrate", lambda settings, admin: copy_database(servers, template, settings.database))
    before = databases_and_topics(servers)
    settings = load_settings(
        kafka=servers.kafka, postgres=servers.postgres, postgres_admin=servers.postgres_admin, secret=SECRET
    )
    figures = run(settings, LedgerPlan(journals=2000, processes=1, batch_max=100))
    names = ("journals_per_s", "hot_journals_per_s", "floor_journals_per_s", "ratio")
    assert all(figures[name] > 0 for name in names), figures
    deadline = time.monotonic() + 30
    while databases_and_topics(servers) != before:  # deleted topics leave the broker's answers a moment later
        assert time.monotonic() < deadline, databases_and_topics(servers)
        time.sleep(0.1)
