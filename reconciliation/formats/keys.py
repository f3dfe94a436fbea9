"""References and rows → the names under which lines meet what we expect, and count once.

key: `ours(reference)` where the source carries our call id, else `theirs(psp, reference)`; NO_KEY where there is none.
digest: `digest(source, natural id)` where the format has one; else `Occurrences` of the row's normalised text.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from reconciliation.formats.seen import SeenNumbers
from reconciliation.formats.shape import NO_KEY
from schemas.settlement_keys import joined, named, paid_out

__all__ = ["Occurrences", "calls_in", "digest", "named", "ours", "paid_out", "theirs"]

_CALL_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_CALL_IDS = re.compile(r"(?<![0-9a-z])[0-9a-f]{32}(?![0-9a-z])")


def ours(reference: str) -> str | None:
    """The reference if it is a call id of ours (32 hex digits in lower case)."""
    return reference if len(reference) == 32 and _CALL_ID(reference) and reference != NO_KEY else None


def calls_in(text: str) -> tuple[str, ...]:
    """The call id of ours that free text names, in whatever case; none where it names two."""
    found = {*filter(ours, _CALL_IDS.findall(text.lower()))}
    return tuple(found) if len(found) == 1 else ()


def theirs(psp: str, reference: str) -> str:
    """The key of what a PSP calls `reference`; NO_KEY for an empty one."""
    return named(psp, reference) if reference else NO_KEY


def digest(*parts: str) -> int:
    """64 bits of the parts, signed: of the source's name and what names the row there."""
    return int.from_bytes(blake2b(joined(parts), digest_size=8).digest(), "big", signed=True)


class Occurrences:
    """Digests of rows that nothing names: of the normalised text, and of how often it came before within its settlement.

    Two equal rows are two lines, and the same two wherever they come again. The text must name source and settlement.
    """

    def __init__(self) -> None:
        self._seen = SeenNumbers()
        self._again: dict[int, int] = {}  # of those that came more than once: how often before

    def digest(self, text: str) -> int:
        found = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
        if self._seen.add(found):
            return found
        before = self._again[found] = self._again.get(found, 0) + 1
        return digest(text, str(before))

    def is_new(self, value: int) -> bool:
        """Whether this digest was not here before."""
        return self._seen.add(value)
