"""Orders paid, captured, voided, refunded and disputed one after another, over HTTP and the simulator's controls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.journey.books import controls, lying_about, owed_by_psps, receivables, unheard, verdict
from tests.journey.whole import Whole, hurried

LIMIT_S = 60.0
Answer = tuple[int, dict[str, Any]]


@dataclass
class Desk:
    """A running system and a number for each thing that is asked for."""

    whole: Whole
    _numbers: Counter[str] = field(default_factory=Counter)

    def new(self, what: str) -> str:
        self._numbers[what] += 1
        return f"{what}-{self._numbers[what]}"

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        raw = None if body is None else json.dumps(body).encode()
        status, _, answer = self.whole.till._send(method, path, raw)
        return status, json.loads(answer)

    def pay(
        self, amount: str, fee: str = "0.00", *, manual: bool = False, currency: str = "EUR", token: str = "tok_visa"
    ) -> str:
        """One checkout of one order. → the id of both"""
        body = self._checkout(amount, fee, currency, manual)
        return self._taken("/v1/payments", {**body, "payment_method": {"token": token}})

    def open_session(
        self, amount: str, fee: str = "0.00", *, manual: bool = False, currency: str = "EUR", return_url: str
    ) -> str:
        """One checkout of one order that is paid on a page. → the id of both"""
        return self._taken(
            "/v1/checkout-sessions", {**self._checkout(amount, fee, currency, manual), "return_url": return_url}
        )

    def _taken(self, path: str, body: Mapping[str, object]) -> str:
        status, answer = self.ask("POST", path, body)
        assert status == 202, answer
        return str(body["checkout_id"])

    def _checkout(self, amount: str, fee: str, currency: str, manual: bool) -> dict[str, object]:
        id_ = self.new("order")
        order = {"payment_order_id": id_, "seller_account": f"seller-{id_}", "amount": amount, "currency": currency}
        body: dict[str, object] = {
            "checkout_id": id_,
            "buyer_info": {"buyer_account": "buyer-1", "name": "Ann Lee"},
            "payment_orders": [{**order, "platform_fee": fee} if fee else order],
        }
        return {**body, "capture": "manual"} if manual else body

    def page(self, order: str) -> str:
        """Where the order's buyer pays, once the PSP has said so."""
        self.shows(order, payment_order_status="EXECUTING", detail="action_required")
        action = self.order(order)["next_action"]
        assert action["type"] == "redirect_to_url"
        return str(action["redirect_url"])

    def capture(self, order: str, amount: str, *, final: bool = False, currency: str = "EUR") -> Answer:
        body = {"capture_id": self.new("capture"), "payment_order_id": order, "amount": amount, "currency": currency}
        return self.ask("POST", f"/v1/payments/{order}/captures", {**body, "final": True} if final else body)

    def void(self, order: str) -> Answer:
        return self.ask("POST", f"/v1/payments/{order}/voids", {"void_id": self.new("void"), "payment_order_id": order})

    def refund(self, order: str, amount: str, currency: str = "EUR", refund_id: str | None = None) -> str:
        """→ its id; it must be accepted"""
        id_ = refund_id or self.new("refund")
        body = {"refund_id": id_, "payment_order_id": order, "amount": amount, "currency": currency}
        status, answer = self.ask("POST", "/v1/refunds", body)
        assert status == 202, answer
        return id_

    def simulate(self, path: str, body: Mapping[str, object]) -> None:
        """POST to the simulator's controls."""
        controls(self.whole.settings, path, body)

    # ── what has become of it ────────────────────────────────────────────────────────────────────────────────────────

    def order(self, order: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.whole.till.get(f"/v1/payments/{order}")["payment_orders"][0]
        return shown

    def shows(self, order: str, **wanted: object) -> None:
        """Wait until the order shows all of it."""
        self.until(lambda: _unlike(self.order(order), wanted))

    def refund_ends(self, refund_id: str, status: str, code: str | None = None) -> None:
        wanted: dict[str, object] = {"status": status} | ({"code": code} if code else {})
        self.until(lambda: _unlike(self.whole.till.get(f"/v1/refunds/{refund_id}"), wanted))

    def until(self, unlike: Callable[[], Sequence[str]]) -> None:
        self.whole.wait_until(unlike, LIMIT_S)

    def hurry_until(self, unlike: Callable[[], Sequence[str]], by_s: float = 30.0) -> None:
        """The same, while the clock jumps: nobody sits out the time between two questions."""
        self.whole.wait_until(hurried(self.whole.settings, unlike, by_s), LIMIT_S)

    def agree(self) -> None:
        """All is quiet, the PSPs' own books and ours are equal to the cent, and the auditor finds nothing."""
        settings = self.whole.settings
        self.hurry_until(lambda: lying_about(settings) or unheard(settings))
        orders = [f"order-{number}" for number in range(1, self._numbers["order"] + 1)]
        ours, theirs = receivables(settings), owed_by_psps(settings, orders)
        assert ours == theirs, f"ours {ours}, theirs {theirs}"
        found = self.audit()
        assert found == [], "\n".join(found)

    def audit(self) -> list[str]:
        """What the auditor finds wrong."""
        return verdict(self.whole.settings)


def _unlike(shown: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    return [
        f"{name} is {shown.get(name)!r}, not {value!r}" for name, value in wanted.items() if shown.get(name) != value
    ]
