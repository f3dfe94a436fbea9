"""A seed → one order with its PSP, the sender between them, and the books: what was asked, told, lost, taken back, disputed.

The executor's decider, the wallet's effects and the ledger's templates are the real ones. What may be accepted and begun
is counted here once more, and the books must end as the PSP's own.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta

import orjson

from consumers.executor.operation import Operation
from consumers.ledger import templates
from consumers.ledger.templates import Entries
from consumers.wallet.decide import effect_of
from psp.port import DisputeState, NothingHappened, NotThere, Reply, Unknown
from tests.unit.executor_cases import SETTLING_S
from tests.unit.model_psp import ModelPsp, ToldDesk
from tests.unit.order_cases import an_order, back_policy, eur
from topics.runtime.shape.consumer import Act, Call

ASKED_MAX = 10
TAKEN = ("calling", "unknown", "pending", "unresolved", "done")
TAKES_BACK = {"capture_reversed": "captured", "refund_reversed": "refunded", "chargeback_won": "chargeback_opened"}


class World:
    """Errors: AssertionError, saying which rule does not hold."""

    def __init__(self, seed: int) -> None:
        r = self.r = random.Random(seed)
        self.gross, self.manual = r.choice((7, 100, 1000)), r.random() < 0.6
        fee, self.rule = r.choice((0, 1, self.gross // 10, self.gross // 3)), r.choice(("none", "proportional", "full"))
        self.psp = ModelPsp(r, self.gross, r.random() < 0.6)
        rules = {"fee_refund": self.rule, "fee_chargeback": self.rule}
        placed = an_order(manual=self.manual, gross=self.gross, fee=fee, **rules)  # type: ignore[arg-type]
        self.desk = ToldDesk(placed, back_policy(many=self.psp.many))
        self.wallet, self.accounts = 0, Counter[str]()
        self.journals: dict[tuple[str, str], Entries] = {}
        self.asked = self.booked = self.begun = self.revision = 0  # how far each was counted
        self.flights: list[Call] = []  # sends that arrive later
        self.replies: dict[str, tuple[Act, Reply]] = {}  # what the PSP has said of calls, and we have not heard yet

    def run(self) -> None:
        for _ in range(self.r.choice((30, 60, 120))):
            self.step()
        for _ in range(2):  # then a person, or a settlement line, says what nobody could
            self.settle()
            self.ask_a_person()
        self.settle()
        self.check_end()

    def operations(self) -> Iterable[Operation]:
        return self.desk.position.operations.values()

    def sum(self, kind: str, *states: str) -> int:
        return sum(each.amount_minor for each in self.operations() if each.kind == kind and each.state in states)

    # ── one step ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, outside: bool = True) -> None:
        steps = ("call", "call", "time", "told", "check", *(("ask", "ask", "whim", "expire") if outside else ()))
        match self.r.choice(steps):
            case "call":
                self.act(lambda kind: kind != "check")
            case "check":
                self.act(lambda kind: kind == "check")
            case "time":
                self.desk.now += timedelta(seconds=SETTLING_S * 2)
                while self.flights:
                    self.arrive(self.flights.pop(0))
                if self.replies:
                    call_id, (act, reply) = self.replies.popitem()
                    self.desk.answer(call_id, reply, act=act)
            case "told" if self.psp.told:
                self.psp.told.pop(self.r.randrange(len(self.psp.told)))(self.desk)
            case "ask" if self.asked < ASKED_MAX:
                self.ask()
            case "whim" if self.r.random() < 0.6:
                self.psp.whim()
            case "expire" if self.desk.timers and self.r.random() < 0.05:
                self.psp.open = False
                self.desk.fire()
        if self.desk.attempt.revision != self.revision:
            self.revision = self.desk.attempt.revision
            self.check_begun()
            self.book()

    def ask(self) -> None:
        kind = self.r.choice(("capture", "refund", "refund", "void")) if self.manual else "refund"
        self.asked += 1
        id_, amount = f"{kind}{self.asked}", self.r.randint(1, self.r.choice((1, 3)) * self.gross // 3 or 1)
        if kind == "capture":
            voiding = any(each.kind == "void" and each.state != "failed" for each in self.operations())
            self.desk.capture(id_, amount, final=self.r.random() < 0.1)
            assert not voiding or self.desk.operation(id_).state == "failed", "a capture behind a void was accepted"
        elif kind == "refund":
            self.desk.refund(id_, amount)
            self.check_accepted(self.desk.operation(id_))
        elif self.r.random() < 0.4:
            self.desk.void(id_)

    def act(self, wanted: Callable[[str], bool]) -> None:
        """The sender takes up a call that is due; its answer comes at once, later, or never."""
        due = [c for c in self.desk.due if wanted(self.desk.calls[c].kind) and c not in self.replies]
        if not due:
            return
        call = self.desk.calls[self.r.choice(due)]
        act = self.desk.due[call.id]
        reply = self.send(call) if act == "send" else self.found(call) if self.r.random() < 0.7 else Unknown("timeout")
        if self.r.random() < (0.5 if call.kind == "check" else 0.1):
            self.replies[call.id] = act, reply
        else:
            self.desk.answer(call.id, reply, act=act)

    def send(self, call: Call) -> Reply:
        fate = self.r.choice(("answered", "answered", "nothing", "lost", "unanswered", "late"))
        if fate in ("answered", "unanswered"):
            self.arrive(call)
        if fate == "late":
            self.flights.append(call)
        return {"answered": self.found(call), "nothing": NothingHappened("busy")}.get(fate, Unknown("lost"))

    def arrive(self, call: Call) -> None:
        if call.kind == "charge":
            self.psp.charge(call.id, self.manual)
        else:
            asked = next(each for each in self.operations() if each.call_id == call.id)
            self.psp.do(call, asked.amount_minor, asked.final)

    def found(self, call: Call) -> Reply:
        """What the PSP says of it now."""
        asked = {} if call.kind != "check" else orjson.loads(call.request)
        if asked.get("kind") == "dispute":
            amount, status = self.psp.disputes[asked["call_id"], asked["stage"]]
            return DisputeState(asked["call_id"], asked["stage"], status, eur(amount), None, "", None)  # type: ignore[arg-type]
        deed = self.psp.deeds.get(asked.get("call_id", call.id))
        return NotThere() if deed is None else deed.reply()

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────

    def check_accepted(self, refund: Operation) -> None:
        if refund.state != "failed":
            coming = self.gross if self.desk.attempt.undecided else self.sum("capture", "waiting", *TAKEN[:-1])
            rest = self.sum("capture", "done") + coming - self.desk.position.disputed
            assert self.sum("refund", "waiting", *TAKEN) <= rest, "more refunds were accepted than there is"

    def check_begun(self) -> None:
        begun = {call.kind for call in list(self.desk.calls.values())[self.begun :]}
        self.begun = len(self.desk.calls)
        if "refund" in begun:
            rest = self.sum("capture", "done") - self.sum("refund", *TAKEN) - self.desk.position.disputed
            assert rest >= 0, "a refund was begun that was more than the rest"
        if "capture" in begun:
            assert self.sum("capture", *TAKEN, "reversed") <= self.gross, "more was captured than was authorised"
        out = [each for each in self.operations() if each.state in ("calling", "unknown") and not each.is_charge]
        assert len(out) <= 1, "two calls at a PSP payment at once"

    def book(self) -> None:
        """As wallet and ledger do."""
        for event in self.desk.said[self.booked :]:
            booked, effect = templates.booked(event), effect_of(event)  # type: ignore[arg-type]
            if booked is None or effect is None:
                assert booked is effect, f"{event} moves the wallet or the ledger, and not both"
                continue
            assert (booked.template, booked.part) not in self.journals, f"{booked} was said twice"
            self.journals[booked.template, booked.part] = booked.entries
            if before := TAKES_BACK.get(booked.template):
                turn = self.journals[before, booked.part]
                assert {*booked.entries} == {*templates.negative(turn)}, "a reversal is not that of its turn"
            self.wallet += effect.amount.minor
            for entry in booked.entries:
                self.accounts[entry.account] += entry.amount.minor * (1 if entry.direction == "debit" else -1)
            assert not sum(self.accounts.values()), "debits are not equal to credits"
        self.booked = len(self.desk.said)

    def check_end(self) -> None:
        placed, behind = self.desk.placed, self.desk.position
        if all(each.state not in ("waiting", "orphaned") for each in behind.disputes.values()):
            assert self.accounts[templates.receivable("north")] == self.psp.receivable, "our books are not the PSP's"
        assert self.wallet == -self.accounts[templates.payable(placed.seller_account)], "wallet and ledger differ"
        taken_back = any(each.turn > 1 or each.state == "reversed" for each in self.operations())
        captured, back = self.sum("capture", "done"), self.sum("refund", "done")
        if self.rule != "none" and captured and captured == back and not (taken_back or behind.disputes):
            assert not any(self.accounts.values()), "all was given back, and a cent stayed"

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        for _ in range(3000):
            self.step(outside=False)
            if not (self.desk.due or self.psp.told or self.flights):
                return
        raise AssertionError("it never comes to rest")

    def ask_a_person(self) -> None:
        attempt = self.desk.attempt
        lost = {o.call_id for o in self.operations() if o.state == "unresolved" or o.check.state == "unanswered"}
        for ref, deed in self.psp.deeds.items():
            if deed.status == "pending":
                self.psp.finish(ref, deed)
            elif ref in lost or (ref == attempt.call_id and attempt.state == "unresolved"):
                self.psp.tell(ref, deed)
        for dispute in self.desk.position.disputes.values():
            if dispute.check.state == "unanswered":
                self.psp.tell_dispute(dispute.key)


def run(seeds: Iterable[int]) -> Counter[str]:
    """→ how often each kind of event was said. Errors: AssertionError, naming the seed."""
    said: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        said.update(world.desk.types())
    return said
