"""Entries → a bank's file as the simulator writes it, in each format → the same entries; and the same digests in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from bai2 import bai2 as library
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciliation import gate
from reconciliation.formats.keys import ours, paid_out, theirs
from reconciliation.formats.shape import ReadFrom
from schemas.currencies import DECIMALS
from simulator.settlements import bai, camt, nacha, swift
from simulator.settlements.bank import Entry, Statement, bank_reference
from tests.unit.settlement_reading import Told, told

SOURCE = ReadFrom("house-bank", "house", references=frozenset({r"batch (\d+), [a-z]+-account"}))
DAY, CLOSED = "2026-02-11", int(datetime(2026, 2, 12, 1, tzinfo=UTC).timestamp())
BOOKED = int(datetime(2026, 2, 11, tzinfo=UTC).timestamp())


class Written(NamedTuple):
    """`is_booked`: a statement, whose balances are the lines' own; else what tells them again."""

    write: Callable[[Sequence[Statement]], bytes]
    is_booked: bool = True


FORMATS = {
    "camt053": Written(lambda statements: b"".join(camt.write(statements, 8))),
    "camt054": Written(lambda statements: b"".join(camt.write_notification(statements)), is_booked=False),
    "mt940": Written(lambda statements: b"".join(swift.write_statement(statements))),
    "mt942": Written(lambda statements: b"".join(swift.write_report(statements)), is_booked=False),
    "bai2": Written(lambda statements: b"".join(bai.write(statements))),
}
formats = pytest.mark.parametrize("name", FORMATS)
bounded = settings(derandomize=True, deadline=None, max_examples=40)


@st.composite
def made_entry(draw: st.DrawFn, number: int, currency: str) -> Entry:
    amount = draw(st.integers(1, 10**11)) * draw(st.sampled_from([1, -1]))
    end_to_end = draw(st.sampled_from(["", f"{number + 1:032x}", "P-17 x", "a/b"]))
    filler = draw(st.text("abc def 0123/.+-(é", max_size=200))
    text = draw(st.sampled_from([f"batch {number}, shop-account", "", f"see {filler}."]))
    return Entry(
        f"{currency}{number}", CLOSED * 1_000_000, amount, end_to_end, text, draw(st.sampled_from(["", "Ada & Co"]))
    )


@st.composite
def made_statements(draw: st.DrawFn) -> list[Statement]:
    made = []
    for currency in draw(st.sampled_from([("EUR",), ("USD", "JPY"), ("BHD", "EUR")])):
        entries = [draw(made_entry(number, currency)) for number in range(draw(st.integers(0, 6)))]
        opening = draw(st.integers(-(10**10), 10**10))
        closing = opening + sum(entry.amount for entry in entries)
        made.append(Statement("main", currency, 7, DAY, CLOSED * 1_000_000, opening, closing, entries))
    return made


def read(name: str, statements: Sequence[Statement]) -> Told:
    data = FORMATS[name].write(statements)
    reader = gate.chosen(data[:65_536], SOURCE)
    assert reader.name == name
    return told(reader, data, SOURCE)


def key_of(entry: Entry, currency: str) -> str:
    settlement = entry.text.partition("batch ")[2].partition(",")[0]
    return ours(entry.end_to_end) or (
        paid_out("house", settlement, currency) if settlement else theirs("house", bank_reference(entry.fact))
    )


@formats
@bounded
@given(st.data())
def test_what_was_written_is_read(name: str, data: st.DataObject) -> None:
    statements = data.draw(made_statements())
    found = read(name, statements)
    told_apart = [
        (line.kind, line.net, line.net_currency, line.gross, line.fee, line.key, line.psp_ref, line.at, line.value_day)
        for line in found.lines
    ]
    kind = "s" if FORMATS[name].is_booked else "n"
    assert told_apart == [
        (
            kind,
            e.amount,
            s.currency,
            e.amount,
            0,
            key_of(e, s.currency),
            bank_reference(e.fact),
            BOOKED,
            BOOKED // 86_400,
        )
        for s in statements
        for e in s.entries
    ]
    claims = [(each.amount.minor, each.opening and each.opening.minor, each.day) for each in found.control.claims]
    assert sorted(claims) == sorted((s.closing, s.opening, DAY) for s in statements if FORMATS[name].is_booked)
    assert len({*found.digests()}) == len(found.lines)
    assert all(each.ties for each in found.control.sums)


@formats
@bounded
@given(st.data())
def test_entries_in_any_order_have_the_same_digests(name: str, data: st.DataObject) -> None:
    statements = data.draw(made_statements())
    turned = [replace(each, entries=data.draw(st.permutations(list(each.entries)))) for each in statements]
    assert {*read(name, statements).digests()} == {*read(name, turned).digests()}


@bounded
@given(st.data())
def test_the_library_for_bai2_agrees_with_every_total(data: st.DataObject) -> None:
    """It checks whole files; we give it single records."""
    statements = data.draw(made_statements())
    found = library.parse_from_string(b"".join(bai.write(statements)).decode())
    assert found.trailer.number_of_groups == len(statements)


@bounded
@given(st.data())
def test_returns_are_read_with_the_payments_that_came_back(data: st.DataObject) -> None:
    made = [
        Entry(f"transfer:{number}:returned:1", CLOSED, data.draw(st.integers(1, 10**9)), data.draw(
            st.sampled_from([f"{number + 1:032x}", f"P-{number}"])), "return", "")
        for number in range(data.draw(st.integers(1, 25)))
    ]  # fmt: skip
    content = b"".join(nacha.write(made, CLOSED * 1_000_000))
    assert len(content) % 950 == 0
    reader = gate.chosen(content, SOURCE)
    assert reader.name == "nacha_returns"
    found = told(reader, content, SOURCE)
    assert [(line.kind, line.net, line.net_currency, line.order_ref, line.settlement) for line in found.lines] == [
        ("s", entry.amount, "USD", "R03", "") for entry in made
    ]
    assert [line.psp_ref for line in found.lines] == [nacha.original_trace(entry) for entry in made]
    assert [line.key for line in found.lines] == [
        ours(entry.end_to_end) or theirs("house", nacha.original_trace(entry)) for entry in made
    ]
    assert found.control.claims == ()


def test_currencies_have_all_numbers_of_decimals() -> None:
    assert [DECIMALS[currency] for currency in ("JPY", "EUR", "BHD")] == [0, 2, 3]
