"""Names: written in many ways, compared in one; lists: read once, versioned by content."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.risk.names import normalise, read_lists
from topics.settings import SettingsError


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("  Mallory   DOE ", "mallory doe"),
        ("O'Brien-Smith, Jr.", "o brien smith jr"),
        ("Straße", "strasse"),
        ("ﬁona", "fiona"),  # a ligature
        ("Ｍａｌｌｏｒｙ", "mallory"),  # full width
        ("Jose\u0301", "josé"),  # decomposed
        ("Mal\u200blo\u00adry", "mallory"),  # zero width space, soft hyphen
        ("Mallory\u00a0Doe", "mallory doe"),  # no-break space
        ("Mallory‐Doe", "mallory doe"),  # U+2010
        ("मोहन", "मोहन"),  # vowel signs are marks, not punctuation
        ("_-_", ""),
    ],
)
def test_a_name_is_compared_in_one_form(written: str, compared: str) -> None:
    assert normalise(written) == compared


@given(st.text())
def test_the_compared_form_is_final(name: str) -> None:
    assert normalise(normalise(name)) == normalise(name)


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_short_way_for_ascii_agrees_with_the_long_one(name: str) -> None:
    assert normalise(name + " é") == f"{normalise(name)} é".strip()


def test_a_list_is_a_name_a_line_with_comments(tmp_path: Path) -> None:
    file = tmp_path / "sanctions.txt"
    file.write_text("\ufeff# from the ministry\nMallory Doe\n\n  MALLORY  doe\nEve\n---\n")
    [one] = read_lists([file])
    assert one.name == "sanctions"
    assert one.names == {"mallory doe", "eve"}


def test_a_changed_file_is_a_new_version(tmp_path: Path) -> None:
    file = tmp_path / "sanctions.txt"
    file.write_text("Mallory\n")
    [before] = read_lists([file])
    file.write_text("Mallory\nEve\n")
    [after] = read_lists([file])
    assert before.version != after.version


def test_a_list_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TALLY_RISK_LISTS: .*missing.txt cannot be read"):
        read_lists([tmp_path / "missing.txt"])
    (tmp_path / "latin.txt").write_bytes("José".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"TALLY_RISK_LISTS: .*latin.txt is not UTF-8"):
        read_lists([tmp_path / "latin.txt"])


def test_two_lists_of_one_name_stop_the_start(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pep.txt").write_text("Eve\n")
    with pytest.raises(SettingsError, match="two lists are called pep"):
        read_lists([tmp_path / "a" / "pep.txt", tmp_path / "b" / "pep.txt"])
