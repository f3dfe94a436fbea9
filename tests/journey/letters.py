"""A store without Kafka, in which the payments room gives letters up; and the command line on it."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner, Result

from consumers.payments.consumer import build
from operations.cli.main import build as build_cli
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import RiskCleared
from tests.conftest import SECRET
from tests.contract.rooms import request_body, request_headers
from tests.databases import copy_database, drop_database
from topics.catalog import PAYMENT_REQUESTS, RISK_DECISIONS
from topics.runtime.dead_letters import listing as dead_letters
from topics.runtime.delivery.apply import apply
from topics.runtime.delivery.drain import drain
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.store import Store
from topics.settings import Settings

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def cleared(checkout_id: str, number: int = 1, value: bytes | None = None) -> Message:
    """Risk's word on a payment; where nobody asked for that, payments gives it up, and its key is held."""
    event_id = derive_id(f"{checkout_id} {number}", "test", 0, 1)
    headers = tuple(record_headers(Envelope(event_id, "/test", event_type(RiskCleared), NOW)))
    return Message(
        RISK_DECISIONS.name, 0, number, checkout_id.encode(), value or cleared_value(checkout_id), headers, 1
    )


def cleared_value(checkout_id: str, rule: str = "none") -> bytes:
    return RiskCleared(checkout_id=checkout_id, rule=rule, list_version="", score=0).model_dump_json().encode()


def requested(checkout_id: str) -> Message:
    """What was missing: the payment that risk spoke of."""
    value = json.dumps(request_body(checkout_id, owner="shop", deadline="2200-01-01T00:00:00Z")).encode()
    return Message(PAYMENT_REQUESTS.name, 0, 0, checkout_id.encode(), value, request_headers(checkout_id), 1)


@pytest.fixture(scope="module")
def letters_database(servers: Servers, template: str) -> Iterator[str]:
    name = f"tally_l{secrets.token_hex(5)}"
    copy_database(servers, template, name)
    yield name
    drop_database(servers, name)


@pytest.fixture
def stack(servers: Servers, letters_database: str, tmp_path: Path) -> Settings:
    """The payments room is empty; its topics are not made."""
    _empty(psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=letters_database))
    return load_settings(
        kafka=servers.kafka,
        postgres=servers.postgres,
        database=letters_database,
        topic_prefix=f"{letters_database}.",
        secret=SECRET,
        home=tmp_path,
    )


def _empty(admin: str) -> None:
    """The audit too, which only a superuser who switches its triggers off can do."""
    with psycopg.connect(admin, options="-c search_path=payments -c session_replication_role=replica") as conn:
        tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'payments'").fetchall()
        names = [sql.Identifier(name) for (name,) in tables if name != "alembic_version"]
        conn.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(sql.SQL(", ").join(names)))


@pytest.fixture
def store(stack: Settings) -> Iterator[Store]:
    store = Store(stack, "payments")
    yield store
    store.close()


def environment(settings: Settings) -> dict[str, str]:
    """What a `tally` of this stack needs to know."""
    return {
        "TALLY_HOME": str(settings.home),
        "TALLY_KAFKA": settings.kafka,
        "TALLY_POSTGRES": settings.postgres,
        "TALLY_DATABASE": settings.database,
        "TALLY_TOPIC_PREFIX": settings.topic_prefix,
        "TALLY_SECRET": settings.secret,
    }


@pytest.fixture
def tally(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Tally:
    for name, value in environment(stack).items():
        monkeypatch.setenv(name, value)
    return Tally()


class Tally:
    def __call__(self, *words: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(build_cli(["dlq", "resume"]), list(words), input=stdin)


def give_up_on(stack: Settings, store: Store, messages: Sequence[Message]) -> list[dead_letters.Letter]:
    list(apply(store, build(stack), messages, None, NOW))
    return dead_letters.list_letters(stack, "payments")


def audit(stack: Settings) -> list[tuple[str, str, str]]:
    with psycopg.connect(stack.dsn("tally_ops")) as conn:
        return conn.execute("SELECT actor, action, reason FROM payments.ops_audit ORDER BY id").fetchall()


@contextmanager
def draining(settings: Settings, now: datetime) -> Iterator[None]:
    """The payments room as far as letters go, at work in a thread and with a store of its own."""
    stop, mine = threading.Event(), Store(settings, "payments")

    def work() -> None:
        while not stop.wait(0.02):
            drain(mine, build(settings), now)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        mine.close()
