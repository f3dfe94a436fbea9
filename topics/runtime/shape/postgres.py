"""A DSN → a connection to PostgreSQL. All connections are opened here, so that failover is handled in one place.

A writing connection is only opened to a server that takes writes: never a standby, and never a server, database or role
that is set to read-only. An open connection may become read-only, too: PostgreSQL then refuses the statement (25006), and
the owner of the connection closes it (`topics.runtime.shape.store`).
"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict

Parameters = dict[str, Any]

CONNECT_TIMEOUT_S = 5  # of each host

# A server that vanishes silently is given up after some 15 seconds, not after the two hours of the system's default.
_TIMEOUTS = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_READ_ONLY: LiteralString = "SET default_transaction_read_only = on"


def parameters(dsn: str, *, writes: bool, name: str, schema: str = "", options: str = "") -> Parameters:
    """Connection parameters for libpq. The DSN's own win; its `options` are put before ours."""
    given = conninfo_to_dict(dsn)
    several = "," in f"{given.get('host', '')}{given.get('hostaddr', '')}"
    target = "read-write" if writes else "primary" if several else "any"
    words = (given.get("options"), f"-c search_path={schema}" if schema else "", options)
    ours = {"application_name": name, "target_session_attrs": target, **_TIMEOUTS}
    return ours | given | {"options": " ".join(str(word) for word in words if word)}


def connect(
    dsn: str, *, name: str, schema: str = "", options: str = "", autocommit: bool = False
) -> psycopg.Connection[Any]:
    """A writing connection. Errors: psycopg.OperationalError if no host accepts it, or only for reading."""
    return psycopg.connect(
        **parameters(dsn, writes=True, name=name, schema=schema, options=options), autocommit=autocommit
    )


def connect_to_read(
    dsn: str, *, name: str, schema: str = "", options: str = "", autocommit: bool = False
) -> psycopg.Connection[Any]:
    """A connection whose transactions are read-only, at any server that the DSN allows. Errors: as `connect`.

    The session is made read-only after the connect: libpq refuses one that starts read-only where the DSN has
    `target_session_attrs=read-write`.
    """
    given = parameters(dsn, writes=False, name=name, schema=schema, options=options)
    conn = psycopg.connect(**given, autocommit=True)
    conn.execute(_READ_ONLY)
    conn.autocommit = autocommit
    return conn


async def connect_async(
    dsn: str, *, writes: bool, name: str, schema: str = "", options: str = ""
) -> psycopg.AsyncConnection[Any]:
    """As `connect` or `connect_to_read`, in autocommit."""
    given = parameters(dsn, writes=writes, name=name, schema=schema, options=options)
    conn = await psycopg.AsyncConnection.connect(**given, autocommit=True)
    if not writes:
        await conn.execute(_READ_ONLY)
    return conn
