"""Findings of what is stuck in a room → gauges, and a log line for each new finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog
from prometheus_client import Gauge

from topics.runtime.shape.stuck import Stuck

log = structlog.get_logger()

LOGGED_MAX = 20  # new findings of one look

_LABELS = ("room", "psp", "state")
NUMBER = Gauge("tally_stuck", "What is past its limit (of one kind the oldest 2,000)", _LABELS)
OLDEST_S = Gauge("tally_stuck_oldest_seconds", "Age of the oldest of them", _LABELS)
MINOR = Gauge("tally_stuck_minor_units", "Their amounts, in minor units", (*_LABELS, "currency"))


class StuckWatch:
    """Gauges and log lines for one room."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._labels: set[tuple[str, ...]] = set()

    def look(self, found: Sequence[Stuck]) -> None:
        fresh = [one for one in found if (one.id, one.state) not in self._known]
        for one in fresh[:LOGGED_MAX]:
            facts = {"room": one.room, "id": one.id, "psp": one.psp, "state": one.state, "age_s": one.age_s}
            log.warning("stuck", action="alert", **facts, amounts=[str(each) for each in one.amounts], next=one.next)
        if len(fresh) > LOGGED_MAX:
            log.warning("more are stuck", action="alert", room=fresh[0].room, number=len(fresh) - LOGGED_MAX)
        self._known = {(one.id, one.state) for one in found}
        self._measure(found)

    def _measure(self, found: Sequence[Stuck]) -> None:
        numbers: Counter[tuple[str, ...]] = Counter()
        minor: Counter[tuple[str, ...]] = Counter()
        oldest: dict[tuple[str, ...], int] = {}
        for one in found:
            labels = (one.room, one.psp or "", one.state)
            numbers[labels] += 1
            oldest[labels] = max(one.age_s, oldest.get(labels, 0))
            for amount in one.amounts:
                minor[*labels, amount.currency] += amount.minor
        self._labels |= {*numbers, *minor}  # labels without findings go to 0
        for known in self._labels:
            if len(known) > len(_LABELS):
                MINOR.labels(*known).set(minor[known])
            else:
                NUMBER.labels(*known).set(numbers[known])
                OLDEST_S.labels(*known).set(oldest.get(known, 0))
