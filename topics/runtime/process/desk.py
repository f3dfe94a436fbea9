"""How a batch is applied, whatever brought it."""

from __future__ import annotations

GATHER_S_MAX = 0.2


def gather_s(took_s: float) -> float:
    """How long what comes next may come together, since the last batch ended: half as long as that took. Fewer transactions,
    less of their fixed cost.

    Twice as long did nothing for the throughput, and fed itself: a slow batch made the next one wait, and be large.
    """
    return min(took_s / 2, GATHER_S_MAX)
