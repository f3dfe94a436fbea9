"""A home folder → a whole system on servers of its own, each reached through a proxy; and the hand that hurts it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from operations.stack import layout
from operations.stack.home import Home, write_private
from operations.stack.ports import PortClaims, choose_ports
from operations.stack.servers import start_servers
from operations.stack.settings import load_settings
from operations.stack.supervisor import Supervisor, Watched
from producers.keys import UPSTREAM_SCOPES, create_key
from tests.chaos.faults import WAYS, Fault
from tests.chaos.proxy import Proxy, proxied
from tests.conftest import await_topics
from tests.journey.books import APART
from tests.journey.till import Till
from tests.journey.whole import COPIES, START_S, environment, not_ready, simulator, wait_until, why
from tests.stack.forked import forking
from topics.exchange_rates import FxRate
from topics.payout_accounts import PayoutProviderAccount
from topics.payout_rules import ApprovalRule, PayoutRules
from topics.runtime.making.migrate import migrate
from topics.runtime.making.topics import apply_topics
from topics.settings import PspAccount, Settings

RATHER_LATE_S = 7 * 86_400  # the payments' deadline: the clock jumps about, and nobody asked in vain
SERVERS = ("kafka", "postgres")


@dataclass
class Arena:
    """The running system. Whoever waits here keeps it alive, on the thread that started it."""

    settings: Settings  # the servers as they are, for those who look on
    home: Home
    till: Till
    ways: dict[str, Proxy]
    supervisor: Supervisor
    admin: str  # DSN of who may do anything to PostgreSQL
    faults: Counter[str] = field(default_factory=Counter)
    ended_by_itself: list[str] = field(default_factory=list)
    _killed: set[int] = field(default_factory=set)
    _seen: set[int] = field(default_factory=set)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _clock_s: float = 0
    _clock_max_s: float = 0

    @property
    def names(self) -> list[str]:
        return [watched.command.name for watched in self.supervisor.watched]

    def keep(self) -> None:
        """Start again what has died, end what has lasted long enough."""
        for watched in self.supervisor.watched:
            self._note_end(watched)
        self.supervisor.tick()
        now = time.monotonic()
        due = [ending for at, ending in self._later if at <= now]
        self._later = [(at, ending) for at, ending in self._later if at > now]
        for ending in due:
            ending()

    def _note_end(self, watched: Watched) -> None:
        """A server may find its port or its lock still taken and try again; a room and the API have no such excuse."""
        pid, status = watched.child.pid, watched.child.poll()
        if status is None or pid in self._seen:
            return
        self._seen.add(pid)
        if pid not in self._killed and watched.command.name not in SERVERS:
            self.ended_by_itself.append(f"{watched.command.name} ended with {status}")

    def wait_until(self, unfinished: Callable[[], Sequence[str]], limit_s: float) -> None:
        wait_until(unfinished, limit_s, self.keep, lambda: why(self.settings, self.home))

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def strike(self, fault: Fault, chance: random.Random) -> None:
        """Let it happen, and end by itself. One that finds nothing to hurt does not count."""
        match fault.kind:
            case "kill":
                done = self._kill(fault.target)
            case "pause":
                done = self._pause(fault.target, fault.seconds)
            case "clock":
                self.move_clock(fault.seconds if fault.target == "forward" else -fault.seconds)
                done = True
            case "read-only":
                done = self._read_only(fault.seconds)
            case _:
                done = self._spoil(self.ways[fault.target], fault, chance)
        self.faults[fault.name] += done

    def _kill(self, name: str) -> bool:
        watched = self._running(name)
        if watched is None:
            return False
        self._killed.add(watched.child.pid)
        watched.child.kill()
        return True

    def _pause(self, name: str, seconds: float) -> bool:
        watched = self._running(name)
        if watched is None:
            return False
        pid = watched.child.pid
        watched.child.send_signal(signal.SIGSTOP)
        self._after(seconds, lambda: _wake(watched, pid))
        return True

    def _running(self, name: str) -> Watched | None:
        found = next(watched for watched in self.supervisor.watched if watched.command.name == name)
        return found if found.alive and found.child.poll() is None else None

    def _spoil(self, way: Proxy, fault: Fault, chance: random.Random) -> bool:
        match fault.kind:
            case "cut":
                return way.cut() > 0
            case "half-closed":
                return way.half_close(chance) > 0
            case "slow":
                way.delay(fault.seconds / 10)
            case "silent":
                way.stall()
            case "silent, then cut":
                way.stall()
                self._after(fault.seconds, lambda: bool(way.cut()))
            case "gone":
                way.go_away()
            case _:
                raise AssertionError(fault)
        self._after(fault.seconds, way.flow)
        return True

    def _read_only(self, seconds: float) -> bool:
        """As a failover of managed services: sessions end, and for a while new ones may only read."""
        name = self.settings.database
        if not self._admin(
            f"ALTER DATABASE {name} SET default_transaction_read_only = on",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        ):
            return False
        self._after(seconds, self._writable_again)
        return True

    def _writable_again(self) -> None:
        if not self._admin(f"ALTER DATABASE {self.settings.database} RESET default_transaction_read_only"):
            self._after(0.2, self._writable_again)  # the server was killed meanwhile

    def _admin(self, *statements: str) -> bool:
        """Whether the server heard all of them."""
        try:
            with psycopg.connect(self.admin, autocommit=True, connect_timeout=2) as conn:
                for statement in statements:
                    conn.execute(statement.encode())
        except psycopg.Error:
            return False
        return True

    def _after(self, seconds: float, ending: Callable[[], object]) -> None:
        self._later.append((time.monotonic() + seconds, lambda: void(ending())))

    def move_clock(self, seconds: float) -> None:
        """Business time jumps; never before the machine's."""
        self._clock_s = max(0.0, self._clock_s + seconds)
        self._clock_max_s = max(self._clock_max_s, self._clock_s)
        write_private(self.home.clock, f"{self._clock_s:.6f}\n")

    def calm(self) -> None:
        """All faults end now, and the clock shows the latest time that it ever showed."""
        self._later = [(0.0, ending) for _, ending in self._later]
        end = time.monotonic() + START_S
        while self._later and time.monotonic() < end:
            self.keep()
            time.sleep(0.02)
        for way in self.ways.values():
            way.flow()
        self.move_clock(self._clock_max_s - self._clock_s)


def void(_: object) -> None:
    """What an ending returns is of no interest."""


def _wake(watched: Watched, pid: int) -> None:
    """If it is still the one that was put to sleep."""
    if watched.child.pid == pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def arena(folder: Path) -> Iterator[Arena]:
    """Until the block ends; all data is in the folder."""
    home = Home(folder)
    home.prepare()
    supervisor, claims = Supervisor(), PortClaims()
    with ExitStack() as stack:
        stack.enter_context(forking())
        stack.callback(supervisor.stop)
        stack.callback(claims.release)
        ports = choose_ports(home, claims, {})
        servers = start_servers(supervisor, home, ports, lambda what, done, of: None)
        settings = _settings(folder, servers.kafka, servers.postgres, ports)
        migrate(settings, servers.postgres_admin)
        apply_topics(settings)
        await_topics(settings)
        ways = {
            "kafka": stack.enter_context(proxied(servers.kafka, kafka=True)),
            "postgres": stack.enter_context(proxied(servers.postgres)),
            "psp": stack.enter_context(proxied(f"127.0.0.1:{ports['simulator']}")),
        }
        assert tuple(ways) == WAYS
        till = Till(f"http://127.0.0.1:{settings.api_port}", create_key(settings, "shop", UPSTREAM_SCOPES))
        found = Arena(settings, home, till, ways, supervisor, servers.postgres_admin)
        supervisor.add(simulator(home, settings))
        planned = layout.rooms_and_api(home, environment(_through(settings, ways)), COPIES)
        rooms = {plan.command.name: supervisor.add(plan.command) for plan in planned}
        found.wait_until(lambda: not_ready(home, rooms, till.url), START_S)
        try:
            yield found
        finally:
            found.calm()


def _settings(folder: Path, kafka: str, postgres: str, ports: dict[str, int]) -> Settings:
    accounts = tuple(
        PspAccount(
            name=n,
            adapter=n,
            url=f"http://127.0.0.1:{ports['simulator']}/{n}",
            api_key=f"{n}-key",
            webhook_secrets=(f"{n}-webhook-secret",),
        )
        for n in layout.PSPS
    )
    provider = PayoutProviderAccount(
        name="harbour",
        adapter="harbour",
        url=f"http://127.0.0.1:{ports['simulator']}/harbour",
        api_key="harbour-key",
        webhook_secrets=("harbour-webhook-secret",),
        bank_account="harbour-main",
    )
    return load_settings(
        kafka=kafka,
        postgres=postgres,
        home=folder,
        psps=accounts,
        payout_providers=(provider,),
        payouts=PayoutRules(
            approvals=(ApprovalRule(currency=APART, above="1000000.00", persons=1),), destination_cooling_s=0
        ),
        fx=(FxRate(currency=APART, payout_currency="JPY", rate="188.713", spread_bps=37),),
        routing=layout.ROUTING,
        api_port=ports["api"],
        payment_deadline_s=RATHER_LATE_S,
        secret=Home(folder).secret.read_text().strip(),
    )


def _through(settings: Settings, ways: dict[str, Proxy]) -> Settings:
    """The same servers, as the rooms reach them."""
    port = ways["psp"].port
    accounts = tuple(a.model_copy(update={"url": f"http://127.0.0.1:{port}/{a.name}"}) for a in settings.psps)
    providers = tuple(
        a.model_copy(update={"url": f"http://127.0.0.1:{port}/{a.name}"}) for a in settings.http_providers
    )
    own = {"kafka": ways["kafka"].address, "postgres": ways["postgres"].address, "psps": accounts}
    own |= {"payout_providers": providers}
    return settings.model_copy(update=own)
