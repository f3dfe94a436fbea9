"""An order, what is asked of it and what its PSP says, against the executor's decider: no database, time moves by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

import orjson

from consumers.executor.attempt import Attempt, CallFacts
from consumers.executor.decide import Heard, decide
from consumers.executor.operation import Dispute, Operation
from consumers.executor.position import Position
from consumers.executor.state import Attempts, Policy
from psp.port import Authorised, Captured, Declared, Declined, Kind, Refunded, Reply, Reversed, Unknown, Voided
from schemas.envelope import derive_id
from schemas.events import AnyEvent, CallEnded, NotificationReceived, OrderPlaced, TimerFired
from schemas.money import Money
from schemas.money_back import CapturePlaced, DisputeNotified, RefundPlaced, VoidPlaced
from schemas.payouts import RESOLVED_BY_OPERATORS
from tests.unit.executor_cases import KEY_LIFE_S, NOW, SETTLING_S, order, policy
from topics.runtime.shape.consumer import Call, Cause, Decision, Ended, Retry, Timer

GROSS, FEE = 10_000, 1_000
EXPIRES_AT = NOW + timedelta(days=7)


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def back_policy(*, many: bool = True) -> Policy:
    kinds: tuple[Kind, ...] = ("charge", "capture", "void", "refund")
    declared: dict[Kind, Declared] = {kind: Declared(SETTLING_S, KEY_LIFE_S) for kind in kinds}
    declared["capture"] = Declared(SETTLING_S, KEY_LIFE_S, many)
    return policy(psps={"north": declared})


def an_order(*, manual: bool = False, gross: int = GROSS, fee: int = FEE, **terms: object) -> OrderPlaced:
    amounts = {"gross": eur(gross), "fee": eur(fee), "net": eur(gross - fee)}
    return order(capture="manual" if manual else None, **amounts, **terms)


@dataclass
class OrderDesk:
    """One order. Calls are leased and answered as `topics.runtime.calls.rows` would."""

    placed: OrderPlaced
    policy: Policy = field(default_factory=back_policy)
    now: datetime = NOW
    state: Attempts = field(default_factory=Attempts)
    said: list[AnyEvent] = field(default_factory=list)
    calls: dict[str, Call] = field(default_factory=dict)
    due: dict[str, str] = field(default_factory=dict)  # open calls: the act that comes next
    due_in_s: dict[str, float] = field(default_factory=dict)
    timers: list[Timer] = field(default_factory=list)
    _events: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.hear(self.placed)

    # ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def key(self) -> str:
        return self.placed.payment_order_id

    @property
    def attempt(self) -> Attempt:
        return self.state.attempts[self.key]

    @property
    def position(self) -> Position:
        behind = self.state.operations.get(self.key, {}), self.state.disputes.get(self.key, {})
        return Position(self.attempt, dict(behind[0]), dict(behind[1]))

    def operation(self, operation_id: str) -> Operation:
        return next(each for each in self.position.operations.values() if each.operation_id == operation_id)

    def dispute(self, stage: int = 1, reference: str = "d1") -> Dispute:
        return self.position.disputes[reference, stage]

    def states(self) -> dict[str, str]:
        behind = [each for each in self.position.operations.values() if not each.is_charge]
        return {each.operation_id: each.state for each in behind}

    def types(self) -> list[str]:
        return [type(event).__name__ for event in self.said]

    def out(self) -> list[str]:
        """The operations that a call of theirs is due for, checks as `check`."""
        ids = {each.call_id: each.operation_id for each in self.position.operations.values()}
        return [ids.get(call, self.calls[call].kind) for call in self.due]

    # ── what comes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def capture(self, id_: str, minor: int, *, final: bool = False) -> Decision:
        asked = {"payment_order_id": self.key, "checkout_id": "checkout-1", "capture_id": id_}
        return self.hear(CapturePlaced(**asked, amount=eur(minor), final=final or None))

    def void(self, id_: str) -> Decision:
        return self.hear(VoidPlaced(payment_order_id=self.key, checkout_id="checkout-1", void_id=id_))

    def refund(self, id_: str, minor: int) -> Decision:
        asked = {"payment_order_id": self.key, "checkout_id": "checkout-1", "refund_id": id_}
        return self.hear(RefundPlaced(**asked, amount=eur(minor)))

    def fire(self, kind: str = "") -> Decision:
        """The first timer that was set, of that kind."""
        timer = next(each for each in self.timers if kind in ("", each.kind))
        self.timers.remove(timer)
        self.now = max(self.now, timer.due_at)
        return self.hear(TimerFired(kind=timer.kind, timer_key=timer.key, due_at=timer.due_at))

    def charge(self, reply: Reply | None = None) -> Decision:
        """The charge's send comes back, with a yes unless said otherwise."""
        gross, manual = self.placed.gross, self.placed.capture == "manual"
        yes = Authorised("ch_1", "visa", gross, EXPIRES_AT) if manual else Captured("ch_1", "visa", gross)
        return self.answer(self.attempt.call_id, reply or yes)

    def yes(self, id_: str) -> Decision:
        return self.reply(id_, self.yes_of(id_))

    def no(self, id_: str, code: str = "refused") -> Decision:
        return self.reply(id_, Declined(code))

    def reply(self, id_: str, reply: Reply) -> Decision:
        return self.answer(self.operation(id_).call_id, reply)

    def yes_of(self, id_: str) -> Reply:
        asked = self.operation(id_)
        match asked.kind:
            case "capture" | "charge":
                return Captured(f"cap_{id_}", "visa", eur(asked.amount_minor))
            case "void":
                return Voided(f"void_{id_}", eur(self.position.released))
            case "refund":
                return Refunded(f"re_{id_}", eur(asked.amount_minor))

    def reversed_of(self, id_: str) -> Reply:
        return Reversed("rev", eur(self.operation(id_).amount_minor))

    def check_says(self, reply: Reply) -> Decision:
        """The one open check is answered."""
        (call,) = [call for call in self.due if self.calls[call].kind == "check"]
        return self.answer(call, reply)

    def answer(self, call_id: str, reply: Reply, *, act: str | None = None) -> Decision:
        """Leased, acted, recorded, heard. `act` is what is due, or that of a reply that comes late."""
        call, acted = self.calls[call_id], act or self.due.get(call_id, "send")
        row = self.state.calls[call_id]
        row = replace(row, act_no=row.act_no + 1, acted_at=self.now)
        if acted == "send":
            unknown, first = row.ever_unknown or isinstance(reply, Unknown), row.first_sent_at or self.now
            row = replace(row, first_sent_at=first, sent_until=self.now, ever_unknown=unknown)
        self.state.calls[call_id] = row
        ended = {"payment_order_id": call.subject, "call_id": call_id, "act": acted, "act_no": row.act_no}
        return self.hear(CallEnded(**ended, reply=reply.to_json(), ended_at=self.now))  # type: ignore[arg-type]

    def told(self, id_: str, status: str, amount: int | None = None, **more: object) -> Decision:
        """A webhook about the operation; about the charge where it is its automatic capture's id, or "charge"."""
        about = None if id_ == "charge" else self.operation(id_)
        minor = self.placed.gross.minor if about is None else about.amount_minor
        said: dict[str, object] = {
            "reference": self.attempt.call_id if about is None else about.call_id,
            "psp": "north",
            "notification_id": f"evt_{next(self._events)}",
            "source": "webhook",
            "status": status,
            "amount": eur(minor if amount is None else amount),
            "psp_reference": "ch_1" if about is None else f"told_{id_}",
            "scheme": "visa",
            "about": None if about is None or about.is_charge else about.kind,
            "expires_at": EXPIRES_AT if status == "authorised" else None,
        }
        return self.hear(NotificationReceived(**{**said, **more}))  # type: ignore[arg-type]

    def resolved(self, id_: str, status: str = "declined", reference: str = "") -> Decision:
        """What the door says once two persons agree."""
        code = RESOLVED_BY_OPERATORS if status == "declined" else None
        return self.told(id_, status, source="operator", psp_reference=reference, code=code)

    def disputed(
        self, status: str, minor: int = GROSS, *, stage: int = 1, reference: str = "d1", fee: int | None = None
    ) -> Decision:
        return self.hear(
            DisputeNotified(
                reference=self.attempt.call_id,
                psp="north",
                notification_id=f"evt_{next(self._events)}",
                source="webhook",
                dispute_reference=reference,
                stage=stage,
                status=status,  # type: ignore[arg-type]
                amount=eur(minor),
                fee=None if fee is None else eur(fee),
                reason="fraudulent",
            )
        )

    def hear(self, event: Heard) -> Decision:
        event_id = derive_id(f"event {next(self._events)}", "t", 0, 0)
        decision = decide(self.policy, self.state, event, Cause(event_id, "t", None, self.now, 0))
        for change in decision.changes:
            self.state.fold(change)  # type: ignore[arg-type]
        for call in decision.calls:
            self._keep(call)
        self.said += decision.events
        self.timers += decision.timers
        return decision

    def _keep(self, call: Call | Retry | Ended) -> None:
        if isinstance(call, Call):
            assert call.id not in self.calls, "a call is made once"
            self.calls[call.id], self.due[call.id] = call, call.act
            self.state.calls[call.id] = CallFacts(0, False, None, None, None, call.subject, call.psp)
        elif isinstance(call, Retry):
            self.due[call.call_id], self.due_in_s[call.call_id] = call.act, call.due_in_s
        else:
            self.due.pop(call.call_id, None)

    def request(self, id_: str) -> dict[str, object]:
        request: dict[str, object] = orjson.loads(self.calls[self.operation(id_).call_id].request)
        return request


def desk(*, manual: bool = False, many: bool = True, charged: bool = True, **terms: object) -> OrderDesk:
    """EUR 100.00 of which the fee is 10.00; captured, or authorised, where `charged`."""
    made = OrderDesk(an_order(manual=manual, **terms), back_policy(many=many))  # type: ignore[arg-type]
    if charged:
        made.charge()
    return made
