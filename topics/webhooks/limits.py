"""How merchants' endpoints are called, and which may be: TALLY_WEBHOOKS."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from pydantic import BaseModel, ConfigDict, Field


class WebhookLimits(BaseModel):
    """How merchants' endpoints are called, and which addresses are allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    http_allowed: bool = False  # else https alone
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()  # private networks that may be connected to
    ladder_s: tuple[float, ...] = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 29845)  # 24 h in all
    timeout_s: float = Field(default=10, gt=0, le=20)  # of one attempt, from the name's look-up to the reply's head
    endpoint_concurrency: int = Field(default=8, ge=1, le=100)  # of one endpoint, in each process
