"""A seed → one order with its PSP, the sender between them, and the books: what was asked, told, lost, taken back, disputed.

The executor's decider, the wallet's effects and the ledger's templates are the real ones. What may be accepted and begun
is counted here once more, and the books must end as the PSP's own.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from consumers.executor.operation import Operation
from consumers.ledger import templates
from psp.port import NothingHappened, Reply, Unknown
from tests.unit.executor_cases import SETTLING_S
from tests.unit.model_books import ModelBooks
from tests.unit.model_psp import ModelPsp, ToldDesk
from tests.unit.order_cases import an_order, back_policy
from topics.runtime.shape.consumer import Act, Call

ASKED_MAX = 10
INSIDE = ("call", "call", "time", "told", "check")
OUTSIDE = (*INSIDE, "ask", "ask", "whim", "expire", "persons", "declare")
TAKEN = ("calling", "unknown", "pending", "unresolved", "done")


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
        self.silent = r.random() < 0.1  # it answers nothing about the charge, unless persons have it asked
        self.books = ModelBooks()
        self.declared: Counter[str] = Counter()
        self.asked = self.begun = self.revision = 0  # how far each was counted
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

    def step(self, outside: bool = True) -> None:
        match step := self.r.choice(OUTSIDE if outside else INSIDE):
            case "call" | "check":
                self.act(checks=step == "check")
            case "time":
                self.desk.now += timedelta(seconds=SETTLING_S * 2)
                while self.flights:
                    self.psp.take(self.flights.pop(0))
                if self.replies:
                    call_id, (act, reply) = self.replies.popitem()
                    self.desk.answer(call_id, reply, act=act)
            case "told" if self.psp.told:
                self.psp.told.pop(self.r.randrange(len(self.psp.told)))(self.desk)
            case "ask" if self.asked < ASKED_MAX:
                self.ask()
            case "whim" if self.r.random() < 0.6:
                self.psp.whim()
            case "persons" if not self.flights:
                self.ask_persons()
            case "declare" if self.r.random() < 0.2:
                self.declare()
            case "expire" if self.desk.timers and self.r.random() < 0.05:
                self.psp.open = False
                self.desk.fire()
        if self.desk.attempt.revision != self.revision:
            self.revision = self.desk.attempt.revision
            self.check_begun()
            self.books.book(self.desk.said)

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

    def ask_persons(self) -> None:
        """Two persons, who may not know better, say that what is unresolved has failed."""
        for each in [each for each in self.operations() if each.state == "unresolved" and not each.is_charge]:
            self.desk.resolved(each.operation_id)
        if self.desk.attempt.state == "unresolved":
            self.desk.resolved("charge")

    def declare(self) -> None:
        """Settlements show what the PSP denies, or lack what it says: two persons set its word aside."""
        attempt, deeds = self.desk.attempt, self.psp.deeds
        charge = deeds.get(attempt.call_id)
        if attempt.state == "declined" and not self.manual and charge and charge.status == "failed":
            charge.status, charge.says = "done", "failed"
            self.desk.told("charge", "succeeded", source="operator", instead_of="declined")
            self.declared["declared_captured"] += 1
        for each in [*self.operations()]:
            deed = deeds.get(each.call_id)
            if deed is None or deed.says or (each.kind, each.state, deed.status) != ("capture", "done", "done"):
                continue
            if (
                self.psp.sum("capture", "done") - deed.amount >= self.psp.sum("refund", "done")
                and not self.psp.disputes
            ):
                deed.status, deed.says = "failed", "done"
                about = "charge" if each.is_charge else each.operation_id
                self.desk.told(about, "declined", source="operator", instead_of="captured")
                self.declared["declared_failed"] += 1
                return

    def act(self, *, checks: bool) -> None:
        """The sender takes up a call that is due; its answer comes at once, later, or never."""
        due = [c for c in self.desk.due if (self.desk.calls[c].kind == "check") == checks and c not in self.replies]
        if not due:
            return
        call = self.desk.calls[self.r.choice(due)]
        act = self.desk.due[call.id]
        answers = self.r.random() < 0.7 or (call.kind == "check" and self.desk.attempt.undecided)
        reply = self.send(call) if act == "send" else self.psp.found(call)
        if (act == "ask" and not answers) or (self.silent and call.kind == "charge"):
            reply = Unknown("timeout")
        if self.r.random() < (0.5 if call.kind == "check" else 0.1):
            self.replies[call.id] = act, reply
        else:
            self.desk.answer(call.id, reply, act=act)

    def send(self, call: Call) -> Reply:
        fate = self.r.choice(("answered", "answered", "nothing", "lost", "unanswered", "late"))
        if fate in ("answered", "unanswered"):
            self.psp.take(call)
        if fate == "late":
            self.flights.append(call)
        return {"answered": self.psp.found(call), "nothing": NothingHappened("busy")}.get(fate, Unknown("lost"))

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

    def check_end(self) -> None:
        behind, books = self.desk.position, self.books
        if all(each.state not in ("waiting", "orphaned") for each in behind.disputes.values()):
            assert books.accounts[templates.receivable("north")] == self.psp.receivable, "our books are not the PSP's"
        owed = books.accounts[templates.payable(self.desk.placed.seller_account)]
        assert books.wallet == -owed, "wallet and ledger differ"
        taken_back = any(each.turn > 1 or each.state == "reversed" for each in self.operations())
        captured, back = self.sum("capture", "done"), self.sum("refund", "done")
        if self.rule != "none" and captured and captured == back and not (taken_back or behind.disputes):
            assert not any(books.accounts.values()), "all was given back, and a cent stayed"

    def settle(self) -> None:
        for _ in range(3000):
            self.step(outside=False)
            if not (self.desk.due or self.psp.told or self.flights):
                return
        raise AssertionError("it never comes to rest")

    def ask_a_person(self) -> None:
        attempt = self.desk.attempt
        said = ("unresolved", "failed")  # failed: perhaps by persons, since the PSP had answered no question
        lost = {o.call_id for o in self.operations() if o.state in said or o.check.state == "unanswered"}
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
        said.update(world.declared)
    return said
