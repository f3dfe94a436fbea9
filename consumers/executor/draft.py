"""An order's position, and the changes of one decision to it: each step sees the changes of the steps before."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson

from consumers.executor.attempt import Attempt, AttemptState
from consumers.executor.operation import AnyKind, Dispute, Operation
from consumers.executor.position import Position
from consumers.executor.state import Attempts, Policy
from psp.port import Declared
from schemas.events import AnyEvent, Terms
from schemas.money import Money
from schemas.money_back import Share
from topics.runtime.shape.consumer import Call, CallKind, Cause, Decision, Ended, Retry, Timer

E = TypeVar("E", bound=Terms)


class Draft(Position):
    """A decision in the making. The state that was loaded is left as it is."""

    def __init__(self, policy: Policy, state: Attempts, attempt: Attempt, cause: Cause) -> None:
        behind = state.operations.get(attempt.key, {}), state.disputes.get(attempt.key, {})
        super().__init__(attempt, dict(behind[0]), dict(behind[1]))
        self.policy = policy
        self.cause = cause
        self._rows = attempt.operations
        self._known = {*behind[0], *behind[1]}
        self._changes: dict[object, Operation | Dispute] = {}
        self._events: list[AnyEvent] = []
        self._calls: list[Call | Retry | Ended] = []
        self._timers: list[Timer] = []
        self._moved = False

    @classmethod
    def after(cls, policy: Policy, state: Attempts, decision: Decision, cause: Cause) -> Draft:
        """A draft that continues a decision about the charge."""
        (attempt,) = decision.changes
        assert isinstance(attempt, Attempt), "a decision about a charge"
        draft = cls(policy, state, attempt, cause)
        draft._events, draft._calls, draft._timers = [*decision.events], [*decision.calls], [*decision.timers]
        draft._moved = True
        return draft

    def declared(self, kind: AnyKind) -> Declared:
        return self.policy.psps[self.attempt.psp][kind]

    def money(self, minor: int) -> Money:
        return Money(minor, self.attempt.placed.gross.currency)

    def share(self, gross: int, fee: int) -> Share:
        return Share(self.money(gross), self.money(fee), self.money(gross - fee))

    def put(self, changed: Operation | Dispute) -> None:
        """Change or add an operation or dispute."""
        if isinstance(changed, Operation):
            self.operations[changed.key] = changed
        else:
            self.disputes[changed.key] = changed
        self._changes[changed.key] = changed

    def move(self, state: AttemptState, **changes: object) -> None:
        """Change the charge's state."""
        self.attempt = self.attempt.evolve(self.cause.now, state=state, **changes)
        self._moved = True

    def publish(self, kind: type[E], **facts: Any) -> int:
        """Publish an event with the order's terms, some replaced by the facts. → its place in the decision."""
        self._events.append(kind(**{**self.attempt.placed.terms(), **facts}))
        return len(self._events) - 1

    def call(self, id_: str, kind: CallKind, request: dict[str, object], **facts: Any) -> None:
        psp, deadline = self.attempt.psp, facts.pop("deadline", self.cause.now)
        self._calls.append(Call(id_, self.attempt.key, kind, psp, orjson.dumps(request), deadline, **facts))

    def ask(self, check_id: str, question: dict[str, object]) -> None:
        self.call(check_id, "check", question, act="ask")

    def retry(self, retry: Retry) -> None:
        self._calls.append(retry)

    def end(self, call_id: str, outcome: str) -> None:
        self._calls.append(Ended(call_id, outcome))

    def set_timer(self, timer: Timer) -> None:
        self._timers.append(timer)

    def decision(self) -> Decision:
        """The decision. It changes the attempt if it changes anything: the attempt's row locks its operations and disputes."""
        if not (self._changes or self._moved or self._events or self._calls or self._timers):
            return Decision()
        rows = self._rows + len(self._changes.keys() - self._known)
        if rows != self.attempt.operations or not self._moved:
            self.attempt = self.attempt.evolve(self.cause.now, operations=rows)
        changes = (self.attempt, *self._changes.values())
        return Decision(changes, tuple(self._events), tuple(self._calls), self.attempt.revision, tuple(self._timers))
