"""A PSP's signature over timestamp and raw body → whether it was made with an active secret. Nothing here raises."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOLERANCE_S = 300


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature headers of a webhook. While secrets are rotated a PSP may sign with each: one valid MAC is enough."""

    timestamp: int  # seconds since 1970, by the PSP's clock
    macs: tuple[bytes, ...]


def mac(secret: str, timestamp: int, body: bytes) -> bytes:
    """HMAC-SHA256 over the timestamp in decimal, a full stop and the raw body."""
    return hmac.new(secret.encode(), b"%d.%b" % (timestamp, body), hashlib.sha256).digest()


def genuine(secrets: Sequence[str], signature: Signature | None, body: bytes, now_s: float) -> bool:
    """Whether the timestamp is near ours and a MAC was made with one of `secrets`. False without secrets."""
    if signature is None or abs(now_s - signature.timestamp) > TOLERANCE_S:
        return False
    ours = [mac(secret, signature.timestamp, body) for secret in secrets]
    return any(hmac.compare_digest(mine, theirs) for mine in ours for theirs in signature.macs)


def seconds(text: str | None) -> int | None:
    """A timestamp as PSPs write it: decimal digits only."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 12 else None


def hex_macs(parts: Iterable[str]) -> tuple[bytes, ...]:
    """The parts that are hexadecimal numbers; others are ignored."""
    found = []
    for part in parts:
        try:
            found.append(bytes.fromhex(part))
        except ValueError:
            continue
    return tuple(found)
