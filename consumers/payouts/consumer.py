"""requests, sellers' terms, risk's answers, approvals, movements, executions, breaks, timers → payouts → screenings, pay-outs"""

from __future__ import annotations

from functools import partial

from consumers.payouts import store
from consumers.payouts.decide import Heard, decide
from consumers.payouts.payout import Payouts
from consumers.payouts.policy import Policy
from consumers.payouts.stuck import stuck
from topics.catalog import PAYOUTS_ROOM
from topics.exchange_rates import RateTable
from topics.runtime.shape.consumer import Consumer
from topics.settings import Settings


def build(settings: Settings) -> Consumer[Payouts, Heard]:
    policy = Policy(
        rules=settings.payouts,
        providers=settings.payout_providers,
        contents_key=bytes.fromhex(settings.derive("payouts:contents")),
        countries_blocked=settings.payout_countries_blocked,
        rates=RateTable(settings.fx),
    )
    decider = partial(decide, policy=policy)
    return Consumer(PAYOUTS_ROOM, load=store.load, decide=decider, save=store.save, find_stuck=stuck)
