"""The two ways in which work can fail. Not among them: a refusal (declined, blocked), which is an event, and a call outside
whose outcome is unknown, which is a reply (psp.port).
"""

from __future__ import annotations


class TallyError(Exception):
    """A failure with a stable code, which is metric label and dead-letter header."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class Transient(TallyError):
    """It may work later: the message is parked and tried again by the ladder."""


class Permanent(TallyError):
    """It will never work: the message becomes a dead letter. What an outsider got wrong is not `ours`: it stops no room."""

    def __init__(self, code: str, detail: str = "", *, ours: bool = True) -> None:
        super().__init__(code, detail)
        self.ours = ours
