"""How the parts of an event are read: they are dataclasses, validated when read, and made at a third of a model's cost."""

from __future__ import annotations

from pydantic import ConfigDict

PART = ConfigDict(strict=True, extra="ignore")
