"""What a door has committed while Kafka is away: stored, and nobody waits for each of them in turn."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from producers.doors.notifications import Notifications, ReceivedNotification
from producers.house import request_door
from schemas.envelope import digest
from tests.contract.calls_running import psp_accounts
from tests.simulator.running import free_port
from tests.store.hearing import NOW
from tests.unit.executor_cases import notification
from topics.runtime.outbox.outbox import Publisher
from topics.runtime.shape.consumer import Call
from topics.runtime.shape.store import Store
from topics.settings import Settings


def told(number: int) -> ReceivedNotification:
    call = Call(f"{number:032x}", f"order-{number}", "charge", "northpay", b"", NOW)
    body = b"%d" % number
    return ReceivedNotification(
        "northpay", f"evt_{number}", digest(body), body, notification(call, notification_id=f"evt_{number}")
    )


def test_while_kafka_is_away_no_webhook_waits_for_it(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waited its two seconds under one lock: a PSP's hundred webhooks, and the operators behind them, for minutes."""
    waits: list[float] = []
    monkeypatch.setattr(Publisher, "flush", lambda self, timeout_s: waits.append(timeout_s))
    away = stored.model_copy(update={"kafka": f"127.0.0.1:{free_port()}", "psps": psp_accounts("http://127.0.0.1:1")})

    async def tell() -> None:
        for number in range(5):
            await notifications.receive(told(number))
        assert waits == []

    with closing(request_door(away)) as door:
        notifications = Notifications(away, door)
        asyncio.run(tell())
    with closing(Store(stored, "doors")) as store, store.transaction() as conn:
        assert conn.execute(
            "SELECT (SELECT count(*) FROM notifications), (SELECT count(*) FROM outbox)"
        ).fetchone() == (5, 5)
