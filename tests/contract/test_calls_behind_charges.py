"""Captures, voids, refunds and checks at a PSP in a process of its own, by senders that are killed: each is done once."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.executor.settings import RoutingRule
from operations.stack.servers import Servers
from psp.registry import make_psps
from schemas.events import AnyEvent, NotificationReceived
from schemas.money import Money
from schemas.money_back import CapturePlaced, RefundPlaced, VoidPlaced
from tests.contract.calls_running import (
    PUBLISHING,
    STEPS,
    Desk,
    as_message,
    calling,
    hear,
    killed_calling,
    killed_hearing,
    psp_accounts,
    topics_for_nobody,
)
from tests.simulator.running import RunningSimulator, send
from tests.unit.executor_cases import order
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.failpoints import NAMES
from topics.settings import Settings

GROSS, PART = Money(1234, "EUR"), Money(1000, "EUR")
KINDS = ("capture", "void", "refund", "check")


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    running = RunningSimulator(tmp_path_factory.mktemp("simulator"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def prefix(servers: Servers) -> Iterator[str]:
    with topics_for_nobody(servers) as prefix:
        yield prefix


@pytest.fixture
def desk(simulator: RunningSimulator, make_store: Callable[..., Settings], prefix: str, tmp_path: Path) -> Desk:
    """An executor at northpay."""
    northpay = (RoutingRule(psp="northpay"),)
    return Desk(make_store(home=tmp_path, topic_prefix=prefix, psps=psp_accounts(simulator.url), routing=northpay))


def charged(desk: Desk, sets: int = 1) -> list[str]:
    """Sets of orders that are authorised or captured, one for each kind of call, → what the names of each end with."""
    owns, now = [secrets.token_hex(3) for _ in range(sets)], datetime.now(UTC)
    times = {"available_on": now, "deadline": now + timedelta(hours=1)}
    manual = {"capture": "manual", "void": "manual"}
    desk.place([order(f"{kind}-{own}", capture=manual.get(kind), **times) for own in owns for kind in KINDS])
    finish(desk)
    return owns


def finish(desk: Desk) -> None:
    desk.lose_leases()
    with calling(desk.settings):
        desk.rest()


def leading_to(desk: Desk, simulator: RunningSimulator, kind: str, own: str) -> Message:
    """What leads to one call of that kind."""
    name = f"{kind}-{own}"
    of = {"payment_order_id": name, "checkout_id": "checkout-1"}
    match kind:
        case "capture":
            asked: AnyEvent = CapturePlaced(**of, capture_id=f"c-{own}", amount=PART, final=True)  # type: ignore[arg-type]
        case "void":
            asked = VoidPlaced(**of, void_id=f"v-{own}")
        case "refund":
            asked = RefundPlaced(**of, refund_id=f"r-{own}", amount=PART)  # type: ignore[arg-type]
        case _:
            simulator.control("POST", "/control/reverse", {"subject": name})
            [(call_id,)] = desk.rows("SELECT call_id FROM attempts WHERE payment_order_id = %s", name)
            return as_message(reversed_charge(str(call_id), name), "psp-notifications.v1", name)
    return as_message(asked, "payment-orders.v1", name + " asked")


def reversed_charge(call_id: str, name: str) -> NotificationReceived:
    return NotificationReceived(
        reference=call_id,
        psp="northpay",
        notification_id=f"evt {name}",
        source="webhook",
        status="reversed",
        amount=GROSS,
        psp_reference="as it says",
    )


def done_once(desk: Desk, own: str) -> None:
    """All four of the set, here and at the PSP."""
    mine = f"%-{own}"
    ended = desk.rows("SELECT kind || ' ' || seq, state FROM operations WHERE payment_order_id LIKE %s", mine)
    assert dict(ended) == {"capture 1": "done", "void 1": "done", "refund 1": "done", "capture 0": "reversed"}
    assert desk.rows("SELECT 1 FROM parked") == []
    assert {kind: at_the_psp(desk, kind, own) for kind in ("capture", "void", "refund")} == {
        "capture": [("succeeded", PART)],
        "void": [("succeeded", GROSS)],
        "refund": [("succeeded", PART)],
    }


def at_the_psp(desk: Desk, kind: str, own: str) -> list[tuple[str, Money]]:
    """What the PSP's own books have of this test's orders."""
    psp = make_psps(desk.settings.psps)["northpay"]
    _, _, body = send(psp.list(kind))  # type: ignore[arg-type]
    listed = psp.read_list(kind, body).entries  # type: ignore[call-overload]
    return [(one.status, one.amount) for one in listed if one.payment_order_id.endswith(own)]


@pytest.mark.parametrize("failpoint", [name for name in NAMES if name.startswith("call.")])
def test_a_sender_killed_at_any_step_of_a_call_does_each_once(
    desk: Desk, simulator: RunningSimulator, failpoint: str
) -> None:
    [own] = charged(desk)
    for kind in KINDS:
        hear(desk.settings, [leading_to(desk, simulator, kind, own)])
        assert killed_calling(desk.settings, failpoint), kind
    finish(desk)
    done_once(desk, own)


def test_an_executor_killed_at_any_step_of_a_batch_does_each_once(desk: Desk, simulator: RunningSimulator) -> None:
    """When they are asked for, and when the PSP's answers come."""
    owns = charged(desk, len(STEPS))
    for failpoint, own in zip(STEPS, owns, strict=True):
        asked = [leading_to(desk, simulator, kind, own) for kind in KINDS]
        if failpoint not in PUBLISHING:
            assert killed_hearing(desk.settings, failpoint, asked), failpoint
        hear(desk.settings, asked)
        assert killed_calling(desk.settings, failpoint), failpoint
    finish(desk)
    for own in owns:
        done_once(desk, own)
