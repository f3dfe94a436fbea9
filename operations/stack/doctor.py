"""This machine → findings: each requirement of the local stack, whether it is met, and else what to do."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from operations.stack.home import Home, StackError
from operations.stack.jars import local_repository, locked_jars, missing_jars
from operations.stack.kafka import find_java, java_version
from operations.stack.ports import PREFERRED, SEARCHED, is_free
from operations.stack.postgres import find_binaries, postgres_version, user_namespaces
from operations.stack.running import stack_status
from topics.settings import Settings

DISK_GB_MIN = 2.0


@dataclass(frozen=True)
class Finding:
    """One requirement. `advice` is what to do if it is not met."""

    name: str
    ok: bool
    detail: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    home = Home(settings.home)
    return [
        python(),
        found(
            "Java",
            lambda: f"{find_java()}, version {java_version(find_java())}",
            "make the virtual environment anew: make clean up",
        ),
        jars(),
        found("PostgreSQL", lambda: f"{find_binaries()}, version {postgres_version(find_binaries())}", "set PG_BIN"),
        server_user(),
        tools(),
        *ports(home),
        disk(home),
        permissions(home),
        stack(home),
        topics(home),
    ]


def found(name: str, look: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(name, True, look())
    except StackError as error:
        return Finding(name, False, str(error), advice)


def python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 11), f"{version} at {sys.executable}", "use Python 3.11 to 3.13")


def jars() -> Finding:
    missing, repository = missing_jars(), local_repository()
    if not missing:
        return Finding("Kafka's jars", True, f"{len(locked_jars())} in {repository}")
    near = next(folder for folder in (repository, *repository.parents) if folder.exists())
    detail = f"{len(missing)} are to be fetched into {repository}"
    return Finding("Kafka's jars", os.access(near, os.W_OK), detail, "set M2_REPO to a folder that can be written to")


def server_user() -> Finding:
    if os.geteuid() != 0:
        return Finding("user for PostgreSQL", True, "this user")
    if user_namespaces():
        return Finding("user for PostgreSQL", True, "root, through a user namespace")
    return Finding("user for PostgreSQL", True, "nobody, as root has no user namespaces here")


def tools() -> Finding:
    missing = [tool for tool in ("setpriv", "unshare", "sh") if shutil.which(tool) is None]
    detail = f"missing: {', '.join(missing)}" if missing else "setpriv, unshare and sh are here"
    return Finding("util-linux", not missing, detail, "install util-linux 2.33 or newer")


def ports(home: Home) -> list[Finding]:
    if stack_status(home).processes:
        return [Finding("ports", True, "in use by this stack")]
    taken = [str(port) for port in PREFERRED.values() if not is_free(port)]
    free = all(any(is_free(port + step) for step in range(SEARCHED)) for port in PREFERRED.values())
    detail = f"in use: {', '.join(taken)}; free ones nearby are taken instead" if taken else "the usual ones are free"
    return [Finding("ports", free, detail, "end what listens on them, or set TALLY_API_PORT")]


def disk(home: Home) -> Finding:
    near = next(folder for folder in (home.path, *home.path.parents) if folder.exists())
    free_gb = shutil.disk_usage(near).free / 1e9
    return Finding("disk", free_gb >= DISK_GB_MIN, f"{free_gb:.1f} GB free at {near}", f"free {DISK_GB_MIN:.0f} GB")


def permissions(home: Home) -> Finding:
    if not home.path.exists():
        return Finding("data folder", True, f"{home.path} will be made")
    mode, owner = home.path.stat().st_mode & 0o777, home.path.stat().st_uid
    ok = mode == 0o700 and owner == os.geteuid()
    return Finding(
        "data folder", ok, f"{home.path}, mode {mode:o}, user {owner}", f"chmod 700 {home.path}, and run as its owner"
    )


def stack(home: Home) -> Finding:
    status = stack_status(home)
    if status.ready:
        return Finding("stack", True, f"ready at {status.api_url}")
    if not status.processes:
        return Finding("stack", True, "not up")
    troubled = [f"{p.name} {p.state}: {p.reason}" for p in status.processes if p.state != "running"]
    return Finding(
        "stack", False, "; ".join(troubled) or "up, but the API is not ready", f"read the logs in {home.logs}"
    )


def topics(home: Home) -> Finding:
    """What running processes note of their topics: each goes on, and a person should look."""
    noted = sorted(
        {process.reason for process in stack_status(home).processes if process.state == "running" and process.reason}
    )
    detail = "; ".join(noted) or "as they were made, as far as running processes know"
    return Finding("topics", not noted, detail, "find out who changes topics; what follows is in docs/stops.md")
