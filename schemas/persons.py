"""Who did something, as histories tell → the person, so that two persons can be told apart."""

from __future__ import annotations

import unicodedata


def person_of(who: str) -> str:
    """ "Shop (key 1a2b3c4d)" → "shop", "operator Ann" → "ann": an API key's owner, or an operator. Case means nothing."""
    name = who.partition(" (key ")[0].removeprefix("operator ")
    return unicodedata.normalize("NFKC", name).strip().casefold()
