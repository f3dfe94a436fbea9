"""Bytes of settlement files → lines and records, or the refusal that says what is wrong with them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciliation.formats.blocks import LINE_BYTES_MAX, Lines, refuse_binary
from reconciliation.formats.records import Columns, Records, normal
from reconciliation.formats.shape import Refusal

TEXT = 'Type,Ref\nSettled,é1\r\nFee,"a\nb"\rRefunded,€\n'
ROWS = [["Type", "Ref"], ["Settled", "é1"], ["Fee", "a\nb"], ["Refunded", "€"]]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[begin : begin + size] for begin in range(0, len(data), size))


def refused(data: bytes) -> tuple[str, str]:
    with pytest.raises(Refusal) as error:
        list(Records([data]))
    return error.value.code, error.value.detail


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_blocks_of_any_size_in_each_encoding_give_the_same_records_and_their_bytes(
    mark: bytes, codec: str, size: int
) -> None:
    data = mark + TEXT.encode(codec)
    records = Records(cut(data, size))
    found = [(row, records.number, data[records.first_byte : records.last_byte + 1]) for row in records]
    assert [row for row, _, _ in found] == ROWS
    assert [number for _, number, _ in found] == [1, 2, 3, 4]
    assert b"".join(raw for _, _, raw in found) == data
    assert found[2][2].decode(codec) == 'Fee,"a\nb"\r'


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=2), min_size=1))
def test_records_are_those_that_were_written(rows: list[list[str]]) -> None:
    data = "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows).encode()
    assert list(Records(cut(data, 5))) == rows


def test_blank_lines_are_no_records() -> None:
    records = Records([b"a,b\n\n   \nc,d\r\r\n"])
    assert [(row, records.number, records.line) for row in records] == [(["a", "b"], 1, 1), (["c", "d"], 2, 4)]


def test_a_nul_is_binary() -> None:
    assert refused(b"a,b\nc,\0\n")[0] == "binary"
    assert refused("a,b\n".encode("utf-16-le"))[0] == "binary"  # without its mark


@pytest.mark.parametrize("head", [b"PK\x03\x04...", b"\x1f\x8b\x08...", b"%PDF-1.7"])
def test_an_archive_or_workbook_is_refused_by_its_name(head: bytes) -> None:
    with pytest.raises(Refusal) as error:
        refuse_binary(head)
    assert error.value.code == "binary"


def test_a_wrong_encoding_is_refused_with_the_byte() -> None:
    assert refused("a,b\nc,é\n".encode("latin-1")) == ("bad_encoding", "not UTF-8 at byte 6")
    assert refused(codecs.BOM_UTF16_LE + b"a\0,")[0] == "bad_encoding"
    assert refused(codecs.BOM_UTF16_LE + b"\x00\xd8a\0")[0] == "bad_encoding"  # a surrogate alone


def test_a_line_of_ten_megabytes_is_refused() -> None:
    assert refused(b"a," + b"x" * 10_000_000)[0] == "line_too_long"
    assert refused(b"a,b\n" + b"x," * (LINE_BYTES_MAX // 2) + b"xxx\n")[0] == "line_too_long"


def test_a_quote_that_is_never_closed_is_refused_and_read_no_further() -> None:
    assert refused(b'a,b\nc,"d\ne,f\n') == ("truncated", "the file ends inside a quoted field")
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        yield b'a,b\nc,"d\n'
        while True:
            read += 1
            yield b"e,f\n" * 16_384

    with pytest.raises(Refusal) as error:
        list(Records(endless()))
    assert (error.value.code, read < 20) == ("bad_row", True)


def test_quotes_inside_a_field_are_refused_with_their_line() -> None:
    with pytest.raises(Refusal) as error:
        list(Records([b'a,b\nc,"d"e\n']))
    assert (error.value.code, error.value.line) == ("bad_row", 2)


def test_lines_count_bytes_and_not_characters() -> None:
    lines = Lines([codecs.BOM_UTF16_LE + "é😀\nb\n".encode("utf-16-le")])
    assert [(line, lines.offset) for line in lines] == [("é😀\n", 10), ("b\n", 14)]


# ── columns ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_columns_are_found_by_name_wherever_they_stand() -> None:
    columns = Columns(
        ["Batch number", " NET  Debit (NC)", "Colour"], required=["net debit nc"], optional=["batch number", "date"]
    )
    row = ["238", "1.00", "red"]
    assert columns.has_width(row)
    assert columns.picker("net debit nc", "batch number", "date")(row) == ("1.00", "238", "")
    assert columns.notes == ("colour",)
    assert normal("Gross Debit (GC)") == "gross debit gc"


@pytest.mark.parametrize(
    ("header", "column"),
    [(["Type"], "ref"), (["Ref", "Type", "TYPE"], "TYPE"), (["Ref", "Type", "Levy (NC)"], "levy nc")],
)
def test_a_column_that_is_missing_doubled_or_of_unknown_money_is_drift(header: list[str], column: str) -> None:
    with pytest.raises(Refusal) as error:
        Columns(header, required=["ref"], optional=["type"], is_money=lambda name: name.endswith(" nc"))
    assert (error.value.code, error.value.line, error.value.column) == ("schema_drift", 1, column)


def test_one_file_leaves_nothing_behind_for_the_next() -> None:
    Columns(["Ref", "Odd"], required=["ref"])
    assert Columns(["Ref"], required=["ref"]).notes == ()
