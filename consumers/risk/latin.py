"""A name in any script → its words in Latin letters, and each word's key: the consonants that transliterations agree on.

Not for showing. Names of one sound and many spellings (Mohammed, Muhammad, Мухаммед) get the same keys.
"""

from __future__ import annotations

import re
from functools import lru_cache

from anyascii import anyascii

# Words that come and go between two spellings of one name: articles, particles of descent, titles, kinds of companies.
_PARTICLES = frozenset(
    [
        "al",
        "el",
        "ul",
        "ur",
        "ad",
        "an",
        "ar",
        "as",
        "ash",
        "at",
        "az",
        "bin",
        "ibn",
        "ben",
        "bint",
        "binti",
        "ould",
        "walad",
        "de",
        "da",
        "do",
        "dos",
        "das",
        "di",
        "del",
        "della",
        "dei",
        "du",
        "la",
        "las",
        "le",
        "les",
        "lo",
        "los",
        "van",
        "von",
        "der",
        "den",
        "ter",
        "ten",
        "zu",
        "zum",
        "zur",
        "af",
        "av",
        "y",
        "e",
        "i",
        "and",
        "und",
        "et",
        "the",
        "of",
        "for",
        "mr",
        "mrs",
        "ms",
        "miss",
        "dr",
        "prof",
        "sheikh",
        "shaykh",
        "sheik",
        "haji",
        "hajji",
        "hajj",
        "mullah",
        "mulla",
        "maulavi",
        "mawlawi",
        "sayyid",
        "sayed",
        "syed",
        "sir",
    ]
)
_COMPANY_WORDS = frozenset(
    [
        "co",
        "company",
        "corp",
        "corporation",
        "inc",
        "incorporated",
        "ltd",
        "limited",
        "llc",
        "llp",
        "lp",
        "plc",
        "pllc",
        "gmbh",
        "mbh",
        "ag",
        "kg",
        "ohg",
        "sa",
        "sas",
        "sarl",
        "srl",
        "spa",
        "snc",
        "bv",
        "nv",
        "cv",
        "oy",
        "oyj",
        "ab",
        "asa",
        "aps",
        "kft",
        "zrt",
        "doo",
        "dd",
        "ooo",
        "oao",
        "zao",
        "pao",
        "ao",
        "tov",
        "jsc",
        "pjsc",
        "ojsc",
        "cjsc",
        "fze",
        "fzc",
        "fzco",
        "dmcc",
        "pvt",
        "pty",
        "pte",
        "private",
        "public",
        "est",
        "establishment",
        "holding",
        "holdings",
        "group",
        "sdn",
        "bhd",
    ]
)
_IGNORED = _PARTICLES | _COMPANY_WORDS
_APOSTROPHES = re.compile(r"['’ʼʻʾʿ`´‘]")
_OTHERS = re.compile(r"[^a-z0-9]+")
_DOTTED = re.compile(r"\b(?:[a-z]\.){2,}")
# abd ul-, abd ar-, abdus-: one word or several, as it is written. Not the one that has become a word of its own.
_SERVANT = re.compile(r"^abd(?!ull|all|oul|ala|ula|el+ah)(?:[aeiou]{1,2}[lrsnzdt])?([a-z]{4,})$")
_SERVANT_OF = re.compile(r"^abd[aeiou]{0,2}[lrsnzdt]?$")

_DIGRAPHS = (
    ("shch", "S"), ("sch", "S"), ("tch", "S"), ("dzh", "j"), ("sh", "S"), ("ch", "S"), ("kh", "h"), ("zh", "j"), ("dj", "j"),
    ("gh", "g"), ("ph", "v"), ("th", "t"), ("dh", "d"), ("ts", "s"), ("tz", "s"), ("cz", "S"), ("ck", "k"), ("ks", "x"),
    ("ce", "se"), ("ci", "si"), ("cy", "sy"),
)  # fmt: skip
_SOUNDS = str.maketrans({"q": "k", "c": "k", "w": "v", "f": "v", "z": "s", "x": "k", "e": "i", "y": "i", "o": "u"})
_GLIDE = re.compile(r"^[yij](?=[uoa])")
_GLIDE_LOST = re.compile(r"^[yj]e")
_TWICE = re.compile(r"(.)\1+")
_VOWELS = frozenset("aiu")


@lru_cache(maxsize=65_536)
def words(name: str) -> tuple[str, ...]:
    """The words that tell names apart, in Latin lower case; all of them where none would be left."""
    plain = _APOSTROPHES.sub("", anyascii(_APOSTROPHES.sub("", name)).lower())
    found = _OTHERS.sub(" ", _DOTTED.sub(_undotted, plain)).split()
    kept = [part for word in found if word not in _IGNORED for part in _servant(word)]
    return tuple(kept or found)


def _undotted(found: re.Match[str]) -> str:
    """L.L.C. is one word, J.R. two initials."""
    joined = found[0].replace(".", "")
    return joined + " " if joined in _COMPANY_WORDS else found[0].replace(".", " ")


def _servant(word: str) -> list[str]:
    if not word.startswith("abd"):
        return [word]
    match = _SERVANT.match(word)
    return ["abd", match[1]] if match else ["abd"] if _SERVANT_OF.match(word) else [word]


@lru_cache(maxsize=262_144)
def sound(word: str) -> str:
    """The word as it sounds: one letter for each sound that transliterations write in several ways."""
    word = _GLIDE_LOST.sub("e", _GLIDE.sub("j", word))
    for written, letter in _DIGRAPHS:
        if written in word:
            word = word.replace(written, letter)
    word = word.translate(_SOUNDS)
    return _TWICE.sub(r"\1", word.replace("ai", "i").replace("ui", "i").replace("uu", "u").replace("aa", "a"))


@lru_cache(maxsize=262_144)
def key(word: str) -> str:
    """The consonants of its sound, by which names are looked up; the first letter also where it is a vowel, as `A`."""
    heard = sound(word)
    first = "A" if heard[0] in _VOWELS else heard[0]
    return first + "".join(letter for letter in heard[1:] if letter not in _VOWELS and letter not in "hj")
