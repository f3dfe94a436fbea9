"""Limits that all rooms share: how long money may wait before it is stuck, and how long finished rows are kept."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from topics.break_rules import DECIDE_WITHIN, BreakLimit


class StuckLimits(BaseModel):
    """How long money may wait in each state before `tally stuck`, the metrics and the log report it.

    Orders and pay-outs that are unresolved, payments and pay-outs in review, and dead letters wait for a person: they are
    reported at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calling_s: int = Field(default=120, ge=1)
    unknown_s: int = Field(default=600, ge=1)
    pending_s: int = Field(default=3600, ge=1)
    submitted_s: int = Field(
        default=864_000, ge=1
    )  # a pay-out that its provider has accepted, and neither paid nor failed
    notification_s: int = Field(default=600, ge=1)  # a PSP's notification of a charge that we do not know
    risk_s: int = Field(default=120, ge=1)  # a payment or pay-out without an answer from risk
    executing_s: int = Field(
        default=600, ge=1
    )  # a placed order or released pay-out without any event from the executor
    booking_s: int = Field(
        default=120, ge=1
    )  # a captured order not in wallet or ledger; a pay-out that is not reserved
    approval_s: int = Field(default=86_400, ge=1)  # a reserved pay-out that too few persons have approved
    hold_s: int = Field(default=86_400, ge=1)  # a pay-out whose seller is frozen or closed, or that no provider takes
    breaks: tuple[BreakLimit, ...] = DECIDE_WITHIN  # breaks that nobody has decided; others have seven days
    parked_s: int = Field(default=600, ge=1)  # a letter that is still retried


class Retention(BaseModel):
    """How long finished rows are kept. Waiting rows are never deleted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    psp_notifications_days: int = Field(default=90, ge=30)  # PSPs' webhooks as they came
    tallies_days: int = Field(default=10, ge=2)  # closed tallies of reconciliation, until they are archived
    archive_months: int = Field(default=25, ge=13)  # archived tallies, by the month in which they were archived
    webhook_deliveries_days: int = Field(default=90, ge=60)  # merchants' webhooks and the log of their attempts
