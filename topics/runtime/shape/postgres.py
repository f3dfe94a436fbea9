"""A DSN → a connection to PostgreSQL. All of them are opened here, so that a failover is met in one place.

A connection that writes is only opened where writing is allowed: of several hosts in a DSN, or at the one there is, never
a standby and never a server, database or role that is set to read-only. A connection may also lose that while it is open;
PostgreSQL then refuses the statement (25006), and whoever holds the connection closes it (`topics.runtime.shape.store`).
"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict

Parameters = dict[str, Any]

CONNECT_TIMEOUT_S = 5  # of each host

# A server that is gone without a word is given up after some 15 seconds, not after the two hours of the system's default.
_TIMEOUTS = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_READ_ONLY: LiteralString = "SET default_transaction_read_only = on"


def parameters(dsn: str, *, writes: bool, name: str, schema: str = "", options: str = "") -> Parameters:
    """What libpq is told. What the DSN says itself counts; of its `options`, what ours leave open."""
    given = conninfo_to_dict(dsn)
    several = "," in f"{given.get('host', '')}{given.get('hostaddr', '')}"
    target = "read-write" if writes else "primary" if several else "any"
    words = (given.get("options"), f"-c search_path={schema}" if schema else "", options)
    ours = {"application_name": name, "target_session_attrs": target, **_TIMEOUTS}
    return ours | given | {"options": " ".join(str(word) for word in words if word)}


def connect(
    dsn: str, *, name: str, schema: str = "", options: str = "", autocommit: bool = False
) -> psycopg.Connection[Any]:
    """A connection that writes. Errors: psycopg.OperationalError where no host lets us, or lets us only read."""
    return psycopg.connect(
        **parameters(dsn, writes=True, name=name, schema=schema, options=options), autocommit=autocommit
    )


def connect_to_read(
    dsn: str, *, name: str, schema: str = "", options: str = "", autocommit: bool = False
) -> psycopg.Connection[Any]:
    """A connection whose transactions are read-only, at any server that the DSN allows. Errors: as `connect`.

    It is made read-only once it is open: to libpq a session that begins so is one that `target_session_attrs=read-write`
    forbids.
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
