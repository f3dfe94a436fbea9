"""A charge that was asked for → a row in the books, or none, and the fault that its answer will meet."""

from __future__ import annotations

import random
from dataclasses import dataclass

from simulator.clock import Clock
from simulator.faults import Faults
from simulator.memory import Asked, Charge, Memory
from simulator.telling import Teller
from simulator.tokens import ANSWER_LOST, PENDING_S, UNCHARGED, Card, Fault, read_token
from simulator.wire import Problem, Refused

SETTLING_S = 2.0
KEY_LIFE_S = 24 * 3600
ELSEWHERE = "do_not_honor"
HIDDEN_S_MAX = 1.0
"""A charge whose answer was lost shows up in look-ups this late at most: well within the settling time."""


@dataclass(frozen=True, slots=True)
class Charged:
    """`charge` is None where nothing was done; `fault` is how the answer goes wrong, if it does."""

    charge: Charge | None
    replayed: bool
    fault: Fault | None


class Charging:
    """The PSPs behind the wire: they never charge twice under a key that they still know."""

    def __init__(self, memory: Memory, clock: Clock, rng: random.Random, teller: Teller) -> None:
        self._memory = memory
        self._clock = clock
        self._rng = rng
        self._teller = teller

    async def charge(self, psp: str, asked: Asked, faults: Faults) -> Charged:
        """Errors: Refused(KEY_CONFLICT) where the key stands for another charge."""
        card = read_token(asked.token)
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
        )
        if not kept.charge.answers(asked):
            raise Refused(Problem.KEY_CONFLICT, "this idempotency key was used for another charge")
        if not kept.replayed and self._is_told(card, fault, faults):
            self._teller.tell(kept.charge)
        return Charged(kept.charge, kept.replayed, fault)

    def _is_told(self, card: Card, fault: Fault | None, faults: Faults) -> bool:
        """Always where the caller has no final answer; else by the share that was asked for."""
        if card.pending is not None or fault in ANSWER_LOST:
            return True
        return faults.told > 0 and self._rng.random() < faults.told

    async def _fault(self, psp: str, asked: Asked, card: Card, faults: Faults) -> Fault | None:
        if card.first_try and await self._memory.first_try(psp, asked.key):
            return card.first_try
        return faults.draw(self._rng)

    def _hidden_us(self, fault: Fault | None) -> int:
        return int(self._rng.uniform(0, HIDDEN_S_MAX) * 1_000_000) if fault in ANSWER_LOST else 0
