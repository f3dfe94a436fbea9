"""An order and the rules in settings → the PSP that gets it. Pure: the same order always gets the same answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b

from consumers.executor.settings import ExecutorSettings, RoutingRule
from schemas.events import OrderPlaced
from topics.settings import SettingsError

SCHEMES = ("visa", "mastercard", "amex", "discover")
_TOKENS = tuple((f"tok_{scheme}", scheme) for scheme in SCHEMES)


@dataclass(frozen=True, slots=True)
class Routing:
    """The routing rules in order."""

    rules: tuple[RoutingRule, ...]

    @classmethod
    def of(cls, settings: ExecutorSettings) -> Routing:
        """The settings' rules; without rules any PSP gets any order, all equally likely. Errors: SettingsError if a rule names a
        PSP that is not in the settings.
        """
        names = [psp.name for psp in settings.psps]
        for rule in settings.routing:
            if rule.psp not in names:
                raise SettingsError(f"TALLY_ROUTING: {rule.psp!r} is not the name of a PSP in TALLY_PSPS")
        return cls(settings.routing or tuple(RoutingRule(psp=name) for name in names))

    def choose(self, order: OrderPlaced) -> str | None:
        """A PSP, drawn by weight among the rules whose conditions all hold; None if there is no such rule."""
        open_to_it = self._open_to(order)
        return _weighted(open_to_it, order.payment_order_id) if open_to_it else None

    def alternatives(self, order: OrderPlaced) -> tuple[str, ...]:
        """The PSPs that may get the order, each once: the chosen one, then the others by weight."""
        open_to_it = self._open_to(order)
        if not open_to_it:
            return ()
        others = sorted(open_to_it, key=lambda rule: (-rule.weight, rule.psp))
        return tuple(dict.fromkeys([_weighted(open_to_it, order.payment_order_id), *(rule.psp for rule in others)]))

    def _open_to(self, order: OrderPlaced) -> list[RoutingRule]:
        scheme = scheme_of(order.token)
        return [rule for rule in self.rules if _holds(rule, order, scheme)]


def scheme_of(token: str | None) -> str | None:
    """The card scheme if the token names it. On a PSP's page the buyer chooses the card."""
    return next((scheme for prefix, scheme in _TOKENS if token and token.startswith(prefix)), None)


def _holds(rule: RoutingRule, order: OrderPlaced, scheme: str | None) -> bool:
    if rule.currencies is not None and order.gross.currency not in rule.currencies:
        return False
    if rule.schemes is not None and scheme not in rule.schemes:
        return False
    if rule.amount_min is None and rule.amount_max is None:
        return True
    amount = Decimal(order.gross.amount)
    return (rule.amount_min is None or amount >= rule.amount_min) and (
        rule.amount_max is None or amount <= rule.amount_max
    )


def _weighted(rules: Sequence[RoutingRule], order_id: str) -> str:
    """The PSPs in an order drawn by the order id's hash, so that a repeated decision chooses the same PSP."""
    if len(rules) == 1:
        return rules[0].psp
    point = int.from_bytes(blake2b(order_id.encode(), digest_size=8).digest(), "big") % sum(r.weight for r in rules)
    for rule in rules:
        point -= rule.weight
        if point < 0:
            return rule.psp
    raise AssertionError("the point lies within the sum of the weights")
