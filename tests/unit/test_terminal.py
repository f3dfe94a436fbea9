"""What is shown on a terminal: it obeys nothing of it, and hides nothing of it."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from operations.cli.tables import Table, titled
from operations.cli.terminal import note, say, say_json, visible

HOSTILE = {
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x1b]52;c;cm0gLXJm\x1b\\": r"\x1b]52;c;cm0gLXJm\x1b" + "\\",
    "\x9b2J": r"\x9b2J",
    "order\u202e1-o": r"order\u202e1-o",
    "\u2066seller\u2069": r"\u2066seller\u2069",
    "zero\u200bwidth\ufeff": r"zero\u200bwidth\ufeff",
    "soft\u00adhyphen": r"soft\xadhyphen",
    "hangul\u3164filler\u115f": r"hangul\u3164filler\u115f",
    "tag\U000e0041": r"tag\U000e0041",
    "variation\ufe0f": r"variation\ufe0f",
    "two\nlines\r\tof it": r"two\nlines\r\tof it",
    "\u2028": r"\u2028",
    "\ud800": r"\ud800",
}
LETTERS = "order-1~2.3 [red]Zürich[/] ₫ 東京 Владимир محمد ελ"


@pytest.mark.parametrize(("given", "shown"), HOSTILE.items())
def test_controls_bidi_and_zero_width_marks_are_made_visible(given: str, shown: str) -> None:
    assert visible(given) == shown


def test_what_people_write_stays_as_it_is() -> None:
    assert visible(LETTERS) == LETTERS


@given(st.text())
def test_no_text_holds_anything_that_cannot_be_seen(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert not [letter for letter in shown if unicodedata.category(letter) in {"Cc", "Cf", "Zl", "Zp", "Cs"}]


def test_both_streams_are_written_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\ntwo", "three")
    note("\x1b[2J")
    assert capsys.readouterr() == ("one\\ntwo\nthree\n", "\\x1b[2J\n")


def test_a_program_reads_the_value_and_a_terminal_sees_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("".join(HOSTILE) + LETTERS + "\x7f", [{"key": "\x1b[2J"}], None):
        say_json(value)
        written = capsys.readouterr().out
        assert json.loads(written) == value
        assert all(letter == "\n" or (letter.isascii() and letter.isprintable()) for letter in written)


def test_a_table_shows_marks_and_markup_of_strangers_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = titled("\x1b]0;x\x07[red]c-1[/]", "key", "why")
    table.add_row("\x1b]0;x\x07", Text("\u202e[bold]no markup[/]", "red"))
    table.show()
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    for seen in (r"\x1b]0;x\x07", r"\u202e[bold]no markup[/]", "[red]c-1[/]"):
        assert seen in shown


def test_a_cell_may_be_a_number_or_nothing() -> None:
    table = Table("a", "b")
    table.add_row(str(1), "")
    assert table.row_count == 1
