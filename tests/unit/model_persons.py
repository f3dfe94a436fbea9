"""Persons around the pay-outs of a model: who they are, and what they see at the provider."""

from __future__ import annotations

from datetime import datetime

from consumers.executor.payout import Payout
from tests.unit.model_transfer import Transfer

PERSONS = ("bob", "Bob ", "carol", "shop", "SHOP", "operator dan", "dan")


def name_of(who: str) -> str:
    """The person behind a name, by rules of its own."""
    return who.split(" (key", maxsplit=1)[0].removeprefix("operator ").strip().lower()


def nothing_of(payout: Payout, now: datetime) -> Transfer:
    """What persons see who find no transfer."""
    return Transfer(payout.call_id, payout.key, payout.amount, "rejected", now)
