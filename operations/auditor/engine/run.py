"""What one audit goes by: the stores, the topics, the PSPs, and how long it waits for what is on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from operations.auditor.engine.records import Reader
from operations.auditor.engine.stores import Stores
from psp.port import Psp
from topics.runtime.shape.clock import Clock
from topics.settings import Settings

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Patience:
    pauses_s: tuple[float, ...] = (0.3, 0.7, 1.5, 3.0, 5.0)  # between the looks at what looks wrong
    again_s: float = 3.0  # before the second look at what is past its limit
    latest_s: float = 20.0  # for a balance to be said: a lease of a publisher that died ends after 10
    still_s: float = 25.0  # for a room to read on: a partition of one that died is taken over after 6


@dataclass(frozen=True, slots=True)
class Run:
    settings: Settings
    stores: Stores
    reading: Reader
    psps: Mapping[str, Psp]
    tell: Progress
    clock: Clock
    patience: Patience
