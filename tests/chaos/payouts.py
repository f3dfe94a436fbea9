"""Sellers of the orders apart → paid out, some in yen, cancelled, frozen by lot, while all is hurt: nothing goes out twice.

The provider's own books decide in the end: the ledger says the same, and no pay-out has two transfers.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.chaos.money_back import SELLERS
from tests.journey.books import APART
from tests.journey.payees import at_provider, iban, in_ledger, transfers
from tests.journey.till import Till
from topics.runtime.shape.reading import read
from topics.settings import Settings

ENDINGS = ("50", "02", "04")  # of the sellers' accounts: paid; failed after it was accepted; paid and never told
AMOUNTS = ("1.00", "7.77", "25.00", "all")
ANSWERS = (202, 404, 409, 422, 503)  # an act that does not fit is refused, by the door or later by a room
ENDED = {"paid", "failed", "returned", "refused", "rejected", "cancelled", "expired"}


@dataclass
class PayingOut:
    """Steps may be taken by several threads at once."""

    settings: Settings
    till: Till
    chance: random.Random
    asked: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)  # requests that were accepted
    every_s: ClassVar[float] = 2.0  # one more step: 0.3/s of pay-outs

    def register(self) -> None:
        for number in range(len(SELLERS)):
            self._put(number, "active")

    def step(self) -> None:
        acts = (self.request, self.request, self.request, self.cancel, self.freeze)
        self.chance.choice(acts)()

    def request(self) -> None:
        id_ = f"{APART}-payout-{self.chance.getrandbits(48):x}"
        body = {"payout_id": id_, "seller_account": self.chance.choice(SELLERS), "currency": APART}
        body["payout_currency"] = self.chance.choice((APART, "JPY"))
        if self._ask("POST", "/v1/payouts", {**body, "amount": self.chance.choice(AMOUNTS)}, "payout"):
            self.asked.append(id_)

    def cancel(self) -> None:
        if self.asked:
            self._ask("POST", f"/v1/payouts/{self.chance.choice(self.asked[-3:])}/cancel", None, "payout cancelled")

    def freeze(self) -> None:
        """As often as not it was frozen already, and is no more."""
        self._put(self.chance.randrange(len(SELLERS)), self.chance.choice(("frozen", "active")))

    def _put(self, number: int, state: str) -> None:
        destination = {"type": "iban", "iban": iban(number, ENDINGS[number]), "holder": f"Payee {number}"}
        self._ask("PUT", f"/v1/sellers/{SELLERS[number]}", {"state": state, "destination": destination}, state)

    def _ask(self, method: str, path: str, body: object, what: str) -> bool:
        raw = None if body is None else json.dumps(body).encode()
        status, _, answer = self.till.until_answered(method, path, raw)
        assert status in (200, 201, *ANSWERS), f"{path} {body}: {status} {answer!r}"
        self.done[what] += status in (200, 201, 202)
        return status == 202

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def differs(self) -> list[str]:
        """What has not ended, and how the books differ from the provider's."""
        waiting = self._for_persons()
        shown = {id_: self._shown(id_)["status"] for id_ in self.asked if id_ not in waiting}
        left = [f"{id_} is {status}" for id_, status in shown.items() if status not in ENDED]
        ours, theirs = in_ledger(self.settings), at_provider(self.settings)
        return left + ([] if ours == theirs else [f"pay-outs: the ledger says {ours}, the provider {theirs}"])

    def _for_persons(self) -> set[str]:
        """Withdrawn while a send was lost, and never sent again: two persons end them (docs/decisions/20-…)."""
        unresolved = "SELECT payout_id, withdrawn FROM payout_view WHERE state = 'unresolved'"
        return {row["payout_id"] for row in read(self.settings, "executor", unresolved) if row["withdrawn"]}

    def _shown(self, payout_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.till.until_answered("GET", f"/v1/payouts/{payout_id}")[2])
        return shown

    def sent_twice(self) -> list[str]:
        """Pay-outs of which more than one transfer was not rejected."""
        sent = Counter(each["payout"] for each in transfers(self.settings) if each["status"] != "rejected")
        return [payout for payout, times in sent.items() if times > 1]
