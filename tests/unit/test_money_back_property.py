"""One order and a PSP that loses, delays, repeats, contradicts, takes back, does again and disputes: the books end as its own.

Episodes are seeded: TALLY_EPISODES of them (2,000), from TALLY_SEED on (drawn, and printed). The executor's decider is the
real one, with its shares and refusals counted again here; wallet and ledger are the sums of what it says.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import orjson
import pytest

from consumers.executor import operating, position
from consumers.executor.operation import Operation
from psp.port import DisputeState, NothingHappened, NotThere, Reply, Unknown
from schemas.events import AnyEvent, PaymentCaptured
from schemas.money_back import (
    CaptureReversed,
    ChargebackOpened,
    ChargebackWon,
    PaymentRefunded,
    RefundReversed,
    Share,
)
from tests.unit.executor_cases import SETTLING_S
from tests.unit.model_psp import Deed, ModelPsp, ToldDesk
from tests.unit.order_cases import an_order, back_policy, eur
from topics.runtime.shape.consumer import Call

EPISODES = int(os.environ.get("TALLY_EPISODES", "2000"))
SIGNS = {ChargebackOpened: -1, ChargebackWon: 1, PaymentRefunded: -1, RefundReversed: 1, CaptureReversed: -1}
TAKEN = ("calling", "unknown", "pending", "unresolved", "done")


class World:
    """The order, its PSP, the caller between them, and the books."""

    def __init__(self, seed: int) -> None:
        r = self.r = random.Random(seed)
        self.gross, self.manual = r.choice((7, 100, 1000)), r.random() < 0.6
        fee, rule = r.choice((0, 1, self.gross // 10, self.gross // 3)), r.choice(("none", "proportional", "full"))
        self.rule, self.fees, self.wallet, self.receivable = rule, 0, 0, 0
        self.parts: set[tuple[type, str]] = set()
        self.psp = ModelPsp(r, self.gross, r.random() < 0.6)
        rules = {"fee_refund": rule, "fee_chargeback": rule}
        placed = an_order(manual=self.manual, gross=self.gross, fee=fee, **rules)  # type: ignore[arg-type]
        self.desk, self.heard, self.asked, self.booked = ToldDesk(placed, back_policy(many=self.psp.many)), 0, 0, 0
        self.seen = 0
        self.flights: list[tuple[Call, int, bool]] = []

    def ops(self, kind: str, *states: str) -> int:
        behind = self.desk.position.operations.values()
        return sum(each.amount_minor for each in behind if each.kind == kind and (not states or each.state in states))

    # ── the caller ───────────────────────────────────────────────────────────────────────────────────────────────────

    def act(self, kind: Callable[[str], bool]) -> None:
        due = [call for call in self.desk.due if kind(self.desk.calls[call].kind)]
        if not due:
            return
        call = self.desk.calls[self.r.choice(due)]
        if self.desk.due[call.id] == "ask":
            self.answer(call, self.found(call) if self.r.random() < 0.7 else Unknown("timeout"))
            return
        fate = self.r.choice(("answered", "answered", "nothing", "lost", "unanswered", "late"))
        if fate in ("answered", "unanswered"):
            self.do(call)
        if fate == "late":
            self.flights.append((call, *self.what(call)))
        self.answer(call, {"answered": self.found(call), "nothing": NothingHappened("busy")}.get(fate, Unknown("lost")))

    def what(self, call: Call) -> tuple[int, bool]:
        about = next((o for o in self.desk.position.operations.values() if o.call_id == call.id), None)
        return (about.amount_minor, about.final) if about else (self.gross, False)

    def do(self, call: Call) -> None:
        if call.kind != "charge":
            self.psp.do(call, *self.what(call))
        elif call.id not in self.psp.deeds:
            kind, status = "charge" if self.manual else "capture", "done" if self.r.random() < 0.93 else "failed"
            self.psp.deeds[call.id] = Deed(kind, self.gross, status)
            self.psp.open = self.manual and status == "done"

    def found(self, call: Call) -> Reply:
        """What the PSP says of it now."""
        asked = {} if call.kind != "check" else orjson.loads(call.request)
        if asked.get("kind") == "dispute":
            amount, status = self.psp.disputes[asked["call_id"], asked["stage"]]
            return DisputeState(asked["call_id"], asked["stage"], status, eur(amount), None, "", None)  # type: ignore[arg-type]
        deed = self.psp.deeds.get(asked.get("call_id", call.id))
        return NotThere() if deed is None else deed.reply()

    def answer(self, call: Call, reply: Reply) -> None:
        self.desk.answer(call.id, reply)

    # ── one step, and the end ────────────────────────────────────────────────────────────────────────────────────────

    def step(self, outside: bool = True) -> None:
        match self.r.choice(
            ("call", "call", "time", "told", "check", *(("ask", "ask", "whim", "expire") if outside else ()))
        ):
            case "call":
                self.act(lambda kind: kind != "check")
            case "check":
                self.act(lambda kind: kind == "check")
            case "time":
                self.desk.now += timedelta(seconds=SETTLING_S * 2)
                flights, self.flights = self.flights, []
                for call, *what in flights:
                    self.psp.do(call, *what) if call.kind != "charge" else self.do(call)  # type: ignore[arg-type]
            case "told" if self.psp.told:
                self.psp.told.pop(self.r.randrange(len(self.psp.told)))(self.desk)
            case "ask":
                self.ask()
            case "whim" if self.r.random() < 0.4:
                self.psp.whim()
            case "expire" if self.desk.timers and self.r.random() < 0.05:
                self.psp.open = False
                self.desk.fire()
        self.book()

    def ask(self) -> None:
        kind = self.r.choice(("capture", "refund", "refund", "void")) if self.manual else "refund"
        self.asked += 1
        id_, amount = f"{kind}{self.asked}", self.r.randint(1, self.r.choice((1, 3)) * self.gross // 3 or 1)
        if kind == "capture":
            self.desk.capture(id_, amount, final=self.r.random() < 0.1)
        elif kind == "refund":
            self.desk.refund(id_, amount)
            self.check_accepted(self.desk.operation(id_))
        elif self.r.random() < 0.4:
            self.desk.void(id_)

    def check_accepted(self, refund: Operation) -> None:
        if refund.state != "failed":
            coming = self.ops("capture", "waiting", *TAKEN[:-1]) if not self.desk.attempt.undecided else self.gross
            rest = self.ops("capture", "done") + coming - self.desk.position.disputed
            assert self.ops("refund", "waiting", *TAKEN) <= rest, "more refunds were accepted than there is"

    def book(self) -> None:
        """As wallet and ledger do; and what was begun since is looked at."""
        if self.desk.attempt.revision == self.seen:
            return
        self.seen = self.desk.attempt.revision
        for event in self.desk.said[self.booked :]:
            self._book(event)
        self.booked = len(self.desk.said)
        begun = list(self.desk.calls.values())[self.heard :]
        self.heard = len(self.desk.calls)
        behind = self.desk.position
        if any(call.kind == "refund" for call in begun):
            rest = self.ops("capture", "done") - self.ops("refund", *TAKEN) - behind.disputed
            assert rest >= 0, "a refund was begun that was more than the rest"
        out = [o for o in behind.operations.values() if o.state in ("calling", "unknown") and not o.is_charge]
        assert len(out) <= 1, "two calls at a PSP payment at once"

    def _book(self, event: AnyEvent) -> None:
        sign = 1 if isinstance(event, PaymentCaptured) else SIGNS.get(type(event), 0)  # type: ignore[call-overload]
        if not sign:
            return
        share = Share(event.gross, event.fee, event.net) if isinstance(event, PaymentCaptured) else event.share  # type: ignore[attr-defined]
        key = type(event), event.part  # type: ignore[attr-defined]
        assert key not in self.parts, f"{key} was said twice"
        self.parts.add(key)
        self.receivable, self.fees = self.receivable + sign * share.gross.minor, self.fees + sign * share.fee.minor
        self.wallet += sign * share.net.minor

    def settle(self) -> None:
        for _ in range(3000):
            self.step(outside=False)
            if not (self.desk.due or self.psp.told or self.flights):
                return
        raise AssertionError("it never comes to rest")

    def run(self) -> None:
        for _ in range(self.r.choice((30, 60, 120))):
            self.step()
        for _ in range(2):  # then a person, or a settlement line, says what nobody could
            self.settle()
            self.ask_a_person()
        self.settle()
        self.check()

    def ask_a_person(self) -> None:
        attempt, behind = self.desk.attempt, self.desk.position.operations.values()
        lost = {o.call_id for o in behind if o.state == "unresolved" or o.check.state == "unanswered"}
        for ref, deed in self.psp.deeds.items():
            if deed.status == "pending":
                self.psp.finish(ref, deed)
            elif ref in lost or (ref == attempt.call_id and attempt.state == "unresolved"):
                self.psp.tell(ref, deed)
        for dispute in self.desk.position.disputes.values():
            if dispute.check.state == "unanswered":
                self.psp.tell_dispute(dispute.key)

    def check(self) -> None:
        if all(each.state not in ("waiting", "orphaned") for each in self.desk.position.disputes.values()):
            assert self.receivable == self.psp.receivable, "our books are not the PSP's"
        assert self.wallet + self.fees == self.receivable
        taken_back = any(o.turn > 1 or o.state == "reversed" for o in self.desk.position.operations.values())
        captured, back = self.ops("capture", "done"), self.ops("refund", "done")
        if self.rule != "none" and captured and captured == back and not (taken_back or self.desk.position.disputes):
            assert (self.fees, self.wallet) == (0, 0), "all was given back, and a cent stayed"


def run(seeds: range) -> Counter[str]:
    said: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        said.update(world.desk.types())
    return said


def test_whatever_the_psp_does_the_books_end_as_its_own() -> None:
    first = int(os.environ.get("TALLY_SEED") or random.randrange(10**9))
    print(f"TALLY_SEED={first} TALLY_EPISODES={EPISODES}")
    said = run(range(first, first + EPISODES))
    print(dict(said))
    rare = (
        "CaptureReversed",
        "RefundReversed",
        "ChargebackWon",
        "PaymentVoided",
        "AuthorisationExpired",
        "OutcomeUnresolved",
    )
    assert not [kind for kind in rare if not said[kind]], "every kind of thing happened"


# ── builds with one rule left out: each must be found ────────────────────────────────────────────────────────────────


def without_waiting_ones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(position, "RETURNED", TAKEN)


def no_second_look(patch: pytest.MonkeyPatch) -> None:
    refusal = operating._refusal
    patch.setattr(operating, "_refusal", lambda draft, op: None if op.key in draft.operations else refusal(draft, op))
    patch.setattr(position.Position, "fits", lambda self, op: op.kind == "refund" or self.attempt.state == "authorised")


def contradiction_believed(patch: pytest.MonkeyPatch) -> None:
    settle = operating.settle
    patch.setattr(operating, "settle", lambda draft, op, said, asked=True: settle(draft, op, said, asked=True))


@pytest.mark.parametrize("sabotage", [without_waiting_ones, no_second_look, contradiction_believed])
def test_a_build_without_the_rule_is_found(monkeypatch: pytest.MonkeyPatch, sabotage: Callable[..., None]) -> None:
    sabotage(monkeypatch)
    with pytest.raises(AssertionError, match="seed"):
        run(range(500))
