"""Simulator → webhook → door → Kafka → executor: all real. What no reply told is told, and once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from consumers.executor.consumer import build
from psp.port import Charge
from psp.registry import make_psps
from schemas.events import OrderPlaced
from schemas.money import Money
from tests.contract.calls_running import Desk, calling, harbour_account, hear, psp_accounts
from tests.contract.http.door import open_door
from tests.contract.test_calls_of_payouts import released, states, transfers
from tests.simulator.running import RunningSimulator, send, wait_for
from tests.unit.executor_cases import order
from topics.runtime.process.kafka_loop import RoomLoop
from topics.settings import Settings


@contextmanager
def hearing(settings: Settings) -> Iterator[None]:
    """The executor's room, reading Kafka."""
    stop = threading.Event()
    thread = threading.Thread(target=RoomLoop(settings, build(settings), stop, threading.Event()).run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def accounts(url: str) -> dict[str, object]:
    return {"psps": psp_accounts(url), "payout_providers": (harbour_account(url),)}


@pytest.fixture
def desk(http_stack: Settings) -> Iterator[Desk]:
    """PSPs and a provider that tell this installation's door; its executor hears, and calls."""
    with open_door(http_stack.model_copy(update=accounts("http://127.0.0.1:1"))) as door:
        simulator = RunningSimulator(http_stack.home, f"http://127.0.0.1:{door.port}/v1/psp-notifications")
        settings = http_stack.model_copy(update=accounts(simulator.url))
        try:
            with hearing(settings), calling(settings):
                yield Desk(settings)
        finally:
            simulator.kill()


def placed(name: str, token: str) -> OrderPlaced:
    now = datetime.now(UTC)
    return order(name, token=token, available_on=now, deadline=now + timedelta(hours=1))


def test_what_was_pending_and_what_was_lost_end_by_webhook_and_exactly_once(desk: Desk) -> None:
    wanted = {
        "h-3ds": ("tok_3ds", "captured"),
        "h-3ds-no": ("tok_3ds_declined_authentication_failed", "declined"),
        "h-500": ("tok_500_charged", "captured"),
        "h-reset": ("tok_reset_charged", "captured"),
        "h-only-south": ("tok_only_southpay", "captured"),
        "h-only-north": ("tok_only_northpay", "captured"),
    }
    desk.place([placed(name, token) for name, (token, _) in wanted.items()])
    wait_for(lambda: {name: state for name, (_, state) in wanted.items()}.items() <= desk.states().items(), 30)
    charged = desk.charges()
    assert {name: charged.get(name, []).count("succeeded") for name in wanted} == {
        name: int(state == "captured") for name, (_, state) in wanted.items()
    }
    captured = "SELECT count(*) FROM calls WHERE outcome = 'captured' AND subject = ANY(%s)"
    assert desk.rows(captured, list(wanted)) == [(5,)]
    assert desk.rows("SELECT 1 FROM parked") == []
    wait_for(
        lambda: desk.rows("SELECT 1 FROM positions WHERE topic = 'psp-notifications.v1' AND next_offset > 0") != []
    )


def test_a_charge_without_our_reference_waits_where_a_person_sees_it(desk: Desk) -> None:
    """Somebody charged by hand, in the PSP's own pages: money that our books do not know."""
    psp = make_psps(desk.settings.psps)["northpay"]
    charged = send(psp.request(Charge("made/by/hand", "h-nobody", Money(1234, "EUR"), "tok_3ds")))
    theirs = json.loads(charged[2])["id"]
    seen = "SELECT DISTINCT amount FROM notification_view WHERE reference = %s AND taken_at IS NULL"
    assert wait_for(lambda: desk.rows(seen, theirs)) == [("12.34",)]
    assert desk.rows("SELECT 1 FROM parked") == []


def test_a_provider_s_webhooks_end_pay_outs_long_before_they_are_asked_about(desk: Desk) -> None:
    wanted = {"h-paid": ("00", "paid"), "h-rejected": ("01", "rejected"), "h-failed": ("02", "failed")}
    hear(desk.settings, [released(desk, name, ending) for name, (ending, _) in wanted.items()])
    ended = {name: state for name, (_, state) in wanted.items()}
    wait_for(
        lambda: ended.items() <= states(desk).items(), 90
    )  # a webhook that was not taken is sent again after up to 30 s
    assert transfers(desk) == {name: [state] for name, state in ended.items()}
    asked = "SELECT 1 FROM calls WHERE kind = 'payout' AND send_no <> act_no AND subject = ANY(%s)"
    assert desk.rows(asked, list(ended)) == []
    assert desk.rows("SELECT 1 FROM parked") == []
