"""The Authorization header of a request → the owner and scopes of its API key."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

from producers.keys import hash_of
from producers.problems import Problem
from producers.reading import Reader

_KEY = re.compile(rb"(?i:bearer) +(tally_[a-z0-9]{8}_[A-Za-z0-9_-]{43})\Z")

FRESH_S = 0.5  # for so long a revoked key may still be accepted
KNOWN_MAX = 10_000  # unknown keys are cached too, so the cache is bounded

_CHALLENGE = ((b"www-authenticate", b'Bearer realm="tallystick"'),)


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner and scopes of an API key."""

    owner: str
    scopes: frozenset[str]
    key_id: str = ""

    @property
    def by(self) -> str:
        """As histories name who did something."""
        return f"{self.owner} (key {self.key_id})"


class KeyRing:
    """A cache of API keys: Authorization header → caller. A key is looked up again after FRESH_S."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[bytes, tuple[float, Caller | None]] = {}
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def caller(self, authorization: bytes, scope: str) -> Caller:
        """Errors: Problem `unauthorised`, `forbidden`, `unavailable`."""
        found = self._known.get(authorization)
        if found is None or found[0] < time.monotonic():
            caller = await self._ask(authorization)
        else:
            caller = found[1]
        if caller is None:
            raise Problem("unauthorised", headers=_CHALLENGE)
        if scope not in caller.scopes:
            raise Problem("forbidden", f"The API key lacks the scope {scope}.")
        return caller

    async def _ask(self, authorization: bytes) -> Caller | None:
        """Look a key up; concurrent requests with the same key share one look-up."""
        if not _KEY.match(authorization):
            return None
        task = self._asking.get(authorization)
        if task is None:
            task = asyncio.create_task(self._look_up(authorization))
            self._asking[authorization] = task
            task.add_done_callback(lambda _: self._asking.pop(authorization, None))
        return await asyncio.shield(task)

    async def _look_up(self, authorization: bytes) -> Caller | None:
        match = _KEY.match(authorization)
        assert match is not None
        rows = await self._reader.rows(
            "SELECT owner, scopes, key_id FROM api_keys WHERE key_hash = %s AND revoked_at IS NULL", [hash_of(match[1])]
        )
        caller = Caller(rows[0]["owner"], frozenset(rows[0]["scopes"]), rows[0]["key_id"]) if rows else None
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[authorization] = (time.monotonic() + FRESH_S, caller)
        return caller
