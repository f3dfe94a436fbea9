"""Lines → a file as its sender writes it → the same lines; and the same digests in whatever order the file has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciliation.formats.adyen_payment_accounting import AdyenPaymentAccounting
from reconciliation.formats.adyen_settlement_details import AdyenSettlementDetails
from reconciliation.formats.camt053 import Camt053
from reconciliation.formats.checkoutcom_financial_actions import CheckoutcomFinancialActions
from reconciliation.formats.checkoutcom_settlement_breakdown import CheckoutcomSettlementBreakdown
from reconciliation.formats.chunks import Line
from reconciliation.formats.keys import ours, theirs
from reconciliation.formats.native_csv import NativeCsv
from reconciliation.formats.paypal_stl import PayPalStl
from reconciliation.formats.paypal_trr import PayPalTrr
from reconciliation.formats.shape import KINDS, NO_KEY, Reader
from reconciliation.formats.stripe_balance_change import StripeBalanceChange
from reconciliation.formats.stripe_payout_reconciliation import StripePayoutReconciliation
from schemas.currencies import DECIMALS
from schemas.money import Money
from tests import checkoutcom_files as checkoutcom
from tests import evidence_files as evidence
from tests.settlement_files import adyen, adyen_row, camt053, detail, entry, native, native_row, statement
from tests.unit import test_paypal_stl as paypal
from tests.unit import test_stripe_payout_reconciliation as stripe
from tests.unit.settlement_reading import SOURCE, told

CARRY_CALLS, DISPUTES = "crR", "bB2"
BOOKED = int(datetime(2026, 2, 11, tzinfo=UTC).timestamp())
NOON = int(datetime(2026, 2, 10, 12, tzinfo=UTC).timestamp())


class Written(NamedTuple):
    """How lines of a format are written, and which it can say."""

    reader: Reader
    kinds: str
    currencies: tuple[str, ...]
    settlements: tuple[str, ...]
    write: Callable[[Sequence[Line]], bytes]
    parts: int = 0  # of the fee
    has_rates: bool = False
    pays_out: bool = True  # names what it pays out
    has_fees: bool = True  # in the row of a payment
    has_markup: bool = True
    one_reference: bool = False  # ours, or the order's
    by_sign: bool = False  # a dispute that is won is known by its sign


def at_local(line: Line) -> str:
    return f"{datetime.fromtimestamp(line.at, UTC):%Y-%m-%d %H:%M:%S}"


def amount(minor: int, currency: str) -> str:
    return Money(minor, currency).amount


# ── how each format writes a line ──


def stripe_row(line: Line) -> dict[str, str]:
    category = {
        **{"c": "charge", "r": "refund", "R": "refund_failure", "b": "dispute", "B": "dispute_reversal", "f": "fee"},
        **{"p": "payout", "q": "payout_reversal", "j": "other_adjustment", "u": "transfer"},
        **{"h": "risk_reserved_funds", "H": "risk_reserved_funds"},
    }[line.kind]
    fee = 0 if line.kind == "f" else line.fee
    call = line.key if ours(line.key) and line.kind in CARRY_CALLS else ""
    row = stripe.row(0, category, *(amount(each, line.net_currency) for each in (line.net + fee, fee, line.net)))
    owner = "payment" if line.kind == "c" else "refund"
    return row | {
        "automatic_payout_id": line.settlement,
        "balance_transaction_id": f"txn_{line.psp_ref}",
        "automatic_payout_effective_at_utc": at_local(line),
        "created_utc": at_local(line),
        "currency": line.net_currency.lower(),
        "source_id": line.psp_ref,
        "payment_metadata[order]": line.order_ref,
        f"{owner}_metadata[reference]": call,
        **(
            {"customer_facing_amount": amount(abs(line.gross), line.gross_currency)}
            | {"customer_facing_currency": line.gross_currency}
            if line.rate
            else {}
        ),
    }


def stripe_report(lines: Sequence[Line]) -> bytes:
    return stripe.report([stripe_row(line) for line in lines])


def paypal_row(line: Line) -> paypal.Row:
    code = {
        **{"c": "T0006", "r": "T1107", "b": "T1201", "B": "T1202", "2": "T1207", "f": "T0106", "p": "T0400"},
        **{"q": "T1101", "j": "T1900", "x": "T0200", "h": "T1110", "H": "T1111"},
    }[line.kind]
    hundredths = 10 ** (2 - DECIMALS[line.net_currency])
    gross, fee = (line.net, 0) if line.kind == "f" else (line.gross, line.fee)
    call = line.key if ours(line.key) and line.kind in CARRY_CALLS else ""
    code = "T1106" if line.kind == "c" and gross < 0 else code
    time = f"{datetime.fromtimestamp(line.at, UTC):%Y/%m/%d %H:%M:%S} +0000"
    return paypal.Row(
        line.psp_ref, code, gross * hundredths, -fee * hundredths, line.net_currency, call, line.order_ref, time
    )


def paypal_report(lines: Sequence[Line]) -> bytes:
    return paypal.bytes_of(paypal.report([paypal_row(line) for line in lines]))


def adyen_line(line: Line) -> dict[str, str]:
    type_ = {
        **{"c": "Settled", "r": "Refunded", "R": "RefundedReversed", "b": "Chargeback", "B": "ChargebackReversed"},
        **{"2": "SecondChargeback", "f": "Fee", "p": "MerchantPayout", "q": "BankInstructionReturned"},
        **{"t": "Balancetransfer", "i": "InvoiceDeduction", "j": "ManualCorrected"},
        **{"h": "ReserveAdjustment", "H": "ReserveAdjustment"},
    }[line.kind]
    is_payment = line.kind in CARRY_CALLS + DISPUTES
    call = line.key if ours(line.key) and line.kind in CARRY_CALLS else ""
    gross = {"gross_debit": amount(-line.gross, line.gross_currency)} if line.gross < 0 else {}
    gross = gross or ({"gross_credit": amount(line.gross, line.gross_currency)} if line.gross else {})
    net = {"net_debit" if line.net < 0 else "net_credit": amount(abs(line.net), line.net_currency)}
    parts = zip(("commission", "markup", "scheme_fees", "interchange"), line[10:14], strict=True)
    fees = {} if line.kind == "f" else {name: amount(part, line.net_currency) for name, part in parts if part}
    return adyen_row(
        type_,
        **net,
        **(gross if is_payment else {}),
        **fees,
        gross_currency=line.gross_currency,
        net_currency=line.net_currency,
        exchange_rate=line.rate or "1",
        creation_date=at_local(line),
        timezone="UTC",
        psp_reference=line.psp_ref if line.kind == "c" else "",
        modification_reference=line.psp_ref,
        modification_merchant_reference=call,
        merchant_reference=line.order_ref,
        batch_number=line.settlement,
    )


def adyen_report(lines: Sequence[Line]) -> bytes:
    return adyen([adyen_line(line) for line in lines])


def native_line(line: Line) -> str:
    parts = zip(("commission", "markup", "scheme", "interchange", "tax"), line[10:15], strict=True)
    return native_row(
        KINDS[line.kind],
        amount(line.gross, line.gross_currency),
        amount(line.fee, line.net_currency),
        amount(line.net, line.net_currency),
        **{name: amount(part, line.net_currency) for name, part in parts},
        our_ref=line.key if ours(line.key) and line.kind in CARRY_CALLS else "",
        psp_ref=line.psp_ref,
        order_ref=line.order_ref,
        at=f"{at_local(line).replace(' ', 'T')}Z",
        currency=line.gross_currency,
        net_currency=line.net_currency,
        fx_rate=line.rate,
    )


def native_file(lines: Sequence[Line]) -> bytes:
    return native(*map(native_line, lines), total=amount(sum(line.net for line in lines), "EUR"))


def camt_entry(line: Line) -> str:
    call = line.key if ours(line.key) and not line.order_ref else ""
    details = detail(end_to_end=call or line.order_ref or "NOTPROVIDED")
    direction = "CRDT" if line.net > 0 else "DBIT"
    return entry(amount(abs(line.net), line.net_currency), direction, reference=line.psp_ref, details=details)


def camt_file(lines: Sequence[Line]) -> bytes:
    return camt053(statement("0.00", amount(sum(line.net for line in lines), "EUR"), *map(camt_entry, lines)))


def movement_of(line: Line) -> dict[str, str]:
    type_ = {
        **{"c": "Charge", "r": "Refund", "R": "Refund Reversal", "b": "Chargeback", "B": "Chargeback", "f": "Void"},
        **{"h": "Rolling Reserve", "H": "Rolling Reserve", "i": "Invoice Settlement", "j": "Adjustment", "u": "Top Up"},
    }[line.kind]
    currency, held = line.net_currency, line.kind in "hH"
    gross = 0 if held else line.net + line.fee
    parts = zip(("processing_fee", "scheme_fee", "interchange", "tax"), (line.commission, *line[12:15]), strict=True)
    return checkoutcom.movement(
        type_,
        amount(gross, currency),
        amount(line.net if held else -line.fee, currency),
        amount(line.net, currency),
        **{name: amount(-part, currency) for name, part in parts},
        reserve=amount(line.net, currency) if held else "0",
        reference=line.order_ref or (line.key if ours(line.key) and line.kind in CARRY_CALLS else ""),
        payment_id=line.psp_ref,
        action_id="",
        processed_on=at_local(line),
        payout_id=line.settlement,
        holding_currency=currency,
        processing_currency=line.gross_currency,
        gross_in_processing_currency=amount(line.gross, line.gross_currency),
        fx_rate_applied=line.rate or "1",
        available_on=at_local(line),
    )


def action_of(line: Line) -> dict[str, str]:
    breakdown = {
        **{"c": "Capture", "r": "Refund", "R": "Refund Reversal", "b": "Chargeback (ADJM)", "B": "Chargeback (RPDW)"},
        **{"f": "Void Fixed Fee", "h": "Rolling Reserve Hold", "H": "Rolling Reserve Release"},
        **{"i": "Invoice Settlement", "j": "Adjustment", "u": "Transfer In"},
    }[line.kind]
    return checkoutcom.action(
        "Void" if line.kind == "f" else breakdown,
        breakdown,
        amount(line.net, line.net_currency),
        reference=line.order_ref or (line.key if ours(line.key) and line.kind in CARRY_CALLS else ""),
        action_id=line.psp_ref,
        payment_id=line.psp_ref,
        processed_on=at_local(line),
        payout_id=line.settlement,
        holding_currency=line.net_currency,
        processing_currency=line.gross_currency,
        processing_currency_amount=amount(line.gross, line.gross_currency),
        fx_rate_applied=line.rate or "1",
    )


def breakdown_file(lines: Sequence[Line]) -> bytes:
    return checkoutcom.breakdown(*map(movement_of, lines))


def actions_file(lines: Sequence[Line]) -> bytes:
    return checkoutcom.actions(*map(action_of, lines))


def paypal_detail(lines: Sequence[Line]) -> bytes:
    return evidence.detailed(paypal.report([paypal_row(line) for line in lines]))


def accounting_row(line: Line) -> dict[str, str]:
    type_, _, reference = line.psp_ref.partition(" ")
    return evidence.status(
        type_,
        merchant_reference=line.order_ref,
        modification_merchant_reference=line.key if ours(line.key) else "",
        psp_reference=reference,
        main_currency=line.net_currency,
        main_amount="100",
        booking_date=at_local(line),
        timezone="UTC",
    )


def accounting_file(lines: Sequence[Line]) -> bytes:
    return evidence.accounting(*map(accounting_row, lines))


def activity_row(line: Line) -> dict[str, str]:
    row = stripe.row(0, "charge", "100", "0", "100")
    return row | {
        "balance_transaction_id": f"txn_{line.psp_ref}",
        "created_utc": at_local(line),
        "available_on_utc": at_local(line),
        "currency": line.net_currency.lower(),
        "source_id": line.psp_ref,
        "payment_metadata[order]": line.order_ref,
        "payment_metadata[reference]": line.key if ours(line.key) else "",
    }


def activity_file(lines: Sequence[Line]) -> bytes:
    columns = [name for name in stripe.COLUMNS if "payout" not in name]
    return stripe.report([activity_row(line) for line in lines], columns)


FORMATS = {
    "stripe": Written(
        StripePayoutReconciliation(), "crRbBfqjuhH", ("EUR", "JPY"), ("po_1", "po_2"), stripe_report, has_rates=True
    ),
    "paypal": Written(PayPalStl(), "crbB2fpqjxhH", ("EUR", "JPY"), ("ACC1:2026-11-28",), paypal_report),
    "adyen": Written(
        AdyenSettlementDetails(), "crRbB2fqtijhH", ("EUR",), ("7",), adyen_report, parts=4, has_rates=True
    ),
    "native": Written(NativeCsv(), "crRbB2fqtijhHx", ("EUR",), ("1042",), native_file, parts=5, has_rates=True),
    "checkoutcom": Written(
        CheckoutcomSettlementBreakdown(),
        "crRbBfjiuhH",
        ("EUR", "JPY"),
        ("PAY1", "PAY2"),
        breakdown_file,
        parts=5,
        has_rates=True,
        pays_out=False,
        has_markup=False,
        by_sign=True,
        one_reference=True,
    ),
    "actions": Written(
        CheckoutcomFinancialActions(),
        "crRbBfjiuhH",
        ("EUR", "JPY"),
        ("PAY1", "PAY2"),
        actions_file,
        has_rates=True,
        pays_out=False,
        has_fees=False,
        by_sign=True,
        one_reference=True,
    ),
    "paypal_trr": Written(PayPalTrr(), "crbB2fpqjxhH", ("EUR", "JPY"), ("ACC1:2026-11-28",), paypal_detail),
    "adyen_accounting": Written(AdyenPaymentAccounting(), "e", ("EUR", "JPY"), ("",), accounting_file, pays_out=False),
    "stripe_activity": Written(StripeBalanceChange(), "e", ("EUR", "JPY"), ("",), activity_file, pays_out=False),
    "camt": Written(Camt053(), "s", ("EUR",), ("ST-7",), camt_file),
}
formats = pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS.keys())


@st.composite
def made_lines(draw: st.DrawFn, written: Written) -> list[Line]:
    lines = [draw(made_line(written, number)) for number in range(draw(st.integers(1, 8)))]
    if "p" in written.kinds or "s" in written.kinds or not written.pays_out:
        return lines  # pay-outs among the others, or none
    payouts: list[Line] = []
    for where in sorted({(line.settlement, line.net_currency) for line in lines}):
        net = sum(line.net for line in lines if (line.settlement, line.net_currency) == where)
        payouts.append(plain("p", f"po{len(payouts)}", -net, *where))
    return lines + payouts


@st.composite
def made_line(draw: st.DrawFn, written: Written, number: int) -> Line:
    kind, currency = draw(st.sampled_from(written.kinds)), draw(st.sampled_from(written.currencies))
    moved = draw(st.integers(1, 10**9)) * 4 * draw(st.sampled_from([1, -1]))
    signs = {"h": -1, "H": 1} | ({"b": -1, "B": 1} if written.by_sign else {})
    moved = abs(moved) * signs[kind] if kind in signs else moved
    line = plain(kind, f"id{number}", moved, draw(st.sampled_from(written.settlements)), currency)
    line = line._replace(at=NOON + draw(st.integers(-40_000, 40_000)))
    if kind == "e":
        return draw(of_evidence(written, line, number))
    if kind not in CARRY_CALLS + DISPUTES + "s":
        return line
    call = draw(st.sampled_from(["", f"{number + 1:032x}"])) if kind not in DISPUTES else ""
    line = line._replace(key=call or theirs(SOURCE.psp, line.psp_ref))
    if kind == "s":
        order = "" if call else draw(st.sampled_from(["", "po_1"]))
        return line._replace(order_ref=order, at=BOOKED, value_day=BOOKED // 86_400 + 1)
    return draw(with_fee_and_rate(written, line))


@st.composite
def of_evidence(draw: st.DrawFn, written: Written, line: Line, number: int) -> Line:
    """It names a payment, and moves nothing."""
    named = line.psp_ref
    if written.reader.name == "adyen_payment_accounting":
        line = line._replace(psp_ref=f"{draw(st.sampled_from(['Received', 'Refused', 'Settled']))} {named}")
    call = draw(st.sampled_from(["", f"{number + 1:032x}"]))
    order = draw(st.sampled_from(["", "po_1", 'x "y", z']))
    return line._replace(
        key=call or theirs(SOURCE.psp, named), order_ref=order, gross=0, net=0, fee=0, commission=0, settlement=""
    )


@st.composite
def with_fee_and_rate(draw: st.DrawFn, written: Written, line: Line) -> Line:
    parts = draw(st.lists(st.integers(0, 10**4), min_size=written.parts, max_size=written.parts))
    if parts and not written.has_markup:
        parts[0], parts[1] = parts[0] + parts[1], 0
    fee = sum(parts) if parts else draw(st.integers(-(10**4), 10**4)) if written.has_fees else 0
    rate = draw(st.sampled_from(["", "0.5", "0.25", "2"])) if written.has_rates and line.net_currency == "EUR" else ""
    worth = {"": line.gross, "0.5": line.gross // 2, "0.25": line.gross // 4, "2": 2 * line.gross}[rate]
    orders = (
        [""]
        if written.one_reference and ours(line.key) and line.kind in CARRY_CALLS
        else ["", "po_1", "a (b)"]
        if written.parts
        else ["", "po_1", 'x "y", z']
    )
    return line._replace(
        order_ref=draw(st.sampled_from(orders)),
        gross_currency="USD" if rate else line.net_currency,
        rate=rate,
        net=worth - fee,
        fee=fee,
        **dict(zip(("commission", "markup", "scheme_fee", "interchange", "tax"), parts or [fee], strict=False)),
    )


def plain(kind: str, reference: str, net: int, settlement: str, currency: str) -> Line:
    gross, fee = (0, -net) if kind == "f" else (net, 0)
    day = NOON // 86_400
    amounts = (gross, currency, net, currency, fee)
    return Line(kind, NO_KEY, reference, "", settlement, *amounts, commission=fee, at=NOON, value_day=day)


def without_digests(lines: Sequence[Line]) -> list[Line]:
    return [line._replace(digest=0) for line in lines]


bounded = settings(derandomize=True, deadline=None, max_examples=30)


@formats
@bounded
@given(st.data())
def test_what_was_written_is_read(written: Written, data: st.DataObject) -> None:
    lines = data.draw(made_lines(written))
    found = told(written.reader, written.write(lines))
    assert without_digests(found.lines) == lines
    assert found.control.lines == len(lines)


@formats
@bounded
@given(st.data())
def test_rows_in_any_order_have_the_same_digests(written: Written, data: st.DataObject) -> None:
    lines = data.draw(made_lines(written))
    turned = data.draw(st.permutations(lines))
    one, other = (told(written.reader, written.write(each)).digests() for each in (lines, turned))
    assert len({*one}) == len(lines)
    assert {*one} == {*other}
