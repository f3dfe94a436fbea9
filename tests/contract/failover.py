"""Two PostgreSQL servers of the same installation: one that is written to, and a standby that is not, until it is promoted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg

from operations.stack.home import Home
from operations.stack.ports import PortClaims
from operations.stack.postgres import postgres_command
from operations.stack.process import start, stop
from operations.stack.servers import admin_dsn
from operations.stack.settings import load_settings
from tests.conftest import SECRET
from tests.contract.running import wait
from topics.catalog import ROOMS
from topics.runtime.making.migrate import migrate
from topics.settings import Settings

ROLES = ("tally_ops", *(f"tally_{room.name}{end}" for room in ROOMS for end in ("", "_read")))
PASSWORD = "the servers' own"


class Server:
    """One PostgreSQL in a folder of its own, started at a port of its own; the first time as a copy of another's."""

    def __init__(self, folder: Path, port: int, like: Path | None = None) -> None:
        home = Home(folder)
        home.prepare()
        if like is not None:
            shutil.copytree(like, home.postgres)
            (home.postgres / "standby.signal").touch()
        self.data, self.port, self.dsn = home.postgres, port, admin_dsn(port, PASSWORD)
        self._command = postgres_command(home, port, PASSWORD)
        self.start()

    def start(self) -> None:
        self._child = start(self._command)
        wait("the server answers", self._answers)

    def stop(self) -> None:
        """As a machine that is taken away: sessions end, and nobody listens."""
        stop(self._command, self._child)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def run(self, statement: LiteralString) -> None:
        """As an operator who knows that everything is read-only."""
        with closing(
            psycopg.connect(self.dsn, autocommit=True, options="-c default_transaction_read_only=off")
        ) as conn:
            conn.execute(statement)


@dataclass(frozen=True)
class Pair:
    """For every role `settings` name a dead port, the standby and the primary, in this order, and ask for one to write to."""

    primary: Server
    standby: Server
    settings: Settings
    admin: str


@contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    """The standby is a copy that waits for a primary's word; none comes, for tests need no more than what was there."""
    claims, running = PortClaims(), []
    dead, *ports = [claims.choose(port) for port in (16432, 16433, 16434)]
    try:
        primary = Server(folder / "primary", ports[0])
        own = {"database": "pair", "secret": SECRET, "home": folder}
        migrate(load_settings(postgres=f"127.0.0.1:{ports[0]}", **own), primary.dsn)
        primary.stop()
        standby = Server(folder / "standby", ports[1], like=primary.data)
        running = [primary, standby]
        primary.start()
        hosts = f"127.0.0.1:{dead},127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        plain = load_settings(postgres=hosts, **own)
        dsns = {role: f"{plain.dsn(role)}?target_session_attrs=read-write" for role in ROLES}
        admin = primary.dsn.replace(f"127.0.0.1:{primary.port}", hosts)
        yield Pair(
            primary, standby, plain.model_copy(update={"dsns": dsns}), f"{admin}?target_session_attrs=read-write"
        )
    finally:
        for server in running:
            server.stop()
        claims.release()
