"""How long money may wait and what is finished is kept: what every room is given for its look and its trim."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class StuckLimits(BaseModel):
    """How long money may wait in each state before `tally stuck`, the metrics and the log tell of it.

    Orders that are unresolved, payments in review and dead letters wait for a person: they are told at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calling_s: int = Field(default=120, ge=1)
    unknown_s: int = Field(default=600, ge=1)
    pending_s: int = Field(default=3600, ge=1)
    notification_s: int = Field(default=600, ge=1)  # of a PSP, about a charge that we do not know
    risk_s: int = Field(default=120, ge=1)  # a payment that has no answer of risk
    executing_s: int = Field(default=600, ge=1)  # an order of which payments has heard nothing since it was placed
    booking_s: int = Field(default=120, ge=1)  # a captured order that is not in the wallet, or not in the ledger
    parked_s: int = Field(default=600, ge=1)  # a letter that is still tried again


class Retention(BaseModel):
    """How long what is finished is kept. What is still waiting is never deleted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    psp_notifications_days: int = Field(default=90, ge=30)  # PSPs' webhooks as they came
    webhook_deliveries_days: int = Field(default=90, ge=60)  # merchants' webhooks and the log of their attempts
