"""Control API settings → which charges go wrong, by rate, and whether a PSP answers at all."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from simulator.tokens import Fault

LATENCY_MS_MAX = 60_000


class FaultsError(Exception):
    """The faults asked for make no sense; the message says which."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates are shares of charges (0 to 1, their sum at most 1); `down` answers 503 to everything."""

    rates: Mapping[Fault, float] = field(default_factory=dict)
    down: bool = False
    latency_ms: float = 0.0
    told: float = 0.0  # share of the answered charges of which webhooks tell besides

    def draw(self, rng: random.Random) -> Fault | None:
        """The fault of one charge, or none."""
        if not self.rates:
            return None
        point = rng.random()
        for fault, rate in self.rates.items():
            point -= rate
            if point < 0:
                return fault
        return None

    def with_changes(self, changes: Mapping[str, object]) -> Faults:
        """These faults with the named fields replaced; `clear` first drops all but `down`."""
        changed = replace(self, rates={}, latency_ms=0.0, told=0.0) if changes.get("clear") is True else self
        for name, value in changes.items():
            changed = changed._with(name, value)
        if sum(changed.rates.values()) > 1 + 1e-9:
            raise FaultsError("the rates of one PSP add up to more than 1")
        return changed

    def _with(self, name: str, value: object) -> Faults:
        match name:
            case "clear":
                return self
            case "down":
                if not isinstance(value, bool):
                    raise FaultsError("down: must be true or false")
                return replace(self, down=value)
            case "latency_ms":
                return replace(self, latency_ms=_number(name, value, LATENCY_MS_MAX))
            case "told":
                return replace(self, told=_number(name, value, 1))
            case _:
                return self._with_rate(name, value)

    def _with_rate(self, name: str, value: object) -> Faults:
        try:
            fault = Fault(name)
        except ValueError:
            raise FaultsError(f"{name}: no such fault") from None
        rates = {kept: rate for kept, rate in self.rates.items() if kept is not fault}
        rate = _number(name, value, 1)
        return replace(self, rates={**rates, fault: rate} if rate else rates)

    def to_json(self) -> dict[str, object]:
        rates = {fault.value: self.rates.get(fault, 0.0) for fault in Fault}
        return {**rates, "down": self.down, "latency_ms": self.latency_ms, "told": self.told}


def _number(name: str, value: object, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        raise FaultsError(f"{name}: must be a number from 0 to {highest:g}")
    return float(value)
