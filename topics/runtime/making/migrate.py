"""Creates database, roles, schemas and tables for every room. Idempotent."""

from __future__ import annotations

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from topics.catalog import ROOMS, Room
from topics.runtime.making.revisions import RUNTIME, folders
from topics.runtime.shape.postgres import connect
from topics.runtime.shape.reading import reader_role
from topics.settings import Settings

_LOCK = 0x7A11  # advisory: one migration at a time


def migrate(settings: Settings, admin_dsn: str) -> list[str]:
    """Bring the stores up to date. → a line for each change. `admin_dsn` may create databases and roles."""
    done: list[str] = []
    _make_database(settings.database, admin_dsn, done)
    dsn = psycopg.conninfo.make_conninfo(admin_dsn, dbname=settings.database)
    with connect(dsn, name="tally migrate", autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        _make_role(conn, "tally_ops", settings.derive("postgres:tally_ops"))
        for room in ROOMS:
            _make_schema(conn, room, settings)
        for room in ROOMS:
            done += _upgrade(room, dsn)
    return done


def _make_database(name: str, admin_dsn: str, done: list[str]) -> None:
    with connect(admin_dsn, name="tally migrate", autocommit=True) as conn:
        if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return
        # Independent of the server's defaults: names are UTF-8, and ids sort by their bytes.
        as_ours = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
        conn.execute(sql.SQL(as_ours).format(sql.Identifier(name)))
        done.append(f"database {name} made")


def _make_role(conn: psycopg.Connection, name: str, password: str | None) -> None:
    """Create a role, with a login if there is a password. Databases of one server share roles.

    Times are read as UTC whatever the server's time zone: the end of year 9999, read in Berlin, overflows Python's.
    """
    role = sql.Identifier(name)
    if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
        try:
            conn.execute(sql.SQL("CREATE ROLE {}").format(role))
        except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            pass  # another migration on this server created it
    if password:
        conn.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
        conn.execute(sql.SQL("ALTER ROLE {} SET timezone = 'UTC'").format(role))


def _make_schema(conn: psycopg.Connection, room: Room, settings: Settings) -> None:
    """One schema, one owner, one login that does not own its tables, one reader."""
    owner, login, reader = f"tally_{room.name}_owner", f"tally_{room.name}", reader_role(room.name)
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK + 1])
        _make_role(conn, owner, None)
        _make_role(conn, login, settings.derive(f"postgres:{login}"))
        _make_role(conn, reader, settings.derive(f"postgres:{reader}"))
        names = {
            "schema": sql.Identifier(room.name),
            "owner": sql.Identifier(owner),
            "login": sql.Identifier(login),
            "reader": sql.Identifier(reader),
        }
        for statement in (
            "GRANT {owner} TO CURRENT_USER",
            "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}",
            "GRANT USAGE ON SCHEMA {schema} TO {login}, {reader}, tally_ops",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema}"
            " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {login}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {login}",
            "ALTER ROLE {login} SET idle_in_transaction_session_timeout = '10s'",
            "ALTER ROLE {login} SET lock_timeout = '30s'",
            # A pipelined session is never idle: without this limit a batch whose process or machine has frozen would keep
            # its locks for hours.
            "ALTER ROLE {login} SET transaction_timeout = '60s'",
            "ALTER ROLE {login} SET default_transaction_isolation = 'read committed'",
            "ALTER ROLE {login} SET synchronous_commit = 'on'",
        ):
            conn.execute(sql.SQL(statement).format(**names))


def _upgrade(room: Room, dsn: str) -> list[str]:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connect(dsn, name="tally migrate"), poolclass=NullPool
    )
    config = alembic_config(room)
    with engine.begin() as conn:
        conn.execute(text(f"SET ROLE tally_{room.name}_owner"))
        conn.execute(text(f"SET search_path = {room.name}"))
        before = _heads(conn, room)
        config.attributes["connection"] = conn
        command.upgrade(config, "heads")
        after = _heads(conn, room)
    return [f"{room.name}: {revision}" for revision in sorted(after - before)]


def alembic_config(room: Room) -> Config:
    """Alembic over the runtime's versions and the room's own."""
    config = Config()
    config.set_main_option("script_location", str(RUNTIME.parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(str(folder).replace("%", "%%") for folder in folders(room)))
    config.attributes["schema"] = room.name
    return config


def _heads(conn: object, room: Room) -> set[str]:
    exists = conn.execute(text(f"SELECT to_regclass('{room.name}.alembic_version')")).scalar()  # type: ignore[attr-defined]
    if not exists:
        return set()
    rows = conn.execute(text(f"SELECT version_num FROM {room.name}.alembic_version"))  # type: ignore[attr-defined]
    return {row[0] for row in rows}
