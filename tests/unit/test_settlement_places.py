"""Where each line stands in its file: the bytes that a chunk names for a line are its record, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciliation.formats.adyen_settlement_details import AdyenSettlementDetails
from reconciliation.formats.bai2 import Bai2
from reconciliation.formats.camt053 import Camt053
from reconciliation.formats.mt940 import Mt940
from reconciliation.formats.native_csv import NativeCsv
from reconciliation.formats.shape import Reader
from tests.settlement_files import adyen_blocks, call, camt053, detail, entry, native, native_row, statement
from tests.unit.settlement_reading import told

ENTRIES = [entry("10.00", reference=f"B{number}", details=detail(text="ä € 𝄞")) for number in range(3)]
PARTS = [detail("6.00", end_to_end=call(1)), detail("4.00", end_to_end=call(2))]


def verbatim(reader: Reader, data: bytes, block: int) -> Iterator[bytes]:
    """Of each line."""
    for chunk in told(reader, data, block=block).chunks:
        for offset, size in zip(chunk.lines.offsets, chunk.lines.sizes, strict=True):
            first = chunk.first_byte + offset
            yield data[first : first + size]


@pytest.mark.parametrize("block", [13, 65_536])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be"])
def test_an_entry_of_a_statement_is_its_element(codec: str, block: int) -> None:
    text = camt053(statement("0.00", "30.00", *ENTRIES)).decode()
    mark = "" if codec == "utf-8" else "\ufeff"
    data = (mark + text.replace("UTF-8", "UTF-8" if codec == "utf-8" else "UTF-16")).encode(codec)
    assert list(verbatim(Camt053(), data, block)) == [each.encode(codec) for each in ENTRIES]


def test_a_line_of_a_batch_entry_is_its_detail_and_elements_keep_their_prefix() -> None:
    whole = entry("10.00", "DBIT", details="".join(PARTS))
    data = camt053(statement("10.00", "0.00", whole))
    assert [each.decode() for each in verbatim(Camt053(), data, 100)] == PARTS
    prefixed = (
        data.replace(b"<", b"<x:").replace(b"<x:/", b"</x:").replace(b"<x:?", b"<?").replace(b"xmlns=", b"xmlns:x=")
    )
    assert [each.count(b"<x:TxDtls>") for each in verbatim(Camt053(), prefixed, 100)] == [1, 1]
    assert all(each.endswith(b"</x:TxDtls>") for each in verbatim(Camt053(), prefixed, 100))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("block", [7, 65_536])
def test_an_entry_of_mt940_is_its_two_fields_and_a_movement_of_bai2_its_lines(mark: str, block: int) -> None:
    details = [":86:a\r\nä batch 7\r\n", "", ":86:b\r\n"]
    fields = [f":61:260211C{number},NTRFNONREF\r\n{text}" for number, text in enumerate(details, 1)]
    head = ":20:A\r\n:25:X\r\n:28C:1/1\r\n:60F:C260210EUR0,\r\n"
    data = f"{mark}{head}{''.join(fields)}:62F:C260211EUR6,\r\n-\r\n".encode()
    assert [each.decode() for each in verbatim(Mt940(), data, block)] == fields
    records = ["16,142,100,Z,B1,,é\n88,more\n", "16,142,200,Z,B2,,x\n"]
    lines = [
        "01,B,S,260212,0754,1,,,2/\n02,S,B,1,260211,2400,USD,2/\n03,1,USD,010,0,,,015,300,,/\n",
        *records,
        "49,600,5/\n98,600,1,7/\n99,600,1,9/\n",
    ]
    assert [each.decode() for each in verbatim(Bai2(), (mark + "".join(lines)).encode(), block)] == records


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_record_of_a_csv_is_its_bytes_whatever_stands_between_records(end: str) -> None:
    rows = [native_row("capture", "1.00", "0.10", "0.90", our_ref=call(n), order_ref='"a\nb"') for n in range(2)]
    rows.append(native_row("payout", "-1.80", "0.00", "-1.80", payout_ref="1042"))
    records = [row.rstrip("\n") for row in rows]
    head, _, rest = native(*rows).decode().partition(rows[0])
    trailer = rest.splitlines()[-1]
    data = (head + end.join([*records, trailer]) + end).encode()
    assert [each.decode().strip("\r\n") for each in verbatim(NativeCsv(), data, 50)] == records


def test_records_of_a_long_report_are_found_in_each_of_its_chunks() -> None:
    data = b"".join(adyen_blocks(1200))
    lines = data.decode().splitlines()
    assert [each.decode().rstrip() for each in verbatim(AdyenSettlementDetails(), data, 65_536)] == lines[1:]
