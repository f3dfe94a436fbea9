"""Tables of reconciliation on screens of any width: no number and no name is cut off."""

from __future__ import annotations

import re

import pytest

from operations.cli.recon_answers import table
from producers.recon_reports import Answer

COLUMNS = [
    ("source", "source"),
    ("ref", "their reference"),
    ("amount", "adds up to"),
    ("of", "in"),
    ("counts", "counts"),
]
ROW: Answer = {
    "source": "northpay-main",
    "ref": "po_" + "x1" * 15,
    "amount": "-1234567.89",
    "of": "EUR",
    "counts": True,
}


def printed(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    table([ROW, ROW | {"amount": "1.00", "counts": False}], COLUMNS, "Settlements")
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_every_number_is_whole_and_every_text_is_there(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(width, monkeypatch, capsys)
    assert "-1234567.89" in out
    assert "…" not in out
    assert out.count("x") == 30
    assert ("┃" in out) == (width >= 80)
    if "┃" in out:
        assert max(map(len, out.splitlines())) <= width


def test_numbers_stand_at_the_right_and_a_narrow_screen_gets_a_line_for_each_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(r"│ -1234567\.89 │.*\n.*│ +1\.00 │", printed(200, monkeypatch, capsys))
    title, first, second = printed(30, monkeypatch, capsys).splitlines()
    assert (title, first.startswith("source northpay-main, their reference po_x1")) == ("Settlements", True)
    assert second.endswith("adds up to 1.00, in EUR, counts no")
