"""Names in any script → the letters that SEPA payments carry. A name that does not fit is refused, never cut."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any

from anyascii import anyascii
from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from schemas.text import FreeText

NAME_MAX = 70  # characters of a name in pain.001 and pacs.008 as SEPA uses them
_SEPA = re.compile(r"[A-Za-z0-9/\-?:().,'+ ]+")  # EPC217-08, Latin character set
# Conversions of the same paper for the rest of ASCII.
_INSTEAD = str.maketrans(
    {
        **dict.fromkeys('!"#$%*<=>@^', "."),
        **{
            "&": "+",
            ";": ",",
            "[": "(",
            "{": "(",
            "]": ")",
            "}": ")",
            "\\": "/",
            "|": "/",
            "_": "-",
            "~": "-",
            "`": "'",
        },
    }
)


def sepa_text(text: str) -> str:
    """ "Jürgen Groß & Søn" → "Jurgen Gross + Son"."""
    return " ".join(anyascii(unicodedata.normalize("NFC", text)).translate(_INSTEAD).split())


def written(text: str, longest: int) -> str:
    """The text in the letters of SEPA payments. Errors: ValueError if it has none of them, or too many."""
    plain = sepa_text(text)
    if not _SEPA.fullmatch(plain) or not any(each.isalnum() for each in plain):
        raise ValueError("cannot be written in the letters of SEPA payments")
    if len(plain) > longest:
        raise ValueError(f"has more than {longest} characters in the letters of SEPA payments")
    return plain


@dataclass(frozen=True, slots=True)
class SepaText:
    """In an Annotated: refused with this code unless it can be written in so many letters. It stays as it was given."""

    longest: int
    code: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, text: str) -> str:
        if any(unicodedata.category(each)[0] == "C" or each in "\u2028\u2029" for each in text):
            raise PydanticCustomError(self.code, "without control characters and marks of direction")
        try:
            written(text, self.longest)
        except ValueError as error:
            raise PydanticCustomError(self.code, "{why}", {"why": f"this {error}"}) from None
        return text


Holder = Annotated[str, FreeText(200), SepaText(NAME_MAX, "invalid_holder")]  # risk reads it as it was given
