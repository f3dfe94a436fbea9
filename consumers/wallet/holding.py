"""Money of captures that is pending, until its hold days or its seller's reserve end. Pure (docs/sellers.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from schemas.events import PaymentCaptured

AVAILABLE: Literal["available"] = "available"  # the timer of one wallet and hour, and the movement that it makes
HoldingKey = tuple[str, str]  # movement, share
Side = tuple[str, str]  # seller, currency


@dataclass(frozen=True, slots=True)
class Holding:
    """What of one capture's credit is not available yet: `net` ends with the hold days, `reserve` with the reserve.

    `remaining` is in minor units, and stays as it is once the holding is released.
    """

    movement_id: str  # of the credit
    share: Literal["net", "reserve"]
    seller_account: str
    currency: str
    payment_order_id: str
    remaining: int
    available_on: datetime
    released_by: str | None = None  # the movement that has made it available

    @property
    def key(self) -> HoldingKey:
        return self.movement_id, self.share

    @property
    def side(self) -> Side:
        return self.seller_account, self.currency

    @property
    def is_open(self) -> bool:
        return self.released_by is None and self.remaining > 0

    @property
    def due_first(self) -> tuple[datetime, str, str]:
        return self.available_on, self.movement_id, self.share

    @property
    def bucket(self) -> datetime:
        """The hour at whose beginning it is released: one timer for all that a wallet gets within an hour."""
        hour = self.available_on.replace(minute=0, second=0, microsecond=0)
        return hour if hour == self.available_on else hour + timedelta(hours=1)


class Holdings:
    """Those that a batch has read or made, by order and by wallet."""

    def __init__(self) -> None:
        self._known: dict[HoldingKey, Holding] = {}
        self._of_order: dict[str, set[HoldingKey]] = {}
        self._of_wallet: dict[Side, set[HoldingKey]] = {}

    def fold(self, holding: Holding) -> None:
        if holding.key not in self._known:
            self._of_order.setdefault(holding.payment_order_id, set()).add(holding.key)
            self._of_wallet.setdefault(holding.side, set()).add(holding.key)
        self._known[holding.key] = holding

    def __getitem__(self, key: HoldingKey) -> Holding:
        return self._known[key]

    def of_order(self, payment_order_id: str) -> list[Holding]:
        """Open ones, those first that are due first."""
        return self._open(self._of_order.get(payment_order_id, ()))

    def due(self, side: Side, until: datetime) -> list[Holding]:
        """Open ones of a wallet that are due until then."""
        return [each for each in self._open(self._of_wallet.get(side, ())) if each.available_on <= until]

    def _open(self, keys: Iterable[HoldingKey]) -> list[Holding]:
        found = (self._known[key] for key in keys)
        return sorted((each for each in found if each.is_open), key=lambda each: each.due_first)


def held_of(event: PaymentCaptured, movement_id: str, now: datetime) -> Iterator[Holding]:
    """What of a capture's net is held back; nothing where its terms say nothing of it, or its time is over already."""
    kept = 0 if event.reserve_share is None else event.reserve_share.amount.minor
    shares: list[tuple[Literal["net", "reserve"], int, datetime]] = []
    if event.hold_days is not None:
        shares.append(("net", event.net.minor - kept, event.available_on))
    if event.reserve_share is not None:
        shares.append(("reserve", kept, event.reserve_share.available_on))
    for share, minor, available_on in shares:
        if minor > 0 and available_on > now:
            seller, currency, order = event.seller_account, event.net.currency, event.payment_order_id
            yield Holding(movement_id, share, seller, currency, order, minor, available_on)


def taken_from(holdings: Iterable[Holding], minor: int) -> Iterator[Holding]:
    """The holdings that a debit lessens, in this order, each down to 0 at most."""
    for holding in holdings:
        if minor <= 0:
            return
        part = min(minor, holding.remaining)
        minor -= part
        yield replace(holding, remaining=holding.remaining - part)
