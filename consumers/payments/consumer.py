"""requests, sellers' terms, risk decisions, executions, movements, journals → payments → screenings, orders to place, states"""

from __future__ import annotations

from functools import partial

from consumers.payments import store
from consumers.payments.decide import Heard, decide
from consumers.payments.payment import Payments
from consumers.payments.policy import Policy
from consumers.payments.revenue import sum_up
from consumers.payments.settings import PaymentsSettings
from consumers.payments.stuck import stuck
from topics.catalog import PAYMENTS_ROOM
from topics.runtime.shape.consumer import Consumer


def build(settings: PaymentsSettings) -> Consumer[Payments, Heard]:
    policy = Policy(
        deadline_s=settings.payment_deadline_s,
        contents_key=bytes.fromhex(settings.derive("payments:contents")),
        fee_refund=None if settings.fee_refund == "proportional" else settings.fee_refund,
        fee_chargeback=None if settings.fee_chargeback == "none" else settings.fee_chargeback,
        dispute_fee_on=None if settings.dispute_fee_on == "seller" else settings.dispute_fee_on,
        sellers=settings.sellers,
        http_return_urls=settings.webhooks.http_allowed,
    )
    decider = partial(decide, policy=policy)
    return Consumer(PAYMENTS_ROOM, load=store.load, decide=decider, save=store.save, find_stuck=stuck, sum_up=sum_up)
