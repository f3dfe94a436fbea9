"""Fields → a line of CSV, quoted only where it must be (RFC 4180)."""

from __future__ import annotations

import re

_MUST_BE_QUOTED = re.compile(r'[",\r\n]')
_ODD = re.compile(r'["\r\n]')


def line(*fields: str) -> bytes:
    text = ",".join(fields)
    if text.count(",") >= len(fields) or _ODD.search(text):  # seldom: looked for in the whole line first
        text = ",".join(quote(field) if _MUST_BE_QUOTED.search(field) else field for field in fields)
    return f"{text}\n".encode()


def quote(field: str) -> str:
    doubled = field.replace('"', '""')
    return f'"{doubled}"'
