"""Free text → text that all stores can hold, without card numbers."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

# Thirteen digits, any of which may be followed by spaces (of any width) and hyphens (of any kind).
_RUN = re.compile(r"\d(?:[\s\u2010-\u2015\u2212-]*+\d){12}")
_PIECE = re.compile(r"(\d+)|[^\d\s\u2010-\u2015\u2212-]+")  # a chunk of digits, or a text that ends a run of chunks

# Issuer prefixes and the lengths of their numbers: ISO/IEC 7812-1 issuer identification numbers as the schemes publish
# them. Length matters: one in ten millisecond timestamps passes Luhn, but no 13-digit card starts with a 1.
_LENGTHS_BY_PREFIX: tuple[tuple[range, range | tuple[int, ...]], ...] = (
    (range(4, 5), (13, 16, 18, 19)),  # Visa
    (range(51, 56), (16,)),  # Mastercard
    (range(2221, 2721), (16,)),
    (range(34, 35), (15,)),  # American Express
    (range(37, 38), (15,)),
    (range(6011, 6012), range(16, 20)),  # Discover
    (range(644, 650), range(16, 20)),
    (range(65, 66), range(16, 20)),
    (range(62, 63), range(16, 20)),  # UnionPay
    (range(81, 83), (16,)),  # RuPay
    (range(508, 509), (16,)),
    (range(60, 61), (16,)),
    (range(300, 306), range(14, 20)),  # Diners Club
    (range(3095, 3096), range(14, 20)),
    (range(36, 37), range(14, 20)),
    (range(38, 40), range(14, 20)),
    (range(3528, 3590), range(16, 20)),  # JCB
    (range(2200, 2205), range(16, 20)),  # Mir
    *((range(prefix, prefix + 1), range(13, 20)) for prefix in (5018, 5020, 5038, 5893, 6304, 6759)),  # Maestro
    (range(6761, 6764), range(13, 20)),
)
_LENGTHS = {str(number): lengths for prefixes, lengths in _LENGTHS_BY_PREFIX for number in prefixes}
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_DIGITS_MIN, _DIGITS_MAX = 13, 19
CANDIDATES_MAX = 10_000


def looks_like_card_number(text: str) -> bool:
    """Whether the text holds 13 to 19 digits, spaces and hyphens ignored, that pass Luhn and start with an issuer's prefix.

    Linear in the text's length. A text with more candidates than CANDIDATES_MAX counts as one with a card number.
    """
    run = _RUN.search(text)
    if run is None:
        return False
    for number, digits in enumerate(_candidates(text, run.start())):
        if number == CANDIDATES_MAX or (_known_issuer(digits) and _luhn(digits)):
            return True
    return False


def refuse_card_number(text: str) -> str:
    """For pydantic: the text, or the error `card_number`, which does not repeat it."""
    if _RUN.search(text) and looks_like_card_number(text):
        raise PydanticCustomError("card_number", "this looks like a card number, which must not be sent here")
    return text


@dataclass(frozen=True, slots=True)
class Refusal:
    """In an Annotated: gives the errors of the annotations before it one stable code. No cost at run time."""

    code: str
    detail: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type=self.code, custom_error_message=self.detail
        )


@dataclass(frozen=True, slots=True)
class FreeText:
    """In an Annotated: 1 to `longest` characters, not all blank, no NUL, no lone surrogate, no card number."""

    longest: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        text = core_schema.custom_error_schema(
            core_schema.str_schema(pattern=r"^[^\x00]*[^\s\x00][^\x00]*$", max_length=self.longest, strict=True),
            custom_error_type="invalid_text",
            custom_error_message=f"1 to {self.longest} characters, not all blank, without NUL and lone surrogates",
        )
        return core_schema.no_info_after_validator_function(refuse_card_number, text)


def _candidates(text: str, start: int) -> Iterator[str]:
    """The numbers that a text may hold: "12 4111 1111 1111 1111" holds others than the one of 18 digits.

    Only the last chunks of a run are kept, as many as one number may have.
    """
    chunks: deque[str] = deque()
    held = 0
    for piece in _PIECE.finditer(text, start):
        chunk = piece[1]
        if chunk is None:
            chunks.clear()
            held = 0
            continue
        chunks.append(chunk)
        held += len(chunk)
        while held > _DIGITS_MAX:
            held -= len(chunks.popleft())
        if held >= _DIGITS_MIN:
            yield from _suffixes(chunks)


def _suffixes(chunks: Iterable[str]) -> Iterator[str]:
    """The numbers that end with the last of these chunks, longest first, in ASCII digits."""
    plain = ["".join(str(int(digit)) for digit in chunk) for chunk in chunks]
    for first in range(len(plain)):
        digits = "".join(plain[first:])
        if len(digits) < _DIGITS_MIN:
            return
        yield digits


def _known_issuer(digits: str) -> bool:
    return any(len(digits) in _LENGTHS.get(digits[:size], ()) for size in (1, 2, 3, 4))


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(_DOUBLED[number] for number in numbers[1::2])) % 10 == 0
