"""The stores, topics, PSPs and waiting times of one audit."""

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
    pauses_s: tuple[float, ...] = (0.3, 0.7, 1.5, 3.0, 5.0)  # between looks at suspects
    again_s: float = 3.0  # before the second look at unfinished work past its limit
    latest_s: float = 20.0  # for a balance to be published: the lease of a dead publisher ends after 10
    still_s: float = 25.0  # for a room to read on: the partitions of a dead process are taken over after 6


@dataclass(frozen=True, slots=True)
class Run:
    settings: Settings
    stores: Stores
    reading: Reader
    psps: Mapping[str, Psp]
    tell: Progress
    clock: Clock
    patience: Patience
