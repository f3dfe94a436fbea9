"""The executor's own settings: TALLY_ROUTING and TALLY_FAILOVER."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from topics.settings import Settings


class RoutingRule(BaseModel):
    """One rule of which PSP gets an order. It applies if each of its conditions holds; `weight` draws among those that do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    psp: str
    currencies: frozenset[str] | None = None
    schemes: frozenset[str] | None = None
    amount_min: Decimal | None = None  # major units, inclusive
    amount_max: Decimal | None = None  # major units, inclusive
    weight: int = Field(default=1, ge=1, le=1000)


class Failover(BaseModel):
    """When an order is sent to the next PSP that routing allows. Never after a send of the order has ended unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codes: frozenset[str] = frozenset({"do_not_honor", "issuer_unavailable", "processing_error", "try_another_psp"})
    after_refusals: int = Field(default=3, ge=1)  # sends that surely did nothing


class ExecutorSettings(Settings):
    """The installation's settings and the executor's own."""

    routing: tuple[RoutingRule, ...] = ()
    failover: Failover = Failover()
