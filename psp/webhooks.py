"""A PSP's signature over timestamp and raw body → whether one of its active secrets made it. Nothing here raises."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOLERANCE_S = 300


@dataclass(frozen=True, slots=True)
class Signature:
    """What came beside a body. While secrets are rotated a PSP may sign with each: one that holds is enough."""

    timestamp: int  # seconds since 1970, by the PSP's clock
    macs: tuple[bytes, ...]


def mac(secret: str, timestamp: int, body: bytes) -> bytes:
    """HMAC-SHA256 over the timestamp in decimal, a full stop and the raw body."""
    return hmac.new(secret.encode(), b"%d.%b" % (timestamp, body), hashlib.sha256).digest()


def genuine(secrets: Sequence[str], signature: Signature | None, body: bytes, now_s: float) -> bool:
    """Whether it is recent, on either side, and signed with a secret of ours. No secret: never."""
    if signature is None or abs(now_s - signature.timestamp) > TOLERANCE_S:
        return False
    ours = [mac(secret, signature.timestamp, body) for secret in secrets]
    return any(hmac.compare_digest(mine, theirs) for mine in ours for theirs in signature.macs)


def seconds(text: str | None) -> int | None:
    """A timestamp as PSPs write it: decimal digits only."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 12 else None


def hex_macs(parts: Iterable[str]) -> tuple[bytes, ...]:
    """What is no hexadecimal number is passed over."""
    found = []
    for part in parts:
        try:
            found.append(bytes.fromhex(part))
        except ValueError:
            continue
    return tuple(found)
