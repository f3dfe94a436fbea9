"""executions, pay-out executions, settlements, corrections → ledger → ledger entries, account balances."""

from __future__ import annotations

from consumers.ledger import store
from consumers.ledger.decide import Books, decide
from consumers.ledger.templates import Booking
from topics import catalog
from topics.runtime.shape.consumer import Consumer
from topics.settings import Settings


def build(settings: Settings) -> Consumer[Books, Booking]:
    return Consumer(
        room=catalog.LEDGER_ROOM,
        load=store.load,
        decide=decide,
        save=store.save,
        compacted={catalog.ACCOUNT_BALANCES: store.latest_balances},
    )
