"""What is past its limit in a room, as its process and `tally stuck` tell it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schemas.money import Money

FOUND_MAX = 2000  # of one kind in one room, oldest first: a look stays short however bad the day


@dataclass(frozen=True, slots=True)
class Stuck:
    """One thing past its limit. `amounts` has one for each currency, none where the contents do not say.

    `id` is a payment order's, a checkout's, a letter's or a notification's reference, as `state` tells:
    calling | unknown | pending | unresolved (at a PSP) | notification | risk | review | executing | booking |
    dead | parked (letters).
    """

    room: str
    id: str
    checkout_id: str | None
    psp: str | None
    state: str
    amounts: tuple[Money, ...]
    age_s: int
    next: str


def age_s(since: datetime, now: datetime) -> int:
    return int((now - since).total_seconds())
