"""Text of a file → what may be shown of it."""

from __future__ import annotations

import re

from schemas.text import looks_like_card_number

_LONG_NUMBER = re.compile(r"\d(?:[\s\u2010-\u2015\u2212-]*+\d){12,}")  # a card's may be a part of it
_ADDRESS = re.compile(r"[^\s@,;\"<>]{1,64}@[^\s@,;\"<>]{1,255}")


def masked(text: str, most: int = 200) -> str:
    """At most that many characters, without card numbers and e-mail addresses."""
    shown = _ADDRESS.sub("[address]", text[: 2 * most])
    return _LONG_NUMBER.sub(lambda found: "[card]" if looks_like_card_number(found[0]) else found[0], shown)[:most]
