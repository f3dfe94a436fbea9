"""Output lines → stdout and stderr, with control and invisible characters escaped."""

from __future__ import annotations

import json
import sys
from typing import IO

# Printable by Unicode, and invisible: the default-ignorable code points that are letters, marks or symbols
# (DerivedCoreProperties.txt), and the blank of braille. Controls, bidi marks and the like are not printable anyhow.
_UNSEEN = frozenset((0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0))
_UNSEEN_RANGES = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0000, 0xE1000))


def visible(text: str) -> str:
    """One line with control and invisible characters written as \\x1b or \\u200b."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_seen(character) else _escaped(character) for character in text)


def _is_seen(character: str) -> bool:
    code = ord(character)
    return character.isprintable() and code not in _UNSEEN and not any(code in unseen for unseen in _UNSEEN_RANGES)


def _escaped(character: str) -> str:
    return ascii(character)[1:-1]


def say(*lines: str) -> None:
    """Data, for stdout."""
    _write(sys.stdout, lines)


def note(*lines: str) -> None:
    """Messages, for stderr."""
    _write(sys.stderr, lines)


def say_json(value: object, indent: int | None = 2) -> None:
    """The value as JSON, in printable ASCII only."""
    written = json.dumps(value, indent=indent, default=str).replace("\x7f", "\\u007f")
    _write(sys.stdout, written.split("\n"))


def _write(stream: IO[str], lines: tuple[str, ...] | list[str]) -> None:
    stream.write("".join(f"{visible(line)}\n" for line in lines))
    stream.flush()
