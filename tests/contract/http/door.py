"""The HTTP door on a real stack, and a client that sees every byte of its answers."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from producers.api import serve
from producers.keys import DEMO_SCOPES, UPSTREAM_SCOPES, create_key
from tests.simulator.running import free_port
from topics.settings import Settings

WAIT_S = 20


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


@dataclass
class Door:
    """A running API, asked with one owner's key, which sees the whole house, unless another is named."""

    settings: Settings
    port: int
    key: str = field(repr=False)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        key: str | None = None,
    ) -> Reply:
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            sent = {"Authorization": f"Bearer {self.key if key is None else key}"}
            if body is not None:
                sent["Content-Type"] = "application/json"
            conn.request(method, path, body, {**sent, **(headers or {})})
            answer = conn.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, named, answer.read())
        finally:
            conn.close()

    def get(self, path: str, key: str | None = None) -> Reply:
        return self.send("GET", path, key=key)

    def post(self, request: object, key: str | None = None, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", "/v1/payments", json.dumps(request).encode(), named, key)

    def key_for(self, owner: str, *scopes: str) -> str:
        return create_key(self.settings, owner, scopes or UPSTREAM_SCOPES)


@contextmanager
def open_door(settings: Settings) -> Iterator[Door]:
    """Serve in a thread of this process until the end of the block."""
    port = free_port()
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(settings.model_copy(update={"api_port": port}), stop))
    thread.start()
    try:
        door = Door(settings, port, create_key(settings, "shop", DEMO_SCOPES))
        wait_for(lambda: _answers(door))
        yield door
    finally:
        stop.set()
        thread.join()


def _answers(door: Door) -> bool:
    try:
        return door.get("/readyz").status == 200
    except OSError:
        return False


def wait_for(true: Any, limit_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def asked(checkout_id: str, *orders: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A request that the contract takes."""
    return {
        "checkout_id": checkout_id,
        "buyer_info": {"buyer_account": "b-1", "name": "Ann Lee"},
        "payment_method": {"token": "tok_visa"},
        "payment_orders": list(orders) or [order(f"{checkout_id}-1"), order(f"{checkout_id}-2")],
    } | changed


def order(payment_order_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "payment_order_id": payment_order_id,
        "seller_account": "s-1",
        "amount": "12.34",
        "currency": "EUR",
        "platform_fee": "1.00",
    } | changed
