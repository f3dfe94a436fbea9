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
    refund: Money | None = None  # asked for as soon as the order is placed

    @property
    def net(self) -> Money:
        return self.gross - self.fee if self.fee else self.gross

    @property
    def refund_id(self) -> str:
        return f"{self.id}-back"

    @property
    def fee_back(self) -> Money:
        """The refund's share of the fee: in proportion, cents in the platform's favour."""
        if self.refund is None or self.fee is None:
            return Money.zero(self.gross.currency)
        return Money(self.fee.minor * self.refund.minor // self.gross.minor, self.gross.currency)

    @property
    def net_back(self) -> Money:
        """What the seller gives back."""
        return (self.refund or Money.zero(self.gross.currency)) - self.fee_back

    @property
    def detail(self) -> str:
        """Of the order where it was captured, in the end."""
        if self.refund is None:
            return ""
        return "refunded" if self.refund == self.gross else "partly_refunded"

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
            return "succeeded", {("SUCCESS", order.detail, True, True) for order in self.orders}
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


def checkouts(seed: int, count: int, of_each_fault: int, going_back: float = 0.2) -> list[Checkout]:
    """The same seed gives the same checkouts, whatever else happens. `going_back`: the share of orders with a refund."""
    chance = random.Random(seed)
    wanted = tokens(count, of_each_fault)
    chance.shuffle(wanted)
    return [_checkout(f"c-{number}", token, chance, going_back) for number, token in enumerate(wanted)]


def _checkout(checkout_id: str, token: str, chance: random.Random, going_back: float) -> Checkout:
    orders = tuple(_order(f"{checkout_id}-{number}", chance, going_back) for number in range(chance.randint(1, 5)))
    return Checkout(checkout_id, chance.choice(BUYERS), token, orders)


def _order(order_id: str, chance: random.Random, going_back: float) -> Order:
    currency = chance.choice(CURRENCIES)
    gross = chance.randint(100, 99_999)
    fee = Money(chance.randint(1, gross // 10), currency) if chance.random() < 0.6 else None
    back = chance.choice((gross, gross // 3)) if chance.random() < going_back else 0
    refund = Money(back, currency) if back else None
    return Order(order_id, chance.choice(SELLERS), Money(gross, currency), fee, refund)


def captured(asked: Iterable[Checkout]) -> Iterator[Order]:
    """The orders that end in the sellers' wallets."""
    return (order for checkout in asked if checkout.succeeds for order in checkout.orders)


def refunded(asked: Iterable[Checkout]) -> Iterator[tuple[Order, Money]]:
    """The orders of which something goes back, and how much."""
    return ((order, order.refund) for order in captured(asked) if order.refund is not None)


def sold(asked: Sequence[Checkout]) -> Counter[tuple[str, str]]:
    """(seller, currency) → what is theirs in the end, minor units."""
    sums: Counter[tuple[str, str]] = Counter()
    for order in captured(asked):
        sums[order.seller, order.net.currency] += order.net.minor - order.net_back.minor
    return Counter({whose: sum_ for whose, sum_ in sums.items() if sum_})
