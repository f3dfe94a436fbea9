"""Texts of amounts, rates, times and references in settlement files → values, or why they are none."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciliation.formats import keys, seen
from reconciliation.formats.amounts import ImpliedUnits, MajorUnits, Rates, decimals_of
from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.refusing import Refusals, Unreadable, masked, refusal_of
from reconciliation.formats.shape import CHUNK_LINES, NO_KEY, RELEASABLE, Refusal
from reconciliation.formats.times import Times, When, day_of, iso_day

NO_NUMBERS = [
    "1_000",
    "１２",
    "٣",
    "+5",
    "1e3",
    ".5",
    "5.",
    "-0.00",
    "1,5",
    "1,000.00",
    " 1",
    "1 ",
    "--1",
    "01",
    "0x1",
    "NaN",
    "1" * 19,
]


def code(read: Callable[[], Any]) -> str:
    with pytest.raises(Unreadable) as error:
        read()
    return error.value.code


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_plain_number_is_no_amount(text: str) -> None:
    assert [code(lambda d=d: MajorUnits(d, d, signed=True)[text]) for d in (0, 2)] == ["bad_row"] * 2
    assert text == "01" or code(lambda: ImpliedUnits(2, 2)[text]) == "bad_row"
    assert code(lambda: Rates()[text]) == "bad_row"


def test_amounts_are_exact_minor_units() -> None:
    euro, yen, dinar = MajorUnits(2, 2), MajorUnits(0, 0), MajorUnits(3, 3)
    assert [euro[text] for text in ("", "0", "10", "0.1", "12.34", "12.340", "9999999999999.99")] == [
        0, 0, 1000, 10, 1234, 1234, 999_999_999_999_999,
    ]  # fmt: skip
    assert (yen["100"], yen["100.00"], dinar["1.234"]) == (100, 100, 1234)
    assert MajorUnits(8, 8, signed=True)["-0.00000001"] == -1


def test_digits_that_do_not_fit_are_wrong_decimals() -> None:
    assert code(lambda: MajorUnits(2, 2)["1.234"]) == "wrong_decimals"
    assert code(lambda: MajorUnits(2, 0)["1000.50"]) == "wrong_decimals"  # CLP, which the PSP counts in hundredths
    assert code(lambda: MajorUnits(0, 2)["10.50"]) == "wrong_decimals"  # CVE, which the PSP has without decimals
    assert code(lambda: ImpliedUnits(2, 0)["150"]) == "wrong_decimals"
    assert code(lambda: MajorUnits(2, 2)["-1.00"]) == "bad_row"


def test_implied_decimals_are_the_reports_own() -> None:
    assert (ImpliedUnits(2, 0)["15000"], ImpliedUnits(2, 2)["1500"], ImpliedUnits(2, 3)["1500"]) == (150, 1500, 15000)


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 4))
def test_what_is_written_is_read(minor: int, decimals: int) -> None:
    digits = str(abs(minor)).zfill(decimals + 1)
    text = ("-" if minor < 0 else "") + (f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits)
    read = MajorUnits(decimals, decimals, signed=True)
    if len(digits) <= 15:
        assert (read[text], read[text]) == (minor, minor)


def test_a_currency_that_nobody_charges_is_unknown() -> None:
    assert decimals_of("CVE", {"CVE": 0}) == (0, 2)
    assert decimals_of("JPY") == (0, 0)
    assert code(lambda: decimals_of("XXX")) == "currency_unknown"
    assert code(lambda: decimals_of("eur")) == "currency_unknown"


def test_a_rate_is_exact_and_more_than_nothing() -> None:
    assert Rates()["0.011"] == Fraction(11, 1000)
    assert [code(lambda text=text: Rates()[text]) for text in ("0", "0.00", "-1")] == ["bad_row"] * 3


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def seconds(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


def test_a_time_is_read_in_the_zone_that_its_abbreviation_means() -> None:
    times = Times()
    assert times["2026-02-10 10:25:36", "PST"] == When(seconds(2026, 2, 10, 18, 25, 36), 20_494)
    assert times["2026/07/10 10:25:36", "CEST"].at == seconds(2026, 7, 10, 8, 25, 36)
    assert times["2026-07-10T10:25:36.123", "-0800"].at == seconds(2026, 7, 10, 18, 25, 36)
    assert times["2026-07-10T10:25:36", "Z"].at == seconds(2026, 7, 10, 10, 25, 36)
    assert iso_day(times["2026-12-31 23:00:00", "PST"].day) == "2026-12-31"  # as the file writes it


def test_the_hour_that_comes_twice_is_told_apart_by_its_zone() -> None:
    times = Times()
    assert times["2026-10-25 02:30:00", "CET"].at - times["2026-10-25 02:30:00", "CEST"].at == 3600


@pytest.mark.parametrize(
    "text",
    [
        ("2026-02-30 00:00:00", "CET"), ("2026-01-01 24:00:00", "CET"), ("2026-01-01", "CET"), ("", "CET"),
        ("01/02/2026 00:00:00", "CET"), ("２026-01-01 00:00:00", "CET"), ("0000-01-01 00:00:00", "CET"),
        ("2026-01-01 00:00:00", "XYZ"), ("2026-01-01 00:00:00", "CST"), ("2026-01-01 00:00:00", ""),
    ],
)  # fmt: skip
def test_what_is_no_time_or_no_known_zone_is_refused(text: tuple[str, str]) -> None:
    assert code(lambda: Times()[text]) == "bad_row"


def test_days_are_counted_from_1970() -> None:
    assert (day_of("1970-01-02"), iso_day(1)) == (1, "1970-01-02")
    assert [code(lambda text=text: day_of(text)) for text in ("2026-02-30", "20260101", "")] == ["bad_row"] * 3


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_of_ours_is_its_own_key() -> None:
    call = "0123456789abcdef" * 2
    assert keys.ours(call) == call
    assert [keys.ours(text) for text in (call.upper(), call[:-1], f"{call} ", "", NO_KEY)] == [None] * 5


def test_keys_tell_psps_and_references_apart() -> None:
    assert keys.theirs("adyen", "A1") != keys.theirs("stripe", "A1")
    assert keys.theirs("ab", "c") != keys.theirs("a", "bc")
    assert (keys.theirs("adyen", ""), len(keys.theirs("adyen", "A1"))) == (NO_KEY, 32)
    assert keys.paid_out("main", "238", "EUR") != keys.paid_out("main", "239", "EUR")


def test_equal_rows_are_as_many_lines_and_the_same_ones_when_they_come_again() -> None:
    rows = ["a", "b", "a", "a"]
    first = keys.Occurrences()
    found = [first.digest(row) for row in rows]
    assert len(set(found)) == 4
    again = keys.Occurrences()
    assert sorted(again.digest(row) for row in reversed(rows)) == sorted(found)


def test_no_row_is_forgotten_once_most_are_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_RECENT", 512)
    rows = keys.Occurrences()
    first = [rows.digest(str(number)) for number in range(20_000)]
    again = [rows.digest(str(number)) for number in range(20_000)]
    assert len({*first, *again}) == 40_000


def test_rows_are_told_apart_in_memory_that_does_not_grow_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_RECENT", 512)
    rows = keys.Occurrences()
    tracemalloc.start()
    try:
        for number in range(2_000):
            rows.digest(str(number))
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2_000, 20_000):
            rows.digest(str(number))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 18_000  # bytes: one for each of them


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_refused_by_the_code_that_comes_first_and_there_by_its_first_line() -> None:
    def read() -> None:
        refusals = Refusals()
        with refusals.raised_at_the_end():
            refusals.add(Refusal("wrong_decimals", "", 2))
            refusals.add(Refusal("bad_row", "", 3))
            refusals.add(Refusal("bad_row", "", 4))
            raise Refusal("bad_total", "")

    with pytest.raises(Refusal) as error:
        read()
    assert (error.value.code, error.value.line) == ("bad_row", 3)


def test_only_what_two_persons_may_release_is_released() -> None:
    refusals = Refusals(frozenset({"bad_total", "bad_row"}))
    refusals.add(Refusal("bad_total", ""))
    assert not refusals
    refusals.add(Refusal("bad_row", ""))
    assert refusals


def test_a_refused_row_names_its_column_and_hides_cards_and_addresses() -> None:
    amounts = MajorUnits(2, 2)
    row = ["1.00", "1,5", "4111 1111 1111 1111", "a@b.example", "x" * 500]
    refusal = refusal_of(
        Unreadable("bad_row", "no"), row, 7, [("Debit", 0, amounts.parse), ("Credit", 1, amounts.parse)]
    )
    assert (refusal.line, refusal.column, len(refusal.excerpt)) == (7, "Credit", 200)
    assert refusal.excerpt.startswith("1.00,1,5,[card],[address],xxx")
    assert masked("ref 1234567890123456") == "ref 1234567890123456"
    assert "4111" not in masked("on 2026-02-11 4111111111111111 was charged")


# ── chunks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def line(number: int, kind: str = "c", settlement: str = "238") -> Line:
    return Line(kind, NO_KEY, f"P{number}", "x" * 300, settlement, 100, "EUR", 90, "USD", 10, value_day=number)


def test_chunks_hold_consecutive_records_and_where_they_stand() -> None:
    chunks = Chunks()
    numbers = [*range(2, CHUNK_LINES + 10), *range(600, 610)]
    made = [chunks.add(line(number), number, number * 10, number * 10 + 9) for number in numbers]
    found = [each for each in (*made, *chunks.rest()) if each is not None]
    assert [(each.first_line, each.first_byte, each.last_byte, len(each.lines.kinds)) for each in found] == [
        (2, 20, 5019, CHUNK_LINES),
        (502, 5020, 5099, 8),
        (600, 6000, 6099, 10),
    ]
    assert (found[0].currencies, found[0].settlements) == (("EUR", "USD"), ("238",))
    assert (found[0].lines.gross_currencies[0], found[0].lines.net_currencies[0]) == (0, 1)
    assert (chunks.lines, chunks.days()) == (518, (iso_day(2), iso_day(609)))
    assert len(found[0].lines.order_refs[0]) == 200


def test_a_settlement_ties_where_its_lines_are_what_it_pays_out() -> None:
    chunks = Chunks()
    for number, each in enumerate((line(1), line(2)._replace(kind="p", net=-90), line(3, settlement=""))):
        chunks.add(each, number + 1)
    assert [(each.settlement, each.net, each.paid, each.ties) for each in chunks.settlements()] == [
        ("", 90, 0, False),
        ("238", 90, 90, True),
    ]
    assert chunks.totals() == {"USD": 90}
    [chunk] = chunks.rest()
    assert chunk.lines.settlements == [0, 0, -1]


@pytest.mark.parametrize("settlements", [("238", "238", "238"), ("238", "239", "240")])
def test_a_sum_over_64_bits_is_refused_and_not_released(settlements: tuple[str, ...]) -> None:
    chunks = Chunks()
    for number, settlement in enumerate(settlements):
        chunks.add(line(number, settlement=settlement)._replace(net=2**62), number + 1)
    with pytest.raises(Refusal) as error:
        chunks.settlements()
    assert error.value.code not in RELEASABLE
