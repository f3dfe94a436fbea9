"""A destination → sealed, with what may be seen of it. Nothing of the doors stores, shows or publishes the account itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from producers.problems import Problem
from schemas.destinations import Destination, bound_to
from schemas.requests import FieldError
from topics.sealing import Broken, Sealer
from topics.settings import Settings

SEEN = ("type", "country", "masked", "fingerprint")


class Sealing:
    """Seals destinations with a key that is derived from the installation's secret."""

    def __init__(self, settings: Settings) -> None:
        self._sealer = Sealer(bytes.fromhex(settings.derive("destinations")))
        self._fingerprints = bytes.fromhex(settings.derive("destination fingerprints"))
        self._blocked = settings.payout_countries_blocked
        self._providers = {provider.name for provider in settings.payout_providers}

    def sealed(self, seller_account: str, destination: Destination) -> dict[str, str]:
        """A SealedDestination. Errors: Problem `blocked_country`, `no_provider`, `address_required`."""
        self._check(destination)
        sealed = self._sealer.seal(_text(destination), bound_to(seller_account, destination.type))
        at = {"provider": destination.provider} if destination.type == "provider_account" else {}
        account = ":".join((destination.type, *at.values(), destination.account)).encode()
        return {
            "type": destination.type,
            "country": destination.country,
            "masked": destination.masked,
            "fingerprint": hmac.new(self._fingerprints, account, hashlib.sha256).hexdigest()[:16],
            "sealed": base64.b64encode(sealed).decode(),
            **at,
        }

    def is_same(self, seller_account: str, destination: Destination, before: Mapping[str, str]) -> bool:
        """Whether this is what was sealed before: each sealing of one text differs."""
        try:
            opened = self._sealer.open(base64.b64decode(before["sealed"]), bound_to(seller_account, before["type"]))
        except Broken:
            return False
        return opened == _text(destination)

    def _check(self, destination: Destination) -> None:
        if destination.country in self._blocked:
            raise _problem("blocked_country", "nothing is paid out to accounts of this country")
        if destination.type == "provider_account" and destination.provider not in self._providers:
            raise _problem("no_provider", "no provider of pay-outs has this name", ".provider")
        if destination.type == "iban" and destination.needs_address:
            raise _problem("address_required", "of accounts outside the EEA banks ask for the holder's", ".address")


def _text(destination: Destination) -> str:
    return destination.model_dump_json(exclude_none=True)


def masked(destination: Mapping[str, str]) -> dict[str, str]:
    """What may be seen of a sealed destination."""
    return {name: destination[name] for name in SEEN}


def _problem(code: str, why: str, within: str = "") -> Problem:
    field = f"destination{within}"
    return Problem(code, f"{field}: {why}", [FieldError(field, code, why)])
