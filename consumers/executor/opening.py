"""A call's sealed destination → the account, for the request or the file that it leaves in. Nobody else opens one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import orjson

from psp.payout_port import Opened
from schemas.money import Money
from topics.sealing import Broken, Sealer
from topics.settings import Settings


class Unsendable(Exception):
    """The request could not be made, so nothing was sent; the message is a code."""


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens destinations, and looks once more whether anything may go there."""

    sealer: Sealer
    countries_blocked: AbstractSet[str]

    def open(self, asked: Mapping[str, Any], provider: str) -> Opened:
        """`asked` is a call's request. Errors: Unsendable."""
        told = asked["destination"]
        if told.get("country") in self.countries_blocked:  # since it was released; calls of before name no country
            raise Unsendable("blocked_country")
        try:
            sealed = base64.b64decode(told["sealed"], validate=True)
            opened = orjson.loads(self.sealer.open(sealed, f"{asked['seller_account']}:{told['type']}"))
        except (Broken, binascii.Error, orjson.JSONDecodeError):
            raise Unsendable("destination_unreadable") from None
        if opened.get("provider", provider) != provider:
            raise Unsendable("other_provider")
        return {name: value for name, value in opened.items() if isinstance(value, str | dict)}


def make_opener(settings: Settings) -> Opener:
    return Opener(Sealer(bytes.fromhex(settings.derive("destinations"))), settings.payout_countries_blocked)


def amount_of(asked: Mapping[str, str]) -> Money:
    """The amount of a call's request."""
    return Money.from_wire(asked["amount"], asked["currency"])
