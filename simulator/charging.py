"""A request for a charge or operation → a row in the books, or none, and the fault of its answer."""

from __future__ import annotations

import random
from dataclasses import dataclass

from simulator.clock import Clock
from simulator.faults import Failure, Faults, Op
from simulator.hosted import HostedPages
from simulator.memory import Charge, ChargeRequest, Memory
from simulator.operations import Operation, OperationBooks, OperationRequest, Plan
from simulator.plans import Plans
from simulator.tokens import (
    ANSWER_LOST,
    BUYERS_CHOICE,
    OPERATION_DECLINED,
    OPERATION_PENDING_S,
    PENDING_S,
    UNCHARGED,
    Card,
    Ending,
    Fault,
    read_token,
)
from simulator.webhooks import WebhookSender
from simulator.wire import Problem, Refused

SETTLING_S = 2.0
KEY_LIFE_S = 24 * 3600
AUTHORISED_S = 7 * 24 * 3600
ELSEWHERE = "do_not_honor"
HIDDEN_S_MAX = 1.0
"""A charge whose answer was lost shows up in look-ups this late at most: well within the settling time."""


@dataclass(frozen=True, slots=True)
class Charged:
    """`charge` is None if nothing was done; `fault` is how the answer fails, if it does."""

    charge: Charge | None
    replayed: bool
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class Operated:
    """`operation` is None if nothing was done; `fault` is how the answer fails, if it does."""

    operation: Operation | None
    replayed: bool
    fault: Fault | None


class Charging:
    """The PSPs' processing: nothing is done twice under a key that the PSP still knows."""

    def __init__(
        self,
        memory: Memory,
        operations: OperationBooks,
        clock: Clock,
        rng: random.Random,
        webhooks: WebhookSender,
        plans: Plans,
        pages: HostedPages,
        pages_url: str,
    ) -> None:
        self._memory = memory
        self._operations = operations
        self._plans = plans
        self._clock = clock
        self._rng = rng
        self._webhooks = webhooks
        self._pages = pages
        self._pages_url = pages_url

    async def charge(self, psp: str, asked: ChargeRequest, faults: Faults) -> Charged:
        """Errors: Refused(KEY_CONFLICT) if the key belongs to another charge."""
        card = BUYERS_CHOICE if asked.return_url else read_token(asked.token)
        fault = await self._fault(psp, asked, card, faults)
        if fault in UNCHARGED:
            return Charged(None, replayed=False, fault=fault)
        kept = await self._memory.charge(
            psp,
            asked,
            scheme=card.scheme,
            decline_code=ELSEWHERE if card.only_at not in (None, psp) else card.decline_code,
            now_us=self._clock.now_us(),
            key_life_us=KEY_LIFE_S * 1_000_000,
            hidden_us=self._hidden_us(fault),
            decided_us=int(PENDING_S[card.pending] * 1_000_000) if card.pending else 0,
            authorised_us=AUTHORISED_S * 1_000_000,
            pages_url=f"{self._pages_url}/{psp}/pay",
        )
        if not kept.charge.answers(asked):
            raise Refused(Problem.KEY_CONFLICT, "this idempotency key was used for another charge")
        if not kept.replayed and (card.pending is not None or self._is_told("charge", fault, faults)):
            self._webhooks.tell(kept.charge)
        if kept.charge.page_url and not kept.replayed:
            self._pages.expect(kept.charge)
        return Charged(kept.charge, kept.replayed, fault)

    async def operate(self, psp: str, asked: OperationRequest, faults: Faults) -> Operated:
        """Errors: Refused KEY_CONFLICT if the key belongs to another operation; those of OperationBooks.operate."""
        failure = await self._failure(asked.kind, asked, faults)
        fault = failure if isinstance(failure, Fault) else None
        if fault in UNCHARGED:
            return Operated(None, replayed=False, fault=fault)
        plan = self._plan(failure)
        kept = await self._operations.operate(psp, asked, plan, self._clock.now_us(), KEY_LIFE_S * 1_000_000)
        if not kept.operation.answers(asked):
            raise Refused(Problem.KEY_CONFLICT, f"this idempotency key was used for another {asked.kind}")
        if not kept.replayed and (kept.operation.decided_at or self._is_told(asked.kind, fault, faults)):
            self._webhooks.tell(kept.operation)
        return Operated(kept.operation, kept.replayed, fault)

    def _plan(self, failure: Failure | None) -> Plan:
        match failure:
            case Ending.DECLINED:
                return Plan(decline_code=OPERATION_DECLINED)
            case Ending.PENDING:
                return Plan(decided_us=int(OPERATION_PENDING_S * 1_000_000))
            case Ending.PENDING_DECLINED:
                return Plan(OPERATION_DECLINED, int(OPERATION_PENDING_S * 1_000_000))
        return Plan(hidden_us=self._hidden_us(failure if isinstance(failure, Fault) else None))

    def _is_told(self, op: Op, fault: Fault | None, faults: Faults) -> bool:
        """Whether a webhook is sent: always if the caller gets no answer, else for the share that is set."""
        share = faults.of(op).told
        return fault in ANSWER_LOST or (share > 0 and self._rng.random() < share)

    async def _fault(self, psp: str, asked: ChargeRequest, card: Card, faults: Faults) -> Fault | None:
        if card.first_try and await self._memory.first_try(psp, asked.key):
            return card.first_try
        failure = await self._failure("charge", asked, faults)
        assert failure is None or isinstance(failure, Fault), "the end of a charge follows from its card"
        return failure

    async def _failure(self, op: Op, asked: ChargeRequest | OperationRequest, faults: Faults) -> Failure | None:
        return await self._plans.take(op, asked.reference, asked.order_id) or faults.of(op).draw(self._rng)

    def _hidden_us(self, fault: Fault | None) -> int:
        return int(self._rng.uniform(0, HIDDEN_S_MAX) * 1_000_000) if fault in ANSWER_LOST else 0
