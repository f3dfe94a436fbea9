"""A column is declared once: the declaration is as the migrated database has it, and every statement follows from it."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any

import psycopg
import pytest

from consumers.executor.attempt import Attempt
from consumers.executor.store import ATTEMPTS
from operations.stack.servers import Servers
from schemas.events import OrderPlaced
from tests.databases import copy_database, drop_database
from tests.unit.executor_cases import order
from topics.catalog import ROOMS
from topics.runtime.shape.table import Column, Table

COLUMNS = """
SELECT a.attname, CASE left(t.typname, 1) WHEN '_' THEN substr(t.typname, 2) || '[]' ELSE t.typname END,
       NOT a.attnotnull, coalesce(a.attnum = ANY(k.conkey), false)
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'p'
 WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
RUNTIME = ("topics.runtime.calls", "topics.runtime.delivery")  # their tables stand in every room's schema


def declared() -> Iterator[tuple[str, Table]]:
    """Every table that a module of a room, or the runtime, declares, with the schema where it stands."""
    for schema, package in [
        *((room.name, room.migrations) for room in ROOMS),
        *(("executor", each) for each in RUNTIME),
    ]:
        for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
            found = vars(import_module(module.name)) if not module.ispkg else {}
            yield from ((schema, value) for value in found.values() if isinstance(value, Table))


TABLES = {f"{schema}.{table.name}": table for schema, table in declared()}


@pytest.fixture(scope="module")
def migrated(servers: Servers, template: str) -> Iterator[psycopg.Connection[Any]]:
    """As its administrator, who may see and alter all of it."""
    name = f"{template}_columns"
    copy_database(servers, template, name)
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=name)
    with psycopg.connect(dsn, autocommit=True, options="-c search_path=executor") as conn:
        yield conn
    drop_database(servers, name)


def test_no_column_is_for_a_card(migrated: psycopg.Connection[Any]) -> None:
    found = migrated.execute(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns"
        " WHERE column_name ~ 'card|^pan$|cvc|cvv|security_code|expiry|exp_month'"
        " AND table_schema NOT IN ('information_schema', 'pg_catalog')"
    ).fetchall()
    assert found == []


def test_tables_are_declared() -> None:
    assert {
        "payments.orders",
        "executor.attempts",
        "executor.calls",
        "wallet.movements",
        "ledger.entries",
    } <= TABLES.keys()
    assert {"risk.screenings", "webhooks.deliveries", "webhooks.attempts"} <= TABLES.keys()


@pytest.mark.parametrize("name", TABLES)
def test_a_declaration_has_the_columns_that_the_database_has(migrated: psycopg.Connection[Any], name: str) -> None:
    found = {column: rest for column, *rest in migrated.execute(COLUMNS, [name])}
    assert found == {column.name: [column.type, column.null, column.key] for column in TABLES[name].columns}


# ── what one line and a migration are ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Tagged(Attempt):
    tag: str | None = None


def test_a_column_added_to_a_declaration_is_inserted_updated_and_read(migrated: psycopg.Connection[Any]) -> None:
    """A line, a field and a migration: no statement is touched."""
    table = Table("attempts", *ATTEMPTS.columns, Column("tag", "text", null=True))
    migrated.execute("ALTER TABLE attempts ADD tag text")
    now = migrated.execute("SELECT now()").fetchone()[0]  # type: ignore[index]
    placed = Tagged(order(), 1, "call-1", "north", "calling", "cause-1", now, now, tag='first "one"')
    kept = (placed, replace(placed, placed=order(payment_order_id="order-2"), tag=None))
    table.insert().run(migrated, kept)
    assert read_all(migrated, table) == list(kept)
    moved = [replace(each, state="unknown", tag="second") for each in kept]
    table.update().run(migrated, [*moved])
    assert read_all(migrated, table) == moved


def read_all(conn: psycopg.Connection[Any], table: Table) -> list[Tagged]:
    rows = conn.execute(f"SELECT {table.select(Tagged)} FROM attempts ORDER BY payment_order_id")
    return [Tagged(OrderPlaced.model_validate_json(placed), *rest) for placed, *rest in rows]


def test_a_field_without_a_column_is_found_at_import() -> None:
    assert [field.name for field in fields(Tagged)][-1] == "tag"
    with pytest.raises(KeyError, match="tag"):
        ATTEMPTS.select(Tagged)
