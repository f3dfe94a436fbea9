"""Orders beside the checkouts → captured in parts, voided, refunded, disputed and taken back by lot, while all is hurt.

They have a currency of their own and no plan: what was accepted and what the PSPs do of themselves decides. In the end the
ledger says of them what the PSPs' own books say.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, ClassVar

from tests.journey.books import APART, controls, owed_by_psps, receivables
from tests.journey.till import Till
from topics.settings import Settings

LOOKS = 5  # orders among which one is looked for whose money can be taken back
ANSWERS = (202, 404, 409, 422)  # an act that does not fit is refused, by the door or later by the executor
SELLERS = tuple(f"{APART}-seller-{number}" for number in range(3))
AMOUNTS = ("12.50", "33.33", "33.34", "66.67", "100.00")
Json = dict[str, Any]


@dataclass
class MoneyBack:
    """Steps may be taken by several threads at once."""

    settings: Settings
    till: Till
    chance: random.Random
    orders: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)  # requests that were accepted, acts of PSPs
    every_s: ClassVar[float] = 0.6  # one more step: about 0.3/s each of captures, refunds, and what PSPs do

    def step(self) -> None:
        if not self.orders or self.chance.random() < 0.3:
            self.buy()
            return
        acts = (self.capture, self.capture, self.void, self.refund, self.refund, self.reverse, self.dispute)
        self.chance.choice(acts)(self.chance.choice(self.orders))

    # ── what a caller asks for ───────────────────────────────────────────────────────────────────────────────────────

    def buy(self) -> None:
        """One order, more often than not to be captured later. Its checkout has the same id."""
        id_ = self._id("order")
        one = {"payment_order_id": id_, "seller_account": self.chance.choice(SELLERS), "platform_fee": "10.00"}
        asked = {
            "checkout_id": id_,
            "buyer_info": {"buyer_account": f"{APART}-buyer", "name": "Ann Lee"},
            "payment_method": {"token": "tok_visa"},
            "payment_orders": [{**one, "amount": "100.00", "currency": APART}],
            "capture": self.chance.choice(("manual", "manual", "automatic")),
        }
        self._ask("/v1/payments", asked, "order")
        self.orders.append(id_)

    def capture(self, order: str) -> None:
        asked = {"capture_id": self._id("capture"), **self._amount(order), "final": self.chance.random() < 0.1}
        self._ask(f"/v1/payments/{order}/captures", asked, "capture")

    def void(self, order: str) -> None:
        asked = {"void_id": self._id("void"), "payment_order_id": order}
        self._ask(f"/v1/payments/{order}/voids", asked, "void")

    def refund(self, order: str) -> None:
        self._ask("/v1/refunds", {"refund_id": self._id("refund"), **self._amount(order)}, "refund")

    def _amount(self, order: str) -> dict[str, object]:
        return {"payment_order_id": order, "amount": self.chance.choice(AMOUNTS), "currency": APART}

    def _id(self, what: str) -> str:
        return f"{APART}-{what}-{self.chance.getrandbits(48):x}"

    def _ask(self, path: str, asked: Mapping[str, object], what: str) -> None:
        status, _, body = self.till.until_answered("POST", path, json.dumps(asked).encode())
        assert status in ANSWERS, f"{path} {asked}: {status} {body!r}"
        self.done[what] += status == 202

    # ── what PSPs do of themselves ───────────────────────────────────────────────────────────────────────────────────

    def reverse(self, order: str) -> None:
        """A capture or refund that is done is taken back, one that was taken back is done again: of this order, or another."""
        for looked_at in (order, *self.chance.sample(self.orders, min(LOOKS, len(self.orders)))):
            if found := self._moved(looked_at):
                self._act("reverse", _turned(self.chance.choice(found)))
                return

    def _moved(self, order: str) -> list[Json]:
        """Captures and refunds that are done or were taken back; an order that is captured by itself has its charge."""
        books = self._books(order)
        moved = [one for one in books["operations"] if one["op"] in ("capture", "refund")]
        if not any(one["op"] == "capture" for one in moved):
            moved += [{**charge, "op": "capture"} for charge in books["charges"]]
        return [one for one in moved if one["status"] in ("succeeded", "reversed")]

    def dispute(self, order: str) -> None:
        """The last dispute goes on, or one begins."""
        disputes = self._books(order)["disputes"] or [{"status": "none", "stage": 1}]
        last = disputes[-1]
        follows = {"none": ("opened",), "opened": ("won", "lost"), "lost": ("won",), "won": ("opened",)}
        stage = 2 if last["status"] == "won" else last["stage"]
        begun = {"amount": self.chance.randint(1, 10_000)} if last["status"] == "none" else {}
        wanted = {"subject": order, "stage": stage, "status": self.chance.choice(follows[last["status"]]), **begun}
        self._act("disputes", wanted)

    def _books(self, order: str) -> Json:
        """Nothing while the simulator is dead."""
        with suppress(OSError, HTTPException, AssertionError):
            asked = f"reference={order}"
            found: Json = controls(self.settings, f"operations?{asked}") | controls(self.settings, f"charges?{asked}")
            return found
        return {"operations": [], "disputes": [], "charges": []}

    def _act(self, path: str, asked: Mapping[str, object]) -> None:
        """An act that does not fit does not happen."""
        with suppress(OSError, HTTPException, AssertionError):
            controls(self.settings, path, asked)
            self.done[path] += 1

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def tell_again(self) -> None:
        """Webhooks that died with the simulator: disputes as they are; what was ever taken back, to and fro."""
        for order in self.orders:
            books = self._books(order)
            for one in books["disputes"]:
                again = {name: one[name] for name in ("id", "stage", "status")}
                controls(self.settings, "disputes", {"subject": order, **again})
            taken_back = [
                {"reference": order, "op": "capture", "status": "reversed"}
                for charge in books["charges"]
                if charge["status"] == "reversed"
            ]
            captures = [one for one in books["operations"] if one["op"] == "capture"]
            taken_back += [one for one in captures if one["status"] == "reversed"]
            for one in taken_back:  # of money that has gone back since no refund would be taken back
                self._turn(one)
            for one in books["operations"]:
                moved = one["op"] in ("capture", "refund") and one["status"] in ("succeeded", "reversed")
                if moved and one not in taken_back:
                    self._turn(one)
                    self._turn(_other(one))
            for one in taken_back:
                self._turn(_other(one))

    def _turn(self, one: Mapping[str, Any]) -> None:
        """Where it can go."""
        with suppress(AssertionError):
            controls(self.settings, "reverse", _turned(one))

    def differs(self) -> list[str]:
        """How the ledger differs from the PSPs' own books."""
        ours = {psp: sum_ for (psp, currency), sum_ in receivables(self.settings).items() if currency == APART}
        theirs = {psp: sum_ for (psp, _), sum_ in owed_by_psps(self.settings, self.orders).items()}
        return [] if ours == theirs else [f"{APART}: the ledger says {ours}, the PSPs {theirs}"]


def _turned(one: Mapping[str, Any]) -> dict[str, object]:
    return {"subject": one["reference"], "op": one["op"], "again": one["status"] == "reversed"}


def _other(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "status": "succeeded" if one["status"] == "reversed" else "reversed"}
