"""Pay-outs, releases and providers' words, and an executor without a database: what tests of pay-outs say again and again."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from consumers.executor.decide import decide
from consumers.executor.payout import Payout, PayoutCallFacts, call_id_of
from consumers.executor.routing import Routing
from consumers.executor.state import Attempts, Policy
from psp.payout_port import Accepted, Failed, Paid, Rejected, Returned, TransferReply
from psp.port import Declared
from psp.replies import Unknown
from schemas.envelope import derive_id, event_type
from schemas.events import AnyEvent
from schemas.money import Money
from schemas.payouts import PayoutCallEnded, PayoutNotified, PayoutReady, PayoutWithdrawn, SealedDestination
from tests.unit.executor_cases import KEY_LIFE_S, NOW, SETTLING_S
from topics.runtime.shape.consumer import Act, Call, Cause, Decision, Ended, Retry
from topics.sealing import Sealer
from topics.settings import Settings

AMOUNT = Money(12_000, "EUR")
ID = "tr_1"
ACCEPTED, PAID = Accepted(ID), Paid(ID)
REJECTED, FAILED = Rejected("account_closed", ID), Failed("account_blocked", ID)
RETURNED = Returned("refused", ID, AMOUNT)
SEALED = SealedDestination("iban", "DE", "DE89 … 3000", "9f86d081884c7d65", "AZ2a0Xn1mC1g1o8c2oYxY3Q9")


def ready(release_no: int = 1, payout_id: str = "payout-1", **changes: object) -> PayoutReady:
    """EUR 120.00 by harbour, good for 15 minutes."""
    facts: dict[str, object] = {
        "payout_id": payout_id,
        "owner": "shop",
        "seller_account": "seller-1",
        "amount": AMOUNT,
        "release_no": release_no,
        "deadline": NOW + timedelta(minutes=15),
        "provider": "harbour",
        "bank_account": "main",
        "destination": SEALED,
    }
    return PayoutReady(**{**facts, **changes})  # type: ignore[arg-type]


def sealed_for(settings: Settings, seller_account: str, account: str, provider: str = "harbour") -> SealedDestination:
    """A destination at a provider, sealed as the door seals it."""
    told = {"type": "provider_account", "provider": provider, "account": account, "holder": "Ada"}
    sealer = Sealer(bytes.fromhex(settings.derive("destinations")))
    sealed = base64.b64encode(sealer.seal(json.dumps(told), f"{seller_account}:provider_account")).decode()
    return SealedDestination("provider_account", "DE", f"… {account[-4:]}", "9f86d081884c7d65", sealed)


def withdrawn(release_no: int = 1, payout_id: str = "payout-1") -> PayoutWithdrawn:
    return PayoutWithdrawn(payout_id=payout_id, release_no=release_no)


def notified(word: TransferReply, release_no: int = 1, name: str = "", **changes: object) -> PayoutNotified:
    """The provider's word as a webhook."""
    status = type(word).__name__.lower()
    facts: dict[str, object] = {
        "reference": call_id_of("payout-1", release_no),
        "provider": "harbour",
        "notification_id": f"evt_{status}{name}",
        "source": "webhook",
        "status": status,
        "amount": getattr(word, "amount", AMOUNT),
        "provider_reference": getattr(word, "provider_reference", ID),
        "code": getattr(word, "code", None),
    }
    return PayoutNotified(**{**facts, **changes})  # type: ignore[arg-type]


def policy() -> Policy:
    return Policy(Routing(()), {}, providers={"harbour": Declared(SETTLING_S, KEY_LIFE_S)})


@dataclass
class PayoutDesk:
    """The executor's decider with its state, and the rows of its calls as the sender would keep them. Time moves by hand."""

    policy: Policy = field(default_factory=policy)
    now: datetime = NOW
    state: Attempts = field(default_factory=Attempts)
    said: list[AnyEvent] = field(default_factory=list)
    calls: dict[str, Call] = field(default_factory=dict)
    due_in: dict[str, float] = field(default_factory=dict)  # of calls that are due
    decided: int = 0

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def payout(self) -> Payout:
        (payout,) = self.state.payouts.values()
        return payout

    @property
    def call_id(self) -> str:
        return self.payout.call_id

    def names(self) -> list[str]:
        """What was said: names of events, with their turns from the second on."""
        return [
            event_type(type(each)).split(".")[1].removeprefix("Payout") + getattr(each, "part", "")
            for each in self.said
        ]

    def row(self, call_id: str) -> PayoutCallFacts:
        return self.state.payout_calls[call_id]

    def hears(self, event: PayoutReady | PayoutWithdrawn | PayoutNotified) -> Decision:
        return self._decide(event)

    def lease(self, call_id: str = "") -> int:
        """As `topics.runtime.calls.rows.lease`: numbered before anything leaves."""
        row = self.row(call_id or self.call_id)
        assert row.state == "due", row
        row = replace(row, state="sending", act_no=row.act_no + 1, acted_at=self.now)
        if row.act == "send":
            first = row.first_sent_at or self.now
            row = replace(row, first_sent_at=first, sent_until=self.now + timedelta(seconds=15))
        self.state.payout_calls[call_id or self.call_id] = row
        return row.act_no

    def answers(self, reply: TransferReply, call_id: str = "", act_no: int | None = None) -> Decision:
        """As `topics.runtime.calls.rows.record`, and then the message; `act_no`: a reply whose lease was lost."""
        id_ = call_id or self.call_id
        row = self.row(id_)
        if act_no is None:
            unknown = row.ever_unknown or (row.act == "send" and isinstance(reply, Unknown))
            until = self.now if row.act == "send" else row.sent_until
            self.state.payout_calls[id_] = replace(row, state="answered", ever_unknown=unknown, sent_until=until)
        ended = PayoutCallEnded(
            payout_id=row.subject,
            call_id=id_,
            act=row.act,
            act_no=row.act_no if act_no is None else act_no,
            reply=reply.to_json(),
            ended_at=self.now,
        )
        return self._decide(ended)

    def acts(self, reply: TransferReply, call_id: str = "") -> Decision:
        """The next send or question, and its reply."""
        self.lease(call_id)
        return self.answers(reply, call_id)

    def check_id(self) -> str:
        """The check that is open."""
        assert self.payout.check.open
        return self.payout.check_id

    def _decide(self, event: PayoutReady | PayoutWithdrawn | PayoutNotified | PayoutCallEnded) -> Decision:
        self.decided += 1
        cause = Cause(derive_id(f"cause {self.decided}", "tests", 0, 0), "t", None, self.now, 0)
        decision = decide(self.policy, self.state, event, cause)
        for change in decision.changes:
            self.state.fold(change)  # type: ignore[arg-type]
        self.said += decision.events
        for call in decision.calls:
            self._keep(call)
        return decision

    def _keep(self, call: Call | Retry | Ended) -> None:
        """As `topics.runtime.calls.rows.save`."""
        if isinstance(call, Call):
            assert call.id not in self.calls, "a call is made once"
            self.calls[call.id] = call
            row = PayoutCallFacts(0, False, None, None, None, call.subject, call.psp, act=call.act, kind=call.kind)
            self.state.payout_calls[call.id], self.due_in[call.id] = row, 0.0
            return
        row = self.row(call.call_id)
        if isinstance(call, Ended):
            self.state.payout_calls[call.call_id] = replace(row, state="ended")
        elif row.state in ("answered", "due"):
            act: Act = call.act
            self.state.payout_calls[call.call_id] = replace(row, state="due", act=act)
            self.due_in[call.call_id] = call.due_in_s


def ended_as(word: TransferReply) -> PayoutDesk:
    """A pay-out whose first send was answered so."""
    desk = PayoutDesk()
    desk.hears(ready())
    desk.acts(word)
    return desk
