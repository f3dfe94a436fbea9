"""API keys: created, listed and revoked by operators. `producers/key_ring.py` checks the keys of requests."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg

from schemas.ids import NEW_ID, is_new_id
from topics.runtime.shape.postgres import connect
from topics.settings import Settings

SCOPES = (
    "payments:write",
    "payments:read",
    "sellers:read",
    "sellers:write",
    "wallets:read",
    "ledger:read",
    "reports:read",
    "disputes:read",
    "payouts:read",
    "payouts:write",
    "webhooks:read",
    "webhooks:write",
    "ops:read",
    "ops:act",
    "risk:review",
    "payouts:approve",
    "calls:resolve",
    "recon:read",
    "recon:write",
    "recon:act",
)
# Who decides asks for nothing: such a key holds nothing that writes.
APART = frozenset({"risk:review", "payouts:approve", "calls:resolve", "recon:act"})
# Of the key that `tally up` makes: a newcomer is upstream service and operator in one.
DEMO_SCOPES = tuple(scope for scope in SCOPES if scope not in APART)
# What looks at the whole house, or acts on it, is for operators and finance: whoever makes a key names it.
OF_THE_HOUSE = frozenset({"ops:read", "ops:act", "ledger:read", "recon:read", "recon:write"})
UPSTREAM_SCOPES = tuple(scope for scope in DEMO_SCOPES if scope not in OF_THE_HOUSE)  # where nobody names any


class KeyRefused(ValueError):
    """Why a key cannot be created or revoked."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as operators see it, without its secret."""

    key_id: str
    owner: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


def create_key(settings: Settings, owner: str, scopes: Iterable[str]) -> str:
    """Create a key for this owner. → the key, which is shown this once: only its hash is stored. Errors: KeyRefused."""
    wanted = sorted(set(scopes))
    unknown = set(wanted) - set(SCOPES)
    if unknown:
        raise KeyRefused(f"unknown scope {min(unknown)!r}; there are {', '.join(SCOPES)}")
    writing = [scope for scope in wanted if scope.endswith(":write")]
    if writing and (apart := APART.intersection(wanted)):
        raise KeyRefused(f"a key with {min(apart)} cannot have {writing[0]} too: who decides does not ask")
    if not wanted:
        raise KeyRefused("a key needs at least one scope")
    if not is_new_id(owner):
        raise KeyRefused(f"an owner is {NEW_ID}")
    key_id = secrets.token_hex(4)
    key = f"tally_{key_id}_{secrets.token_urlsafe(32)}"
    with _connect(settings) as conn:
        conn.execute(
            "INSERT INTO api_keys (key_id, key_hash, owner, scopes) VALUES (%s, %s, %s, %s)",
            [key_id, hash_of(key.encode()), owner, wanted],
        )
    return key


def list_keys(settings: Settings) -> list[Key]:
    """All keys, revoked ones included, oldest first."""
    with _connect(settings) as conn:
        rows = conn.execute(
            "SELECT key_id, owner, scopes, created_at, revoked_at FROM api_keys ORDER BY created_at, key_id"
        )
        return [Key(key_id, owner, tuple(scopes), made, revoked) for key_id, owner, scopes, made, revoked in rows]


def revoke_key(settings: Settings, key_id: str) -> Key:
    """Revoke a key: all API processes refuse it within a second. Errors: KeyRefused."""
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


def hash_of(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
