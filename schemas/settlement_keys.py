"""Names of what both halves of a tally call the same, made from parts. Reconciliation makes them, reports look them up."""

from __future__ import annotations

from hashlib import blake2b

_BETWEEN = "\x1f"  # no part holds one of its own


def joined(parts: tuple[str, ...]) -> bytes:
    return _BETWEEN.join(parts).encode()


def named(*parts: str) -> str:
    """128 bits of the parts, as 32 hex digits."""
    return blake2b(joined(parts), digest_size=16).hexdigest()


def paid_out(bank_account: str, settlement: str, currency: str) -> str:
    """The key under which a bank account expects what a settlement pays out in a currency: each pay-out is one of its own."""
    return named("bank", bank_account, settlement, currency)


def of_line(key: str, digest: int) -> str:
    """The key under which a line is tallied: that of its digest where it has none."""
    return key if key.strip("0") else f"{digest & 0xFFFFFFFFFFFFFFFF:032x}"
