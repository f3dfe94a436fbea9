"""Blocks of SWIFT's text messages → their fields, `:61:…`, with the bytes that each one is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reconciliation.formats.bank_statements import bounded
from reconciliation.formats.blocks import Lines
from reconciliation.formats.shape import Refusal
from schemas.masking import masked

FIELD_MAX = 65_536  # characters; SWIFT's own longest has 6 × 65, and banks go beyond
_FIELD = re.compile(r":([0-9]{2}[A-Z]?|NS):(.*)")
_END = re.compile(r"-\}?\s*(\{.*)?")  # of a message, and the trailer behind it
_AROUND = re.compile(r"\{.*|[A-Z0-9 ]{1,35}")  # an envelope's blocks; the name of a bank or of the message


@dataclass
class Field:
    """`text` is without its tag. Its lines are separated by \\n, and none is blank."""

    tag: str
    text: str
    line: int  # the number of its first line in the file
    first_byte: int
    last_byte: int

    @property
    def written(self) -> str:
        """As the file has it."""
        return f":{self.tag}:{self.text}"


def fields_of(blocks: Iterable[bytes]) -> Iterator[Field | None]:
    """All fields; None where a message ends that says so. Errors: Refusal as Lines, `line_too_long`, and `bad_row` for what is
    in no field.
    """
    lines = Lines(bounded(blocks))
    rest, now = iter(lines), None
    ended = lines.offset
    for number, raw in enumerate(rest, 1):
        begins, ended = ended, lines.offset
        text = raw.rstrip()
        if not text.strip("\ufeff "):
            continue
        found, is_end = _FIELD.fullmatch(text), _END.fullmatch(text) is not None
        if now is not None and (found or is_end):
            yield now
            now = None
        if found:
            lines.record_from = begins
            now = Field(found[1], found[2], number, begins, ended - 1)
        elif is_end:
            yield None
        elif now is not None:
            now.text, now.last_byte = f"{now.text}\n{text}", ended - 1
            if len(now.text) > FIELD_MAX:
                raise Refusal("line_too_long", f"a field has over {FIELD_MAX:,} characters", number, f":{now.tag}:")
        elif not _AROUND.fullmatch(text):
            raise Refusal("bad_row", "text in no field of a message", number, excerpt=masked(text))
    if now is not None:
        yield now
