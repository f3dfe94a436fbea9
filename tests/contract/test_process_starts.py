"""`tally run` as an operator starts it: what it says at its start and its end, and what makes it refuse."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import psycopg

from operations.stack.home import Home
from operations.stack.layout import TALLY
from operations.stack.running import room_report
from operations.stack.servers import Servers
from tests.contract.running import wait
from tests.simulator.running import free_port
from topics.settings import Settings


def variables(settings: Settings, **changed: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    own = {
        "TALLY_HOME": str(settings.home),
        "TALLY_KAFKA": settings.kafka,
        "TALLY_POSTGRES": settings.postgres,
        "TALLY_DATABASE": settings.database,
        "TALLY_TOPIC_PREFIX": settings.topic_prefix,
        "TALLY_SECRET": settings.secret,
        "TALLY_API_PORT": "0",
    }
    return inherited | own | changed


def run(settings: Settings, *names: str, log: Path | None = None, **changed: str) -> subprocess.Popen[str]:
    stderr = log.open("w") if log else subprocess.PIPE
    command = [sys.executable, str(TALLY), "run", *names]
    return subprocess.Popen(command, env=variables(settings, **changed), stderr=stderr, text=True)


@contextmanager
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


REFUSALS = {
    "a metrics port that is taken": (
        ("ledger",),
        {"TALLY_METRICS_PORT": "{port}"},
        "TALLY_METRICS_PORT: cannot listen",
    ),
    "an API port that is taken": (("api",), {"TALLY_API_PORT": "{port}"}, "TALLY_API_PORT: cannot listen"),
    "a home that cannot be written": (("ledger",), {"TALLY_HOME": "{file}"}, "TALLY_HOME: {file} cannot be written"),
    "a wrong password": (("wallet",), {"TALLY_SECRET": "another secret"}, "does not let tally_wallet in"),
    "a wrong password of a reader": (
        ("api",),
        {"TALLY_DSNS": '{"tally_ledger_read": "postgresql://tally_ledger_read:no@{postgres}/{database}"}'},
        "does not let tally_ledger_read in",
    ),
    "an unknown database": (("risk",), {"TALLY_DATABASE": "nowhere"}, 'database "nowhere" does not exist'),
    "an older schema": (("wallet",), {}, "the schema of wallet lacks runtime_010, runtime_011"),
    "missing topics": (("payments",), {"TALLY_TOPIC_PREFIX": "no."}, "has no topic no.payment-requests.v1"),
    "an option that no client knows": (
        ("webhooks",),
        {"TALLY_KAFKA_OPTIONS": '{"no.such.option": "1"}'},
        "TALLY_KAFKA_OPTIONS: ",
    ),
}


def migrated_to(servers: Servers, settings: Settings, room: str, revision: str) -> None:
    """As far as a process can tell, the runtime's tables are those of that revision."""
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=settings.database)
    with psycopg.connect(dsn) as conn:
        told = f"UPDATE {room}.alembic_version SET version_num = %s WHERE version_num LIKE 'runtime_%%'"
        assert conn.execute(told, [revision]).rowcount == 1


def test_a_start_that_no_waiting_would_mend_ends_with_one_line_and_exit_code_2(
    servers: Servers, stack: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    migrated_to(servers, stack, "wallet", "runtime_009")
    with listener() as port:
        where = {"port": str(port), "file": str(file), "postgres": stack.postgres, "database": stack.database}

        def filled(text: str) -> str:
            for name, value in where.items():
                text = text.replace(f"{{{name}}}", value)
            return text

        started = {
            what: run(stack, *names, **{name: filled(value) for name, value in changed.items()})
            for what, (names, changed, _) in REFUSALS.items()
        }
        ends = {what: (process.communicate(timeout=60)[1], process.returncode) for what, process in started.items()}
    for what, (_, _, told) in REFUSALS.items():
        said, code = ends[what]
        assert (code, len(said.splitlines())) == (2, 1), f"{what}: {code}, {said}"
        assert said.startswith("tally: "), what
        assert filled(told) in said, what


def test_a_process_says_one_line_at_its_start_and_one_at_its_end_all_of_it_json(
    stack: Settings, tmp_path: Path
) -> None:
    log, (host, port) = tmp_path / "log", ("0.0.0.0", free_port())
    where = {"TALLY_METRICS_HOST": host, "TALLY_METRICS_PORT": str(port)}
    process = run(stack, "api", "ledger", log=log, **where)
    wait("the room runs", lambda: room_report(Home(stack.home), process.pid).get("state") == "running")
    with urllib.request.urlopen(f"http://127.0.0.2:{port}/metrics", timeout=10) as page:  # not the loopback's usual one
        assert b'tally_room_state{room="ledger"} 1.0' in page.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    first, last = lines[0], lines[-1]
    assert [line["action"] for line in lines if line["action"] in ("start", "end")] == ["start", "end"]
    assert (first["version"], first["metrics"]) == (metadata.version("tallystick"), f"{host}:{port}")
    assert first["partitions"]["executions.v1"] == 4
    assert first["api"].startswith("127.0.0.1:")
    assert (last["action"], last["code"], last["parts"]) == ("end", 0, ["api", "ledger"])


def test_what_kafkas_client_says_is_json_like_the_rest(stack: Settings, tmp_path: Path) -> None:
    """It says where it cannot connect; PostgreSQL is there, so nothing but Kafka stands in the room's way."""
    log = tmp_path / "log"
    process = run(stack, "ledger", log=log, TALLY_KAFKA=f"127.0.0.1:{free_port()}")

    def kafkas() -> list[dict[str, str]]:
        lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line.get("logger") == "kafka"]

    wait("a line of the client", kafkas)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert "Connection refused" in kafkas()[0]["event"]
    assert (kafkas()[0]["level"], "timestamp" in kafkas()[0]) == ("error", True)
    assert json.loads(log.read_text().splitlines()[-1])["action"] == "end", "the last line is ours"


def test_a_process_of_an_older_release_starts_on_a_schema_of_a_later_one(
    servers: Servers, stack: Settings, tmp_path: Path
) -> None:
    """So that processes can be replaced one by one, after `tally migrate`."""
    migrated_to(servers, stack, "ledger", "runtime_999")
    process = run(stack, "ledger", log=tmp_path / "log")
    wait("the room runs", lambda: room_report(Home(stack.home), process.pid).get("state") == "running")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_a_process_whose_report_cannot_be_written_ends(stack: Settings, tmp_path: Path) -> None:
    log, folder = tmp_path / "log", stack.home / "run"
    process = run(stack, "ledger", log=log)
    wait("the room runs", lambda: room_report(Home(stack.home), process.pid).get("state") == "running")
    folder.rename(stack.home / "moved")
    folder.touch()
    assert process.wait(40) == 1
    reasons = [json.loads(line) for line in log.read_text().splitlines()]
    assert "report cannot be written" in [line["event"] for line in reasons]
    assert (reasons[-1]["action"], reasons[-1]["code"]) == ("end", 1)


def test_a_process_starts_while_its_servers_are_away_and_waits_for_them(stack: Settings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = run(stack, "ledger", log=log, TALLY_POSTGRES=f"127.0.0.1:{free_port()}")
    wait("the room waits", lambda: room_report(Home(stack.home), process.pid).get("state") == "paused")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
