"""A sealed destination → the name of the account's holder, opened in memory only."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable

import structlog

from consumers.risk.latin import words
from consumers.risk.parties import Named
from consumers.risk.payout_screening import key_of
from consumers.risk.reviewing import HoldKey
from schemas.destinations import bound_to, read_destination
from schemas.payouts import PayoutScreeningRequested
from topics.sealing import Sealer
from topics.settings import Settings

log = structlog.get_logger()


class Holders:
    def __init__(self, settings: Settings) -> None:
        self._sealer = Sealer(bytes.fromhex(settings.derive("destinations")))

    def names(self, asked: Iterable[PayoutScreeningRequested]) -> dict[HoldKey, Named]:
        """Without those that have no name to screen."""
        opened = {key_of(event): (event, self._name(event)) for event in asked}
        return {key: Named("seller", event.seller_account, name) for key, (event, name) in opened.items() if name}

    def _name(self, event: PayoutScreeningRequested) -> str | None:
        """None where the destination cannot be opened, or its holder's name has no word that could be compared."""
        sealed = event.destination
        try:
            opened = self._sealer.open(
                b64decode(sealed.sealed, validate=True), bound_to(event.seller_account, sealed.type)
            )
            name = read_destination(opened).holder
        except ValueError as error:  # Broken, ValidationError
            log.warning(
                "a destination cannot be opened", action="screen", payout=event.payout_id, error=type(error).__name__
            )
            return None
        return name if words(name) else None
