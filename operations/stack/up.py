"""Settings → a whole running stack: servers, migrations, topics, simulator, rooms and API under one supervisor."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil

from operations.stack import layout
from operations.stack.environment import as_text
from operations.stack.home import Home, StackError, write_json, write_private
from operations.stack.ports import PortClaims, choose_ports
from operations.stack.process import last_lines, start
from operations.stack.running import answers_ready, delete_stale_reports, holder_process, own_processes, room_report
from operations.stack.servers import ExistingServers, Report, end_on_signals, hold, start_servers
from operations.stack.supervisor import Supervisor, Watched
from topics import catalog
from topics.settings import Settings

ROOMS_TIMEOUT_S = 120.0
PREPARE_TIMEOUT_S = 120.0
LEFTOVER_TIMEOUT_S = 10.0
WATCH_S = 0.2
FILES_MAX = 65_536
SERVERS = ("kafka", "postgres")


class PrepareError(StackError):
    """Migrations, topics or the demo key failed; the message holds the end of the log."""


@dataclass
class Stack:
    """One run of the stack, from the first port to the last process ended."""

    settings: Settings
    existing: ExistingServers
    copies: int
    progress: Report
    supervisor: Supervisor = field(default_factory=Supervisor)
    claims: PortClaims = field(default_factory=PortClaims)
    rooms: dict[str, tuple[str, ...]] = field(default_factory=dict)  # process name → its rooms
    addresses: dict[str, str] = field(default_factory=dict)
    started: bool = False

    @property
    def home(self) -> Home:
        return Home(self.settings.home)

    def start(self) -> None:
        """Everything up, in order. Errors: StartError, PrepareError and those of the servers."""
        allow_many_files()
        end_leftovers(self.home)
        delete_stale_reports(self.home)
        ports = choose_ports(self.home, self.claims, wanted_ports(self.settings))
        self._reach(api_url=f"http://127.0.0.1:{ports['api']}")
        servers = start_servers(self.supervisor, self.home, ports, self.progress, self.existing)
        self._reach(kafka=servers.kafka, postgres=servers.postgres)
        environment = layout.environment(self.settings, servers.kafka, servers.postgres, ports)
        beside = {**environment, "TALLY_POSTGRES_ADMIN": servers.postgres_admin}
        write_private(self.home.environment, as_text(beside))
        self._start_simulator(ports["simulator"])
        self._prepare(environment, servers.postgres_admin)
        self._start_rooms(layout.rooms_and_api(self.home, environment, self.copies))
        self.started = True
        self.write_state()

    def _reach(self, **addresses: str) -> None:
        self.addresses |= addresses
        self.write_state()

    def _start_simulator(self, port: int) -> None:
        """Not waited for: the executor copes with a PSP that is not there yet."""
        self.supervisor.add(layout.simulator(self.home, self.settings, port, self.addresses["api_url"]))
        self._reach(simulator_url=f"http://127.0.0.1:{port}")

    def _prepare(self, environment: Mapping[str, str], postgres_admin: str) -> None:
        self.progress("Migrations and topics", 0, 1)
        # A partition more is a request more for the same records: a Kafka of our own has as many as there are processes.
        partitions = catalog.PARTITIONS if self.existing.kafka else self.copies
        command = layout.prepare(self.home, environment, postgres_admin, partitions)
        command.log.unlink(missing_ok=True)
        child = start(command)
        self.supervisor.wait_until(lambda: child.poll() is not None, "migrations and topics", (), PREPARE_TIMEOUT_S)
        if child.returncode != 0:
            raise PrepareError(f"migrations and topics failed; {command.log} ends:\n{last_lines(command.log)}")
        self.progress("Migrations and topics", 1, 1)

    def _start_rooms(self, planned: list[layout.PlannedProcess]) -> None:
        """Start all at once; then wait until each has reported its state and the API is ready."""
        watched = [self.supervisor.add(plan.command) for plan in planned]
        self.rooms = {plan.command.name: plan.rooms for plan in planned}
        self.write_state()
        ready = partial(self._rooms_settled, watched)
        self.supervisor.wait_until(
            ready, "rooms and API", [w for w in watched if not self._settled(w)], ROOMS_TIMEOUT_S
        )

    def _rooms_settled(self, watched: list[Watched]) -> bool:
        settled = [self._settled(one) for one in watched]
        self.progress("Rooms and API", sum(settled), len(settled))
        return all(settled)

    def _settled(self, watched: Watched) -> bool:
        """Whether all rooms run or have stopped: a stopped room waits for an operator, and `tally status` has the reason."""
        if not watched.alive:
            return False
        if not self.rooms.get(watched.command.name):
            return answers_ready(self.addresses["api_url"])
        return room_report(self.home, watched.child.pid).get("state") in {"running", "stopped"}

    def watch(self) -> None:
        """Start again whatever dies, for ever."""
        while True:
            if self.supervisor.tick():
                delete_stale_reports(self.home)
                self.write_state()
            time.sleep(WATCH_S)

    def stop(self) -> None:
        """Rooms before the servers that they would otherwise miss."""
        self.supervisor.stop(lambda name: name not in SERVERS)
        self.supervisor.stop()
        self.home.state.unlink(missing_ok=True)

    def write_state(self) -> None:
        """For `tally status` and `tally down`, which run elsewhere."""
        processes = [self._describe(watched) for watched in self.supervisor.watched]
        write_json(self.home.state, {"started": self.started, **self.addresses, "processes": processes})

    def _describe(self, watched: Watched) -> dict[str, Any]:
        name = watched.command.name
        described = {"name": name, "pid": watched.child.pid, "restarts": watched.restarts, "alive": watched.alive}
        return {**described, "created": created(watched.child.pid), "rooms": list(self.rooms.get(name, ()))}


def created(pid: int) -> float:
    """When the process began, in seconds since the epoch: with the pid it identifies a process for ever; 0 if gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def run_stack(stack: Stack, ready: Callable[[], None]) -> None:
    """Up, then watch until this process is asked to end, then down. Errors: AlreadyRunning and those of start."""
    stack.home.prepare()
    with hold(stack.home):
        end_on_signals()
        try:
            stack.start()
            ready()
            stack.watch()
        finally:
            stack.stop()


def wanted_ports(settings: Settings) -> dict[str, int]:
    """Ports that the settings state: only the API's can be."""
    return {"api": settings.api_port} if "api_port" in settings.model_fields_set and settings.api_port else {}


def allow_many_files() -> None:
    """As many open files as this user may have, for us and all whom we start: connections to PSPs alone are hundreds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def end_leftovers(home: Home) -> None:
    """Wait for the processes of a killed supervisor to end, then kill them."""
    _, alive = psutil.wait_procs(list(own_processes(home)), timeout=LEFTOVER_TIMEOUT_S)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=LEFTOVER_TIMEOUT_S)


def down(home: Home, timeout_s: float) -> bool:
    """End the stack of this home, processes of a killed supervisor included. → whether there were any"""
    supervisor, left = holder_process(home), own_processes(home)
    if supervisor is not None:
        end_supervisor(supervisor, timeout_s)
    end_leftovers(home)
    home.state.unlink(missing_ok=True)
    return supervisor is not None or bool(left)


def end_supervisor(supervisor: psutil.Process, timeout_s: float) -> None:
    with suppress(psutil.NoSuchProcess):
        supervisor.terminate()
        try:
            supervisor.wait(timeout_s)
        except psutil.TimeoutExpired:
            supervisor.kill()  # the kernel takes its children along
            supervisor.wait(LEFTOVER_TIMEOUT_S)
