"""Named points in the code at which a test kills or pauses this process. Free when off.

`TALLY_FAILPOINTS="after_commit=kill:3,after_publish=stop:1"`: the process gets SIGKILL when it passes `after_commit` the
third time, SIGSTOP when it passes `after_publish` the first time.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

# All names, in the order in which a message passes them; a test fails if one is never hit.
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
    "bank_file.closed",
    "bank_file.delivering",
    "bank_file.renamed",
    "bank_file.delivered",
    "file.after_spool",
    "file.after_gated",
    "file.between_chunks",
    "file.before_end",
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


_plan = _read(os.environ.get("TALLY_FAILPOINTS", ""))  # the only environment variable that is not read by the settings
_passed: dict[str, int] = {}


def hit(name: str) -> None:
    """Kill or pause this process if a test asked for that here. The calling thread passes no further: a signal to the process
    may be taken by another thread, while this one goes on for a moment.
    """
    if not _plan:
        return
    _passed[name] = _passed.get(name, 0) + 1
    todo = _plan.get(name)
    if todo and todo[1] == _passed[name]:
        signal.pthread_kill(threading.get_ident(), todo[0])
