"""The room's tables ⇄ its state: `loading` reads and locks what a batch needs, `saving` writes what it has changed."""

from __future__ import annotations

from reconciliation.loading import load
from reconciliation.saving import save

__all__ = ["load", "save"]
