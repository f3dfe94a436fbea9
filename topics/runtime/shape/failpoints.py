"""Named places at which a test may kill, pause or fail this process. Free when off.

`TALLY_FAILPOINTS="after_commit=kill:3,after_publish=stop:1"`: at the third passing of `after_commit` the process gets
SIGKILL, at the first of `after_publish` SIGSTOP.
"""

from __future__ import annotations

import os
import signal
from typing import Final

# Every name, in the order in which a message meets them; a test lists them and fails if one is never hit.
NAMES: Final = (
    "after_poll",
    "after_positions",
    "after_claim",
    "after_parked",
    "after_load",
    "after_decide",
    "after_save",
    "after_outbox",
    "before_commit",
    "after_commit",
    "before_publish",
    "after_publish",
    "before_offsets",
    "after_offsets",
    "call.before_send",
    "call.after_reply",
    "call.after_record",
    "call.after_apply",
)

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def _read(text: str) -> dict[str, tuple[signal.Signals, int]]:
    plan = {}
    for part in filter(None, text.split(",")):
        name, _, action = part.partition("=")
        kind, _, nth = action.partition(":")
        if name not in NAMES or kind not in _SIGNALS:
            raise ValueError(f"TALLY_FAILPOINTS: {part!r} is not <name>=kill|stop[:<nth>]")
        plan[name] = (_SIGNALS[kind], int(nth or 1))
    return plan


_plan = _read(os.environ.get("TALLY_FAILPOINTS", ""))  # read once: the one place besides settings that does
_passed: dict[str, int] = {}


def hit(name: str) -> None:
    """Pass a named place."""
    if not _plan:
        return
    _passed[name] = _passed.get(name, 0) + 1
    todo = _plan.get(name)
    if todo and todo[1] == _passed[name]:
        os.kill(os.getpid(), todo[0])
