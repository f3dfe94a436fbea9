"""What a timeline is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that one store, or a PSP, knows to have happened."""

    at: datetime
    where: str
    what: str
    about: str  # the order, or the checkout
    detail: str = ""
