"""What a timeline is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from operations.auditor.engine.stores import Stores
from topics.catalog import CONSUMERS

SENT = "sent to the PSP"  # ends what is said of a send, after the kind of call
PAID_OUT = "sent to the provider"
OUTSIDE = ("PSP", "provider")


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that one store, or a PSP, knows to have happened."""

    at: datetime
    where: str
    what: str
    about: str  # the order, or the checkout
    detail: str = ""


def in_order(moments: Iterable[Moment]) -> list[Moment]:
    """Sorted by time. A PSP's or provider's whole seconds mean some time within: it did nothing before our send of it."""
    moments = list(moments)
    rank = {room: place for place, room in enumerate(_ORDER)}
    sends = [moment for moment in moments if moment.what.endswith((SENT, PAID_OUT))]
    sent = {(send.about, send.what.removesuffix(SENT).removesuffix(PAID_OUT)): send.at for send in sends}

    def place(moment: Moment) -> tuple[datetime, int]:
        at = moment.at
        if moment.where in OUTSIDE and at.microsecond == 0:
            kind = moment.what.partition(" ")[0] + " " if " " in moment.what else ""
            at = max(at, min(sent.get((moment.about, kind), at), at + timedelta(seconds=1)))
        return at, rank.get(moment.where, len(rank))

    return sorted(moments, key=place)


_ORDER = ("doors", "payments", "payouts", "risk", "executor", *OUTSIDE, "wallet", "ledger", "reconciliation")


def letters(stores: Stores, keys: Sequence[str]) -> Iterator[Moment]:
    """What hangs: messages of these keys that a room has parked or given up."""
    wanted = [key.encode() for key in keys]
    for room in CONSUMERS:
        for letter_id, key, topic, state, code, at in stores.rows(
            room.name,
            "SELECT letter_id::text, key, topic, state, code, parked_at FROM parked WHERE key = ANY(%s)",
            [wanted],
        ):
            why = f": {code}" if code else " behind another"
            yield Moment(at, room.name, f"letter {state}{why}", key.decode(), f"from {topic}; {letter_id[:8]}")
