"""executions, pay-outs and their executions, corrections, timers → wallet → movements of both kinds, wallet balances."""

from __future__ import annotations

from consumers.wallet import store
from consumers.wallet.decide import Heard, decide
from consumers.wallet.wallet import Wallets
from topics import catalog
from topics.runtime.shape.consumer import Consumer
from topics.settings import Settings


def build(settings: Settings) -> Consumer[Wallets, Heard]:
    return Consumer(
        room=catalog.WALLET_ROOM,
        load=store.load,
        decide=decide,
        save=store.save,
        compacted={catalog.WALLET_BALANCES: store.latest_balances},
    )
