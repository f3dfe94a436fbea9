"""camt.054 → entries and their details that are shown and count nowhere; or the refusal of the whole file."""

from __future__ import annotations

import pytest

from reconciliation import gate
from reconciliation.formats import keys
from reconciliation.formats.camt053 import Camt053
from reconciliation.formats.camt054 import Camt054
from reconciliation.formats.shape import ReadFrom, RefusalCode
from tests.settlement_files import call, camt053, detail, entry, statement
from tests.unit.settlement_reading import refused, told

SOURCE = ReadFrom("house-bank", "house", accounts=frozenset({"DE02120300000000202051"}))


def batch(count: str, total: str) -> str:
    return f'<Btch><PmtInfId>{call(9)}</PmtInfId><NbOfTxs>{count}</NbOfTxs><TtlAmt Ccy="EUR">{total}</TtlAmt></Btch>'


def camt054(*entries: str, name: str = "N-1") -> bytes:
    account = "<Acct><Id><IBAN>DE02120300000000202051</IBAN></Id></Acct>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.054.001.04">'
        f"<BkToCstmrDbtCdtNtfctn><GrpHdr><MsgId>M1</MsgId></GrpHdr><Ntfctn><Id>{name}</Id>{account}{''.join(entries)}"
        "</Ntfctn></BkToCstmrDbtCdtNtfctn></Document>\n"
    ).encode()


PARTS = detail("6.00", end_to_end=call(1)) + detail("4.00", end_to_end=call(2))
GOOD = camt054(entry("10.00", "DBIT", reference="B1", details=batch("2", "10.00") + PARTS))


def test_the_details_of_a_batch_are_shown_with_their_keys_and_no_statement() -> None:
    assert gate.chosen(GOOD, SOURCE).name == "camt054"
    found = told(Camt054(), GOOD, SOURCE)
    assert [(line.kind, line.key, line.net, line.settlement) for line in found.lines] == [
        ("n", call(1), -600, ""), ("n", call(2), -400, ""),
    ]  # fmt: skip
    assert (found.control.identity, found.control.claims, found.control.sums) == (
        "notification N-1 of DE02120300000000202051", (), (),
    )  # fmt: skip
    assert (found.control.first_day, found.control.last_day) == ("", ""), "it stands in for no day's statement"


def test_a_statement_of_the_same_entry_is_counted_by_itself() -> None:
    """One debit in the statement, two payments in the notification: the amount is there once."""
    one = told(
        Camt053(),
        camt053(statement("10.00", "0.00", entry("10.00", "DBIT", reference="B1", details=batch("2", "10.00")))),
        SOURCE,
    )
    both = [*one.lines, *told(Camt054(), GOOD, SOURCE).lines]
    assert sum(line.net for line in both if line.kind != "n") == -1_000
    assert one.lines[0].key == call(9), "the batch that was sent"


def test_why_a_payment_came_back_is_kept() -> None:
    part = detail("5.00", end_to_end=call(3)).replace("</TxDtls>", "<RtrInf><Rsn><Cd>AC04</Cd></Rsn></RtrInf></TxDtls>")
    for reader, data in (
        (Camt053(), camt053(statement("0.00", "5.00", entry("5.00", details=part)))),
        (Camt054(), camt054(entry("5.00", details=part))),
    ):
        [line] = told(reader, data, SOURCE).lines
        assert (line.key, line.net, line.order_ref) == (call(3), 500, "AC04")


def test_details_in_several_parts_and_batches_without_a_sum_tie() -> None:
    parts = f"{batch('1', '6.00')}{detail('6.00')}</NtryDtls><NtryDtls>{batch('1', '4.00')}{detail('4.00')}"
    assert len(told(Camt054(), camt054(entry("10.00", details=parts)), SOURCE).lines) == 2
    bare = "<Btch><NbOfTxs>2</NbOfTxs></Btch>" + PARTS
    assert len(told(Camt054(), camt054(entry("10.00", details=bare)), SOURCE).lines) == 2


def test_an_entry_without_details_is_one_line_under_its_own_reference() -> None:
    [line] = told(Camt054(), camt054(entry("10.00", reference="B1")), SOURCE).lines
    assert (line.key, line.net) == (keys.theirs("house", "B1"), 1_000)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (GOOD.replace(b"<NbOfTxs>2", b"<NbOfTxs>3"), "bad_count"),
        (GOOD.replace(b"<NbOfTxs>2", b"<NbOfTxs>two"), "bad_row"),
        (GOOD.replace(b'"EUR">10.00</TtlAmt', b'"EUR">10.01</TtlAmt'), "bad_total"),
        (GOOD.replace(b">6.00<", b">7.00<"), "row_does_not_tie"),
        (GOOD.replace(b"DE0212", b"DE9912"), "wrong_account"),
        (GOOD.replace(b"<Id>N-1</Id>", b""), "schema_drift"),
        (GOOD[:-60], "truncated"),
        (GOOD.replace(b"Ntfctn>", b"Other>"), "empty"),
    ],
)
def test_a_notification_that_is_not_whole_is_refused(data: bytes, code: RefusalCode) -> None:
    assert data != GOOD
    assert refused(Camt054(), data, SOURCE).code == code
