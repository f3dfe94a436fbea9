"""Names of a list → an index by words and sounds; a buyer's name → the entries that it is near, with a score from 0 to 100.

A name's words weigh as much as they are rare in the lists: a shared `Mohammed` says little, a shared family name much. Scores
are made of how much of the buyer's name an entry explains, and how much of the entry the buyer's name does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest
from itertools import chain, pairwise
from math import log
from typing import Any, NamedTuple

from rapidfuzz import fuzz, process

from consumers.risk.entries import Entry
from consumers.risk.latin import key, sound, words

HELD_FROM = 87  # score at which a person must look
LOWEST = (HELD_FROM - 0.5) / 100  # which is rounded to it
CANDIDATES = 12  # names that are compared in full
COMMON = 1500  # a word that more names have is looked up only where no rarer one is there
SAME_SOUND, LEAST = 0.98, 0.5  # of two words: of one sound; below it they are two words
GENTLE, HARSH = 0.9, 2.0  # what each share of letters that differ costs: in vowels, in consonants
CLOSE = 100 * (1 - (1 - LEAST) / HARSH)  # ratio below which two words of different consonants are two words
VOWELS = frozenset("aiu")
_FATHERS_NAME = re.compile(r"[oe]v(?:it?ch|na)$")
INITIAL = 0.9
JOINED = 85  # of two words written as one
WHOLE = 95.0  # of two names without their blanks: one name, however it was cut into words
OTHER_BIRTH = 0.75  # what is left of a score where both dates of birth are known and not one
ASKED_SHARE = 0.65  # of a score: how much of the buyer's name is explained; the rest: how much of the entry's


class Hit(NamedTuple):
    """An entry that a name is near."""

    list_name: str
    entry_id: str
    content: str  # hash of the entry
    name: str  # the entry's name that is nearest
    score: int


@dataclass(slots=True)
class _Listed:
    """One name of one entry, cut up."""

    entry: Entry
    name: str
    words: tuple[str, ...]
    keys: tuple[str, ...]
    joined: str
    initials: str
    weights: tuple[float, ...] = ()


class NameIndex:
    """The entries of the current lists. Built once for each version; nothing in here changes afterwards."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._names = [_cut(entry, name) for entry in entries for name in entry.names]
        self._by_key: dict[str, list[int]] = defaultdict(list)
        for place, listed in enumerate(self._names):
            for each in {*listed.keys, *_joined_keys(listed.words)}:
                self._by_key[each].append(place)
        self._most = log(2 + len(self._names))
        for listed in self._names:
            listed.weights = self._weights(listed.words, listed.keys)
        self._sizes = [1 + sum(listed.weights) for listed in self._names]

    def __len__(self) -> int:
        return len(self._names)

    def near(self, name: str, born: str | None = None) -> list[Hit]:
        """Entries that score `HELD_FROM` or more, the nearest first. `born` is a year or a date (ISO 8601)."""
        asked = words(name)
        if not asked or not self._names:
            return []
        keys = tuple(map(key, asked))
        weights = self._weights(asked, keys)
        best: dict[tuple[str, str], Hit] = {}
        joined = "".join(asked)
        candidates = self._candidates(asked, keys, weights)
        alike = _all_alike(asked, {word for listed in candidates for word in listed.words})
        for listed in candidates:
            score = max(_score(asked, weights, listed, alike), _whole(joined, listed.joined))
            if born is not None and listed.entry.births:
                score *= _birth(born, listed.entry.births)
            points = round(100 * score)
            known = best.get(listed.entry.key)
            if points >= HELD_FROM and (known is None or known.score < points):
                entry = listed.entry
                best[entry.key] = Hit(entry.list_name, entry.entry_id, entry.content, listed.name, points)
        return sorted(best.values(), key=lambda hit: (-hit.score, hit.list_name, hit.entry_id))

    def _weights(self, found: Sequence[str], keys: Sequence[str]) -> tuple[float, ...]:
        """A father's name beside two others weighs half: who has one is often written without it."""
        fathers = len(found) > 2
        return tuple(
            self._weight(word, each) * (0.5 if fathers and _FATHERS_NAME.search(word) else 1)
            for word, each in zip(found, keys, strict=True)
        )

    def _weight(self, word: str, sound: str) -> float:
        """Rarer is heavier; an initial weighs little."""
        if len(word) == 1:
            return 0.25 * self._most
        return max(0.25 * self._most, self._most - log(1 + len(self._by_key.get(sound, ()))))

    def _candidates(self, asked: Sequence[str], keys: Sequence[str], weights: Sequence[float]) -> list[_Listed]:
        """The names that share most of the weight, found by the rarest words first."""
        shared: dict[int, float] = defaultdict(float)
        looked_up = dict(zip(keys, weights, strict=True))
        for each in _joined_keys(asked):
            looked_up.setdefault(each, self._most)
        found = sorted((len(self._by_key.get(each, ())), each, weight) for each, weight in looked_up.items())
        for number, each, weight in found:
            if number > COMMON and len(shared) > CANDIDATES:
                for place in shared:
                    if each in self._names[place].keys:
                        shared[place] += weight
                continue
            for place in self._by_key.get(each, ()):
                shared[place] += weight
        initials = [word for word in asked if len(word) == 1]
        if initials:
            for place in shared:
                shared[place] += sum(0.1 for one in initials if one in self._names[place].initials)
        if len(shared) <= CANDIDATES:
            return [self._names[place] for place in shared]
        ranked = [(weight / self._sizes[place], -place) for place, weight in shared.items()]
        return [self._names[-place] for _, place in nlargest(CANDIDATES, ranked)]


def _joined_keys(found: Sequence[str]) -> list[str]:
    """Of each two words that stand side by side."""
    return [key(one + other) for one, other in pairwise(found) if len(one) > 1 < len(other)]


def _cut(entry: Entry, name: str) -> _Listed:
    found = words(name)
    return _Listed(
        entry, name, found, tuple(map(key, found)), "".join(found), "".join(sorted({word[0] for word in found}))
    )


def _rejoined(asked: Sequence[str], weights: Sequence[float], listed: _Listed) -> tuple[Any, ...]:
    """Where one writes two words and the other one, they are made one on both sides."""
    if len(asked) == len(listed.words):
        return asked, weights, listed.words, listed.weights
    if len(asked) > len(listed.words):
        return (*_joined_like(asked, weights, listed.words), listed.words, listed.weights)
    return (asked, weights, *_joined_like(listed.words, listed.weights, asked))


def _joined_like(
    many: Sequence[str], weights: Sequence[float], few: Sequence[str]
) -> tuple[Sequence[str], Sequence[float]]:
    for place in range(len(many) - 1):
        one = many[place] + many[place + 1]
        if any(len(other) >= len(one) - 2 and fuzz.ratio(one, other) >= JOINED for other in few):
            words_, weights_ = list(many), list(weights)
            words_[place : place + 2], weights_[place : place + 2] = [one], [weights[place] + weights[place + 1]]
            return words_, weights_
    return many, weights


class _Alike(NamedTuple):
    """Words of a name → listed words and how alike they are; and the listed words that are alike to any of them."""

    words: Mapping[str, Mapping[str, float]]
    some: frozenset[str]


def _all_alike(asked: Iterable[str], listed: Iterable[str]) -> _Alike:
    """All pairs at once: most differ in so many letters that rapidfuzz rules them out without Python."""
    others = list(listed)
    sounds, keys = list(map(sound, others)), list(map(key, others))
    found = {
        word: {other: near for other in _perhaps(word, others, sounds, keys) if (near := _alike(word, other))}
        for word in asked
    }
    return _Alike(found, frozenset(chain.from_iterable(found.values())))


def _perhaps(word: str, others: Sequence[str], sounds: Sequence[str], keys: Sequence[str]) -> Iterable[str]:
    """The words that may be alike: initials, those of one key, and those of few other letters, as written or as heard."""
    if len(word) == 1:
        return others
    own = key(word)
    places = {place for place, theirs in enumerate(keys) if theirs == own or len(others[place]) == 1}
    for text, texts in ((word, others), (sound(word), sounds)):
        places.update(hit[2] for hit in process.extract(text, texts, scorer=fuzz.ratio, score_cutoff=CLOSE, limit=None))
    return [others[place] for place in places]


def _score(asked: Sequence[str], weights: Sequence[float], listed: _Listed, alike: _Alike) -> float:
    mine, my_weights, theirs, their_weights = _rejoined(asked, weights, listed)
    if mine is not asked or theirs is not listed.words:
        alike = _all_alike(mine, theirs)
    told_most = sum(weight for other, weight in zip(theirs, their_weights, strict=True) if other in alike.some)
    if ASKED_SHARE + (1 - ASKED_SHARE) * told_most / sum(their_weights) < LOWEST:
        return 0.0
    return _aligned(alike, mine, my_weights, theirs, their_weights)


def _aligned(
    alike: _Alike, asked: Sequence[str], weights: Sequence[float], listed: Sequence[str], their_weights: Sequence[float]
) -> float:
    """Each word with its nearest counterpart, the best pairs first; order does not matter."""
    pairs = [
        (near, mine, theirs)
        for mine, others in enumerate(map(alike.words.__getitem__, asked))
        for theirs, other in enumerate(listed)
        if (near := others.get(other))
    ]
    explained = told = 0.0
    seen_mine: set[int] = set()
    seen_theirs: set[int] = set()
    for near, mine, theirs in sorted(pairs, reverse=True):
        if mine not in seen_mine and theirs not in seen_theirs:
            seen_mine.add(mine)
            seen_theirs.add(theirs)
            explained += near * weights[mine]
            told += near * their_weights[theirs]
    if len(seen_mine) < min(2, max(len(asked), len(listed))):
        return 0.0
    return ASKED_SHARE * explained / sum(weights) + (1 - ASKED_SHARE) * told / sum(their_weights)


@lru_cache(maxsize=65_536)
def _alike(word: str, other: str) -> float:
    """How alike two words are: 0 where they are two words."""
    if word == other:
        return 1.0
    heard, theirs = sound(word), sound(other)
    if len(word) == 1 or len(other) == 1:
        return INITIAL if heard[0] == theirs[0] or {heard[0], theirs[0]} <= VOWELS else 0.0
    if heard == theirs:
        return SAME_SOUND
    ratio = max(fuzz.ratio(word, other), fuzz.ratio(heard, theirs)) / 100
    harshness = GENTLE if key(word) == key(other) else HARSH
    alike = 1 - harshness * (1 - ratio)
    return alike if alike >= LEAST else 0.0


def _whole(joined: str, other: str) -> float:
    ratio = fuzz.ratio(joined, other, score_cutoff=WHOLE)
    return ratio / 100 if ratio else 0.0


def _birth(born: str, births: Sequence[str]) -> float:
    """1 where one of them may be the same; years may differ by one."""
    years = {int(each[:4]) for each in births}
    whole = {each for each in births if len(each) == 10}
    if len(born) == 10 and len(whole) == len(births):
        return 1.0 if born in whole or _swapped(born) in whole else OTHER_BIRTH
    return 1.0 if any(abs(int(born[:4]) - year) <= 1 for year in years) else OTHER_BIRTH


def _swapped(born: str) -> str:
    """Day and month, which some write the other way round."""
    return f"{born[:5]}{born[8:]}-{born[5:7]}"
