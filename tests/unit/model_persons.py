"""Persons around the pay-outs of a model: who they are, and what they see at the provider."""

from __future__ import annotations

from datetime import datetime

from consumers.executor.paying_out import NOTHING_OUT
from consumers.executor.payout import Payout
from tests.unit.model_transfer import Transfer

PERSONS = ("bob", "Bob ", "carol", "shop", "SHOP", "operator dan", "dan")


def name_of(who: str) -> str:
    """The person behind a name, by rules of its own."""
    return who.split(" (key", maxsplit=1)[0].removeprefix("operator ").strip().lower()


def nothing_of(payout: Payout, now: datetime) -> Transfer:
    """What persons see who find no transfer."""
    return Transfer(payout.call_id, payout.key, payout.sent, "rejected", now)


def is_in_doubt(payout: Payout) -> bool:
    """Whether two persons may say what became of it, also that it failed: nobody asks any more."""
    return payout.state == "unresolved" or (payout.check.state == "unanswered" and payout.state in NOTHING_OUT)
