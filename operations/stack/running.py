"""A home folder → the settings and the state of the stack that runs in it."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from operations.http_client import NoAnswer, http_request
from operations.stack.environment import read_environment
from operations.stack.home import Home, NoStack, read_json
from operations.stack.settings import load_settings
from topics.settings import Settings

if TYPE_CHECKING:
    import psutil

HTTP_TIMEOUT_S = 2.0


# Any of them names an installation: without one, defaults would take whatever listens at the usual ports.
NAMES_ONE = {"kafka", "postgres", "postgres_admin", "dsns", "secret", "secrets_dir"}


def given_settings(**overrides: object) -> Settings:
    """The environment's, and where it is silent what the stack in this home was given."""
    home = load_settings(**overrides).home
    return load_settings(read_environment(Home(home).environment), **{**overrides, "home": home})


def current_settings(**overrides: object) -> Settings:
    """The same, for commands that go to its servers. Errors: NoStack where nothing says which, or they have ended."""
    found = given_settings(**overrides)
    if NAMES_ONE.isdisjoint(found.model_fields_set) or _has_ended(found):
        raise NoStack
    return found


def _has_ended(settings: Settings) -> bool:
    """Whether these are the servers of a stack of this home that runs no longer: who asks them would wait in vain."""
    home = Home(settings.home)
    own = {f"127.0.0.1:{port}" for port in read_json(home.ports).values()}
    return not own.isdisjoint({settings.kafka, settings.postgres}) and not is_held(home)


@dataclass(frozen=True)
class ProcessStatus:
    """One process of the stack; state is starting, running, paused, stopped, gone or down."""

    name: str
    pid: int
    state: str
    restarts: int
    rooms: list[str]
    reason: str | None


@dataclass(frozen=True)
class StackStatus:
    """The output of `tally status --json`."""

    ready: bool
    api_url: str | None
    api_key: str | None
    kafka: str | None
    postgres: str | None
    simulator_url: str | None
    processes: list[ProcessStatus]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


DOWN = StackStatus(False, None, None, None, None, None, [])


def stack_status(home: Home) -> StackStatus:
    """How the stack in this home is now, or DOWN."""
    if not is_held(home):
        return DOWN
    state = read_json(home.state)
    processes = [process_status(entry, home) for entry in state.get("processes", [])]
    settled = bool(state.get("started")) and all(process.state == "running" for process in processes)
    return StackStatus(
        ready=settled and answers_ready(state.get("api_url") or ""),
        api_url=state.get("api_url"),
        api_key=read_api_key(home),
        kafka=state.get("kafka"),
        postgres=state.get("postgres"),
        simulator_url=state.get("simulator_url"),
        processes=processes,
    )


def process_status(entry: Mapping[str, Any], home: Home) -> ProcessStatus:
    """A process's entry in the supervisor's state, with its own report if it runs rooms."""
    import psutil

    name, pid, restarts, rooms = str(entry["name"]), int(entry["pid"]), int(entry["restarts"]), list(entry["rooms"])
    if not entry["alive"] or not psutil.pid_exists(pid):
        return ProcessStatus(name, pid, "down", restarts, rooms, "starts again shortly")
    if not rooms:
        return ProcessStatus(name, pid, "running", restarts, rooms, None)
    report = room_report(home, pid)
    why = report.get("reason") or "; ".join(report.get("notes", []))
    return ProcessStatus(name, pid, report.get("state", "starting"), restarts, rooms, why or None)


def room_report(home: Home, pid: int) -> dict[str, Any]:
    """The last report of the room process with that pid; empty before its first."""
    for path in home.run.glob(f"*-{pid}.json"):
        if (report := read_json(path)).get("pid") == pid:
            return report
    return {}


def delete_stale_reports(home: Home) -> None:
    """Delete the reports of processes that are gone: their pids may be reused."""
    import psutil

    for path in home.run.glob("*.json"):
        pid = path.stem.rpartition("-")[2]
        if not pid.isdigit() or not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)


def read_api_key(home: Home) -> str | None:
    try:
        return home.api_key.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def is_held(home: Home) -> bool:
    """Whether a supervisor holds this home's lock; the kernel releases the lock when its process dies."""
    try:
        with home.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def answers_ready(api_url: str) -> bool:
    """Whether the API's `/readyz` answers 200."""
    try:
        return http_request("GET", f"{api_url}/readyz", timeout_s=HTTP_TIMEOUT_S).status == 200
    except NoAnswer:
        return False


def own_processes(home: Home) -> list[psutil.Process]:
    """The processes in the last supervisor's state file that still run, and are the same."""
    found = [same_process(entry) for entry in read_json(home.state).get("processes", [])]
    return [process for process in found if process is not None]


def holder_process(home: Home) -> psutil.Process | None:
    """The process that holds this home, if any does."""
    return same_process(read_json(home.holder)) if is_held(home) else None


def same_process(entry: Mapping[str, Any]) -> psutil.Process | None:
    """The process with that pid, if it is still the same one: pids are reused."""
    import psutil

    try:
        process = psutil.Process(int(entry["pid"]))
        return process if abs(process.create_time() - float(entry["created"])) < 1.0 else None
    except (psutil.Error, KeyError, ValueError):
        return None
