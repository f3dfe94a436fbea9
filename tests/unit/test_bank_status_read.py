"""A bank's status report: every version that banks send, every status, and no other outcome than lines or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psp.pain002 import BYTES_MAX, GROUP, HAD_BEFORE, OUTCOMES, LineStatus, StatusFileError, read
from schemas.money import Money

FILE_ID = "ab" * 16
ONE, TWO = "01" * 16, "02" * 16
URN = "urn:iso:std:iso:20022:tech:xsd:"
NAMESPACES = [f"pain.002.001.{version:02}" for version in range(3, 15)] + ["pain.002.002.03", "pain.002.003.03"]


def line(status: str = "ACSP", id_: str = ONE, code: str = "", amount: str = "") -> str:
    reason = f"<StsRsnInf><Rsn><Cd>{code}</Cd></Rsn></StsRsnInf>" if code else ""
    asked = f'<OrgnlTxRef><Amt><InstdAmt Ccy="EUR">{amount}</InstdAmt></Amt></OrgnlTxRef>' if amount else ""
    name = f"<OrgnlInstrId>1</OrgnlInstrId><OrgnlEndToEndId>{id_}</OrgnlEndToEndId>"
    return f"<TxInfAndSts>{name}<TxSts>{status}</TxSts>{reason}{asked}</TxInfAndSts>"


def payment(lines: Sequence[str], status: str = "", id_: str = f"{FILE_ID}-1") -> str:
    told = f"<PmtInfSts>{status}</PmtInfSts>" if status else ""
    return f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{id_}</OrgnlPmtInfId>{told}{''.join(lines)}</OrgnlPmtInfAndSts>"


def group(status: str = "", message: str = FILE_ID, kind: str = "pain.001.001.09") -> str:
    told = f"<GrpSts>{status}</GrpSts>" if status else ""
    return (
        f"<OrgnlGrpInfAndSts><OrgnlMsgId>{message}</OrgnlMsgId><OrgnlMsgNmId>{kind}</OrgnlMsgNmId>{told}"
        "</OrgnlGrpInfAndSts>"
    )


def document(*parts: str, namespace: str = f"{URN}pain.002.001.10", encoding: str = "UTF-8", before: str = "") -> str:
    header = "<GrpHdr><MsgId>bank-1</MsgId><CreDtTm>2026-11-30T19:00:00</CreDtTm></GrpHdr>"
    return (
        f'<?xml version="1.0" encoding="{encoding}"?>{before}'
        f'<Document xmlns="{namespace}"><CstmrPmtStsRpt>{header}{"".join(parts)}</CstmrPmtStsRpt></Document>'
    )


def refused(raw: str | bytes) -> str:
    with pytest.raises(StatusFileError) as error:
        read(raw.encode() if isinstance(raw, str) else raw)
    return str(error.value)


@pytest.mark.parametrize("version", NAMESPACES)
def test_every_version_that_banks_send_reads_the_same(version: str) -> None:
    told = document(group("PART"), payment([line("RJCT", code="AC04", amount="12.5")]), namespace=URN + version)
    report = read(told.encode())
    assert (report.message_id, report.group_status) == (FILE_ID, "PART")
    assert report.lines == [LineStatus(ONE, "RJCT", "AC04", Money(1250, "EUR"))]


@pytest.mark.parametrize("version", ["pain.002.001.02", "pain.002.001.15", "pain.002.004.03", "pain.001.001.09", ""])
def test_a_document_of_another_kind_or_version_is_refused(version: str) -> None:
    assert "not a pain.002" in refused(document(group("ACTC"), namespace=URN + version))


@pytest.mark.parametrize("status", OUTCOMES)
def test_a_status_that_the_table_knows_is_read_of_a_line(status: str) -> None:
    assert read(document(group(), payment([line(status)])).encode()).lines == [LineStatus(ONE, status)]


@pytest.mark.parametrize("status", sorted(GROUP))
def test_a_status_of_a_file_is_read_at_the_group_and_at_its_payment_part(status: str) -> None:
    for told in (document(group(status)), document(group(), payment([], status))):
        report = read(told.encode())
        assert (report.group_status, list(report.lines)) == (status, [])


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (document(group("ACTC"), payment([], "RJCT")), "RJCT"),
        (document(group("PART"), payment([], "RJCT")), "RJCT"),
        (document(group("RJCT"), payment([line("RJCT")])), "RJCT"),
        (document(group("RJCT"), payment([line("RJCT")], "RJCT")), "RJCT"),
        (document(group("ACSP"), payment([line("RJCT")])), "ACSP"),
    ],
)
def test_the_payment_parts_status_counts_over_the_groups(told: str, status: str) -> None:
    assert read(told.encode()).group_status == status


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (document(group("BLCK")), "GrpSts 'BLCK' is not known"),
        (document(group(), payment([line("XXXX")])), "TxSts 'XXXX' is not known"),
        (document(group(), payment([line("PART")])), "TxSts 'PART' is not known"),
        (document(group(), payment([line("")])), "TxSts '' is not known"),
        (document(group(), payment([], "NULL")), "PmtInfSts 'NULL' is not known"),
        (document(group(), payment([line().replace("<TxSts>ACSP</TxSts>", "")])), "without a status"),
        (document(group(), payment([line(id_="")])), "OrgnlEndToEndId is missing"),
        (document(group(), payment([line(id_="x" * 36)])), "OrgnlEndToEndId is no identifier"),
        (document(group(), payment([line("ACSC"), line("RJCT")])), "two statuses for one line"),
        (document(group(), payment([line(), line(amount="1.00")])), "two statuses for one line"),
        (document(group("ACTC", message="")), "OrgnlMsgId is missing"),
        (document(payment([line()])), "names no file"),
        (document(group("ACTC"), group("ACTC")), "two files"),
        (document(group("ACTC")).replace("</CstmrPmtStsRpt>", "</CstmrPmtStsRpt><CstmrPmtStsRpt/>"), "two reports"),
        (document(group("ACTC"), payment([line()], id_="other")), "payment part"),
        (document(group(), payment([line()]), payment([line(id_=TWO)])), "payment part"),
        (document(group("ACTC", kind="pain.008.001.08")), "not about a file of credit transfers"),
        (document(group()), "no status at all"),
        (document(group("RJCT"), payment([line("ACSC")])), "a line of it is not"),
        (document(group("RJCT"), payment([], "ACSP")), "its payment part is not"),
        (document(group(), payment([line(amount="1.001")])), "an amount"),
        (document(group(), payment([line(amount="-1.00")])), "an amount"),
        (document(group(), payment([line(amount="1e3")])), "an amount"),
        (document(group(), payment([line(amount="1.00").replace("EUR", "QQQ")])), "an amount"),
        (document(group("ACTC").replace("</GrpSts>", "</GrpSts><GrpSts>RJCT</GrpSts>")), "stands twice"),
    ],
)
def test_a_report_that_is_not_wholly_understood_is_refused_with_the_reason(told: str, why: str) -> None:
    assert why in refused(told)


def test_a_payment_part_that_the_bank_does_not_name_is_the_files_only_one() -> None:
    assert len(read(document(group("PART"), payment([line("ACSC")], id_="NOTPROVIDED")).encode()).lines) == 1


def test_a_line_that_is_told_twice_in_the_same_words_counts_once() -> None:
    assert len(read(document(group(), payment([line("RJCT", code="AC01")] * 2)).encode()).lines) == 1


def test_a_banks_own_reason_is_kept_and_one_that_cannot_be_shown_is_unspecified() -> None:
    own = line("RJCT", code="AC01").replace("Cd>", "Prtry>")
    for told, code in ((own, "AC01"), (line("RJCT", code="a b"), "unspecified")):
        assert read(document(group(), payment([told])).encode()).lines[0].code == code


@pytest.mark.parametrize("code", sorted(HAD_BEFORE))
def test_a_rejection_of_a_repetition_is_none_of_the_file_that_the_bank_had_first(code: str) -> None:
    reason = f"<StsRsnInf><Rsn><Cd>{code}</Cd></Rsn></StsRsnInf>"
    of_group = document(group("RJCT").replace("</GrpSts>", f"</GrpSts>{reason}"))
    of_payment = document(group(), payment([], "RJCT").replace("</PmtInfSts>", f"</PmtInfSts>{reason}"))
    of_line = document(group("PART"), payment([line("ACSC", TWO), line("RJCT", code=code)]))
    second = document(group(), payment([line("RJCT", code="NARR").replace("<TxInfAndSts>", f"<TxInfAndSts>{reason}")]))
    for told in (of_group, of_payment, of_line, second):
        assert "had this before" in refused(told)


BOMB = "<!DOCTYPE x [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;'>]>"
EXTERNAL = "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (document(group("ACTC"), before=BOMB).encode(), "document type"),
        (document(group("&a;"), before=EXTERNAL).encode(), "document type"),
        (document(group("ACTC"), before="<!DOCTYPE Document>").encode(), "document type"),
        (b"", "not XML"),
        (b" \n", "not XML"),
        (b"OK", "not XML"),
        (document(group("ACTC")).encode()[:-12], "not XML"),
        (document(group("ACTC")).encode() + b"<x/>", "not XML"),
        (document(group("ACTC")).replace("bank-1", "\xe9").encode("latin-1"), "not XML"),
        (document(group("ACTC")).replace("bank-1", "a\0b").encode(), "not XML"),
        (document(group("ACTC"), encoding="x-none").encode(), "encoding"),
        (document(group("ACTC"), encoding="shift_jis").encode(), "not XML"),
        (document(group("ACTC"), encoding="UTF-8").encode("utf-16"), "not XML"),
        (document("<a>" * 70 + "</a>" * 70).encode(), "inside 64 others"),
        (b"<" * (BYTES_MAX + 1), "over 10,000,000 bytes"),
        (b'<Document xmlns="' + (URN + "pain.002.001.03").encode() + b'"/>', "names no file"),
    ],
)
def test_bytes_that_no_bank_should_send_are_refused(raw: bytes, why: str) -> None:
    assert why in refused(raw)


def test_a_byte_order_mark_utf_16_and_another_declared_encoding_are_read() -> None:
    told = document(group("ACTC"))
    expected = read(told.encode())
    assert read(b"\xef\xbb\xbf" + told.encode()) == expected
    assert read(document(group("ACTC"), encoding="UTF-16").encode("utf-16")) == expected
    assert read(document(group("ACTC"), encoding="ISO-8859-1", before="<!-- é -->").encode("latin-1")) == expected
    prefixed = told.replace("<", "<p:").replace("<p:/", "</p:").replace("<p:?", "<?").replace("xmlns=", "xmlns:p=")
    assert read(prefixed.encode()) == expected


def of_lines(count: int) -> bytes:
    """A report of so many lines, all in one of text that is as long as a report may be."""
    told = document(group("PART"), payment([line("ACSC", f"{number:032x}", amount="1.00") for number in range(count)]))
    return told.replace("<CstmrPmtStsRpt>", "<CstmrPmtStsRpt>" + " " * (BYTES_MAX - len(told))).encode()


def test_ten_megabytes_in_one_line_are_read_in_a_time_that_grows_with_the_lines_alone() -> None:
    took = []
    for count in (1_000, 10_000):
        raw, began = of_lines(count), process_time()
        assert len(read(raw).lines) == count
        took.append(process_time() - began)
    assert took[1] < 30 * took[0], "a reader that searches all lines for each one takes a hundred times as long"


WHOLE = document(group("PART"), payment([line("RJCT", code="AC04", amount="12.50"), line("ACSC", TWO)])).encode()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_report_or_a_refusal(raw: bytes) -> None:
    with pytest.raises(StatusFileError):
        read(raw)


@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=6), st.integers(0, 40))
def test_a_damaged_report_is_a_report_or_a_refusal(at: int, put: bytes, gone: int) -> None:
    try:
        report = read(WHOLE[:at] + put + WHOLE[at + gone :])
    except StatusFileError:
        return
    assert all(each.status in OUTCOMES for each in report.lines)
