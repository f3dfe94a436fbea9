"""Webhooks on a real database with a real receiver: order, patience, rotation, forbidden addresses, a killed sender."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from consumers.webhooks.consumer import build
from consumers.webhooks.sender import run_sender
from consumers.webhooks.trimming import trim
from schemas.events import (
    PaymentCompleted,
    PaymentRefused,
    PaymentStatus,
    PaymentStatusChanged,
    WebhookEndpointSet,
    WebhookResendRequested,
    WebhookTestRequested,
)
from schemas.webhooks import EVENT_TYPES
from tests.store.hearing import Hearing
from tests.store.receiving import Got, receiving, wait_for
from topics.runtime.calls.leased import LeasedRows
from topics.settings import Settings
from topics.webhooks.limits import WebhookLimits
from topics.webhooks.signing import verify

LOOPBACK = {"http_allowed": True, "allowed_networks": ("127.0.0.0/8",)}


def limits(**changed: Any) -> WebhookLimits:
    return WebhookLimits.model_validate({**LOOPBACK, "ladder_s": (0.05, 0.05, 0.05), **changed})


def endpoint(
    url: str,
    id_: str = "hook",
    owner: str = "shop",
    types: tuple[str, ...] = EVENT_TYPES,
    versions: tuple[int, ...] = (1,),
    revision: int = 1,
    deleted: bool = False,
) -> WebhookEndpointSet:
    return WebhookEndpointSet(
        endpoint_id=id_,
        owner=owner,
        url=url,
        event_types=types,
        secret_versions=versions,
        endpoint_revision=revision,
        deleted=deleted,
    )


def changed(checkout_id: str, status: PaymentStatus, owner: str = "shop") -> PaymentStatusChanged:
    return PaymentStatusChanged(checkout_id=checkout_id, owner=owner, status=status, payment_orders=())


@pytest.fixture
def room(stored: Settings, tmp_path: Path) -> Iterator[Hearing]:
    settings = stored.model_copy(update={"webhooks": limits(), "home": tmp_path})
    hearing = Hearing(settings, build(settings))
    yield hearing
    hearing.close()


@contextmanager
def sending(room: Hearing, **changed: Any) -> Iterator[None]:
    """A sender in a thread of this process."""
    stop = threading.Event()
    settings = room.settings.model_copy(update={"webhooks": limits(**changed)}) if changed else room.settings
    thread = threading.Thread(target=run_sender, args=(settings, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def deliveries(room: Hearing, state: str | None = None) -> list[dict[str, Any]]:
    rows = room.rows("SELECT *, delivery_id::text AS id FROM delivery_view ORDER BY seq")
    return [row for row in rows if state in (None, row["state"])]


def attempts(room: Hearing, delivery_id: object) -> list[dict[str, Any]]:
    return room.rows("SELECT * FROM attempt_view WHERE delivery_id = %s ORDER BY attempt_no", delivery_id)


def believed(room: Hearing, got: Got, version: int = 1) -> bool:
    key = room.settings.webhook_key("shop", "hook", version)
    return verify([key], got.headers, got.body, int(time.time())) is None


def failing(times: int) -> Callable[[Got], int]:
    left = [times]

    def answer(_: Got) -> int:
        left[0] -= 1
        return 503 if left[0] >= 0 else 200

    return answer


def test_the_events_of_one_payment_arrive_signed_and_in_order_through_failures(room: Hearing) -> None:
    with receiving(failing(2)) as shop:
        room.hears(endpoint(shop.url))
        room.hears(changed("c1", "executing"), changed("c1", "succeeded"))
        room.hears(PaymentCompleted(checkout_id="c1", owner="shop", status="succeeded"))
        with sending(room):
            wait_for(lambda: len(deliveries(room, "delivered")) == 3)
    assert shop.bodies() == ["executing", "executing", "executing", "succeeded", "succeeded"]
    assert len({got.id for got in shop.got}) == 3, "an attempt again has the same webhook-id"
    assert all(believed(room, got) for got in shop.got)
    assert [got.json["type"] for got in shop.got[-2:]] == ["payment.status_changed", "payment.completed"]
    log = attempts(room, deliveries(room)[0]["id"])
    assert [(row["status"], row["error"]) for row in log] == [(503, "HTTP 503"), (503, "HTTP 503"), (200, None)]
    assert all(row["reply"] == "heard" for row in log)


def test_what_nobody_wants_is_not_kept(room: Hearing) -> None:
    room.hears(endpoint("http://127.0.0.1:9/", types=("payment.refused",)))
    room.hears(changed("c1", "executing"), changed("c2", "executing", owner="other"))
    room.hears(PaymentRefused(checkout_id="c3", owner="shop", code="risk", detail="listed"))
    assert [(row["lane"], row["event_type"]) for row in deliveries(room)] == [("c3", "payment.refused")]


def test_a_receiver_that_hangs_delays_no_other(room: Hearing) -> None:
    hang = threading.Event()
    with receiving(lambda _: 200 if hang.wait(15) else 500) as slow, receiving() as quick:
        room.hears(endpoint(slow.url, "slow"), endpoint(quick.url, "quick"))
        room.hears(*(changed(f"c{n}", "executing") for n in range(20)))
        with sending(room, endpoint_concurrency=2):
            wait_for(lambda: len(quick.got) == 20)
            assert len(slow.got) <= 2, "it is not called more often than it can answer"
            hang.set()
            wait_for(lambda: len(deliveries(room, "delivered")) == 40)


def test_after_the_ladder_it_is_given_up_and_the_next_of_the_payment_goes(room: Hearing) -> None:
    def refuses_the_first(got: Got) -> int:
        return 500 if got.json["data"]["status"] == "executing" else 200

    with receiving(refuses_the_first) as shop:
        room.hears(endpoint(shop.url))
        room.hears(changed("c1", "executing"), changed("c1", "succeeded"))
        with sending(room):
            wait_for(lambda: [row["state"] for row in deliveries(room)] == ["given_up", "delivered"])
        assert shop.bodies() == ["executing"] * 4 + ["succeeded"]
        first = deliveries(room)[0]["id"]
        shop.answer = lambda _: 200
        room.hears(WebhookResendRequested(endpoint_id="hook", owner="shop", delivery_id=first))
        with sending(room):
            wait_for(lambda: len(deliveries(room, "delivered")) == 2)
    assert len(attempts(room, first)) == 5


def test_what_comes_while_its_lane_is_busy_waits_and_is_not_forgotten(room: Hearing) -> None:
    heard, go = threading.Event(), threading.Event()

    def slowly(_: Got) -> int:
        heard.set()
        go.wait(15)
        return 200

    with receiving(slowly) as shop:
        room.hears(endpoint(shop.url))
        room.hears(changed("c1", "executing"))
        with sending(room):
            assert heard.wait(15)
            room.hears(changed("c1", "succeeded"))
            assert [row["state"] for row in deliveries(room)] == ["sending", "waiting"]
            go.set()
            wait_for(lambda: len(deliveries(room, "delivered")) == 2)
    assert shop.bodies() == ["executing", "succeeded"]


def test_a_resend_has_the_same_webhook_id_and_the_same_bytes(room: Hearing) -> None:
    with receiving() as shop:
        room.hears(endpoint(shop.url), changed("c1", "succeeded"))
        with sending(room):
            wait_for(lambda: deliveries(room, "delivered"))
            sent = deliveries(room)[0]["id"]
            room.hears(WebhookResendRequested(endpoint_id="hook", owner="thief", delivery_id=sent))
            room.hears(WebhookResendRequested(endpoint_id="hook", owner="shop", delivery_id=sent))
            wait_for(lambda: len(shop.got) == 2 and deliveries(room, "delivered"))
    assert (shop.got[0].id, shop.got[0].body) == (shop.got[1].id, shop.got[1].body)


def test_what_ended_long_ago_is_deleted_and_what_is_owed_is_not(room: Hearing) -> None:
    with receiving(lambda got: 200 if b"c1" in got.body else 500) as shop:
        room.hears(endpoint(shop.url), changed("c1", "succeeded"))
        with sending(room, ladder_s=(5000,)):
            wait_for(lambda: deliveries(room, "delivered"))
            room.hears(changed("c2", "succeeded"))
            wait_for(lambda: len(shop.got) == 2 and deliveries(room, "due"))
    assert trimmed(room, days=89) == 0
    assert trimmed(room, days=91) == 1
    assert [each["state"] for each in deliveries(room)] == ["due"]
    assert {row["delivery_id"] for row in room.rows("SELECT delivery_id FROM attempt_view")} == {
        row["delivery_id"] for row in room.rows("SELECT delivery_id FROM delivery_view")
    }
    room._count = 1
    room.hears(changed("c1", "succeeded"))  # the same message once more: the inbox knows it
    assert len(deliveries(room)) == 1
    room._count = 9
    room.hears(WebhookResendRequested(endpoint_id="hook", owner="shop", delivery_id=str(uuid4())))  # one that is gone
    assert (len(deliveries(room)), room.dead) == (1, 0)


def trimmed(room: Hearing, days: int) -> int:
    with room.store.transaction() as conn:
        return trim(conn, room.settings.retention, datetime.now(UTC) + timedelta(days=days))


def test_while_secrets_change_receivers_may_believe_either(room: Hearing) -> None:
    with receiving() as shop:
        room.hears(endpoint(shop.url, versions=(1, 2)), WebhookTestRequested(endpoint_id="hook", owner="shop"))
        with sending(room):
            wait_for(lambda: len(shop.got) == 1)
            room.hears(endpoint(shop.url, versions=(2,), revision=2))
            room.hears(WebhookTestRequested(endpoint_id="hook", owner="shop"))
            wait_for(lambda: len(shop.got) == 2)
    assert [(believed(room, got, 1), believed(room, got, 2)) for got in shop.got] == [(True, True), (False, True)]
    assert shop.got[0].json["type"] == "webhook.test"


def test_a_deleted_endpoint_hears_nothing_more(room: Hearing) -> None:
    with receiving() as shop:
        room.hears(endpoint(shop.url), endpoint("http://127.0.0.1:9/", "other"))
        room.hears(changed("c1", "executing"), changed("c1", "succeeded"))
        room.hears(endpoint(shop.url, revision=2, deleted=True), changed("c2", "executing"))
        with sending(room):
            wait_for(lambda: len(deliveries(room, "cancelled")) == 2)
    assert shop.got == []
    assert {row["endpoint_id"] for row in deliveries(room) if row["lane"] == "c2"} == {"other"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]"])
def test_a_private_address_is_not_connected_to_however_it_is_written(room: Hearing, host: str) -> None:
    with receiving() as inside:
        room.hears(endpoint(f"http://{host}:{inside.port}/"), changed("c1", "executing"))
        with sending(room, allowed_networks=(), ladder_s=()):
            wait_for(lambda: deliveries(room, "given_up"))
    assert inside.got == []
    [attempt] = attempts(room, deliveries(room)[0]["id"])
    assert attempt["error"].startswith("refused: ")


def test_a_redirect_is_not_followed(room: Hearing) -> None:
    with receiving() as inside, receiving(lambda _: 307) as shop:
        shop.headers["Location"] = inside.url
        room.hears(endpoint(shop.url), changed("c1", "executing"))
        with sending(room, ladder_s=()):
            wait_for(lambda: deliveries(room, "given_up"))
    assert inside.got == []


def test_a_delivery_whose_lease_would_end_too_soon_is_given_back_and_costs_no_try(
    room: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lay for the rest of its lease, and was logged as lost though nothing had left."""
    long_enough = iter([False])
    monkeypatch.setattr(LeasedRows, "lasts", lambda *_: next(long_enough, True))
    with receiving() as shop:
        room.hears(endpoint(shop.url), changed("c1", "executing"))
        with sending(room):
            wait_for(lambda: len(deliveries(room, "delivered")) == 1)
    [delivery] = deliveries(room)
    [attempt] = attempts(room, delivery["id"])
    assert (len(shop.got), attempt["attempt_no"], attempt["error"]) == (1, 2, None)


SENDER = """
import sys, threading
from dataclasses import replace
from consumers.webhooks import queue, sender
from topics.settings import Settings
sender.LEASED = queue.LEASED = replace(queue.LEASED, lease_s=4.0)
sender.run_sender(Settings.model_validate_json(sys.stdin.read()), threading.Event())
"""


def test_a_sender_killed_before_it_recorded_is_followed_by_one_that_sends_the_same_again(room: Hearing) -> None:
    process: list[subprocess.Popen[str]] = []

    def kill_the_first(got: Got) -> int:
        if len(shop.got) == 1:
            os.kill(process[0].pid, signal.SIGKILL)
        return 200

    with receiving(kill_the_first) as shop:
        room.hears(endpoint(shop.url))
        room.hears(changed("c1", "executing"), changed("c1", "succeeded"))
        process.append(_start(room, timeout_s=1))
        process[0].wait(20)
        assert deliveries(room)[0]["state"] == "sending"
        with sending(room, timeout_s=1):
            wait_for(lambda: len(deliveries(room, "delivered")) == 2)
    assert shop.bodies() == ["executing", "executing", "succeeded"]
    assert shop.got[0].id == shop.got[1].id
    log = attempts(room, deliveries(room)[0]["id"])
    assert [row["error"] is None for row in log] == [False, True]


def _start(room: Hearing, **changed: Any) -> subprocess.Popen[str]:
    settings = room.settings.model_copy(update={"webhooks": limits(**changed)})
    process = subprocess.Popen([sys.executable, "-c", SENDER], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(settings.model_dump_json())
    process.stdin.close()
    return process
