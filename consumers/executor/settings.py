"""What the executor alone decides by: TALLY_ROUTING and TALLY_FAILOVER."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from topics.settings import Settings


class RoutingRule(BaseModel):
    """Which PSP gets an order: the first rules whose every stated condition holds; among them, by weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    psp: str
    currencies: frozenset[str] | None = None
    schemes: frozenset[str] | None = None
    amount_min: Decimal | None = None  # major units, inclusive
    amount_max: Decimal | None = None  # major units, inclusive
    weight: int = Field(default=1, ge=1, le=1000)


class Failover(BaseModel):
    """When an order goes to the next PSP that routing allows. Never once a send of it has ended unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codes: frozenset[str] = frozenset({"do_not_honor", "issuer_unavailable", "processing_error", "try_another_psp"})
    after_refusals: int = Field(default=3, ge=1)  # sends that surely did nothing


class ExecutorSettings(Settings):
    """The installation's, and the executor's own."""

    routing: tuple[RoutingRule, ...] = ()
    failover: Failover = Failover()
