"""A room, its sender and a PSP, all real, without the Kafka side of the room: orders are applied by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from consumers.executor.consumer import build
from consumers.executor.sender import run_sender
from operations.stack.settings import load_settings
from psp.registry import make_psps
from schemas.envelope import Envelope, derive_id, event_type, record_headers, utc
from schemas.events import NotificationReceived, OrderPlaced
from tests.simulator.running import KEYS, WEBHOOK_SECRETS, send, wait_for
from topics.runtime.delivery.apply import apply
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.store import Store
from topics.settings import PspAccount, Settings

FINAL = ("captured", "declined", "unresolved")
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


def as_message(order: OrderPlaced, event_id: str | None = None) -> Message:
    """The order as payments would say it."""
    name = event_id or f"placed {order.payment_order_id}"
    clock = order.available_on
    envelope = Envelope(
        derive_id(name, "payments", 0, _ENTERED_MS), "/tallystick/payments", event_type(OrderPlaced), clock
    )
    value = order.model_dump_json().encode()
    return Message("payment-orders.v1", 0, 0, order.key.encode(), value, record_headers(envelope), _ENTERED_MS)


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
        store = Store(self.settings, "executor")
        now = Clock(self.settings.clock_file).now()
        for _ in apply(store, build(self.settings), [as_message(order) for order in orders], None, now):
            pass
        store.close()

    def tell(self, event: NotificationReceived) -> None:
        """As if heard on Kafka."""
        ms = _ENTERED_MS
        envelope = Envelope(
            derive_id(event.notification_id, "doors", 0, ms), "/tallystick/doors", event_type(type(event)), utc(ms)
        )
        value = event.model_dump_json().encode()
        message = Message("psp-notifications.v1", 0, 0, event.key.encode(), value, record_headers(envelope), ms)
        store = Store(self.settings, "executor")
        for _ in apply(store, build(self.settings), [message], None, Clock(self.settings.clock_file).now()):
            pass
        store.close()

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
def calling_process(settings: Settings, failpoints: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """The sender in a process of its own, which a failpoint may kill."""
    shown = settings.model_dump(mode="json")
    shown["psps"] = [account.model_dump(mode="json") for account in settings.psps]
    environment = {**os.environ, "TALLY_FAILPOINTS": failpoints}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.calls_running"], stdin=subprocess.PIPE, env=environment
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(shown).encode())
    process.stdin.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def main() -> None:
    settings = load_settings(**json.load(sys.stdin))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run_sender(settings, build(settings), stop, threading.Event())


if __name__ == "__main__":
    main()
