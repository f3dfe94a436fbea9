"""What an execution wants of wallet and ledger, and what they have said: one row for all three, joined in any order."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

Room = Literal["wallet", "ledger"]
ROOMS: tuple[Room, ...] = ("wallet", "ledger")


class Move(NamedTuple):
    """What is known of one link. `event_id` None: its execution is not heard."""

    link: str
    subject: str  # the payment order or pay-out
    seller: str
    psp: str  # or the bank account; empty where its execution is not heard
    event_id: str | None
    topic: str | None  # the execution's record
    partition: int | None
    offset: int | None
    said_at: datetime  # the execution; else the effect
    wanted_wallet: str | None
    wanted_ledger: str | None
    wallet: str | None
    ledger: str | None
    counts: bool  # alone it is a fault: the other half cannot be lost by retention or upgrade

    def wanted(self, room: Room) -> str | None:
        return self.wanted_wallet if room == "wallet" else self.wanted_ledger

    def heard(self, room: Room) -> str | None:
        return self.wallet if room == "wallet" else self.ledger

    @property
    def is_whole(self) -> bool:
        return self.event_id is not None and all(self.wanted(room) == self.heard(room) for room in ROOMS)

    def joined(self, other: Move) -> Move:
        """With what another half of the same link says; what is known already stays."""
        fact, effect = (self, other) if self.event_id is not None else (other, self)
        return fact._replace(
            wallet=self.wallet or other.wallet,
            ledger=self.ledger or other.ledger,
            counts=fact.counts if fact.event_id is not None else fact.counts and effect.counts,
            said_at=fact.said_at if fact.event_id is not None else min(self.said_at, other.said_at),
        )


class Heard(NamedTuple):
    """A move with what decides whether it may be called missing."""

    move: Move
    wallet_until: datetime | None  # of its partition: the youngest execution of which the room has spoken
    ledger_until: datetime | None
    executions_until: datetime | None  # all of them until then are heard

    def room_until(self, room: Room) -> datetime | None:
        return self.wallet_until if room == "wallet" else self.ledger_until


class MovesJudged(NamedTuple):
    """A slice is judged: `gone` are whole, `broken` have an open break, `waiting` have none and are not whole."""

    gone: tuple[str, ...]
    broken: tuple[str, ...]
    waiting: tuple[str, ...]
    at: datetime
