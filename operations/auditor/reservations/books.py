"""The rows of pay-outs that the checks compare: as payouts asked, as the wallet reserved, as the executor sent, as booked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

IN_TRANSIT = "payouts:in-transit"
TEMPLATES = ("payout_submitted", "payout_paid", "payout_failed", "payout_returned")
Lines = Mapping[tuple[str, str], int]  # account and currency → debits less credits


class Terms(NamedTuple):
    """What payouts asks, and the wallet keeps. `asked` None: all."""

    owner: str
    seller: str
    currency: str
    asked: int | None
    minimum: int | None
    keep: int | None


class AskedPayout(NamedTuple):
    """A pay-out as payouts has it."""

    terms: Terms
    amount: int | None  # as asked, or as reserved
    reserve: str  # none | asked | reserved | refused
    ended: str | None

    @property
    def given_up(self) -> bool:
        """Whether it has ended without being sent, so that its money is free."""
        return self.ended in ("refused", "rejected", "cancelled", "expired")


class KeptReservation(NamedTuple):
    """A reservation as the wallet has it."""

    terms: Terms
    amount: int
    state: str
    placed_by: str
    moved_by: str


class Transfer(NamedTuple):
    """A pay-out as the executor has it."""

    outcome: str | None  # the event with its state
    seller: str
    currency: str
    amount: int
    bank_account: str
    state: str
    turn: int
    returned: int | None  # of what was sent
    sent: int
    sent_currency: str
    cost: int | None  # of what was sent; None: it was not converted


class Moved(NamedTuple):
    kind: str
    part: str
    cause: str
    seller: str
    currency: str
    amount: int  # signed
    to_reserved: int
    version: int


class Booked(NamedTuple):
    template: str
    part: str
    cause: str
    lines: Lines


def part_of_turn(turn: int) -> str:
    return "" if turn == 1 else f"#{turn}"


def turn_of_part(part: str) -> int:
    number = part.removeprefix("#")
    return int(number) if number.isdecimal() else 1


@dataclass(slots=True)
class PayoutBooks:
    """By pay-out."""

    asked: dict[str, AskedPayout] = field(default_factory=dict)
    reservations: dict[str, KeptReservation] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    movements: dict[str, list[Moved]] = field(default_factory=lambda: defaultdict(list))  # as they came
    journals: dict[str, list[Booked]] = field(default_factory=lambda: defaultdict(list))
    in_transit: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))  # currency → owed

    def ids(self) -> set[str]:
        every = (self.asked, self.reservations, self.transfers, self.movements, self.journals, self.in_transit)
        return set().union(*every)

    def answered(self) -> Iterator[tuple[str, str]]:
        """(event, pay-out): of each event that the wallet has answered by one of its own."""
        for payout_id, found in self.movements.items():
            yield from ((moved.cause, payout_id) for moved in found)
        for payout_id, reservation in self.reservations.items():
            if reservation.state == "refused":
                yield reservation.placed_by, payout_id
