"""A name as written → the one form in which names are compared; list files → the names in them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from topics.settings import SettingsError

_SETTING = "TALLY_RISK_LISTS"
_SEPARATORS = re.compile(r"[\W_]+", re.ASCII)
# Invisible characters that a name may hold, and that must not make two names differ: category Cf, and these.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\ufe0e\ufe0f")


def normalise(name: str) -> str:
    """NFKC and case folding (Unicode, chapters 3.11 and 3.13); punctuation and white space become one space."""
    if name.isascii():
        return _SEPARATORS.sub(" ", name.lower()).strip()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(map(_normalised_character, folded)).split())


def _normalised_character(character: str) -> str:
    """Letters, digits and their marks stay; invisible characters are removed; all others become a space."""
    category = unicodedata.category(character)
    if category == "Cf" or character in _INVISIBLE:
        return ""
    return character if category[0] in "LMN" else " "


@dataclass(frozen=True, slots=True)
class NameList:
    """One list of names that must not pay. Its version is the hash of the file."""

    name: str
    version: str  # sha256, 64 hex digits
    names: frozenset[str]  # normalised


def read_lists(paths: Sequence[Path]) -> tuple[NameList, ...]:
    """The lists of the setting. Errors: SettingsError if a file cannot be read or two lists have one name."""
    lists = [_read(path) for path in paths]
    for one in lists:
        if sum(other.name == one.name for other in lists) > 1:
            raise SettingsError(f"{_SETTING}: two lists are called {one.name}")
    return tuple(lists)


def _read(path: Path) -> NameList:
    """UTF-8, one name per line; blank lines and lines that start with # are skipped."""
    try:
        raw = path.read_bytes()
        lines = raw.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise SettingsError(f"{_SETTING}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{_SETTING}: {path} is not UTF-8 at byte {error.start}") from None
    names = {normalise(line) for line in lines if not line.lstrip().startswith("#")}
    return NameList(path.stem, sha256(raw).hexdigest(), frozenset(names - {""}))
