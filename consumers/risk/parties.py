"""Who is screened: an account under one name; what sanctions lists say of it, and what persons have decided about that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from consumers.risk.matching import Hit
from consumers.risk.reviewing import HoldKey

AccountKind = Literal["buyer", "seller"]


class Named(NamedTuple):
    """A buyer, or the holder of a seller's account, by the name that was given."""

    about: AccountKind
    account: str
    name: str


@dataclass(frozen=True, slots=True)
class Party:
    """What sanctions lists say of the party of one screening."""

    party: str
    open: tuple[Hit, ...] = ()  # the nearest first; without those that a person has cleared this party of
    refused: Hit | None = None  # an entry for which a person has refused this party
    is_new: bool = False  # not among the stored parties

    @property
    def score(self) -> int:
        return max((hit.score for hit in (self.refused, *self.open[:1]) if hit is not None), default=0)


@dataclass(frozen=True, slots=True)
class Found:
    """An entry that a screening was held for."""

    key: HoldKey
    party: str
    hit: Hit


@dataclass(frozen=True, slots=True)
class KnownParty:
    """An account under one name, for lists that are yet to come. Only the store sees the name, which it seals."""

    party: str
    about: AccountKind
    account: str
    name: str = field(repr=False)
    screened: str = ""  # the sanctions lists that the name was screened against


Decisions = dict[tuple[str, str, str, str], str]  # party, list, entry, its content → clear or refuse


def judged(party: str, hits: Sequence[Hit], decided: Decisions, *, is_new: bool = False) -> Party:
    said = {hit: decided.get((party, hit.list_name, hit.entry_id, hit.content)) for hit in hits}
    refused = next((hit for hit in hits if said[hit] == "refuse"), None)
    return Party(party, tuple(hit for hit in hits if said[hit] is None), refused, is_new)
