"""What the simulator writes of a settlement, in each format → lines that say the same, and a file that ties."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from reconciliation import gate
from reconciliation.formats.keys import theirs
from reconciliation.formats.shape import KINDS, ReadFrom
from simulator.settlements import adyen, adyen_accounting, camt, checkoutcom, native, paypal, stripe
from simulator.settlements.bank import Entry, Statement
from simulator.settlements.model import Row, Settlement
from tests.simulator.settlement_cases import CAPTURE, CLOSED_US, ROWS, a_settlement
from tests.unit.settlement_reading import Told, told

SOURCE = ReadFrom("southpay-main", "southpay")
WRITERS: dict[str, Callable[[Settlement], bytes]] = {
    "adyen_settlement_details": lambda settlement: b"".join(adyen.write([settlement])),
    "stripe_payout_reconciliation": lambda settlement: b"".join(stripe.write([settlement])),
    "paypal_stl": lambda settlement: b"".join(paypal.write([settlement], CLOSED_US)),
    "checkoutcom_settlement_breakdown": lambda settlement: b"".join(checkoutcom.write(settlement)),
    "native_csv": lambda settlement: b"".join(native.write(settlement)),
}
LETTERS = {word: letter for letter, word in KINDS.items()}
MORE = (
    replace(CAPTURE, kind="refund_reversed", psp_ref="RR1", our_ref="2" * 32),
    replace(CAPTURE, kind="chargeback", psp_ref="D1", our_ref="", gross=-10_000, net=-10_000 - CAPTURE.fee.total),
    Row("reserve_held", CAPTURE.at, "EUR", -900, "EUR", -900),
    Row("reserve_released", CAPTURE.at, "EUR", 900, "EUR", 900),
    Row("adjustment", CAPTURE.at, "EUR", -5, "EUR", -5),
)
formats = pytest.mark.parametrize("name", WRITERS)
with_payouts = pytest.mark.parametrize("name", [name for name in WRITERS if not name.startswith("checkoutcom")])
EVIDENCE: dict[str, Callable[[Settlement], bytes]] = {
    "adyen_payment_accounting": lambda settlement: b"".join(adyen_accounting.write([settlement])),
    "stripe_balance_change": lambda settlement: b"".join(stripe.write_activity([settlement])),
    "paypal_trr": lambda settlement: b"".join(paypal.write([settlement], CLOSED_US, detail=True)),
    "checkoutcom_financial_actions": lambda settlement: b"".join(checkoutcom.write_actions(settlement)),
}


def read(name: str, settlement: Settlement) -> Told:
    data = WRITERS[name](settlement)
    reader = gate.chosen(data[:65_536], SOURCE)
    assert reader.name == name
    return told(reader, data, SOURCE)


@with_payouts
@pytest.mark.parametrize("rows", [ROWS, MORE], ids=["usual", "more"])
def test_a_settlement_ties_and_pays_out_what_it_came_to(name: str, rows: tuple[Row, ...]) -> None:
    control = read(name, a_settlement(rows)).control
    [total] = [each for each in control.sums if each.currency == "EUR"]
    [claim] = [each for each in control.claims if each.amount.currency == "EUR"]
    assert total.ties
    assert total.net == total.paid == claim.amount.minor == sum(row.net for row in rows)
    assert claim.day in ("2026-11-29", "2026-11-30"), "the day on which it pays out, by its own zone"


@formats
@pytest.mark.parametrize("rows", [ROWS, MORE], ids=["usual", "more"])
def test_each_row_is_a_line_with_its_key_and_amounts(name: str, rows: tuple[Row, ...]) -> None:
    rows = tuple(row for row in rows if not row.rate)
    if name == "adyen_settlement_details":
        told_apart = [each for row in rows for each in adyen.unsigned(row)]
        rows, settlement = tuple(told_apart), a_settlement(rows)
    else:
        settlement = a_settlement(rows)
    lines = [line for line in read(name, settlement).lines if line.kind != "p"]
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        assert (line.kind, line.gross, line.fee, line.net) == (LETTERS[row.kind], row.gross, row.fee.total, row.net)
        if row.our_ref:
            assert line.key == row.our_ref
        elif row.kind.startswith("chargeback"):
            assert line.key == theirs("southpay", row.psp_ref)


@formats
def test_what_was_paid_in_another_currency_is_a_line_of_that_currency(name: str) -> None:
    [exchanged] = [row for row in ROWS if row.rate]
    [line] = [
        line for line in read(name, a_settlement(ROWS)).lines if line.gross_currency == "SEK" and line.kind == "c"
    ]
    assert (line.key, line.gross) == (exchanged.our_ref, exchanged.gross)


@pytest.mark.parametrize("rows", [ROWS, MORE], ids=["usual", "more"])
@pytest.mark.parametrize("write", [checkoutcom.write, checkoutcom.write_actions], ids=["breakdown", "actions"])
def test_rows_of_checkoutcom_come_to_what_the_payouts_report_claims(
    rows: tuple[Row, ...], write: Callable[[Settlement], Iterator[bytes]]
) -> None:
    settlement = a_settlement(rows)
    found, payouts = (
        told(gate.chosen(data[:65_536], SOURCE), data, SOURCE)
        for data in (b"".join(write(settlement)), b"".join(checkoutcom.write_payouts([settlement])))
    )
    [total], [claim] = found.control.sums, payouts.control.claims
    assert (total.settlement, total.currency) == (claim.settlement, claim.amount.currency) == (settlement.trace, "EUR")
    assert total.net == claim.amount.minor == sum(row.net for row in rows)
    assert not found.control.claims
    assert claim.day == "2026-11-30"


def test_financial_actions_add_up_to_each_payment_and_its_fee() -> None:
    data = b"".join(checkoutcom.write_actions(a_settlement(MORE)))
    lines = told(gate.chosen(data, SOURCE), data, SOURCE).lines
    [reversed_, *_] = MORE
    of = [line for line in lines if line.key == reversed_.our_ref]
    assert sum(line.gross for line in of if line.kind == "R") == reversed_.gross
    assert sum(line.net for line in lines) == sum(row.net for row in MORE)
    assert sum(line.fee for line in lines) == sum(row.fee.total for row in MORE)


@pytest.mark.parametrize("name", EVIDENCE)
def test_a_report_beside_that_which_settles_moves_nothing_and_names_each_payment(name: str) -> None:
    settlement = a_settlement(ROWS)
    data = EVIDENCE[name](settlement)
    source = ReadFrom("southpay-main", "southpay", kind="psp")
    reader = gate.chosen(data[:65_536], source)
    assert reader.name == name
    found = told(reader, data, source)
    assert {(line.kind, line.settlement, line.gross, line.net, line.fee) for line in found.lines} == {
        ("e", "", 0, 0, 0)
    }
    assert (found.control.claims, found.control.sums) == ((), ())
    calls = {row.our_ref for row in ROWS if row.our_ref}
    assert calls <= {line.key for line in found.lines}


def test_a_statement_is_read_with_what_its_entries_name() -> None:
    call = "5" * 32
    entries = [
        Entry("a", CLOSED_US, 12_345, "", "southpay TX0000000007XT", "southpay"),
        Entry("b", CLOSED_US, -2_000, call, f"pay-out {call}", "beneficiary"),
    ]
    statement = Statement("house", "EUR", 7, "2026-11-29", CLOSED_US, 100, 10_445, entries)
    data = b"".join(camt.write([statement]))
    source = ReadFrom("house-bank", "house", references=frozenset({r"TX\d{10}XT"}))
    found = told(gate.chosen(data, source), data, source)
    assert [line.net for line in found.lines] == [12_345, -2_000]
    assert (found.lines[0].order_ref, found.lines[1].key) == ("TX0000000007XT", call)
    assert found.control.sums[0].ties
