"""What a room has missed is found and repaired by the rooms themselves: an execution that the wallet never heard of."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.journey.books import unheard
from tests.journey.desk import Desk
from tests.journey.whole import running, settings_for
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.reading import read
from topics.runtime.shape.store import Store
from topics.settings import Settings

OF_EXECUTIONS = "of ('executions.v1'"
SKIP = "UPDATE positions SET next_offset = next_offset + 1 WHERE topic = 'executions.v1' AND partition = %s"
BREAKS = "SELECT code, state FROM break_view WHERE code IN ('WALLET_MISSING', 'LEDGER_MISSING', 'LEDGER_WALLET_DIFFER')"


@pytest.fixture
def desk(make_stack: Callable[..., Settings]) -> Iterator[Desk]:
    with running(settings_for(make_stack, webhooks=True)) as whole:
        yield Desk(whole)


def test_a_capture_that_the_wallet_skipped_is_published_again_and_credited_once(desk: Desk) -> None:
    """As if an operator had moved the wallet past it."""
    settings = desk.whole.settings
    first = desk.pay("10.00", fee="0.30")
    desk.shows(first, payment_order_status="SUCCESS")
    desk.hurry_until(lambda: unheard(settings))
    with wallet_paused(desk):
        lost = desk.pay("20.00", fee="0.50")
        desk.until(lambda: [] if of_wallet(settings) else ["its execution"])
        [behind] = of_wallet(settings)
        with Store(settings, "wallet").transaction() as conn:
            assert conn.execute(SKIP, [int(behind.rpartition(", ")[2].rstrip(")"))]).rowcount == 1
    desk.until(lambda: unheard(settings))
    assert credited(settings, lost) == []

    clock, skipped_at = Clock(settings.clock_file), Clock(settings.clock_file).now()
    desk.hurry_until(lambda: [] if (clock.now() - skipped_at).total_seconds() > 120 else ["two minutes"])
    for number in range(16):  # somewhat later on every partition
        desk.shows(desk.pay(f"{30 + number}.00"), payment_order_status="SUCCESS")
    desk.hurry_until(lambda: [] if credited(settings, lost) else ["the wallet"])
    desk.hurry_until(
        lambda: [] if inside(settings) == [("WALLET_MISSING", "closed")] else list(map(str, inside(settings)))
    )
    assert read(settings, "executor", "SELECT state FROM repeat_view") == [{"state": "published"}]
    assert credited(settings, lost) == [1950]
    desk.shows(lost, payment_order_status="SUCCESS")
    desk.agree()


@contextmanager
def wallet_paused(desk: Desk) -> Iterator[None]:
    """Every process of the wallet is stopped for so long, and those of other rooms in it."""
    pids = [watched.child.pid for name, watched in desk.whole.rooms.items() if "wallet" in name]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def of_wallet(settings: Settings) -> list[str]:
    """The partitions of executions of which the wallet has not heard all."""
    return [behind for behind in unheard(settings) if behind.startswith("wallet ") and OF_EXECUTIONS in behind]


def credited(settings: Settings, order: str) -> list[int]:
    rows = read(settings, "wallet", "SELECT amount FROM movement_view WHERE payment_order_id = %s", [order])
    return [row["amount"] for row in rows]


def inside(settings: Settings) -> list[tuple[str, str]]:
    return [(row["code"], row["state"]) for row in read(settings, "reconciliation", BREAKS)]
