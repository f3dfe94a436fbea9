"""Captures, voids, refunds and checks at a PSP in a process of its own, by callers that are killed: each is done once."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.executor.settings import RoutingRule
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from psp.registry import make_psps
from schemas.events import NotificationReceived
from schemas.money import Money
from schemas.money_back import CapturePlaced, RefundPlaced, VoidPlaced
from tests.conftest import await_topics, delete_topics
from tests.contract.calls_running import Desk, calling, calling_process, psp_accounts
from tests.simulator.running import RunningSimulator, send
from tests.unit.executor_cases import order
from topics.runtime.making.topics import apply_topics
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
    """Topics for all of these tests: nobody here listens to what is published there."""
    settings = load_settings(kafka=servers.kafka, topic_prefix=f"b{secrets.token_hex(5)}.")
    apply_topics(settings)
    await_topics(settings)
    yield settings.topic_prefix
    delete_topics(settings)


@pytest.fixture
def desk(simulator: RunningSimulator, make_store: Callable[..., Settings], prefix: str, tmp_path: Path) -> Desk:
    """An executor with orders that are authorised or captured, one for each kind of call; names are the test's own."""
    own = make_store(
        home=tmp_path, topic_prefix=prefix, psps=psp_accounts(simulator.url), routing=(RoutingRule(psp="northpay"),)
    )
    desk = Desk(own)
    (tmp_path / "clock").unlink(missing_ok=True)
    now, own_name = datetime.now(UTC), secrets.token_hex(3)
    times = {"available_on": now, "deadline": now + timedelta(hours=1)}
    manual = {"capture": "manual", "void": "manual"}
    desk.place([order(f"{kind}-{own_name}", capture=manual.get(kind), **times) for kind in KINDS])
    with calling(desk.settings):
        desk.rest()
    return desk


def begin(desk: Desk, simulator: RunningSimulator, kind: str) -> None:
    """What leads to one call of that kind."""
    ((name, call_id),) = desk.rows(
        "SELECT payment_order_id, call_id FROM attempts WHERE payment_order_id LIKE %s", f"{kind}-%"
    )
    of = {"payment_order_id": str(name), "checkout_id": "checkout-1"}
    match kind:
        case "capture":
            desk.ask(CapturePlaced(**of, capture_id="c1", amount=PART, final=True))  # type: ignore[arg-type]
        case "void":
            desk.ask(VoidPlaced(**of, void_id="v1"))
        case "refund":
            desk.ask(RefundPlaced(**of, refund_id="r1", amount=PART))  # type: ignore[arg-type]
        case _:
            simulator.control("POST", "/control/reverse", {"subject": name})
            desk.tell(reversed_charge(str(call_id), str(name)))


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


@pytest.mark.parametrize("failpoint", ["before_send", "after_reply", "after_record", "after_apply"])
def test_callers_killed_anywhere_do_each_of_them_once(desk: Desk, simulator: RunningSimulator, failpoint: str) -> None:
    for kind in KINDS:
        begin(desk, simulator, kind)
        with calling_process(desk.settings, f"call.{failpoint}=kill") as process:
            assert process.wait(60) == -9, kind
    desk.lose_leases()
    with calling(desk.settings):
        desk.rest()
    ended = {
        str(operation): state for operation, state in desk.rows("SELECT kind || ' ' || seq, state FROM operations")
    }
    assert ended == {"capture 1": "done", "void 1": "done", "refund 1": "done", "capture 0": "reversed"}
    assert desk.rows("SELECT count(*) FROM parked") == [(0,)]
    assert {kind: at_the_psp(desk, kind) for kind in ("capture", "void", "refund")} == {
        "capture": [("succeeded", PART)],
        "void": [("succeeded", GROSS)],
        "refund": [("succeeded", PART)],
    }


def at_the_psp(desk: Desk, kind: str) -> list[tuple[str, Money]]:
    """What the PSP's own books have of this test's orders."""
    names = [name for (name,) in desk.rows("SELECT payment_order_id FROM operations WHERE kind = %s", kind)]
    psp = make_psps(desk.settings.psps)["northpay"]
    _, _, body = send(psp.list(kind))  # type: ignore[arg-type]
    listed = psp.read_list(kind, body).entries  # type: ignore[call-overload]
    return [(one.status, one.amount) for one in listed if one.payment_order_id in names]
