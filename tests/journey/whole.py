"""Settings → a whole running system on servers that are there: simulator, two processes of each room, the API."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import psycopg
from confluent_kafka import KafkaException

from consumers.executor.settings import RoutingRule
from operations.stack import layout
from operations.stack.home import Home, write_private
from operations.stack.process import Command
from operations.stack.running import answers_ready, room_report
from operations.stack.supervisor import BACKOFF_S_MIN, Supervisor, Watched
from producers.keys import UPSTREAM_SCOPES, create_key
from tests.journey.books import lying_about, open_orders, unheard
from tests.journey.till import Till
from tests.simulator.running import free_port
from tests.stack.forked import forking
from topics.exchange_rates import FxRate
from topics.payout_accounts import PayoutProviderAccount
from topics.payout_rules import PayoutRules
from topics.runtime.shape.clock import Clock
from topics.settings import PspAccount, Settings
from topics.settlement_sources import SettlementSource

COPIES = 2
START_S = 120.0
POLL_S = 0.2
JUMP_EVERY_S = 2.0


@dataclass
class Whole:
    """A running system. Its supervisor works while somebody waits here, on the thread that started it."""

    settings: Settings
    home: Home
    till: Till
    supervisor: Supervisor = field(default_factory=Supervisor)
    rooms: dict[str, Watched] = field(default_factory=dict)
    failpoints: dict[str, list[str]] = field(default_factory=dict)  # process → where it is still to be killed, in turn
    killed: list[tuple[str, str]] = field(default_factory=list)  # process, failpoint

    def keep(self) -> None:
        """Start again what has died: at a failpoint, and now to die at the next one."""
        for name, watched in self.rooms.items():
            status = watched.child.poll() if watched.alive else None
            if status is None:
                continue
            armed = watched.command.environment.get("TALLY_FAILPOINTS", "")
            assert armed, f"{name} ended by itself with {status}\n{why(self.settings, self.home)}"
            assert status == -signal.SIGKILL, f"{name} was to die at {armed} and ended with {status}"
            self.killed.append((name, armed))
            watched.command = self._armed(name, watched.command)
            watched.backoff_s = BACKOFF_S_MIN  # it did as it was told, and is to do so again soon
        self.supervisor.tick()

    def start(self, command: Command) -> None:
        self.rooms[command.name] = self.supervisor.add(self._armed(command.name, command))

    def _armed(self, name: str, command: Command) -> Command:
        left = self.failpoints.get(name)
        environment = {**command.environment, "TALLY_FAILPOINTS": left.pop(0) if left else ""}
        return replace(command, environment=environment)

    def go_on_for(self, seconds: float) -> None:
        """Let time pass under load."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.keep()
            time.sleep(0.02)

    def wait_until(self, unfinished: Callable[[], Sequence[str]], limit_s: float) -> None:
        wait_until(unfinished, limit_s, self.keep, lambda: why(self.settings, self.home))


PATIENCE = 5


def wait_until(
    unfinished: Callable[[], Sequence[str]], limit_s: float, keep: Callable[[], None], because: Callable[[], str]
) -> None:
    """Until nothing is unfinished; a server that is away for a moment is no answer. On a busy machine it may take longer than
    the limit, as long as what is left changes."""
    begun, last = time.monotonic(), list[str]()
    moved = begun
    while True:
        left = ask(unfinished)
        if not left:
            return
        now = time.monotonic()
        if left != last:
            last, moved = left, now
        late = now > min(moved + limit_s, begun + PATIENCE * limit_s)
        assert not late, "\n".join([f"after {now - begun:.0f} s there is still", *left, because()])
        keep()
        time.sleep(POLL_S)


def hurried(
    settings: Settings, unfinished: Callable[[], Sequence[str]], by_s: float = 30.0
) -> Callable[[], Sequence[str]]:
    """The same question; while the answer is not yet nothing, the stack's clock jumps that far every two seconds.

    So nobody sits out the half minute, or the ten, between two askings of a PSP.
    """
    clock, jump_at = Clock(settings.clock_file), time.monotonic() + JUMP_EVERY_S

    def asked() -> Sequence[str]:
        nonlocal jump_at
        left = unfinished()
        if left and time.monotonic() >= jump_at:
            write_private(settings.clock_file, f"{clock.offset().total_seconds() + by_s:.6f}\n")
            jump_at = time.monotonic() + JUMP_EVERY_S
        return left

    return asked


def ask(unfinished: Callable[[], Sequence[str]]) -> Sequence[str]:
    try:
        return unfinished()
    except (psycopg.Error, KafkaException, OSError, TimeoutError) as error:
        return [f"{type(error).__name__}: {error}"]


def why(settings: Settings, home: Home, lines: int = 8) -> str:
    """What lies about, and what the rooms have complained of, each complaint once."""
    told = [line for look in (lying_about, unheard, open_orders) for line in ask(partial(look, settings))]
    for log in sorted(home.logs.glob("*-[0-9].log")):
        bad = Counter(_complaint(line) for line in log.read_text(errors="replace").splitlines())
        told.append(f"── {log.name}")
        told += [f"{times} × {line}" for line, times in bad.most_common(lines) if line]
    return "\n".join(told)


def _complaint(line: str) -> str:
    """The line without its time, if it is more than information."""
    try:
        said = json.loads(line)
    except ValueError:
        return line.partition("[thrd")[2][:200] or line[:200]
    if said.pop("level", "") == "info":
        return ""
    said.pop("timestamp", None)
    return json.dumps(said)[:1000]


def settings_for(
    make_stack: Callable[..., Settings],
    routing: Sequence[RoutingRule] = layout.ROUTING,
    *,
    webhooks: bool = False,
    payouts: PayoutRules | None = None,
    fx: Sequence[FxRate] = (),
    sources: Sequence[SettlementSource] = (),
) -> Settings:
    """An installation of its own whose PSPs are a simulator of its own, which tells by webhook where that is wanted.

    With rules for pay-outs it has a provider of them, at the same simulator.
    """
    port = free_port()
    accounts = tuple(
        PspAccount(
            name=name,
            adapter=name,
            url=f"http://127.0.0.1:{port}/{name}",
            api_key=f"{name}-key",
            webhook_secrets=(f"{name}-webhook-secret",) if webhooks else (),
        )
        for name in layout.PSPS
    )
    if payouts is None:
        return make_stack(psps=accounts, routing=routing, api_port=free_port(), settlement_sources=tuple(sources))
    provider = PayoutProviderAccount(
        name="harbour",
        adapter="harbour",
        url=f"http://127.0.0.1:{port}/harbour",
        api_key="harbour-key",
        webhook_secrets=("harbour-webhook-secret",) if webhooks else (),
        bank_account="harbour-main",
    )
    more = {"payout_providers": (provider,), "payouts": payouts, "fx": tuple(fx)}
    return make_stack(psps=accounts, routing=routing, api_port=free_port(), **more)


@contextmanager
def running(
    settings: Settings, failpoints: Mapping[str, Sequence[str]] | None = None, copies: int = COPIES
) -> Iterator[Whole]:
    """Until the block ends, so many processes for each room. `failpoints` are as in TALLY_FAILPOINTS, by process."""
    home = Home(settings.home)
    home.prepare()
    till = Till(f"http://127.0.0.1:{settings.api_port}", create_key(settings, "shop", UPSTREAM_SCOPES))
    planned = {name: list(points) for name, points in (failpoints or {}).items()}
    whole = Whole(settings, home, till, failpoints=planned)
    with forking():
        try:
            whole.supervisor.add(simulator(home, settings))
            for plan in layout.rooms_and_api(home, environment(settings), copies):
                whole.start(plan.command)
            whole.wait_until(lambda: not_ready(home, whole.rooms, till.url), START_S)
            yield whole
        finally:
            whole.supervisor.stop()


def not_ready(home: Home, processes: Mapping[str, Watched], api_url: str) -> list[str]:
    """Rooms that do not run yet, and the API."""
    rooms = [watched for name, watched in processes.items() if name != "api"]
    waiting = [w.command.name for w in rooms if room_report(home, w.child.pid).get("state") != "running"]
    return waiting + ([] if answers_ready(api_url) else ["api"])


def simulator(home: Home, settings: Settings) -> Command:
    port = int(settings.psps[0].url.rpartition(":")[2].partition("/")[0])
    accounts = (*settings.psps, *settings.http_providers)
    keys = json.dumps({account.name: account.api_key for account in accounts})
    secrets = {account.name: account.webhook_secrets[0] for account in accounts if account.webhook_secrets}
    api_url = f"http://127.0.0.1:{settings.api_port}" if secrets else ""
    told = {"SIMULATOR_KEYS": keys, "SIMULATOR_WEBHOOK_SECRETS": json.dumps(secrets)}
    return replace(layout.simulator(home, settings, port, api_url), environment=told)


def environment(settings: Settings) -> Mapping[str, str]:
    """What this installation's processes are given."""
    return {
        "TALLY_HOME": str(settings.home),
        "TALLY_KAFKA": settings.kafka,
        "TALLY_TOPIC_PREFIX": settings.topic_prefix,
        "TALLY_POSTGRES": settings.postgres,
        "TALLY_DATABASE": settings.database,
        "TALLY_SECRET": settings.secret,
        "TALLY_API_PORT": str(settings.api_port),
        "TALLY_PAYMENT_DEADLINE_S": str(settings.payment_deadline_s),
        "TALLY_PSPS": json.dumps([account.model_dump(mode="json") for account in settings.psps]),
        "TALLY_PAYOUT_PROVIDERS": json.dumps([each.model_dump(mode="json") for each in settings.payout_providers]),
        "TALLY_WEBHOOKS": settings.webhooks.model_dump_json(),
        "TALLY_PAYOUTS": settings.payouts.model_dump_json(),
        "TALLY_FX": json.dumps([each.model_dump() for each in settings.fx]),
        "TALLY_SETTLEMENT_SOURCES": json.dumps([each.model_dump(mode="json") for each in settings.settlement_sources]),
        "TALLY_ROUTING": json.dumps([r.model_dump(mode="json", exclude_unset=True) for r in settings.routing]),
    }
