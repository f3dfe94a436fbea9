"""A bank file as a bank takes it: against the schema of ISO 20022, to the byte, in a stream of bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import sepaxml
from defusedxml.ElementTree import fromstring
from hypothesis import given, settings
from hypothesis import strategies as st
from xmlschema import XMLSchema

from psp.pain001 import NAMESPACE, BankFileError, Debtor, FileHeader, check, write
from psp.payout_port import Opened, Transfer
from schemas.money import Money

FILE_ID = "ab" * 16
DEBTOR = Debtor("Müller & Söhne Plattform GmbH", "DE89370400440532013000", "COBADEFFXXX")
HOLDER: Opened = {"type": "iban", "iban": "FR1420041010050500013M02606", "holder": "Zoë O’Neill <Ltd> & Søn"}
ABROAD: Opened = {
    "type": "iban",
    "iban": "GB29NWBK60161331926819",
    "holder": "Ann Smith",
    "bic": "NWBKGB2L",
    "address": {
        "town": "Łódź & Co",
        "country": "GB",
        "street": "Baker St",
        "building": "221b",
        "postal_code": "NW1 6XE",
    },
}


@lru_cache
def schema() -> XMLSchema:
    return XMLSchema(str(Path(sepaxml.__file__).parent / "schemas" / "pain.001.001.09.xsd"))


def transfer(number: int = 0, minor: int = 1250, currency: str = "EUR", to: Opened = HOLDER) -> Transfer:
    return Transfer(f"{number:032x}", f"po_{number}", Money(minor, currency), to)


def header(transfers: Iterable[Transfer], **changed: Any) -> FileHeader:
    lines = list(transfers)
    currency = lines[0].amount.currency
    total = Money(sum(line.amount.minor for line in lines), currency)
    at = datetime(2026, 11, 30, 18, 5, 59, 999_999, tzinfo=UTC)
    return replace(FileHeader(FILE_ID, at, date(2026, 12, 1), DEBTOR, currency, len(lines), total), **changed)


def written(transfers: Iterable[Transfer], **changed: Any) -> bytes:
    lines = list(transfers)
    return b"".join(write(header(lines, **changed), lines))


def texts(file: bytes, name: str) -> list[str | None]:
    return [each.text for each in fromstring(file).iter(f"{{{NAMESPACE}}}{name}")]


@pytest.mark.parametrize(
    ("currency", "minor", "amount"), [("EUR", 1, "0.01"), ("JPY", 120, "120"), ("BHD", 5, "0.005")]
)
def test_a_file_of_any_currency_and_both_kinds_of_holders_is_valid_by_the_standards_own_schema(
    currency: str, minor: int, amount: str
) -> None:
    file = written([transfer(1, minor, currency), transfer(2, minor, currency, ABROAD)])
    schema().validate(file.decode())
    assert texts(file, "InstdAmt") == [amount, amount]
    assert ("SEPA" in texts(file, "Cd")) == (currency == "EUR")


def test_a_file_says_who_pays_whom_how_much_and_by_which_ids() -> None:
    file = written([transfer(1, 1250), transfer(2, 99)])
    assert texts(file, "MsgId") == [FILE_ID]
    assert texts(file, "PmtInfId") == [f"{FILE_ID}-1"]
    assert texts(file, "CreDtTm") == ["2026-11-30T18:05:59Z"]
    assert texts(file, "Dt") == ["2026-12-01"]
    assert texts(file, "NbOfTxs") == ["2", "2"]
    assert texts(file, "CtrlSum") == ["13.49", "13.49"]
    assert texts(file, "EndToEndId") == [f"{1:032x}", f"{2:032x}"]
    assert texts(file, "InstrId") == ["1", "2"]
    assert texts(file, "Ustrd") == ["po-1", "po-2"]
    assert set(texts(file, "Nm")) == {"Muller + Sohne Plattform GmbH", "Zoe O'Neill .Ltd. + Son"}
    assert texts(file, "BICFI") == ["COBADEFFXXX"]


def test_a_debtors_bank_without_a_bic_is_said_not_to_be_provided() -> None:
    file = written([transfer()], debtor=replace(DEBTOR, bic=None))
    schema().validate(file.decode())
    assert "NOTPROVIDED" in texts(file, "Id")


def test_an_address_stands_in_fields_of_its_own_and_never_in_free_lines() -> None:
    file = written([transfer(to=ABROAD)])
    parts = ("StrtNm", "BldgNb", "PstCd", "TwnNm", "Ctry")
    assert [texts(file, name) for name in parts] == [["Baker St"], ["221b"], ["NW1 6XE"], ["Lodz + Co"], ["GB"]]
    assert texts(file, "AdrLine") == []
    assert texts(file, "BICFI")[1:] == ["NWBKGB2L"]


def test_the_same_lines_give_the_same_bytes_in_any_zone_of_the_clock() -> None:
    at = datetime(2026, 11, 30, 18, 5, 59, tzinfo=UTC)
    lines = [transfer(1), transfer(2, to=ABROAD)]
    there = at.astimezone(timezone(timedelta(hours=9)))
    assert written(lines, created_at=at) == written(lines, created_at=there)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"count": 1}, "wrong_count"),
        ({"count": 3}, "wrong_count"),
        ({"total": Money(2501, "EUR")}, "wrong_total"),
        ({"total": Money(2500, "USD")}, "wrong_currency"),
        ({"currency": "USD", "total": Money(2500, "USD")}, "wrong_currency"),
        ({"total": Money(0, "EUR")}, "wrong_total"),
        ({"total": Money(10**18, "EUR")}, "wrong_total"),
        ({"debtor": replace(DEBTOR, name="x" * 71)}, "unwritable"),
    ],
)
def test_a_header_that_its_lines_contradict_is_refused(changed: Mapping[str, Any], code: str) -> None:
    with pytest.raises(BankFileError) as refused:
        written([transfer(1), transfer(2)], **changed)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (transfer(minor=0), "wrong_amount"),
        (transfer(minor=-5), "wrong_amount"),
        (transfer(to={"type": "us_account", "account_number": "1234", "holder": "Ann"}), "not_an_iban"),
        (transfer(to={**HOLDER, "iban": "DE00370400440532013000"}), "not_an_iban"),
        (transfer(to={**HOLDER, "holder": "x" * 71}), "not_an_iban"),
        (transfer(to={**ABROAD, "address": {"town": "London"}}), "not_an_iban"),
        (transfer(to={name: value for name, value in ABROAD.items() if name != "address"}), "address_required"),
    ],
)
def test_a_line_that_no_bank_would_take_is_refused_before_it_is_in_a_file_and_nothing_of_it_is_shown(
    line: Transfer, code: str
) -> None:
    check(transfer())
    with pytest.raises(BankFileError) as refused:
        check(line)
    assert refused.value.code == code
    assert str(line.destination["holder"]) not in str(refused.value)
    with pytest.raises(BankFileError):
        written([transfer(1), line], count=2, total=Money(1, "EUR"))


@settings(max_examples=60, deadline=None)
@given(holder=st.text(min_size=1, max_size=80), minor=st.integers(1, 10**14))
def test_whatever_name_a_destination_may_have_is_written_valid_or_refused(holder: str, minor: int) -> None:
    line = transfer(minor=minor, to={**HOLDER, "holder": holder})
    try:
        check(line)
    except BankFileError:
        return
    schema().validate(written([line]).decode("ascii"))


def test_ten_thousand_lines_are_written_in_little_memory() -> None:
    count = 10_000
    whole = replace(header([transfer()]), count=count, total=Money(1250 * count, "EUR"))

    def lines() -> Iterator[Transfer]:
        return (transfer(number) for number in range(count))

    size = largest = 0
    tracemalloc.start()
    try:
        for piece in write(whole, lines()):
            size, largest = size + len(piece), max(largest, len(piece))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert largest < 1 << 17 < 1 << 21 < size
    assert peak < size // 4, peak
