"""A seed → a list of invented persons and companies, spellings of them that must be found, and others that must not.

Names are put together of syllables, so that there are enough rare ones; how they are then respelt follows what transliterations,
forms and people do to names, not what the matcher under test can undo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from consumers.risk.entries import Entry

LIST = "invented"


def _list(text: str) -> list[str]:
    """What stands between semicolons."""
    return [" ".join(one.split()) for one in text.split(";")]


def _pairs(text: str) -> list[tuple[str, str]]:
    """What is written and what in its place: `old>new`."""
    return [(old, new) for old, _, new in (one.partition(">") for one in _list(text))]


_ARAB_GIVEN = _list(
    """
    Mohammed Muhammad Mohamed Mohamad; Ahmed Ahmad Akhmed; Yusuf Youssef Yousef Yusef; Hussein Husain Hussain
    Husayn; Khalid Khaled Halid; Omar Umar; Osama Usama; Said Saeed Sayeed; Ibrahim Ebrahim; Mustafa Mostafa
    Moustafa; Abd al-Rahman|Abdulrahman|Abdur Rahman|Abdelrahman; Abdullah Abdallah Abdulla; Nasir Nasser Naser;
    Jamal Djamal Jamaal; Hassan Hasan; Ali Aly; Tariq Tarek Tarik; Faisal Faysal Feisal; Sulayman Suleiman
    Sulaiman; Rashid Rasheed; Karim Kareem; Salih Saleh Salah; Mahmoud Mahmud Mahmood; Zayd Zaid Zeid; Fatima
    Fatma Fatimah; Aisha Aysha Ayesha; Maryam Mariam; Nour Noor Nur; Layla Leila Laila; Hamid Hameed
    """
)
_SLAV_GIVEN = _list(
    """
    Aleksandr Alexander Alexandr Aleksander; Sergey Sergei Serguei; Dmitriy Dmitry Dmitri Dmitrij; Yuriy Yuri
    Iurii Yury; Mikhail Mihail Mikhael; Evgeniy Evgeny Yevgeny Yevgeni; Nikolay Nikolai Nikolaj; Andrey Andrei
    Andrej; Aleksey Alexei Alexey; Vladimir Wladimir; Viktor Victor; Pavel Pawel; Igor; Oleg; Boris; Natalya
    Natalia Nataliya; Yelena Elena; Tatyana Tatiana; Oksana Oxana; Irina Iryna; Svetlana Swetlana; Fyodor Fedor;
    Grigoriy Grigory Grigori; Anatoliy Anatoly Anatoli
    """
)
_LATIN_GIVEN = _list(
    """
    José Jose; María Maria; Juan; Carlos; Luis; Jorge; Ana Anna; Miguel; Ángel Angel; Sofía Sofia Sophia; Catarina
    Catherina; Stefan Stephan Stephen; Katharina Catharina; Jürgen Juergen Jurgen; Björn Bjoern Bjorn; Marie-
    Claire|Marie Claire; François Francois; Zoë Zoe; Philippe Filippe; Grażyna Grazyna; Łukasz Lukasz; Tomáš Tomas
    Thomas; İbrahim Ibrahim; Søren Soren Soeren
    """
)
_ARAB_LETTERS = "b d f gh h j kh k l m n q r s sh t th w z"
_LATIN_LETTERS = "b c d f g l m n p r s t v br cr tr ll ñ gu"
_ASIAN_GIVEN = _list(
    """
    Xiaoping|Xiao Ping|Xiao-ping; Jianguo|Jian Guo; Zhiwei|Zhi Wei; Minh|Min; Sung-ho|Sungho|Sung Ho; Jong-
    il|Jongil|Jong Il; Meiling|Mei Ling|Mei-ling; Haruto; Kenji; Thi Lan|Thi-Lan; Youngjae|Young Jae|Young-jae;
    Weiming|Wei Ming
    """
)
_CYRILLIC = _pairs(
    """
    shch>щ; zh>ж; kh>х; ts>ц; ch>ч; sh>ш; yu>ю; ya>я; ye>е; a>а; b>б; v>в; g>г; d>д; e>е; z>з; i>и; y>й;
    k>к; l>л; m>м; n>н; o>о; p>п; r>р; s>с; t>т; u>у; f>ф; h>х; j>дж; c>к; q>к; w>в; x>кс
    """
)
_RESPELT = _pairs(
    """
    kh>h; ou>u; oo>u; ee>i; dj>j; q>k; w>v; ss>s; ph>f; ei>ai; ey>ei; ay>ai; iy>y; iy>ij; iya>ia; zh>j;
    tt>t; ll>l; yu>iu; ya>ia; ck>k; x>ks; v>w; u>ou; i>ee; s>ss; k>q; ov>off; ev>eff; gh>g; dh>d; th>t;
    aa>a; o>u; e>i; sch>sh
    """
)
_KINDS = _list(
    """
    Ltd; Limited; LLC; L.L.C.; GmbH; S.A.; SARL; OOO; JSC; Co.; Company; Corp.; Inc.; FZE; PJSC;
    """
)
_TRADES = _list(
    """
    Trading; Shipping; Petroleum; Bank; Foundation; Industries; Logistics; Exchange; Marine; Aviation; Steel; Oil
    """
)


@dataclass(frozen=True, slots=True)
class Person:
    """One invented person or company: each part of the name with its usual spellings."""

    culture: str
    parts: tuple[tuple[str, ...], ...]
    born: str | None

    def written(self) -> str:
        return " ".join(part[0] for part in self.parts if part[0])


@dataclass(frozen=True, slots=True)
class Case:
    """A name to be screened. `of` is the entry that it must find; None: it must find none."""

    kind: str
    name: str
    born: str | None
    of: str | None


@dataclass(frozen=True, slots=True)
class Invented:
    """A list, and what is screened against it."""

    seed: int
    entries: tuple[Entry, ...]
    variants: tuple[Case, ...]
    others: tuple[Case, ...]


def invent(seed: int, entries: int = 20_000, cases: int = 10_000) -> Invented:
    """The same seed makes the same names."""
    random = Random(seed)
    people = [_person(random) for _ in range(entries)]
    listed = tuple(
        Entry(LIST, str(place), (one.written(),), (one.born,) if one.born else ()) for place, one in enumerate(people)
    )
    taken = {_bare(one) for one in people}
    variants = tuple(_variant(random, people, place) for place in random.sample(range(entries), min(cases, entries)))
    others = tuple(_other(random, people, taken) for _ in range(cases))
    return Invented(seed, listed, variants, others)


# ── persons ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _person(random: Random) -> Person:
    culture = random.choices(["arab", "slav", "latin", "asian", "company"], [35, 25, 15, 10, 15])[0]
    born = f"{random.randint(1940, 2000)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    return Person(culture, _PARTS[culture](random), None if culture == "company" or random.random() < 0.3 else born)


def _syllables(random: Random, count: int, consonants: str, vowels: str = "a e i o u a i") -> str:
    made = (random.choice(consonants.split()) + random.choice(vowels.split()) for _ in range(count))
    return "".join(made)


def _given(random: Random, names: Sequence[str]) -> tuple[str, ...]:
    """One of the known ones, with its spellings; or a rarer one, which has one spelling."""
    if random.random() < 0.4:
        return (_syllables(random, random.choice([2, 3]), "b d f g h j k l m n r s t z sh").capitalize(),)
    chosen = random.choice(names)
    return tuple(chosen.split("|") if "|" in chosen else chosen.split())


def _arab(random: Random) -> tuple[tuple[str, ...], ...]:
    root = _syllables(random, random.choice([2, 3]), _ARAB_LETTERS, "a a i u aa ou") + random.choice(
        ["b", "d", "f", "m", "n", "r", "s", "t", "q", "h"]
    )
    family = ("al-" if random.random() < 0.6 else "") + root.capitalize() + random.choice(["i", "i", ""])
    father = [_given(random, _ARAB_GIVEN)] if random.random() < 0.6 else []
    son = [("bin",)] if father and random.random() < 0.3 else []
    return (_given(random, _ARAB_GIVEN), *son, *father, (family,))


def _slav(random: Random) -> tuple[tuple[str, ...], ...]:
    root = _syllables(random, random.choice([2, 3]), "b ch d g k kh l m n p r s sh t v z zh st pr", "a e i o u").rstrip(
        "aeiou"
    )
    family = root.capitalize() + random.choice(["ov", "ev", "in", "enko", "sky", "uk", "ova"])
    father = _given(random, _SLAV_GIVEN)[0].rstrip("aeiouy") + random.choice(["ovich", "ovna"])
    return (_given(random, _SLAV_GIVEN), *([(father,)] if random.random() < 0.6 else []), (family,))


def _latin(random: Random) -> tuple[tuple[str, ...], ...]:
    def family() -> str:
        return (
            _syllables(random, random.choice([2, 3, 3]), _LATIN_LETTERS) + random.choice(["", "z", "s", "n", "ller"])
        ).capitalize()

    particle = [(random.choice(["de", "von", "van", "da", "della"]),)] if random.random() < 0.25 else []
    second = [(family(),)] if random.random() < 0.5 else []
    return (_given(random, _LATIN_GIVEN), *particle, (family(),), *second)


def _asian(random: Random) -> tuple[tuple[str, ...], ...]:
    family = _syllables(
        random, 1, "zh ch x l w t h k p n ng b m s d g", "a ao ang en eng i ing ong u uo"
    ) + random.choice(["", "", "n", "ng"])
    more = _syllables(random, random.choice([2, 3]), "k m t n s h r y b d g sh ts", "a i o u e").capitalize()
    return ((family.capitalize(),), _given(random, _ASIAN_GIVEN), (more,))


def _company(random: Random) -> tuple[tuple[str, ...], ...]:
    own = _syllables(random, random.choice([3, 4]), "b d f g k l m n p r s t v z tr gl").capitalize()
    more = [(_syllables(random, 2, "b d k l m n r s t").capitalize(),)] if random.random() < 0.5 else []
    return ((own,), *more, (random.choice(_TRADES),), (random.choice(_KINDS),))


_PARTS: dict[str, Callable[[Random], tuple[tuple[str, ...], ...]]] = {
    "arab": _arab,
    "slav": _slav,
    "latin": _latin,
    "asian": _asian,
    "company": _company,
}


# ── what must be found ───────────────────────────────────────────────────────────────────────────────────────────────


def _variant(random: Random, people: Sequence[Person], place: int) -> Case:
    one = people[place]
    kinds = ["transliteration", "script", "order", "particles", "initials", "birth"]
    kind = random.choice(["suffix", "order", "transliteration"] if one.culture == "company" else kinds)
    name = _VARIANTS[kind](random, one)
    return Case(kind, name, one.born if kind == "birth" else None, str(place))


def _spellings(random: Random, one: Person) -> list[str]:
    return [random.choice(part) for part in one.parts if part[0]]


def _transliterated(random: Random, one: Person) -> str:
    """Usual spellings of given names, and one or two letters of the rest as another transliteration has them."""
    parts = _spellings(random, one)
    own = range(
        len(parts) - 2 if one.culture == "company" and one.parts[-1][0] else len(parts) - (one.culture == "company")
    )
    longest = max(own, key=lambda at: len(parts[at]))
    for _ in range(random.choice([1, 1, 2])):
        parts[longest] = _respelt(random, parts[longest])
    return " ".join(parts)


def _respelt(random: Random, word: str) -> str:
    fits = [(old, new) for old, new in _RESPELT if old in word[1:]]
    if not fits:
        return word
    old, new = random.choice(fits)
    return word[0] + word[1:].replace(old, new, 1)


def _in_cyrillic(random: Random, one: Person) -> str:
    if one.culture not in ("slav", "arab"):
        return one.written().upper()
    name = one.written().lower().replace("-", " ")
    for latin, letter in _CYRILLIC:
        name = name.replace(latin, letter)
    return name.title()


def _reordered(random: Random, one: Person) -> str:
    parts = _spellings(random, one)
    if random.random() < 0.5:
        return f"{parts[-1].upper()}, {' '.join(parts[:-1])}"
    return " ".join([*parts[1:], parts[0]])


def _without_particles(random: Random, one: Person) -> str:
    """Articles go, come, or stick to the name."""
    found = [part for part in _spellings(random, one) if part not in ("bin", "de", "von", "van", "da", "della")]
    article = random.choice(["", "el ", "Al ", "al-", "El-"])
    return " ".join(article + part[3:] if part.startswith("al-") else part for part in found)


def _with_initials(random: Random, one: Person) -> str:
    """The middle of three names as its first letter."""
    parts = [part for part in _spellings(random, one) if part not in ("bin", "de", "von", "van", "da", "della")]
    if len(parts) > 2:
        parts[1] = f"{parts[1].removeprefix('al-')[0].upper()}."
    return " ".join(parts)


def _with_birth(random: Random, one: Person) -> str:
    return _transliterated(random, one)


def _other_suffix(random: Random, one: Person) -> str:
    parts = [part[0] for part in one.parts[:-1]]
    return " ".join([*parts, random.choice(_KINDS)]).strip()


_VARIANTS: dict[str, Callable[[Random, Person], str]] = {
    "transliteration": _transliterated,
    "script": _in_cyrillic,
    "order": _reordered,
    "particles": _without_particles,
    "initials": _with_initials,
    "birth": _with_birth,
    "suffix": _other_suffix,
}


# ── what must not ────────────────────────────────────────────────────────────────────────────────────────────────────


def _other(random: Random, people: Sequence[Person], taken: set[str]) -> Case:
    """Somebody who is not on the list, and is near somebody on it or an ordinary stranger."""
    while True:
        near, fresh = random.choice(people), _person(random)
        kind = random.choice(
            ["stranger", "same given names", "same family", "same father", "other birth", "same trade"]
        )
        case = _OTHERS[kind](random, near, fresh)
        if case is not None and (kind == "other birth" or _bare(case) not in taken):
            name, born = case.written(), case.born if kind == "other birth" else None
            return Case(kind, name, born, None)


def _bare(one: Person) -> str:
    return " ".join(sorted(part[0].lower() for part in one.parts if part[0]))


def _stranger(random: Random, near: Person, fresh: Person) -> Person | None:
    return fresh


def _same_given(random: Random, near: Person, fresh: Person) -> Person | None:
    """All of the given names, and a family name of the same kind."""
    if near.culture == "company":
        return None
    while fresh.culture != near.culture:
        fresh = _person(random)
    at = 0 if near.culture == "asian" else -1
    parts = list(near.parts)
    parts[at] = fresh.parts[at]
    return replace(near, parts=tuple(parts))


def _same_family(random: Random, near: Person, fresh: Person) -> Person | None:
    """A relative: the family name, and a given name that is another one."""
    if near.culture in ("company", "asian"):
        return None
    while fresh.culture != near.culture or fresh.parts[0] == near.parts[0]:
        fresh = _person(random)
    return replace(near, parts=(fresh.parts[0], near.parts[-1]))


def _same_father(random: Random, near: Person, fresh: Person) -> Person | None:
    """One given name shared, the rest a stranger's."""
    if near.culture == "company" or fresh.culture == "company":
        return None
    return replace(fresh, parts=(near.parts[0], *fresh.parts[1:]))


def _other_birth(random: Random, near: Person, fresh: Person) -> Person | None:
    """The very name, born in another decade."""
    if near.born is None:
        return None
    year = int(near.born[:4]) + random.choice([-1, 1]) * random.randint(8, 30)
    return replace(near, born=f"{year}{near.born[4:]}")


def _same_trade(random: Random, near: Person, fresh: Person) -> Person | None:
    """Another company of that trade and kind."""
    if near.culture != "company":
        return None
    own = _company(random)
    return replace(near, parts=(*own[:-2], *near.parts[-2:]))


_OTHERS: dict[str, Callable[[Random, Person, Person], Person | None]] = {
    "stranger": _stranger,
    "same given names": _same_given,
    "same family": _same_family,
    "same father": _same_father,
    "other birth": _other_birth,
    "same trade": _same_trade,
}
