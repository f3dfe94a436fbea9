"""A personal text ⇄ what of it may be stored: AES-256-GCM under a key that is derived from the installation's secret."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
NONCE = 12  # bytes


class Broken(ValueError):
    """Not sealed by this installation, or for something else."""


class Sealer:
    """Seals and opens for one purpose. What a text is bound to must be the same when it is opened."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, text: str, bound_to: str) -> bytes:
        nonce = os.urandom(NONCE)
        return VERSION + nonce + self._cipher.encrypt(nonce, text.encode(), bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> str:
        """Errors: Broken."""
        try:
            if not sealed.startswith(VERSION):
                raise Broken("sealed by a later release")
            return self._cipher.decrypt(sealed[1 : 1 + NONCE], sealed[1 + NONCE :], bound_to.encode()).decode()
        except InvalidTag:
            raise Broken("not sealed by this installation") from None
