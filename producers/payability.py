"""A seller's wallets, what is held and reserved in them, and its pay-outs → why each cent is paid out now or not. Pure.

Amounts are in minor units. The lines of a currency add up to its wallet's total exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from schemas.payouts import PayoutStatus
from schemas.sellers import Schedule, SellerSet
from topics.exchange_rates import FxRate
from topics.payout_accounts import PayoutAccount

Reason = Literal[
    "available",
    "hold_days",
    "reserve",
    "reserved_for_payout",
    "held_for_review",
    "negative_balance",  # what is owed: the next credits pay it off
    "kept_back",  # by the seller's schedule
    "below_minimum",
    "not_registered",
    "seller_closed",
    "seller_frozen",
    "open_break",  # wallet and ledger do not agree about the seller
    "no_destination",
    "blocked_country",  # the destination's
    "no_provider",  # for this currency, or the destination's country
    "destination_cooling",  # the destination has just been changed
]
Turn = Literal["seller", "platform", "provider", "nobody"]  # nobody: time will do it

WHOSE: Mapping[Reason, Turn] = {
    "available": "platform",
    "hold_days": "nobody",
    "reserve": "nobody",
    "held_for_review": "platform",
    "negative_balance": "seller",
    "kept_back": "seller",
    "below_minimum": "seller",
    "not_registered": "platform",
    "seller_closed": "platform",
    "seller_frozen": "platform",
    "open_break": "platform",
    "no_destination": "seller",
    "blocked_country": "seller",
    "no_provider": "platform",
    "destination_cooling": "nobody",
}
_AT_PROVIDER = ("processing", "submitted", "paid")


class Wallet(NamedTuple):
    """A seller's money in one currency."""

    currency: str
    available: int
    pending: int
    reserved: int

    @property
    def total(self) -> int:
        return self.available + self.pending + self.reserved


class Held(NamedTuple):
    """What of `pending` becomes available at one hour: `net` ends with the hold days, `reserve` with the reserve."""

    currency: str
    share: Literal["net", "reserve"]
    amount: int
    until: datetime


class Reserved(NamedTuple):
    """What is kept for one pay-out."""

    currency: str
    payout_id: str
    amount: int


class Payout(NamedTuple):
    """A pay-out that has not ended."""

    currency: str
    payout_id: str
    status: PayoutStatus
    asked: int | None  # None: all


@dataclass(frozen=True, slots=True)
class Rules:
    """The installation's: who takes pay-outs, the least that is paid out by currency, how long a new destination cools,
    the countries to which nothing is paid out, what is paid out in another currency.
    """

    providers: Sequence[PayoutAccount] = ()
    minimum: Mapping[str, int] = field(default_factory=dict)
    cooling: timedelta = timedelta(days=1)
    countries_blocked: frozenset[str] = frozenset()
    rates: Sequence[FxRate] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One amount with one reason, and whose turn it is. `until`: when the reason ends by itself."""

    reason: Reason
    amount: int
    whose: Turn
    until: datetime | None = None
    payout_id: str | None = None
    status: PayoutStatus | None = None  # the pay-out's


@dataclass(frozen=True, slots=True)
class Payability:
    """One currency: what can be paid out now, when more can, and every cent's reason. `more_on` None: no date is known."""

    currency: str
    total: int
    payable_now: int
    more_on: datetime | None
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Books:
    """What the wallet has of one seller, read in one snapshot, and the seller's pay-outs that have not ended."""

    wallets: Sequence[Wallet]
    held: Sequence[Held] = ()
    reserved: Sequence[Reserved] = ()
    payouts: Sequence[Payout] = ()
    is_held: bool = False  # wallet and ledger do not agree about the seller: a break is open

    def of(self, wallet: Wallet) -> Books:
        """The part in the wallet's currency."""
        return Books(
            [wallet],
            [each for each in self.held if each.currency == wallet.currency],
            [each for each in self.reserved if each.currency == wallet.currency],
            [each for each in self.payouts if each.currency == wallet.currency],
            self.is_held,
        )


def payability(seller: SellerSet | None, books: Books, rules: Rules, now: datetime) -> list[Payability]:
    """Currency by currency. `seller` None: nobody has registered the seller."""
    return [_Sum(seller, wallet, books.of(wallet), rules, now).explained() for wallet in sorted(books.wallets)]


@dataclass(frozen=True, slots=True)
class _Sum:
    """One wallet to explain."""

    seller: SellerSet | None
    wallet: Wallet
    books: Books
    rules: Rules
    now: datetime

    def explained(self) -> Payability:
        lines = tuple(line for line in self._lines() if line.amount)
        assert sum(line.amount for line in lines) == self.wallet.total, "every cent has a line"
        now = sum(line.amount for line in lines if line.reason == "available")
        return Payability(self.wallet.currency, self.wallet.total, now, self._more_on(now), lines)

    def _lines(self) -> Iterator[Line]:
        """A wallet whose total is below zero has one line: what is owed."""
        wallet = self.wallet
        if wallet.total < 0:
            yield _line("negative_balance", wallet.total)
            return
        if wallet.available < 0:
            yield _line("negative_balance", wallet.available)
        else:
            yield from self._of_available()
        yield from self._of_pending()
        yield from self._of_reserved()

    def _of_available(self) -> Iterator[Line]:
        reason = self._closed_gate()
        if reason is not None:
            until = self._cools_until() if reason == "destination_cooling" else None
            yield _line(reason, self.wallet.available, until)
            return
        left = self.wallet.available
        for payout in self._in_review():
            amount = left if payout.asked is None else min(payout.asked, left)
            left -= amount
            yield Line("held_for_review", amount, "platform", None, payout.payout_id, payout.status)
        kept = min(left, self._keep())
        yield _line("kept_back", kept)
        yield _line("below_minimum" if left - kept < self._minimum() else "available", left - kept)

    def _of_pending(self) -> Iterator[Line]:
        for (share, until), amount in sorted(
            _by_hour(self.books.held).items(), key=lambda each: (each[0][1], each[0][0])
        ):
            yield _line("hold_days" if share == "net" else "reserve", amount, until)

    def _of_reserved(self) -> Iterator[Line]:
        status = {payout.payout_id: payout.status for payout in self.books.payouts}
        for _, payout_id, amount in sorted(self.books.reserved):
            is_at = status.get(payout_id)
            if is_at == "in_review":
                yield Line("held_for_review", amount, "platform", None, payout_id, is_at)
            else:
                whose: Turn = "provider" if is_at in _AT_PROVIDER else "platform"
                yield Line("reserved_for_payout", amount, whose, None, payout_id, is_at)

    def _closed_gate(self) -> Reason | None:
        """Why nothing at all of this currency can be paid out, the first reason of several."""
        if self.seller is None:
            return "not_registered"
        if self.seller.state != "active":
            return "seller_closed" if self.seller.state == "closed" else "seller_frozen"
        if self.books.is_held:
            return "open_break"
        if self.seller.destination is None:
            return "no_destination"
        if self.seller.destination.country in self.rules.countries_blocked:
            return "blocked_country"
        rates = (each for each in self.rules.rates if each.currency == self.wallet.currency)
        sent = {self.wallet.currency, *(each.payout_currency for each in rates)}
        if not any(each.takes(to, self.seller.destination) for each in self.rules.providers for to in sent):
            return "no_provider"
        return "destination_cooling" if self._cools_until() is not None else None

    def _cools_until(self) -> datetime | None:
        """Until then pay-outs to the destination need one more person."""
        changed_at = self.seller.destination_changed_at if self.seller else None
        until = None if changed_at is None else changed_at + self.rules.cooling
        return until if until is not None and until > self.now else None

    def _in_review(self) -> list[Payout]:
        """Those that wait for a person and have no money reserved yet."""
        reserved = {each.payout_id for each in self.books.reserved}
        return sorted(
            (each for each in self.books.payouts if each.status == "in_review" and each.payout_id not in reserved),
            key=lambda each: (each.asked is None, each.payout_id),
        )

    def _schedule(self) -> Schedule | None:
        schedules = (self.seller.schedules if self.seller else None) or ()
        return next((each for each in schedules if each.currency == self.wallet.currency), None)

    def _keep(self) -> int:
        schedule = self._schedule()
        return schedule.keep.minor if schedule and schedule.keep else 0

    def _minimum(self) -> int:
        schedule = self._schedule()
        scheduled = schedule.minimum.minor if schedule and schedule.minimum else 0
        return max(scheduled, self.rules.minimum.get(self.wallet.currency, 0))

    def _more_on(self, payable_now: int) -> datetime | None:
        """The first time at which more can be paid out than now, if nothing but time goes on."""
        cools_until = self._cools_until()
        if self._closed_gate() not in (None, "destination_cooling"):
            return None
        for at in sorted({held.until for held in self.books.held} | ({cools_until} if cools_until else set())):
            if (cools_until is None or at >= cools_until) and self._payable(at) > payable_now:
                return at
        return None

    def _payable(self, at: datetime) -> int:
        available = self.wallet.available + sum(held.amount for held in self.books.held if held.until <= at)
        for payout in self._in_review():
            available -= max(0, available) if payout.asked is None else min(max(0, available), payout.asked)
        spare = available - self._keep()
        return spare if spare >= max(1, self._minimum()) else 0


def _line(reason: Reason, amount: int, until: datetime | None = None) -> Line:
    return Line(reason, amount, WHOSE[reason], until)


def _by_hour(held: Iterable[Held]) -> dict[tuple[str, datetime], int]:
    sums: dict[tuple[str, datetime], int] = {}
    for each in held:
        sums[each.share, each.until] = sums.get((each.share, each.until), 0) + each.amount
    return sums
