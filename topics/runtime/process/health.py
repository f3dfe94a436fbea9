"""The state of a room in this process: for `tally status`, readiness and the metrics."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson

from topics.runtime.process.metrics import STATE

State = Literal["starting", "running", "paused", "stopped", "gone"]
MEASURED: dict[State, int] = {"running": 1, "starting": 0, "paused": 0, "stopped": -1, "gone": -1}


@dataclass(slots=True)
class Health:
    """Written by the room's thread, read by the process's reporter."""

    room: str
    state: State = "starting"
    reason: str = ""
    since: float = field(default_factory=time.time)
    notes: list[str] = field(default_factory=list)  # warnings to an operator, while the room goes on

    def __post_init__(self) -> None:
        STATE.labels(self.room).set(MEASURED[self.state])

    def running(self) -> None:
        self._set("running", "")

    def paused(self, what: str, why: str) -> None:
        self._set("paused", f"{what}: {why}")

    def stopped(self, code: str, why: str) -> None:
        self._set("stopped", f"{code}: {why}")

    def gone(self) -> None:
        self._set("gone", "")

    def _set(self, state: State, reason: str) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason, self.since = state, reason, time.time()
            STATE.labels(self.room).set(MEASURED[state])


LOOPBACK, ANYWHERE = "127.0.0.1", ("0.0.0.0", "::", "")
RANK = {"gone": 0, "starting": 1, "stopped": 2, "paused": 3, "running": 4}


def write_report(folder: Path, name: str, healths: list[Health], metrics_port: int, host: str = LOOPBACK) -> None:
    """`<home>/run/<name>-<pid>.json`, replaced as a whole: the worst state of the process's rooms, with its reason."""
    worst = min(healths, key=lambda health: RANK[health.state])
    report = {
        "pid": os.getpid(),
        "rooms": [health.room for health in healths],
        "state": worst.state,
        "reason": f"{worst.room}: {worst.reason}" if worst.reason else "",
        "since": worst.since,
        "metrics_host": LOOPBACK if host in ANYWHERE else host,  # the address on this machine
        "notes": sorted({note for health in healths for note in health.notes}),
        "metrics_port": metrics_port,
    }
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{os.getpid()}.json"
    temporary = target.with_suffix(".tmp")
    temporary.write_bytes(orjson.dumps(report))
    temporary.replace(target)
