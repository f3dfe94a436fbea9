"""A decision about one pay-out in the making. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson

from consumers.executor.payout import Payout, PayoutState
from consumers.executor.state import Policy
from schemas.payouts import PayoutExecuted
from topics.runtime.shape.consumer import Call, Cause, Decision, Ended, Retry

E = TypeVar("E", bound=PayoutExecuted)


class PayoutDraft:
    """Each step sees the changes of the steps before."""

    def __init__(self, policy: Policy, payout: Payout, cause: Cause) -> None:
        self.policy = policy
        self.payout = payout
        self.cause = cause
        self._before = payout
        self._events: list[PayoutExecuted] = []
        self._calls: list[Call | Retry | Ended] = []

    @property
    def can_ask(self) -> bool:
        """Whether its provider answers questions. A bank tells of its own accord, in files."""
        return self.payout.ready.provider not in self.policy.banks

    def put(self, changed: Payout) -> None:
        self.payout = changed

    def move(self, state: PayoutState, **changes: object) -> None:
        self.put(self.payout.evolve(self.cause.now, state=state, **changes))

    def publish(self, kind: type[E], state: PayoutState, facts: dict[str, Any], **changes: object) -> None:
        """Publish an event about the release, and move the pay-out to the state that the event reports."""
        payout = self.payout.evolve(self.cause.now, state=state, **changes)
        ready = payout.ready
        turn = {"turn": payout.turn} if "turn" in kind.model_fields and payout.turn > 1 else {}
        about = {
            "release_no": ready.release_no,
            "provider": ready.provider,
            "bank_account": ready.bank_account,
            "call_id": payout.call_id,
        }
        self._events.append(kind(**{**ready.terms(), **about, **turn, **facts}))
        self.put(payout)

    def settle(self, kind: type[E], state: PayoutState, facts: dict[str, Any], **changes: object) -> None:
        """As `publish`, of an event that the pay-out's row names as its outcome."""
        outcome = {"outcome_event_id": self.cause.event_id, "outcome_place": len(self._events)}
        self.publish(kind, state, facts, **outcome, **changes)

    def ask(self, check_id: str, question: dict[str, object]) -> None:
        payout, provider = self.payout, self.payout.ready.provider
        self._calls.append(
            Call(check_id, payout.key, "payout_check", provider, orjson.dumps(question), self.cause.now, "ask")
        )

    def retry(self, retry: Retry) -> None:
        self._calls.append(retry)

    def end(self, call_id: str, outcome: str) -> None:
        self._calls.append(Ended(call_id, outcome))

    def decision(self) -> Decision:
        if self.payout is self._before and not self._calls:
            return Decision()
        return Decision((self.payout,), tuple(self._events), tuple(self._calls), self.payout.revision)
