"""API keys: made, listed, revoked; and a ring that knows who holds the key of a request."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg

from producers.problems import Problem
from producers.reading import Reader
from schemas.ids import NEW_ID, is_new_id
from topics.runtime.shape.postgres import connect
from topics.settings import Settings

SCOPES = (
    "payments:write",
    "payments:read",
    "wallets:read",
    "ledger:read",
    "reports:read",
    "webhooks:read",
    "webhooks:write",
    "ops:read",
    "ops:act",
)
_KEY = re.compile(rb"(?i:bearer) +(tally_[a-z0-9]{8}_[A-Za-z0-9_-]{43})\Z")

FRESH_S = 0.5  # how long a revoked key may still be believed
KNOWN_MAX = 10_000  # unknown keys are remembered too, so the ring is bounded

_CHALLENGE = ((b"www-authenticate", b'Bearer realm="tallystick"'),)


class KeyRefused(ValueError):
    """Why a key cannot be made or revoked."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what they may."""

    owner: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Key:
    """A key as operators see it: without its secret."""

    key_id: str
    owner: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


# ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────────


def create_key(settings: Settings, owner: str, scopes: Iterable[str]) -> str:
    """A new key for this owner. It is shown once: only its hash is stored. Errors: KeyRefused."""
    wanted = sorted(set(scopes))
    unknown = set(wanted) - set(SCOPES)
    if unknown:
        raise KeyRefused(f"unknown scope {min(unknown)!r}; there are {', '.join(SCOPES)}")
    if not wanted:
        raise KeyRefused("a key needs at least one scope")
    if not is_new_id(owner):
        raise KeyRefused(f"an owner is {NEW_ID}")
    key_id = secrets.token_hex(4)
    key = f"tally_{key_id}_{secrets.token_urlsafe(32)}"
    with _connect(settings) as conn:
        conn.execute(
            "INSERT INTO api_keys (key_id, key_hash, owner, scopes) VALUES (%s, %s, %s, %s)",
            [key_id, _hash(key.encode()), owner, wanted],
        )
    return key


def list_keys(settings: Settings) -> list[Key]:
    """Every key there ever was, the oldest first."""
    with _connect(settings) as conn:
        rows = conn.execute(
            "SELECT key_id, owner, scopes, created_at, revoked_at FROM api_keys ORDER BY created_at, key_id"
        )
        return [Key(key_id, owner, tuple(scopes), made, revoked) for key_id, owner, scopes, made, revoked in rows]


def revoke_key(settings: Settings, key_id: str) -> Key:
    """From now on (every API process within a second) the key opens nothing. Errors: KeyRefused."""
    with _connect(settings) as conn:
        row = conn.execute(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = %s"
            " RETURNING key_id, owner, scopes, created_at, revoked_at",
            [key_id],
        ).fetchone()
    if row is None:
        raise KeyRefused(f"there is no key {key_id!r}")
    return Key(row[0], row[1], tuple(row[2]), row[3], row[4])


def _connect(settings: Settings) -> psycopg.Connection:
    return connect(settings.dsn("tally_doors"), name="tally keys", schema="doors")


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class KeyRing:
    """Authorization header → caller. Each key is looked up again when what is known of it is half a second old."""

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
        """One look-up at a time for a key, however many requests bring it."""
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
            "SELECT owner, scopes FROM api_keys WHERE key_hash = %s AND revoked_at IS NULL", [_hash(match[1])]
        )
        caller = Caller(rows[0]["owner"], frozenset(rows[0]["scopes"])) if rows else None
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[authorization] = (time.monotonic() + FRESH_S, caller)
        return caller
