"""One finding of `tally stuck` and of the stuck metrics: money past its limit in a room."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schemas.money import Money

FOUND_MAX = 2000  # of one kind in one room, oldest first: keeps the query short however many there are


@dataclass(frozen=True, slots=True)
class Stuck:
    """One order, payment, pay-out, letter or notification past its limit. `amounts` has one for each currency, none if unknown.

    `id` is the id of a payment order, checkout, pay-out, file or letter, or a notification's reference, by `state`:
    waiting | calling | unknown | pending | unresolved (at a PSP) | check | double_return | notification | risk | review |
    executing | booking | a pay-out's status | file_<its state> | break_overdue | dead | parked (letters).
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
