"""Names in any script → the letters that SEPA payments carry. A name that does not fit is refused, never cut."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from anyascii import anyascii
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

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


def _fits(name: str) -> str:
    if any(unicodedata.category(each)[0] == "C" or each in "\u2028\u2029" for each in name):
        raise PydanticCustomError("invalid_holder", "without control characters and marks of direction")
    plain = sepa_text(name)
    if not _SEPA.fullmatch(plain) or not any(each.isalnum() for each in plain):
        raise PydanticCustomError("invalid_holder", "a name that can be written in the letters of SEPA payments")
    if len(plain) > NAME_MAX:
        raise PydanticCustomError("invalid_holder", f"at most {NAME_MAX} characters in the letters of SEPA payments")
    return name


Holder = Annotated[str, FreeText(200), AfterValidator(_fits)]  # as it was given: risk reads it so
