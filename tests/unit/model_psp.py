"""A PSP behind one order: captures, voids and refunds by our reference, what it takes back, does again and disputes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from psp.port import Authorised, Captured, Declined, DisputeState, NotThere, Pending, Refunded, Reply, Reversed, Voided
from schemas.money import Money
from tests.unit.order_cases import EXPIRES_AT, OrderDesk, eur
from topics.runtime.shape.consumer import Call, Decision


class ToldDesk(OrderDesk):
    def told_of(self, ref: str, status: str, amount: int) -> Decision:
        ids = {each.call_id: each.operation_id for each in self.position.operations.values() if not each.is_charge}
        return self.told(ids.get(ref, "charge"), status, amount)


@dataclass
class Deed:
    """One operation at the PSP, by our reference."""

    kind: str
    amount: int
    status: str  # done | failed | pending | reversed
    says: str = ""  # what it says for ever, where that is not so: its settlements show it, and persons set it aside

    @property
    def told(self) -> str:
        return self.says or self.status

    def reply(self) -> Reply:
        amount = eur(self.amount)
        match self.told, self.kind:
            case "failed", _:
                return Declined("no")
            case "pending", _:
                return Pending("p", "review")
            case "reversed", _:
                return Reversed("r", amount)
            case _, "charge":
                return Authorised("ch_1", "visa", amount, EXPIRES_AT)
            case _, "capture":
                return Captured("ch_1", "visa", amount)
            case _, "refund":
                return Refunded("r", amount)
        return Voided("v", amount)


@dataclass
class ModelPsp:
    """It does not look at disputes: we must. What it says goes to `told`, once or twice, to come in any order."""

    r: random.Random
    gross: int
    many: bool
    open: bool = True  # the authorisation
    deeds: dict[str, Deed] = field(default_factory=dict)
    disputes: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)
    told: list[Callable[[ToldDesk], object]] = field(default_factory=list)

    def sum(self, kind: str, *statuses: str) -> int:
        return sum(deed.amount for deed in self.deeds.values() if deed.kind == kind and deed.status in statuses)

    @property
    def receivable(self) -> int:
        lost = sum(amount for amount, status in self.disputes.values() if status in ("opened", "lost"))
        return self.sum("capture", "done") - self.sum("refund", "done") - lost

    def take(self, call: Call) -> None:
        """A send has arrived; the same again changes nothing."""
        if call.id in self.deeds:
            return
        asked = orjson.loads(call.request)
        if call.kind == "charge":
            manual, status = asked.get("capture") is False, "done" if self.r.random() < 0.93 else "failed"
            self.deeds[call.id] = Deed("charge" if manual else "capture", self.gross, status)
            self.open = manual and status == "done"
            return
        amount = Money.from_wire(asked["amount"], asked["currency"]).minor if "amount" in asked else 0
        deed = self.deeds[call.id] = Deed(call.kind, amount, "pending" if self.r.random() < 0.1 else "done")
        self.finish(call.id, deed, asked.get("final", False)) if deed.status == "done" else None

    def found(self, call: Call) -> Reply:
        """What it says of a call now, or of that which a check asks about."""
        asked = orjson.loads(call.request) if call.kind == "check" else {}
        if asked.get("kind") == "dispute":
            amount, status = self.disputes[asked["call_id"], asked["stage"]]
            return DisputeState(asked["call_id"], asked["stage"], status, eur(amount), None, "", None)  # type: ignore[arg-type]
        deed = self.deeds.get(asked.get("call_id", call.id))
        return NotThere() if deed is None else deed.reply()

    def finish(self, ref: str, deed: Deed, final: bool = False) -> None:
        held, deed.status = self.sum("capture", "done", "reversed"), "failed"
        fits = {
            "capture": self.open and held + deed.amount <= self.gross,
            "void": self.open and held < self.gross,
            "refund": self.sum("refund", "done") + deed.amount <= self.sum("capture", "done"),
        }
        if fits[deed.kind] and self.r.random() < 0.9:
            deed.status = "done"
            deed.amount = self.gross - held if deed.kind == "void" else deed.amount
            self.open = self.open and deed.kind != "void" and not (deed.kind == "capture" and (final or not self.many))
        self.tell(ref, deed)

    def tell(self, ref: str, deed: Deed) -> None:
        yes = "authorised" if deed.kind == "charge" else "succeeded"
        status = {"done": yes, "failed": "declined"}.get(deed.told, deed.told)
        for _ in range(self.r.choice((1, 1, 2))):
            self.told.append(lambda desk: desk.told_of(ref, status, deed.amount))

    def tell_dispute(self, key: tuple[str, int]) -> None:
        amount, status = self.disputes[key]
        for _ in range(self.r.choice((1, 1, 2))):
            self.told.append(lambda desk: desk.disputed(status, amount, stage=key[1], reference=key[0]))

    def whim(self) -> None:
        """Takes back, does again, decides what is pending, opens and decides disputes."""
        ref, deed = self.r.choice(list(self.deeds.items())) if self.deeds else ("", Deed("", 0, ""))
        captured, returned = self.sum("capture", "done"), self.sum("refund", "done")
        match deed.kind, deed.says or deed.status:
            case _, _ if deed.says:
                self.tell(ref, deed)
            case _, "pending":
                self.finish(ref, deed)
            case (("capture" | "refund"), "done") if deed.kind == "refund" or captured - deed.amount >= returned:
                deed.status = "reversed"
                self.tell(ref, deed)
            case (("capture" | "refund"), "reversed") if deed.kind == "capture" or returned + deed.amount <= captured:
                deed.status = "done"
                self.tell(ref, deed)
        if captured and len(self.disputes) < 2 and self.r.random() < 0.3:
            self.disputes[f"d{len(self.disputes)}", 1] = (self.r.randint(1, captured), "opened")
            self.tell_dispute(list(self.disputes)[-1])
        elif self.disputes:
            self._decide(self.r.choice(list(self.disputes)))

    def _decide(self, key: tuple[str, int]) -> None:
        amount, status = self.disputes[key]
        if status == "opened":
            self.disputes[key] = amount, self.r.choice(("won", "lost"))
            self.tell_dispute(key)
        elif status == "lost":
            self.disputes[key] = amount, "won"  # after all
            self.tell_dispute(key)
        elif status == "won" and key[1] == 1 and (key[0], 2) not in self.disputes:
            self.disputes[key[0], 2] = (amount, "opened")
            self.tell_dispute((key[0], 2))
