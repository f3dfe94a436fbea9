"""A room, its sender and a PSP, all real, without the Kafka side of the room: orders are applied by hand."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from consumers.executor.consumer import build
from consumers.executor.sender import run_sender
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from psp.registry import make_psps
from schemas.envelope import Envelope, derive_id, event_type, record_headers, utc
from schemas.events import AnyEvent, NotificationReceived, OrderPlaced
from tests.conftest import await_topics, delete_topics
from tests.simulator.running import KEYS, WEBHOOK_SECRETS, send, wait_for
from tests.stack.forked import SERVER
from topics.payout_accounts import PayoutProviderAccount
from topics.runtime.delivery.apply import apply
from topics.runtime.making.topics import apply_topics
from topics.runtime.shape import failpoints
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.store import Store
from topics.settings import PspAccount, Settings

FINAL = ("captured", "declined", "unresolved")
OF_KAFKA = ("after_poll", "before_offsets", "after_offsets")  # a room's loop around all batches, whatever is in them
PUBLISHING = ("before_publish", "after_publish")
STEPS = [name for name in failpoints.NAMES if "." not in name and name not in OF_KAFKA]
_ENTERED_MS = 1_780_000_000_000


def psp_accounts(simulator_url: str, **changes: object) -> tuple[PspAccount, ...]:
    return tuple(
        PspAccount(
            name=name,
            adapter=name,
            url=f"{simulator_url}/{name}",
            api_key=KEYS[name],
            webhook_secrets=(WEBHOOK_SECRETS[name],),
            **changes,  # type: ignore[arg-type]
        )
        for name in ("northpay", "southpay")
    )


def harbour_account(simulator_url: str) -> PayoutProviderAccount:
    return PayoutProviderAccount(
        name="harbour",
        adapter="harbour",
        url=f"{simulator_url}/harbour",
        api_key=KEYS["harbour"],
        webhook_secrets=(WEBHOOK_SECRETS["harbour"],),
        bank_account="main",
    )


def as_message(event: AnyEvent, topic: str, name: str) -> Message:
    """The event as another room, or a door, would publish it; `name` stands for its id."""
    ms = _ENTERED_MS
    envelope = Envelope(derive_id(name, "tests", 0, ms), "/tallystick/tests", event_type(type(event)), utc(ms))
    value = event.model_dump_json().encode()
    return Message(topic, 0, 0, event.key.encode(), value, record_headers(envelope), ms)


@dataclass
class Desk:
    """What a test sees of the executor and of the PSPs."""

    settings: Settings

    def now_is_later_by(self, seconds: float) -> None:
        """Business time only; the machine's goes on as it does."""
        ahead = Clock(self.settings.clock_file).offset().total_seconds() + seconds
        temporary = self.settings.clock_file.with_suffix(".new")
        temporary.write_text(f"{ahead:.6f}")
        temporary.replace(self.settings.clock_file)

    def place(self, orders: Sequence[OrderPlaced]) -> None:
        hear(self.settings, [as_message(order, "payment-orders.v1", f"placed {order.key}") for order in orders])

    def tell(self, event: NotificationReceived) -> None:
        """As if heard on Kafka."""
        hear(self.settings, [as_message(event, "psp-notifications.v1", event.notification_id)])

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        options = "-c search_path=executor"
        with psycopg.connect(self.settings.dsn("tally_executor"), options=options, autocommit=True) as conn:
            found = conn.execute(sql, values)  # type: ignore[call-overload]
            return list(found.fetchall()) if found.description else []

    def states(self) -> dict[str, str]:
        return {str(order): str(state) for order, state in self.rows("SELECT payment_order_id, state FROM attempts")}

    def lose_leases(self) -> None:
        """As if the leases' time had passed."""
        self.rows(
            "UPDATE calls SET lease_until = clock_timestamp(), sent_until = least(sent_until, clock_timestamp())"
            " WHERE lease_until IS NOT NULL"
        )

    def finish(self, limit_s: float = 60) -> dict[str, str]:
        """Wait until every attempt has ended, moving business time on whenever something waits on a ladder."""

        def ended() -> bool:
            if all(state in FINAL for state in self.states().values()):
                return True
            waits = self.rows("SELECT 1 FROM calls WHERE state = 'due' AND act = 'ask' AND ever_unknown")
            if waits:
                self.now_is_later_by(1)
            return False

        wait_for(ended, limit_s)
        return self.states()

    def rest(self, limit_s: float = 60, step_s: float = 1) -> None:
        """Wait until every call has ended, moving business time on whenever one waits to ask."""

        def ended() -> bool:
            open_ = self.rows("SELECT act FROM calls WHERE state <> 'ended'")
            if any(act == "ask" for (act,) in open_):
                self.now_is_later_by(step_s)
            return not open_

        wait_for(ended, limit_s)

    def charges(self) -> dict[str, list[str]]:
        """The PSPs' own books: statuses by payment order, by their own listings."""
        found: dict[str, list[str]] = {}
        for psp in make_psps(self.settings.psps).values():
            _, _, body = send(psp.list("charge"))
            listed, more = psp.read_list("charge", body)
            assert more is None, "a test makes fewer charges than a page holds"
            for charge in listed:
                found.setdefault(charge.payment_order_id, []).append(charge.status)
        return found


@contextmanager
def calling(settings: Settings) -> Iterator[None]:
    """The sender in a thread of this process."""
    stop, wake, died = threading.Event(), threading.Event(), []

    def run() -> None:
        try:
            run_sender(settings, build(settings), stop, wake)
        except BaseException as error:
            died.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        wake.set()
        thread.join(30)
    assert not thread.is_alive(), "the sender ends when it is told to"
    assert died == []


@contextmanager
def topics_for_nobody(servers: Servers) -> Iterator[str]:
    """→ the prefix of topics to which nobody listens, for all tests of a module."""
    settings = load_settings(kafka=servers.kafka, topic_prefix=f"c{secrets.token_hex(5)}.")
    apply_topics(settings)
    await_topics(settings)
    yield settings.topic_prefix
    delete_topics(settings)


@contextmanager
def calling_process(settings: Settings) -> Iterator[None]:
    """The sender in a process of its own."""
    process = SERVER.Process(target=_call, args=(settings, ""))
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def killed_calling(settings: Settings, failpoint: str) -> bool:
    """Whether a sender in a process of its own was killed there."""
    return _killed(_call, settings, failpoint)


@contextmanager
def asleep_calling(settings: Settings, failpoint: str) -> Iterator[Callable[[], None]]:
    """A sender in a process of its own that falls asleep there. → what wakes it"""
    process = SERVER.Process(target=_call, args=(settings, f"{failpoint}=stop"))
    process.start()
    assert process.pid is not None
    pid = process.pid
    try:
        wait_for(lambda: _is_stopped(pid))
        yield lambda: os.kill(pid, signal.SIGCONT)
    finally:
        process.kill()
        process.join()


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def killed_hearing(settings: Settings, failpoint: str, messages: Sequence[Message]) -> bool:
    """Whether an executor in a process of its own was killed there, with these messages."""
    return _killed(_hear, settings, failpoint, messages)


def _killed(work: Callable[..., None], settings: Settings, failpoint: str, *more: object) -> bool:
    process = SERVER.Process(target=work, args=(settings, f"{failpoint}=kill", *more))
    process.start()
    process.join(60)
    process.kill()
    return process.exitcode == -signal.SIGKILL


def _call(settings: Settings, plan: str) -> None:
    failpoints._plan.update(failpoints._read(plan))
    run_sender(settings, build(settings), threading.Event(), threading.Event())


def _hear(settings: Settings, plan: str, messages: Sequence[Message]) -> None:
    failpoints._plan.update(failpoints._read(plan))
    hear(settings, messages)


def hear(settings: Settings, messages: Sequence[Message]) -> None:
    """As the executor's room does, in one batch."""
    store = Store(settings, "executor")
    for _ in apply(store, build(settings), messages, None, Clock(settings.clock_file).now()):
        pass
    store.close()
