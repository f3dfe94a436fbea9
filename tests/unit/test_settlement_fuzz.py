"""Any bytes, and valid files that were hurt → lines or a Refusal of every reader, and never another exception."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciliation import gate
from reconciliation.formats.shape import CHUNK_LINES, KINDS, Reader, ReadFrom, Refusal
from simulator.settlements import bai, camt, nacha, swift
from simulator.settlements.bank import Entry, Statement
from tests import checkoutcom_files as checkoutcom
from tests import evidence_files as evidence
from tests.settlement_files import (
    adyen,
    adyen_row,
    call,
    camt053,
    detail,
    entry,
    native,
    native_row,
    paid_out,
    settled,
    statement,
)
from tests.unit import test_paypal_stl as paypal
from tests.unit import test_stripe_payout_reconciliation as stripe
from tests.unit.settlement_reading import Told, told

SOURCE = ReadFrom("fuzzed", "psp", timezone="Europe/Berlin", references=frozenset({r"batch (\w+)"}))
ACTIVITY = [name for name in stripe.COLUMNS if "payout" not in name]
DOLLARS = settled(3, gross_currency="USD", exchange_rate="0.5", net_credit="48.80")
EXCHANGED = stripe.row(
    5, "charge", "8.70", "0", "8.70", customer_facing_amount="100.00", customer_facing_currency="sek"
)
NOON = 1_770_811_200_000_000
ENTRIES = (
    Entry("a", NOON, 12_345, "", "batch 7, shop-account", "southpay"),
    Entry("b:returned:1", NOON, 2_000, call(5), "return of pay-out", "Ada"),
    Entry("c", NOON, -500, call(6), "a text / that is longer than one line of either format lets it be, " * 3, ""),
)
STATEMENTS = [Statement("main", currency, 7, "2026-02-11", NOON, 100, 13_945, ENTRIES) for currency in ("EUR", "USD")]
BACK = {"balance_transaction_id": "b", "reporting_category": "refund", "gross": "-8.70", "net": "-8.70"}
WHOLE: dict[str, bytes] = {
    "adyen_settlement_details": adyen(
        [settled(1), settled(1), DOLLARS, adyen_row("Fee", net_debit="1.00"), paid_out("245.40")]
    ),
    "stripe_payout_reconciliation": stripe.report([*stripe.DAY, EXCHANGED, {**EXCHANGED, **BACK}]),
    "stripe_balance_change": stripe.report([stripe.CHARGE, stripe.REFUND, EXCHANGED], ACTIVITY),
    "paypal_stl": paypal.bytes_of(paypal.report(paypal.DAY, [paypal.PAID])),
    "paypal_trr": evidence.detailed(paypal.report(paypal.DAY, [paypal.PAID]), "SPSF"),
    "adyen_payment_accounting": evidence.accounting(*evidence.STATUSES),
    "checkoutcom_settlement_breakdown": checkoutcom.breakdown(*checkoutcom.ROWS),
    "checkoutcom_financial_actions": checkoutcom.actions(*checkoutcom.ACTED),
    "checkoutcom_payouts": checkoutcom.payouts(checkoutcom.payout("33.78"), checkoutcom.payout("-4", "PAY2")),
    "camt053": camt053(
        statement("1.00", "21.00", entry("25.00", details=detail("25.00", text="batch 7")), entry("5.00", "DBIT")),
        statement("21.00", "21.00", name="ST-8", number="8"),
    ),
    "camt054": b"".join(camt.write_notification(STATEMENTS)),
    "mt940": b"".join(swift.write_statement(STATEMENTS)),
    "mt942": b"".join(swift.write_report(STATEMENTS)),
    "bai2": b"".join(bai.write(STATEMENTS)),
    "nacha_returns": b"".join(nacha.write(nacha.returned(STATEMENTS), NOON)),
    "native_csv": native(
        native_row("capture", "100.00", "1.40", "98.60", our_ref=call(1), psp_ref="P1", commission="1.40"),
        native_row("capture", "250.00", "0.46", "21.28", psp_ref="P2", currency="SEK", fx_rate="0.08694"),
        native_row("payout", "-119.88", "0.00", "-119.88", payout_ref="1042"),
    ),
}
CARD = "4111111111111111"
CARD_ALONE = rf"(?<!\d){CARD}(?!\d)"
NASTY = (
    *(b"\0", b'"', b'""', b",", b";", b"\r", b"\n", b"\r\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80"),
    *(
        "１２".encode(),
        "٣".encode(),
        "ı".encode(),
        b"1_000",
        b"+5",
        b"1e3",
        b".5",
        b"5.",
        b"-0.00",
        b"-1",
        b"0",
        b"NaN",
    ),
    *(
        b"9" * 15,
        b"9" * 19,
        b"9" * 400,
        b"2026-02-30",
        b"0001-01-01",
        b"9999-12-31",
        b"0000-00-00",
        b"24:00:00",
        b"XYZ",
    ),
    *(
        b":61:",
        b":20:X",
        b"-}",
        b":62M:",
        b"RC",
        b"260230",
        b"88,",
        b"16,142,",
        b"/",
        b"9" * 94,
        b"799",
        b"\xe2\x80\xa8",
    ),
    *(b"-0.1234567", b"0.123456789", b"Chargeback (ARBL)", b"Capture", b"Top Up", b"V", b"Refused"),
    *(b"eur", b"XXX", b"jpy", b"T1300", b"DR", b"CR", b"SH", b"CH", b"SF", b"FF", b"payout", b"MerchantPayout"),
    *(b"=HYPERLINK()", b"\x1b[31m", CARD.encode(), b"<", b"</", b"&x;", b"<!DOCTYPE a>", b"]]>", b"\xff"),
)
BOUND = 2**63

positions = st.integers(0, 1 << 16)
hurts = st.one_of(
    st.tuples(st.just("cut"), positions, positions),
    st.tuples(st.just("drop"), positions, st.integers(1, 80)),
    st.tuples(st.just("twice"), positions, st.integers(1, 400)),
    st.tuples(st.just("put"), positions, st.sampled_from(NASTY)),
    st.tuples(st.just("for"), positions, st.sampled_from(NASTY)),
    st.tuples(st.just("swap"), positions, positions),
)


def hurt(data: bytes, how: str, where: int, what: int | bytes) -> bytes:
    at = where % (len(data) + 1)
    match how, what:
        case "cut", _:
            return data[:at]
        case "drop", int(size):
            return data[:at] + data[at + size :]
        case "twice", int(size):
            return data[: at + size] + data[at:]
        case "put", bytes(nasty):
            return data[:at] + nasty + data[at:]
        case "for", bytes(nasty):  # in place of the field that is there
            begin = max(data.rfind(mark, 0, at) for mark in (b",", b"\n", b">")) + 1
            ends = [end for mark in (b",", b"\r", b"\n", b"<") if (end := data.find(mark, at)) >= 0]
            return data[:begin] + nasty + data[min(ends, default=len(data)) :]
        case _, int(other):  # two records change places
            lines = data.splitlines(keepends=True) or [b""]
            one, two = where % len(lines), other % len(lines)
            lines[one], lines[two] = lines[two], lines[one]
            return b"".join(lines)
    raise AssertionError(how)


def outcome(reader: Reader, data: bytes, block: int = 4096) -> Told | Refusal:
    try:
        found = told(reader, data, SOURCE, block)
    except Refusal as refusal:
        shown = f"{refusal.excerpt}{refusal.detail}{refusal.column}"
        return refusal if len(refusal.excerpt) <= 200 and not re.search(CARD_ALONE, shown) else pytest.fail(shown)
    check(found)
    return found


def check(found: Told) -> None:
    """What fold and settle rely on, whatever a file was."""
    control = found.control
    assert control.lines == len(found.lines)
    assert all(len(chunk.lines.kinds) <= CHUNK_LINES for chunk in found.chunks)
    assert {line.kind for line in found.lines} <= KINDS.keys()
    assert all(len(line.key) == 32 for line in found.lines)
    numbers = (number for line in found.lines for number in line if isinstance(number, int))
    assert all(-BOUND <= number < BOUND for number in numbers)
    assert len({line.digest for line in found.lines}) == len(found.lines)
    assert all(sum(line[10:15]) == line.fee for line in found.lines)  # its parts
    nets: Counter[tuple[str, str]] = Counter()
    for line in found.lines:
        if line.settlement and line.kind != "p":
            nets[line.settlement, line.net_currency] += line.net
    told_sums = {(each.settlement, each.currency): each.net for each in control.sums}
    assert {where: net for where, net in nets.items() if net} == {where: net for where, net in told_sums.items() if net}


readers = pytest.mark.parametrize("reader", gate.READERS, ids=lambda reader: reader.name)
bounded = settings(derandomize=True, deadline=None, max_examples=80)


def test_every_format_is_among_those_that_are_hurt() -> None:
    assert {reader.name for reader in gate.READERS} == WHOLE.keys()


@readers
def test_what_is_hurt_was_whole(reader: Reader) -> None:
    assert isinstance(outcome(reader, WHOLE[reader.name]), Told)
    assert gate.chosen(WHOLE[reader.name], SOURCE) is reader


@readers
@bounded
@given(st.data())
def test_a_hurt_file_gives_lines_or_a_refusal(reader: Reader, data: st.DataObject) -> None:
    broken = WHOLE[reader.name]
    for how, where, what in data.draw(st.lists(hurts, min_size=1, max_size=3)):
        broken = hurt(broken, how, where, what)
    outcome(reader, broken, data.draw(st.sampled_from([1, 7, 64, 4096])))


@readers
@settings(bounded, max_examples=40)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"]))
def test_any_bytes_give_a_refusal(reader: Reader, data: bytes, mark: bytes) -> None:
    assert isinstance(outcome(reader, mark + data), Refusal)
    with pytest.raises(Refusal):
        list(gate.read([mark + data], SOURCE))


@readers
@settings(bounded, max_examples=25)
@given(st.text(st.sampled_from(',"\r\n;-.0159ERSCHFBDTdert <>/&xml'), max_size=200))
def test_text_that_is_nearly_a_file_gives_lines_or_a_refusal(reader: Reader, text: str) -> None:
    begin = WHOLE[reader.name]
    outcome(reader, begin[: begin.find(b"\n") + 1] + text.encode())


@readers
def test_blocks_of_any_size_give_the_same(reader: Reader) -> None:
    whole = told(reader, WHOLE[reader.name], SOURCE)
    assert [told(reader, WHOLE[reader.name], SOURCE, size) for size in (1, 2, 3, 17, 1000)] == [whole] * 5


ENCODED: dict[str, Callable[[bytes], bytes]] = {
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.replace(b"UTF-8", b"UTF-16").decode().encode("utf-16"),
    "CRLF": lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    "LF": lambda data: data.replace(b"\r\n", b"\n"),
    "CRCRLF": lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\r\n"),
    "mixed": lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n", 2),
}


@readers
@pytest.mark.parametrize("encoded", ENCODED.values(), ids=ENCODED.keys())
def test_encodings_and_line_ends_change_no_line(reader: Reader, encoded: Callable[[bytes], bytes]) -> None:
    data = WHOLE[reader.name]
    assert told(reader, encoded(data), SOURCE).lines == told(reader, data, SOURCE).lines


@readers
def test_a_line_without_end_is_refused_before_all_of_it_is_read(reader: Reader) -> None:
    """10 MB in one field."""
    whole, read = WHOLE[reader.name], [0]
    begin = whole[: whole.find(b"<Ustrd>") + 7] if b"<Ustrd>" in whole else whole[: whole.find(b"\n") + 1]

    def blocks() -> Iterator[bytes]:
        yield begin
        for read[0] in range(160):
            yield b"x" * 65_536

    with pytest.raises(Refusal) as error:
        list(reader.read(blocks(), SOURCE))
    assert error.value.code == "line_too_long"
    assert read[0] < 80
