"""Checkouts → the HTTP door, each asked for twice, by several buyers at once; answers read back."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.journey.shopping import Checkout, refunded

BUYERS_AT_ONCE = 6
GIVE_UP_S = 150.0  # on a loaded machine a system that is hurt takes more than a minute to place an order
LATER = (429, 500, 502, 503, 504)


@dataclass
class Till:
    """What an upstream service does: asks until it is answered, and asks again."""

    url: str
    key: str = field(repr=False)
    tries: int = 0  # requests that got no final answer

    def offer(self, asked: Iterable[Checkout], pool: ThreadPoolExecutor) -> list[Future[None]]:
        return [pool.submit(self.buy, checkout) for checkout in asked]

    def buy(self, checkout: Checkout) -> None:
        """Twice the same request: the second answer is the first one, and says so."""
        self._ask_twice("/v1/payments", checkout.json())
        back = [order for order, _ in refunded([checkout])]
        if back:
            self._until_placed(checkout)
        for order in back:
            assert order.refund is not None
            asked = {"refund_id": order.refund_id, "payment_order_id": order.id, **order.refund.wire()}
            self._ask_twice("/v1/refunds", asked)

    def _ask_twice(self, path: str, asked: dict[str, object]) -> None:
        body = json.dumps(asked).encode()
        first = self.until_answered("POST", path, body)
        again = self.until_answered("POST", path, body)
        assert first[0] == again[0] == 202, f"{asked}: {first} then {again}"
        assert again[1].get("idempotent-replayed") == "true", f"{asked} was taken twice: {again}"
        assert again[2] == first[2]

    def _until_placed(self, checkout: Checkout) -> None:
        """Before that nothing can go back."""
        end = time.monotonic() + GIVE_UP_S
        while True:
            shown = json.loads(self.until_answered("GET", f"/v1/payments/{checkout.id}")[2])
            if all(order["payment_order_status"] != "NOT_STARTED" for order in shown["payment_orders"]):
                return
            assert time.monotonic() < end, f"{checkout.id} was not placed in {GIVE_UP_S:g} s"
            time.sleep(0.2)

    def until_answered(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        end = time.monotonic() + GIVE_UP_S
        while True:
            try:
                answer = self._send(method, path, body)
                if answer[0] not in LATER:
                    return answer
                trouble: object = answer
            except (OSError, http.client.HTTPException) as error:
                trouble = error
            assert time.monotonic() < end, f"the door does not answer: {trouble}"
            self.tries += 1
            time.sleep(0.2)

    def get(self, path: str) -> Any:
        status, _, body = self._send("GET", path)
        assert status == 200, f"{path}: {status} {body!r}"
        return json.loads(body)

    def _send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=15)) as conn:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            conn.request(method, path, body, headers)
            reply = conn.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()


def payment_differs(till: Till, checkout: Checkout) -> str | None:
    """How a payment, as anyone can see it, differs from what its token says."""
    shown = till.get(f"/v1/payments/{checkout.id}")
    orders = shown["payment_orders"]
    flags = ("payment_order_status", "detail", "wallet_updated", "ledger_updated")
    ended = shown["status"], {tuple(order[name] for name in flags) for order in orders}
    ids = {order["payment_order_id"] for order in orders}
    if (ended, ids, shown["is_payment_done"]) == (checkout.end, {order.id for order in checkout.orders}, True):
        return None
    return f"{checkout.id} with {checkout.token} shows {ended}"


def differing(till: Till, asked: Sequence[Checkout]) -> list[str]:
    with ThreadPoolExecutor(BUYERS_AT_ONCE) as pool:
        return [why for why in pool.map(lambda checkout: payment_differs(till, checkout), asked) if why]
