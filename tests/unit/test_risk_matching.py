"""Names against a list: found however they are spelt, and not for being alike a little. Seeds are printed."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.risk.entries import Entry
from consumers.risk.latin import key, words
from consumers.risk.matching import HELD_FROM, NameIndex
from operations.bench.people import Invented, invent
from operations.bench.screening import recall_and_false_hits

SEED = 20_261_130
NAMES = (
    "Mohammed Nasir al-Khatiri",
    "Sergei Ivanovich Petrovsky",
    "Zarya Neft Trading LLC",
    "Deng Xiaoping Hanaru",
    "M. K. Okonkwo",
)


@cache
def invented(seed: int = SEED) -> Invented:
    return invent(seed, entries=5_000, cases=2_500)


@cache
def listed() -> NameIndex:
    strangers = invented().entries
    entries = [
        Entry("ours", str(place), (name,), ("1951-06-19",) if place == 0 else ()) for place, name in enumerate(NAMES)
    ]
    return NameIndex([*entries, *strangers])


def found(name: str, born: str | None = None) -> set[str]:
    return {hit.name for hit in listed().near(name, born)}


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("Muhammad Naser Al Khateri", NAMES[0]),
        ("KHATIRI, Mohamed", NAMES[0]),
        ("Мохаммед Насир аль-Хатири", NAMES[0]),
        ("Mohammed N. al-Khatiri", NAMES[0]),
        ("Mohammed bin Nasir el Khatiri", NAMES[0]),
        ("Сергей Петровский", NAMES[1]),
        ("Serguei Petrowskij", NAMES[1]),
        ("Petrovsky Sergey", NAMES[1]),
        ("Zarya Neft Trading", NAMES[2]),
        ("ООО Заря Нефть Trading", NAMES[2]),
        ("ZARYA-NEFT TRADING GmbH", NAMES[2]),
        ("Xiao-ping Deng Hanaru", NAMES[3]),
        ("Michael K. Okonkwo", NAMES[4]),
    ],
)
def test_a_listed_name_is_found_in_another_spelling(spelt: str, name: str) -> None:
    assert name in found(spelt)


@pytest.mark.parametrize(
    "name",
    [
        "Mohammed",
        "Nasir Mohammed",
        "Mohammed Nasir",
        "Sergei Ivanovich",
        "Trading LLC",
        "LLC",
        "al",
        "M.",
        "Deng",
        "",
        " ",
        "---",
        "\u200b",
    ],
)
def test_what_half_of_the_world_is_called_is_not_near(name: str) -> None:
    assert found(name).isdisjoint(NAMES)


@pytest.mark.parametrize(
    ("born", "is_found"),
    [
        (None, True),
        ("1951", True),
        ("1952", True),
        ("1951-06-19", True),
        ("1951-19-06", True),
        ("1951-06-20", False),
        ("1975", False),
    ],
)
def test_another_date_of_birth_is_another_person(born: str | None, is_found: bool) -> None:
    assert (NAMES[0] in found("Muhammad Nasir Khatiri", born)) is is_found


@given(st.text(max_size=200))
def test_whatever_a_name_holds_it_is_screened(name: str) -> None:
    assert all(HELD_FROM <= hit.score <= 100 for hit in listed().near(name))
    assert all(key(word) for word in words(name))


@given(st.sampled_from(NAMES), st.randoms(use_true_random=False))
def test_the_order_of_words_and_their_case_make_no_difference(name: str, random: object) -> None:
    parts = name.split()
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert name in found(" ".join(parts).upper())


def test_the_same_name_scores_a_hundred() -> None:
    assert [listed().near(name)[0].score for name in NAMES] == [100] * len(NAMES)


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_variants_are_found_and_others_are_not(seed: int) -> None:
    print(f"seed {seed}")
    made = invented(seed)
    recall, false_hits, _ = recall_and_false_hits(NameIndex(made.entries), made)
    assert recall >= 0.95
    assert false_hits <= 0.01
