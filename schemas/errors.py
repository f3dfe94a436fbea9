"""The two kinds of failure. A refusal (declined, blocked) is an event and no failure; an unknown outcome of a call is a reply
(psp.port).
"""

from __future__ import annotations


class TallyError(Exception):
    """A failure with a stable code: the metric's label and the dead letter's header."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class Transient(TallyError):
    """A failure that may pass: the message is parked and retried by the ladder."""


class Permanent(TallyError):
    """A failure that stays: the message becomes a dead letter. A mistake of an outsider is not `ours`, and stops no room."""

    def __init__(self, code: str, detail: str = "", *, ours: bool = True) -> None:
        super().__init__(code, detail)
        self.ours = ours
