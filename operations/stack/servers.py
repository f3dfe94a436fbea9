"""A home folder → its own Kafka and PostgreSQL; `python -m operations.stack.servers --home DIR` runs just these."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO

import psutil

from operations.stack.home import Home, StackError, write_json
from operations.stack.jars import class_path
from operations.stack.kafka import kafka_answers, kafka_command
from operations.stack.ports import PortClaims, choose_ports
from operations.stack.postgres import admin_dsn, postgres_answers, postgres_command
from operations.stack.settings import load_settings
from operations.stack.supervisor import Supervisor, Watched

START_TIMEOUT_S = 120.0
Report = Callable[[str, int, int], None]  # what, done, of


class AlreadyRunning(StackError):
    """Another process holds this home folder."""


@dataclass(frozen=True)
class ExistingServers:
    """Addresses of existing servers; a server that is None is started here. `postgres_admin` as in Servers."""

    kafka: str | None = None
    postgres: str | None = None
    postgres_admin: str = ""


@dataclass(frozen=True)
class Servers:
    """Where the servers are. `postgres_admin` is a DSN with the superuser's password."""

    kafka: str
    postgres: str
    postgres_admin: str


NONE_YET = ExistingServers()


class Interrupted(Exception):
    """Somebody asked this process to end."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """The handler for SIGTERM, SIGINT and SIGHUP: once is enough, the rest of the way is not to be disturbed."""
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    raise Interrupted


def end_on_signals() -> None:
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, interrupt)


def hold(home: Home) -> IO[bytes]:
    """Lock the home folder for this process's life. Errors: AlreadyRunning."""
    file = home.lock.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise AlreadyRunning(f"{home.path} is in use by another process; nothing was started") from None
    me = psutil.Process()
    write_json(home.holder, {"pid": me.pid, "created": me.create_time()})
    return file


def start_postgres(supervisor: Supervisor, home: Home, ports: Mapping[str, int]) -> tuple[Watched, str]:
    """Returns the process and the superuser's DSN. It may not answer yet."""
    password = load_settings(home=home.path).derive("postgres:admin")
    watched = supervisor.add(postgres_command(home, ports["postgres"], password))
    return watched, admin_dsn(ports["postgres"], password)


def start_kafka(supervisor: Supervisor, home: Home, ports: Mapping[str, int], progress: Report) -> tuple[Watched, str]:
    """Returns the process and its address. It may not answer yet."""
    jars = class_path(lambda done, of: progress("Kafka's jars", done, of))
    watched = supervisor.add(kafka_command(home, jars, ports["kafka"], ports["kafka_controller"]))
    return watched, f"127.0.0.1:{ports['kafka']}"


def start_servers(
    supervisor: Supervisor, home: Home, ports: Mapping[str, int], progress: Report, existing: ExistingServers = NONE_YET
) -> Servers:
    """Start the missing servers, wait until both answer. Errors: StartError, KafkaError, PostgresError, JarError."""
    started = []
    postgres, dsn, kafka = existing.postgres, existing.postgres_admin, existing.kafka
    if postgres is None:
        progress("PostgreSQL", 0, 1)
        watched, dsn = start_postgres(supervisor, home, ports)
        postgres = f"127.0.0.1:{ports['postgres']}"
        started.append(watched)
    if kafka is None:  # its jars are checked while PostgreSQL starts
        progress("Kafka", 0, 1)
        watched, kafka = start_kafka(supervisor, home, ports, progress)
        started.append(watched)
    await_answer(supervisor, partial(postgres_answers, dsn), f"PostgreSQL at {postgres}", started)
    progress("PostgreSQL", 1, 1)
    await_answer(supervisor, partial(kafka_answers, kafka), f"Kafka at {kafka}", started)
    progress("Kafka", 1, 1)
    return Servers(kafka, postgres, dsn)


def await_answer(supervisor: Supervisor, answers: Callable[[], bool], what: str, started: Sequence[Watched]) -> None:
    """Errors: StartError; for a server that is not ours there is no log to show."""
    logs = [watched for watched in started if what.lower().startswith(watched.command.name)]
    supervisor.wait_until(answers, what, logs, START_TIMEOUT_S)


def run_servers(home: Home, ready: Callable[[Servers], None]) -> None:
    """Run both until this process is asked to end; whatever dies starts again."""
    home.prepare()
    end_on_signals()
    supervisor, claims = Supervisor(), PortClaims()
    with hold(home), suppress(Interrupted):
        try:
            ready(start_servers(supervisor, home, choose_ports(home, claims, {}), lambda what, done, of: None))
            while True:
                supervisor.tick()
                time.sleep(0.2)
        finally:
            supervisor.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m operations.stack.servers", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    home = Home(parser.parse_args().home.expanduser().absolute())
    try:
        run_servers(home, lambda servers: print(json.dumps(asdict(servers)), flush=True))
    except StackError as error:
        sys.exit(str(error))
    os._exit(0)  # librdkafka's threads may linger for seconds


if __name__ == "__main__":
    main()
