"""Orders, replies and a room without a database: what the executor's tests say again and again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from consumers.executor.attempt import Attempt, CallFacts
from consumers.executor.decide import decide
from consumers.executor.routing import Routing
from consumers.executor.settings import RoutingRule
from consumers.executor.state import Attempts, Policy
from psp.port import Declared, Kind, Reply
from schemas.envelope import EventId, derive_id
from schemas.events import AnyEvent, CallEnded, NotificationReceived, OrderPlaced
from schemas.money import Money
from topics.runtime.shape.consumer import Call, Cause, Decision, Ended, Retry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTLING_S = 2.0
KEY_LIFE_S = 24 * 3600.0
DECLARED: dict[Kind, Declared] = {"charge": Declared(SETTLING_S, KEY_LIFE_S)}


def order(payment_order_id: str = "order-1", **changes: object) -> OrderPlaced:
    """EUR 12.34 on a Visa card, due within an hour."""
    terms: dict[str, object] = {
        "payment_order_id": payment_order_id,
        "checkout_id": "checkout-1",
        "owner": "shop",
        "seller_account": "seller-1",
        "buyer_account": "buyer-1",
        "gross": Money(1234, "EUR"),
        "fee": Money(34, "EUR"),
        "net": Money(1200, "EUR"),
        "available_on": NOW,
        "deadline": NOW + timedelta(hours=1),
        "token": "tok_visa",
    }
    return OrderPlaced(**{**terms, **changes})  # type: ignore[arg-type]


def policy(**changes: object) -> Policy:
    """One PSP, `north`, that gets everything."""
    usual = Policy(Routing((RoutingRule(psp="north"),)), {"north": DECLARED})
    return replace(usual, **changes)  # type: ignore[arg-type]


@dataclass
class Desk:
    """The executor's decider with its state, and the call's row as the sender would keep it. Time moves by hand."""

    policy: Policy = field(default_factory=policy)
    now: datetime = NOW
    state: Attempts = field(default_factory=Attempts)
    said: list[AnyEvent] = field(default_factory=list)
    row: CallFacts = field(default_factory=lambda: CallFacts(0, False, None, None, None, "", ""))
    call: Call | None = None
    next: Retry | Ended | None = None
    sends: int = 0
    earlier: list[Call] = field(default_factory=list)  # those that a failover has ended

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def attempt(self) -> Attempt:
        (attempt,) = self.state.attempts.values()
        return attempt

    def place(self, placed: OrderPlaced, event_id: str = "first") -> Decision:
        return self._decide(placed, derive_id(event_id, "payments", 0, 0))

    def lease(self, act: str) -> int:
        """As `topics.runtime.calls.rows.lease`: numbered before anything leaves."""
        self.row = replace(self.row, act_no=self.row.act_no + 1, acted_at=self.now)
        if act == "send":
            self.sends += 1
            first = self.row.first_sent_at or self.now
            self.row = replace(self.row, first_sent_at=first, sent_until=self.now + timedelta(seconds=15))
        return self.row.act_no

    def answer(self, act: str, reply: Reply, act_no: int | None = None) -> Decision:
        """As `topics.runtime.calls.rows.record`, and then the message; an older `act_no` is a late reply."""
        from psp.port import Unknown

        if act_no is None and act == "send":
            unknown = self.row.ever_unknown or isinstance(reply, Unknown)
            self.row = replace(self.row, ever_unknown=unknown, sent_until=self.now)
        assert self.call is not None, "no call was made"
        number = self.row.act_no if act_no is None else act_no
        ended = CallEnded(
            payment_order_id=self.call.subject,
            call_id=self.call.id,
            act=act,  # type: ignore[arg-type]
            act_no=number,
            reply=reply.to_json(),
            ended_at=self.now,
        )
        return self._decide(ended, derive_id(self.call.id, act, number, 0))

    def told(self, event: NotificationReceived) -> Decision:
        return self._decide(event, derive_id(event.notification_id, "doors", 0, 0))

    def comes_back(self, act: str, reply: Reply) -> Decision:
        self.lease(act)
        return self.answer(act, reply)

    def _decide(self, event: OrderPlaced | CallEnded | NotificationReceived, event_id: EventId) -> Decision:
        if self.call is not None:
            self.state.calls[self.call.id] = self.row
        decision = decide(self.policy, self.state, event, Cause(event_id, "t", None, self.now, 0))
        for change in decision.changes:
            self.state.fold(change)  # type: ignore[arg-type]
        self.said += decision.events
        for call in decision.calls:
            if isinstance(call, Call):
                self._begin(call)
            else:
                self.next = call
        return decision

    def _begin(self, call: Call) -> None:
        """As `topics.runtime.calls.rows.save`: a call that follows another begins with a row of its own."""
        if self.call is not None:
            assert isinstance(self.next, Ended), "a second call while the first is open"
            self.earlier.append(self.call)
        self.call, self.next = call, None
        self.row = CallFacts(0, False, None, None, None, call.subject, call.psp)


def notification(call: Call, status: str = "succeeded", **changes: object) -> NotificationReceived:
    """The PSP's word about that call."""
    said: dict[str, object] = {
        "reference": call.id,
        "psp": call.psp,
        "notification_id": f"evt_{status}",
        "source": "webhook",
        "status": status,
        "amount": Money(1234, "EUR"),
        "psp_reference": "ch_1",
        "scheme": "visa",
        "code": None if status == "succeeded" else f"{status}_reason",
    }
    return NotificationReceived(**{**said, **changes})  # type: ignore[arg-type]
