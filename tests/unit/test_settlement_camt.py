"""A bank's camt.053 → signed entries and the statements' balances; or the refusal of the whole file."""

from __future__ import annotations

import codecs

import pytest

from reconciliation import gate
from reconciliation.formats import keys
from reconciliation.formats.shape import Chunk, Control, ReadFrom, Refusal, RefusalCode
from schemas.money import Money
from tests.settlement_files import balance, call, camt053, detail, entry, statement

SOURCE = ReadFrom(
    "house-bank", "house", accounts=frozenset({"DE02120300000000202051"}), references=frozenset({r"\bbatch (\d+)\b"})
)


def read(data: bytes, source: ReadFrom = SOURCE) -> tuple[Chunk, Control]:
    chunk, control = gate.read([data], source)
    assert isinstance(chunk, Chunk)
    assert isinstance(control, Control)
    return chunk, control


def refused(data: bytes, source: ReadFrom = SOURCE) -> Refusal:
    with pytest.raises(Refusal) as error:
        list(gate.read([data[begin : begin + 1000] for begin in range(0, len(data), 1000)], source))
    return error.value


PAID_IN = entry(
    "37.28", reference="B1", details=detail(text="TX1XT batch 1042, TallyShop batch 1042", end_to_end="P-1")
)
PAID_OUT = entry("20.00", "DBIT", reference="B2", details=detail("20.00", end_to_end=call(5), text="payout"))
CHARGE = entry("1.50", "DBIT", more="<AddtlNtryInf>Account keeping</AddtlNtryInf>")


@pytest.mark.parametrize("version", range(2, 9))
def test_a_statement_of_every_version_is_read_entry_by_entry(version: int) -> None:
    status = "<Cd>BOOK</Cd>" if version == 8 else "BOOK"
    rows = [each.replace("BOOK", status) for each in (PAID_IN, PAID_OUT, CHARGE)]
    chunk, control = read(camt053(statement("100.00", "115.78", *rows), version=version))
    found = chunk.lines
    assert (found.kinds, found.net, found.gross, found.fees) == (
        "sss",
        [3_728, -2_000, -150],
        [3_728, -2_000, -150],
        [0] * 3,
    )
    assert found.keys == keys.paid_out("house", "1042", "EUR") + call(5) + "0" * 32
    assert (found.psp_refs, found.order_refs) == (["B1", "B2", ""], ["1042", "", ""])
    assert (chunk.settlements, chunk.currencies, len(set(found.digests))) == (("ST-7",), ("EUR",), 3)
    assert (control.identity, control.version, control.sequence) == (
        "ST-7 of DE02120300000000202051", "2026-02-12T05:00:00Z", 7,
    )  # fmt: skip
    [claim] = control.claims
    assert (claim.settlement, claim.opening, claim.amount, claim.day) == (
        "ST-7", Money(10_000, "EUR"), Money(11_578, "EUR"), "2026-02-11",
    )  # fmt: skip
    assert (control.first_day, control.last_day, control.totals) == ("2026-02-11", "2026-02-12", {"EUR": 1_578})


def test_statements_of_one_file_follow_each_other() -> None:
    one, two = statement("0.00", "37.28", PAID_IN), statement("37.28", "35.78", CHARGE, name="ST-8", number="8")
    chunk, control = read(camt053(two, one))
    assert chunk.settlements == ("ST-8", "ST-7")
    assert [(each.settlement, each.net, each.ties) for each in control.sums] == [
        ("ST-8", -150, True),
        ("ST-7", 3_728, True),
    ]
    gap = refused(camt053(one, two.replace("37.28", "37.27").replace("35.78", "35.77")))
    assert gap.code == "balance_gap"


def test_a_time_without_offset_is_of_the_sources_zone() -> None:
    text = camt053(statement("0.00", "37.28", PAID_IN)).replace(
        b"<BookgDt><Dt>2026-02-11</Dt>", b"<BookgDt><DtTm>2026-02-11T00:30:00</DtTm>"
    )
    at = {
        zone: read(text, ReadFrom("bank", "house", timezone=zone))[0].lines.at[0] for zone in ("UTC", "Europe/Berlin")
    }
    assert at["UTC"] - at["Europe/Berlin"] == 3600


def test_each_number_and_currency_of_an_account_has_balances_of_its_own() -> None:
    dollars = statement("1.00", "1.00", name="ST-USD", currency="USD").replace("DE0212", "DE0912")
    source = ReadFrom("house-bank", "house", accounts=SOURCE.accounts | {"DE09120300000000202051"})
    chunk, control = read(camt053(statement("0.00", "37.28", PAID_IN), dollars), source)
    assert [str(claim.amount) for claim in control.claims] == ["37.28 EUR", "1.00 USD"]
    assert (control.account_ids, chunk.currencies) == (("DE02120300000000202051", "DE09120300000000202051"), ("EUR",))


def test_an_overdrawn_account_and_a_statement_without_entries_tie() -> None:
    [control] = gate.read([camt053(statement("-5.00", "-5.00"))], SOURCE)
    assert isinstance(control, Control)
    assert (control.lines, control.claims[0].amount, control.first_day) == (0, Money(-500, "EUR"), "2026-02-11")


def test_only_what_is_booked_counts() -> None:
    chunk, control = read(camt053(statement("0.00", "37.28", PAID_IN, entry("9.00", status="PDNG"))))
    assert (chunk.lines.net, control.notes) == ([3_728], ("entries that are not booked (PDNG)",))


def test_a_reversal_has_the_sign_that_the_standard_gives_it() -> None:
    chunk, _ = read(camt053(statement("0.00", "20.00", entry("20.00", "CRDT", reversal="true"))))
    assert chunk.lines.net == [2_000]
    assert (
        "if reversals had the other sign"
        in refused(camt053(statement("0.00", "-20.00", entry("20.00", "CRDT", reversal="true")))).detail
    )


def test_a_batch_entry_is_its_details() -> None:
    parts = detail("12.00", end_to_end=call(1)) + detail("9.00", end_to_end=call(2)) + detail("1.00", direction="CRDT")
    chunk, _ = read(camt053(statement("100.00", "80.00", entry("20.00", "DBIT", reference="B9", details=parts))))
    assert chunk.lines.net == [-1_200, -900, 100]
    assert chunk.lines.keys[:64] == call(1) + call(2)
    assert len(set(chunk.lines.digests)) == 3


def test_a_batch_without_amounts_is_one_line_under_the_batch_that_we_sent() -> None:
    batch = f"<Btch><PmtInfId>{call(7)}</PmtInfId></Btch>" + detail(end_to_end="A") + detail(end_to_end="B")
    chunk, _ = read(camt053(statement("100.00", "80.00", entry("20.00", "DBIT", details=batch))))
    assert (chunk.lines.net, chunk.lines.keys) == ([-2_000], call(7))


def test_an_entry_counts_once_in_whatever_statement_it_comes_and_twins_are_two() -> None:
    twin = entry("5.00", details=detail(text="same"))
    first = read(camt053(statement("0.00", "47.28", PAID_IN, twin, twin)))[0].lines.digests
    again = read(camt053(statement("10.00", "47.28", PAID_IN, name="ST-9")))[0].lines.digests
    assert (len(set(first)), again) == (3, first[:1])


def test_text_that_names_two_settlements_names_none() -> None:
    text = entry("5.00", reference="B1", details=detail(text="batch 7 and batch 8"))
    assert read(camt053(statement("0.00", "5.00", text)))[0].lines.keys == keys.theirs("house", "B1")


def test_utf_16_is_read_too() -> None:
    text = camt053(statement("0.00", "37.28", PAID_IN)).decode().replace("UTF-8", "UTF-16")
    assert read(codecs.BOM_UTF16_LE + text.encode("utf-16-le"))[0].lines.net == [3_728]


GOOD = camt053(statement("0.00", "37.28", PAID_IN))
ENTITIES = b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (GOOD.replace(b"?>\n", b"?>\n" + ENTITIES), "bad_row"),
        (GOOD.replace(b"?>\n", b'?>\n<!DOCTYPE d SYSTEM "file:///etc/passwd">'), "bad_row"),
        (GOOD[:-100], "truncated"),
        (GOOD.replace(b"</Ntry>", b"</Ntyr>"), "bad_row"),
        (GOOD.replace(b"UTF-8", b"EBCDIC-X"), "bad_encoding"),
        (GOOD.replace(b"TX1XT", b"TX\xff"), "bad_row"),
        (GOOD.replace(b"camt.053", b"camt.052"), "wrong_format"),
        (GOOD.replace(b"001.02", b"001.12"), "wrong_format"),
        (camt053(), "empty"),
        (GOOD.replace(b"DE021", b"DE022"), "wrong_account"),
        (GOOD.replace(b">BOOK<", b">KEPT<"), "schema_drift"),
        (GOOD.replace(b"CRDT</CdtDbtInd><Rv", b"DEBT</CdtDbtInd><Rv"), "schema_drift"),
        (GOOD.replace(balance("CLBD", "37.28").encode(), b""), "schema_drift"),
        (camt053(statement("0.00", "37.28", entry("37.28", currency="USD"))), "bad_row"),
        (GOOD.replace(b"37.28", b"37,28"), "bad_row"),
        (GOOD.replace(b"37.28", b"-37.28"), "bad_row"),
        (GOOD.replace(b"2026-02-12</Dt>", b"2026-02-30</Dt>"), "bad_row"),
        (GOOD.replace(b"37.28", b"37.281"), "wrong_decimals"),
        (GOOD.replace(b'"EUR"', b'"XXX"').replace(b"<Ccy>EUR", b"<Ccy>XXX"), "currency_unknown"),
        (camt053(statement("0.00", "37.27", PAID_IN)), "bad_total"),
        (camt053(statement("0.00", "20.00", entry("20.00", details=detail("20.00") * 2))), "row_does_not_tie"),
        (camt053(statement("0.00", "20.00", entry("20.00", details=detail("19.00")))), "row_does_not_tie"),
        (GOOD.replace(b"<Stmt>", b"<Stmt>" + b"<a>" * 100), "bad_row"),
        (GOOD.replace(b"<Stmt>", b"<Stmt><Id>" + b"x" * 5_000_000), "line_too_long"),
        (GOOD.replace(b"<Stmt>", b"<Stmt><Id>" + (b"<a>" + b"x" * 1000 + b"</a>") * 5000), "line_too_long"),
    ],
)  # fmt: skip
def test_a_statement_that_is_not_whole_is_refused(data: bytes, code: RefusalCode) -> None:
    assert refused(data).code == code


def test_two_persons_release_a_total_and_nothing_else() -> None:
    source = ReadFrom("house-bank", "house", released=frozenset({"bad_total"}))
    chunk, control = read(camt053(statement("0.00", "37.27", PAID_IN)), source)
    assert (chunk.lines.net, [each.ties for each in control.sums]) == ([3_728], [False])
    assert refused(camt053(statement("0.00", "37.27", entry("x"))), source).code == "bad_row"


@pytest.mark.parametrize("made", ["0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59-12:00", "yesterday"])
def test_a_document_that_was_made_at_no_time_has_no_version(made: str) -> None:
    data = camt053(statement("1.00", "1.00")).replace(b"2026-02-12T06:00:00+01:00", made.encode())
    [control] = gate.read([data], SOURCE)
    assert isinstance(control, Control)
    assert control.version == ""
