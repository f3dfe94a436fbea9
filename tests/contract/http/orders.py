"""An order at the HTTP door: asked for, charged as the test says, read back."""

from __future__ import annotations

import json
from typing import Any

from schemas.events import Event
from schemas.money import Money
from schemas.money_back import Share
from tests.contract.http.door import Door, Reply, asked, order, wait_for
from tests.contract.http.rooms import captured, execute


def ask(door: Door, path: str, key: str | None = None, **body: object) -> Reply:
    return door.send("POST", path, json.dumps(body).encode(), key=key)


def detail(door: Door, cart: str, place: int = 0) -> tuple[str, str]:
    one = door.get(f"/v1/payments/{cart}").json["payment_orders"][place]
    return one["payment_order_status"], one["detail"]


def executing(door: Door, cart: str, key: str | None = None, **changed: Any) -> dict[str, Any]:
    """→ the order, which is being charged."""
    one = order(f"{cart}-1")
    assert door.post(asked(cart, one, buyer_info={"buyer_account": cart}, **changed), key).status == 202
    wait_for(lambda: door.get(f"/v1/payments/{cart}", key=key).json["status"] == "executing")
    return one


def paid(door: Door, cart: str) -> dict[str, Any]:
    """→ the order, captured in full and booked: 12.34 EUR."""
    one = executing(door, cart)
    execute(door.settings, captured(one, cart))
    wait_for(lambda: door.get(f"/v1/payments/{cart}").json["is_payment_done"])
    return one


def said(one: dict[str, Any], cart: str, kind: type[Event], **more: object) -> Event:
    """What the executor says of this order."""
    terms = captured(one, cart).terms()
    at_psp = {"psp": "northpay", "call_id": "1" * 32, "psp_reference": "np_1", "scheme": "visa"}
    fields = {name: value for name, value in at_psp.items() if name in kind.model_fields}
    return kind.model_validate({**terms, **fields, **more})


def share(minor: int) -> Share:
    return Share(Money(minor, "EUR"), Money(0, "EUR"), Money(minor, "EUR"))
