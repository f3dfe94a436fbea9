"""Reports that say once more what another one settles → how payments stand, and no money; whichever the source has."""

from __future__ import annotations

import pytest

from reconciliation import gate
from reconciliation.formats.adyen_payment_accounting import AdyenPaymentAccounting
from reconciliation.formats.keys import theirs
from reconciliation.formats.paypal_stl import PayPalStl
from reconciliation.formats.paypal_trr import PayPalTrr
from reconciliation.formats.shape import ReadFrom, Refusal, RefusalCode
from reconciliation.formats.stripe_balance_change import StripeBalanceChange
from schemas.money import Money
from tests import checkoutcom_files as checkoutcom
from tests.evidence_files import ACCOUNTING, PAYER, STATUSES, accounting, detailed, status
from tests.settlement_files import call
from tests.unit import test_paypal_stl as paypal
from tests.unit import test_stripe_payout_reconciliation as stripe
from tests.unit.settlement_reading import Told, refused, told

ACTIVITY = [name for name in stripe.COLUMNS if "payout" not in name]
BESIDE_STL = ReadFrom("main", "psp", format="paypal_stl", kind="psp")
NAMED_TRR = ReadFrom("main", "psp", format="paypal_trr", kind="psp")


def moves_nothing(found: Told) -> bool:
    return {(line.kind, line.settlement, line.gross, line.net, line.fee) for line in found.lines} == {
        ("e", "", 0, 0, 0)
    }


# ── Adyen's Payment accounting ──


def test_each_status_of_a_payment_is_evidence_under_the_key_of_its_line_in_a_settlement() -> None:
    found = told(AdyenPaymentAccounting(), accounting(*STATUSES))
    assert moves_nothing(found)
    keys = [line.key for line in found.lines]
    assert keys == [call(1), call(1), call(1), call(2), theirs("psp", "P3")]
    named = ["Received P1", "Authorised P1", "Settled P1", "Refunded R2", "Refused P3"]
    assert [line.psp_ref for line in found.lines] == named
    assert (found.lines[4].order_ref, found.lines[0].order_ref) == ("order 3", "")
    assert (found.control.claims, found.control.account_ids) == ((), ("TallyShop",))
    assert "1 Refused" in found.control.notes


def test_equal_statuses_are_two_and_reports_that_overlap_have_the_same() -> None:
    twice, once = (told(AdyenPaymentAccounting(), accounting(*rows)) for rows in ((STATUSES[0],) * 2, STATUSES[:1]))
    assert len(set(twice.digests())) == 2
    assert once.digests()[0] in twice.digests()
    assert AdyenPaymentAccounting.mode == "union"


@pytest.mark.parametrize(
    ("row", "code", "column"),
    [
        (status("Settled", merchant_account="Other"), "wrong_account", "Merchant Account"),
        (status("Settled", payable_sc="98,80"), "bad_row", "Payable (SC)"),
        (status("Settled", main_currency="EUX"), "currency_unknown", "Main Currency"),
        (status("Settled", "1.005"), "wrong_decimals", "Main Amount"),
        (status("Settled", "0.5", main_currency="CVE"), "wrong_decimals", "Main Amount"),
        (status("Settled", booking_date="2026-02-30 10:00:00"), "bad_row", "Booking Date"),
        (status("Settled", timezone="XYZ"), "bad_row", "Booking Date"),
        (status(""), "bad_row", "Record Type"),
    ],
)
def test_a_status_is_refused_with_its_place(row: dict[str, str], code: RefusalCode, column: str) -> None:
    refusal = refused(AdyenPaymentAccounting(), accounting(STATUSES[0], row))
    assert (refusal.code, refusal.line, refusal.column) == (code, 3, column)


def test_pesos_are_hundredths_there() -> None:
    assert told(AdyenPaymentAccounting(), accounting(status("Settled", "1000.50", main_currency="CLP"))).lines


def test_accounts_are_those_of_the_source() -> None:
    rows = (status("Settled"), status("Settled", merchant_account="Other"))
    source = ReadFrom("main", "psp", accounts=frozenset({"TallyShop", "Other"}))
    assert told(AdyenPaymentAccounting(), accounting(*rows), source).control.account_ids == ("Other", "TallyShop")


# ── Stripe's balance change ──


def test_activity_is_evidence_under_the_keys_of_the_payout_reconciliation() -> None:
    rows = [stripe.CHARGE, stripe.REFUND]
    found = told(StripeBalanceChange(), stripe.report(rows, ACTIVITY))
    settled = stripe.read([*rows, stripe.PAYOUT])
    assert moves_nothing(found)
    assert [line.key for line in found.lines] == [line.key for line in settled.lines][:2]
    assert not set(found.digests()) & set(settled.digests())
    assert found.control.claims == ()


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([{**stripe.CHARGE, "net": "98.36"}], "row_does_not_tie"),
        ([{**stripe.CHARGE, "reporting_category": "charged"}], "schema_drift"),
        ([stripe.CHARGE, stripe.PAYOUT], "schema_drift"),
        ([stripe.CHARGE, stripe.CHARGE], "bad_row"),
        ([], "empty"),
    ],
)
def test_activity_that_does_not_hold_is_refused(rows: list[stripe.Row], code: RefusalCode) -> None:
    assert refused(StripeBalanceChange(), stripe.report(rows, ACTIVITY)).code == code


# ── PayPal's TRR ──


def test_a_detail_report_settles_where_the_source_names_it_as_the_settlement_report_does() -> None:
    lines = paypal.report(paypal.DAY)
    counted, settled = told(PayPalTrr(), detailed(lines), NAMED_TRR), told(PayPalStl(), paypal.bytes_of(lines))
    assert counted.lines == settled.lines
    assert counted.control.claims == settled.control.claims
    assert counted.control.identity == f"TRR {settled.control.identity}"


def test_beside_the_settlement_report_it_is_evidence_alone() -> None:
    found = told(PayPalTrr(), detailed(paypal.report(paypal.DAY)), BESIDE_STL)
    assert moves_nothing(found)
    assert (found.control.claims, found.control.sums) == ((), ())
    assert found.lines[0].key == paypal.CALL


def test_what_is_pending_denied_or_void_moves_nothing_and_is_not_claimed() -> None:
    found = told(PayPalTrr(), detailed(paypal.report(paypal.DAY), "SPF"), NAMED_TRR)
    assert [line.kind for line in found.lines] == ["c", "e", "p"]
    [claim] = found.control.claims
    assert claim.amount == Money(96_60, "EUR")  # without the refund of 24.25, that is pending
    assert [each.ties for each in found.control.sums] == [True]
    assert refused(PayPalTrr(), detailed(paypal.report(paypal.DAY), "X"), NAMED_TRR).code == "schema_drift"


def test_whoever_paid_is_neither_kept_nor_shown() -> None:
    lines = paypal.report(paypal.DAY)
    found = told(PayPalTrr(), detailed(lines), NAMED_TRR)
    kept = " ".join(f"{line.psp_ref} {line.order_ref}" for line in found.lines) + repr(found.control)
    for wrong in ("2026/13/01 00:00:00 -0800", "eleven"):
        refusal = refused(PayPalTrr(), detailed([line.replace("2026/11/28 08:57:17 -0800", wrong) for line in lines]))
        kept += f"{refusal.excerpt} {refusal.detail} {refusal}"
        assert refusal.excerpt.startswith("SB")
    for text in PAYER.values():
        assert text not in kept


def test_a_fragment_without_headers_is_truncated() -> None:
    data = detailed(paypal.report(paypal.DAY))
    assert refused(PayPalTrr(), data[data.index(b'"CH"') :]).code == "truncated"


# ── which reader a source has ──

WHOLE = {
    "adyen_payment_accounting": accounting(*STATUSES),
    "stripe_balance_change": stripe.report([stripe.CHARGE], ACTIVITY),
    "paypal_trr": detailed(paypal.report(paypal.DAY)),
    "checkoutcom_financial_actions": checkoutcom.actions(*checkoutcom.ACTED),
    "checkoutcom_payouts": checkoutcom.payouts(checkoutcom.payout("1")),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_report_beside_stands_in_for_the_file_of_no_day(name: str) -> None:
    """Else a day whose settlement file is missing would not be missed."""
    reader = next(reader for reader in gate.READERS if reader.name == name)
    source = ReadFrom("main", "psp", kind="psp")
    assert (
        told(reader, WHOLE[name], source).control.first_day,
        told(reader, WHOLE[name], source).control.last_day,
    ) == ("", "")


@pytest.mark.parametrize("name", WHOLE)
def test_a_source_that_names_a_format_takes_the_reports_beside_it_and_no_others(name: str) -> None:
    assert gate.BESIDE.keys() == WHOLE.keys()
    for wanted in ("", name, *gate.BESIDE[name]):
        assert gate.chosen(WHOLE[name], ReadFrom("main", "psp", format=wanted, kind="psp")).name == name
    for other in {reader.name for reader in gate.READERS} - {name, *gate.BESIDE[name]}:
        with pytest.raises(Refusal) as error:
            gate.chosen(WHOLE[name], ReadFrom("main", "psp", format=other, kind="psp"))
        assert error.value.code == "wrong_format"


def test_of_breakdown_and_financial_actions_a_source_counts_the_one_that_it_names() -> None:
    source = ReadFrom("main", "psp", format="checkoutcom_financial_actions", kind="psp")
    with pytest.raises(Refusal) as error:
        gate.chosen(checkoutcom.breakdown(*checkoutcom.ROWS), source)
    assert error.value.code == "wrong_format"


def test_activity_with_names_of_payouts_is_told_by_the_name_of_its_file() -> None:
    data = stripe.report([stripe.CHARGE])
    source = ReadFrom("main", "psp", kind="psp")
    assert gate.chosen(data, source, "balance_change_from_activity.itemized.3.csv").name == "stripe_balance_change"
    assert gate.chosen(data, source, "report.csv").name == "stripe_payout_reconciliation"


def test_all_columns_of_the_accounting_report_are_known_by_name_in_any_order() -> None:
    turned, usual = (
        told(AdyenPaymentAccounting(), accounting(*STATUSES, columns=each))
        for each in (reversed(ACCOUNTING), ACCOUNTING)
    )
    assert [line.key for line in turned.lines] == [line.key for line in usual.lines]
