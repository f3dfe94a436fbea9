"""A home folder → servers run by a process of their own, which cannot outlive the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from operations.stack.process import tied_to_parent
from operations.stack.servers import Servers


def hash_once(admin: str) -> None:
    """The superuser's password, too: initdb knows nothing of the server's settings, and tests log in thousands of times."""
    named = psycopg.conninfo.conninfo_to_dict(admin)
    change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
        sql.Identifier(str(named["user"])), sql.Literal(named["password"])
    )
    with psycopg.connect(admin) as conn:
        conn.execute(change)


@contextmanager
def local_servers(home: Path) -> Iterator[Servers]:
    """Kafka and PostgreSQL in that home, until the block ends; whatever a test kills is started again."""
    command = [sys.executable, "-m", "tests.stack.quick_servers", "--home", str(home)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    process = subprocess.Popen(
        tied_to_parent(command, signal.SIGTERM),
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the servers did not start; see {home}/logs and the messages above"
        servers = Servers(**json.loads(line))
        hash_once(servers.postgres_admin)
        yield servers
    finally:
        process.terminate()
        process.wait(60)
