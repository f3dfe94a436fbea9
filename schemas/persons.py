"""Who did something, as histories tell → the person, so that two persons can be told apart."""

from __future__ import annotations

import unicodedata

BY_OPERATOR = "operator "  # begins what histories tell of an operator; no owner's name has a blank


def person_of(who: str) -> str:
    """ "Shop (key 1a2b3c4d)" → "shop", "operator Ann" → "ann": an API key's owner, or an operator. Case means nothing."""
    name = unicodedata.normalize("NFKC", who.partition(" (key ")[0]).strip().casefold()
    while name.startswith(BY_OPERATOR):
        name = name.removeprefix(BY_OPERATOR).strip()
    return name
