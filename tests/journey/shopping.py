"""A seed → checkouts of every kind, each with the end that its token says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice, repeat

from schemas.money import Money

CURRENCIES = ("EUR", "USD", "JPY", "BHD")
SELLERS = tuple(f"seller-{number}" for number in range(20))
BUYERS = tuple(f"buyer-{number}" for number in range(50))
HEALTHY = ("tok_visa", "tok_mastercard", "tok_amex", "tok_discover")
DECLINED = tuple(f"tok_declined_{code}" for code in ("insufficient_funds", "stolen_card", "do_not_honor"))
FAULTY = (
    *("tok_slow", "tok_429_once", "tok_503_once", "tok_500_charged", "tok_500_uncharged", "tok_timeout_charged"),
    *("tok_timeout_uncharged", "tok_reset_charged", "tok_garbage"),
)


@dataclass(frozen=True)
class Order:
    """One order of a checkout, as it was asked for."""

    id: str
    seller: str
    gross: Money
    fee: Money | None

    @property
    def net(self) -> Money:
        return self.gross - self.fee if self.fee else self.gross

    def json(self) -> dict[str, str]:
        fee = {"platform_fee": self.fee.amount} if self.fee else {}
        return {"payment_order_id": self.id, "seller_account": self.seller, **self.gross.wire(), **fee}


@dataclass(frozen=True)
class Checkout:
    """One checkout, as it was asked for."""

    id: str
    buyer: str
    token: str
    orders: tuple[Order, ...]

    @property
    def succeeds(self) -> bool:
        return self.token not in DECLINED

    @property
    def end(self) -> tuple[str, set[tuple[str, str, bool, bool]]]:
        """The payment's status; its orders' status, detail, wallet_updated and ledger_updated."""
        if self.succeeds:
            return "succeeded", {("SUCCESS", "", True, True)}
        return "failed", {("FAILED", "declined", False, False)}

    def json(self) -> dict[str, object]:
        return {
            "checkout_id": self.id,
            "buyer_info": {"buyer_account": self.buyer, "name": "Ann Lee"},
            "payment_method": {"token": self.token},
            "payment_orders": [order.json() for order in self.orders],
        }


def tokens(count: int, of_each_fault: int) -> list[str]:
    """A fifth declined, so many of each fault, the rest sound cards."""
    declined = islice(cycle(DECLINED), count // 5)
    faulty = chain.from_iterable(repeat(token, of_each_fault) for token in FAULTY)
    return list(islice(chain(declined, faulty, cycle(HEALTHY)), count))


def checkouts(seed: int, count: int, of_each_fault: int) -> list[Checkout]:
    """The same seed gives the same checkouts, whatever else happens."""
    chance = random.Random(seed)
    wanted = tokens(count, of_each_fault)
    chance.shuffle(wanted)
    return [_checkout(f"c-{number}", token, chance) for number, token in enumerate(wanted)]


def _checkout(checkout_id: str, token: str, chance: random.Random) -> Checkout:
    orders = tuple(_order(f"{checkout_id}-{number}", chance) for number in range(chance.randint(1, 5)))
    return Checkout(checkout_id, chance.choice(BUYERS), token, orders)


def _order(order_id: str, chance: random.Random) -> Order:
    currency = chance.choice(CURRENCIES)
    gross = chance.randint(100, 99_999)
    fee = Money(chance.randint(1, gross // 10), currency) if chance.random() < 0.6 else None
    return Order(order_id, chance.choice(SELLERS), Money(gross, currency), fee)


def captured(asked: Iterable[Checkout]) -> Iterator[Order]:
    """The orders that end in the sellers' wallets."""
    return (order for checkout in asked if checkout.succeeds for order in checkout.orders)


def sold(asked: Sequence[Checkout]) -> Counter[tuple[str, str]]:
    """(seller, currency) → what is theirs in the end, minor units."""
    sums: Counter[tuple[str, str]] = Counter()
    for order in captured(asked):
        sums[order.seller, order.net.currency] += order.net.minor
    return sums
