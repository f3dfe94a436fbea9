"""`.tally/environment`: what was given comes back, whoever reads it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.stack.environment import as_text, from_text
from operations.stack.home import Home, write_private
from operations.stack.running import current_settings, given_settings
from topics.settings import SettingsError

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
AWKWARD = {
    "TALLY_A": PRINTABLE,
    "TALLY_B": "it's \\\\ and \\n and ${HOME} and $(id) and `id`",
    "TALLY_C": " blanks around ",
    "TALLY_D": "two\nlines\tand\r\nmore\x1b",
    "TALLY_E": "",
    "TALLY_F": "# no comment",
    "TALLY_G": "Zürich ₫ 東京",
    "TALLY_H": b"\xff\xfe".decode("utf-8", "surrogateescape"),
}
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.dictionaries(st.from_regex(r"TALLY_[A-Z_]{1,9}", fullmatch=True), VALUES))
def test_what_was_written_is_read(environment: Mapping[str, str]) -> None:
    assert from_text(as_text(environment)) == environment


@pytest.mark.parametrize("character", PRINTABLE)
def test_every_printable_character_is_read_as_it_was_written(character: str) -> None:
    for value in (character, f"a{character}b", character * 2, f" {character} "):
        assert from_text(as_text({"TALLY_A": value, "TALLY_B": "next"})) == {"TALLY_A": value, "TALLY_B": "next"}


def test_a_shell_reads_the_same(tmp_path: Path) -> None:
    write_private(tmp_path / "environment", as_text(AWKWARD))
    said = subprocess.run(
        ["sh", "-c", "set -a; . ./environment; env -0"], cwd=tmp_path, capture_output=True, check=True
    )
    lines = said.stdout.decode("utf-8", "surrogateescape").split("\0")
    assert {name: value for name, _, value in (line.partition("=") for line in lines) if name in AWKWARD} == AWKWARD


def test_commands_see_passwords_and_keys_as_the_stack_was_given_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    for name in ("TALLY_KAFKA_OPTIONS", "TALLY_PSPS"):
        monkeypatch.delenv(name, raising=False)
    psp = {"name": "northpay", "adapter": "northpay", "url": "http://psp", "api_key": PRINTABLE}
    options = {"sasl.password": PRINTABLE + "${HOME}"}
    given = {"TALLY_KAFKA_OPTIONS": json.dumps(options), "TALLY_PSPS": json.dumps([psp]), "TALLY_SECRET": PRINTABLE}
    write_private(Home(tmp_path).environment, as_text(given))
    found = current_settings()
    assert (found.kafka_options, found.psps[0].api_key, found.secret) == (options, PRINTABLE, PRINTABLE)


def test_a_part_of_a_setting_in_the_shell_goes_before_the_stacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    monkeypatch.setenv("TALLY_STUCK__CALLING_S", "7")
    write_private(Home(tmp_path).environment, as_text({"TALLY_STUCK": '{"calling_s": 1, "unknown_s": 2}'}))
    assert (given_settings().stuck.calling_s, given_settings().stuck.unknown_s) == (7, 2)


@pytest.mark.parametrize("broken", ["TALLY_SECRET='hush", "hush", "TALLY SECRET=hush"])
def test_a_file_that_somebody_broke_is_one_line_that_shows_no_value(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    Home(tmp_path).environment.write_text(broken)
    with pytest.raises(SettingsError) as refused:
        current_settings()
    assert str(Home(tmp_path).environment) in str(refused.value)
    assert "hush" not in str(refused.value)
