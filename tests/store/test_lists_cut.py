"""Lists of commands: one that shows so many and no more says so, on stderr; the others show everything there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from operations.cli.commands.dlq import EACH_MAX
from operations.cli.main import build
from operations.stack.servers import Servers
from tests.conftest import SECRET
from topics.runtime.shape.stuck import FOUND_MAX
from topics.settings import Settings

Tally = Callable[..., Result]
Fill = Callable[[str, int], None]

LETTERS = """
INSERT INTO payments.parked (letter_id, topic, partition, kafka_offset, key, value, headers, timestamp_ms, hash, holds,
    state, code, error, attempts, due_at, parked_at, first_failed_at, last_failed_at)
SELECT gen_random_uuid(), 'executions.v1', 0, n, convert_to('key-' || n, 'UTF8'), '{}', '[]', 0, gen_random_uuid(), true,
    'dead', 'unreadable', 'no JSON', 1, now(), now(), now(), now() FROM generate_series(1, %s) n"""
ENDPOINTS = """
INSERT INTO webhooks.endpoints (endpoint_id, owner, url, event_types, secret_versions, revision, deleted, changed_at)
SELECT 'endpoint-' || n, 'shop', 'https://shop.example/', '{*}', '{1}', 1, false, now() FROM generate_series(1, %s) n"""
DELIVERIES = """
INSERT INTO webhooks.deliveries (delivery_id, endpoint_id, lane, event_id, event_type, body, state, created_at, due_at)
SELECT gen_random_uuid(), 'endpoint-1', 'c-' || n, gen_random_uuid(), 'payment.completed', '{}', 'due', now(), now()
FROM generate_series(1, %s) n"""
KEYS = """
INSERT INTO doors.api_keys (key_id, key_hash, owner, scopes)
SELECT 'key-' || n, convert_to('hash-' || n, 'UTF8'), 'shop', '{payments:read}' FROM generate_series(1, %s) n"""


@pytest.fixture
def fill(stored: Settings, servers: Servers) -> Fill:
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=stored.database)

    def run(statement: str, rows: int) -> None:
        with psycopg.connect(dsn) as conn:
            conn.execute(statement.encode(), [rows])

    return run


@pytest.fixture
def tally(stored: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tally:
    own = {"HOME": tmp_path, "POSTGRES": stored.postgres, "DATABASE": stored.database, "SECRET": SECRET}
    for name, value in own.items():
        monkeypatch.setenv(f"TALLY_{name}", str(value))
    return lambda *words: CliRunner().invoke(build(["dlq", "stuck", "webhooks", "keys"]), words)


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_list_of_dead_letters_says_when_it_is_cut(tally: Tally, fill: Fill) -> None:
    fill(LETTERS, EACH_MAX)
    whole = tally("dlq", "list", "--each", "--json")
    assert (len(answer(whole)), "only" in whole.stderr) == (EACH_MAX, False)
    fill(LETTERS, 1)
    cut = tally("dlq", "list", "--each", "--json")
    assert len(answer(cut)) == EACH_MAX
    assert f"only {EACH_MAX} are shown, there are more: ask for fewer by --room" in cut.stderr


def test_groups_and_exports_of_dead_letters_leave_none_out(tally: Tally, fill: Fill) -> None:
    fill(LETTERS, FOUND_MAX + 1)
    groups = tally("dlq", "list", "--json")
    assert (sum(group["dead"] for group in answer(groups)), groups.stderr) == (FOUND_MAX + 1, "")
    exported = tally("dlq", "export")
    assert exported.stdout.count("\n") == FOUND_MAX + 1
    assert f"{FOUND_MAX + 1} letters" in exported.stderr


def test_what_is_stuck_says_when_it_is_cut(tally: Tally, fill: Fill) -> None:
    fill(LETTERS, FOUND_MAX - 1)
    whole = tally("stuck", "--json")
    assert (len(answer(whole)), whole.stderr) == (FOUND_MAX - 1, "")
    fill(LETTERS, 2)
    cut = tally("stuck", "--json")
    assert len(answer(cut)) == FOUND_MAX
    assert f"payments: of each kind only the oldest {FOUND_MAX} are looked for, so there may be more" in cut.stderr


def test_the_deliveries_of_an_endpoint_say_when_they_are_cut(tally: Tally, fill: Fill) -> None:
    fill(ENDPOINTS, 1)
    fill(DELIVERIES, 3)
    cut = tally("webhooks", "list", "endpoint-1", "--limit", "2", "--json")
    assert len(answer(cut)) == 2
    assert "only 2 are shown, there are more: --limit" in cut.stderr
    whole = tally("webhooks", "list", "endpoint-1", "--limit", "3", "--json")
    assert (len(answer(whole)), whole.stderr) == (3, "")


def test_all_endpoints_and_all_keys_are_shown_however_many(tally: Tally, fill: Fill) -> None:
    fill(ENDPOINTS, 1500)
    fill(KEYS, 1500)
    assert len(answer(tally("webhooks", "list", "--json"))) == 1500
    assert len(answer(tally("keys", "list", "--json"))["keys"]) == 1500
