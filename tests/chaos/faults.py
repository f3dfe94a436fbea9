"""A seed → faults one after another: what is killed, put to sleep, cut off, made read-only, and when the clock jumps."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product

WAYS = ("kafka", "postgres", "psp")
SERVERS = ("kafka", "postgres", "simulator")
READ_ONLY_S = (0.5, 8.0)
WEATHER_S = {"slow": (1.0, 3.0), "cut": (0, 0), "half-closed": (0, 0), "silent": (0.5, 4.0), "gone": (0.5, 4.0)}
WEATHER_S["silent, then cut"] = WEATHER_S["silent"]
PAUSE_S = (0.5, 20.0)  # past a member's session, and past a call's lease of 15 s
FORWARD_S, BACK_S = (1.0, 300.0), (1.0, 60.0)


@dataclass(frozen=True)
class Fault:
    """One of them. `seconds` is how long it lasts; for the clock, how far it jumps."""

    kind: str  # kill | pause | clock | read-only | a weather
    target: str  # a process, a way to a server, forward or back
    seconds: float = 0

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.target}"


def without_end(chance: random.Random, processes: Sequence[str]) -> Iterator[Fault]:
    """Each that there is, in an order drawn by lot, and so on, for ever."""
    sleepers = [name for name in processes if name not in SERVERS]
    while True:
        kinds = chain(
            product(["kill"], processes),
            product(["pause"], chance.sample(sleepers, 3)),
            product(WEATHER_S, WAYS),
            [("clock", "forward"), ("clock", "back"), ("read-only", "postgres")],
        )
        drawn = list(kinds)
        chance.shuffle(drawn)
        for kind, target in drawn:
            yield Fault(kind, target, _length(chance, kind, target))


def _length(chance: random.Random, kind: str, target: str) -> float:
    if kind == "clock":
        return chance.uniform(*(FORWARD_S if target == "forward" else BACK_S))
    lasting = {"pause": PAUSE_S, "read-only": READ_ONLY_S, **WEATHER_S}
    return chance.uniform(*lasting.get(kind, (0, 0)))
