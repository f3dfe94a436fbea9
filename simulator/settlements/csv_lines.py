"""Fields → a line of CSV, quoted only where it must be (RFC 4180)."""

from __future__ import annotations

import re

_MUST_BE_QUOTED = re.compile(r'[",\r\n]')


def line(*fields: str, end: str = "\n") -> bytes:
    quoted = [quote(field) if _MUST_BE_QUOTED.search(field) else field for field in fields]
    return (",".join(quoted) + end).encode()


def quote(field: str) -> str:
    doubled = field.replace('"', '""')
    return f'"{doubled}"'
