"""Stripe's payout reconciliation, in any selection of columns → lines, sums of its payouts, or the reason it is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciliation.formats.keys import theirs
from reconciliation.formats.shape import NO_KEY, ReadFrom, SettlementSum
from reconciliation.formats.stripe_categories import CATEGORIES
from reconciliation.formats.stripe_payout_reconciliation import StripePayoutReconciliation
from schemas.currencies import DECIMALS
from schemas.money import Money
from tests.unit.settlement_reading import SOURCE, Told, refused, told

READER = StripePayoutReconciliation()
CALL, REFUND_CALL = "0d6f3a1e5b7c49d28a90c4e1f2b3a495", "91c2e4f6a8b04d3c9e7f5a1b2c3d4e5f"
Row = dict[str, str]

COLUMNS = (
    *("automatic_payout_id", "automatic_payout_effective_at_utc", "balance_transaction_id", "created_utc"),
    *("available_on_utc", "currency", "gross", "fee", "net", "reporting_category", "source_id", "description"),
    *("customer_facing_amount", "customer_facing_currency", "trace_id", "payment_metadata[order]"),
    *("payment_metadata[reference]", "refund_metadata[reference]"),
)
PAID_ON = "2026-11-30 00:00:00"
MADE_AT = "2026-11-28 10:11:12"


def row(number: int, category: str, gross: str, fee: str, net: str, **more: str) -> Row:
    return {
        "automatic_payout_id": "po_1",
        "automatic_payout_effective_at_utc": PAID_ON,
        "balance_transaction_id": f"txn_{number}",
        "created_utc": MADE_AT,
        "available_on_utc": PAID_ON,
        "currency": "eur",
        "gross": gross,
        "fee": fee,
        "net": net,
        "reporting_category": category,
        "source_id": f"src_{number}",
        **more,
    }


def report(rows: Sequence[Row], columns: Sequence[str] = COLUMNS, end: str = "\n") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


CHARGE = row(1, "charge", "100.00", "1.65", "98.35", **{"payment_metadata[reference]": CALL})
REFUND = row(
    2,
    "refund",
    "-25.00",
    "0",
    "-25.00",
    **{"payment_metadata[reference]": CALL, "refund_metadata[reference]": REFUND_CALL},
)
PAYOUT = row(9, "payout", "-73.35", "0.00", "-73.35", source_id="po_1")
DAY = [CHARGE, REFUND, PAYOUT]


def read(rows: Sequence[Row], columns: Sequence[str] = COLUMNS, source: ReadFrom = SOURCE) -> Told:
    return told(READER, report(rows, columns), source)


def code(rows: Sequence[Row], columns: Sequence[str] = COLUMNS, source: ReadFrom = SOURCE) -> str:
    return refused(READER, report(rows, columns), source).code


# ── lines ──


def test_a_charge_has_our_call_its_amounts_and_times() -> None:
    [line, *_] = read(DAY).lines
    assert (line.kind, line.key, line.psp_ref, line.settlement) == ("c", CALL, "src_1", "po_1")
    assert (line.gross, line.fee, line.net, line.gross_currency, line.rate) == (100_00, 1_65, 98_35, "EUR", "")
    assert line.at == int(datetime(2026, 11, 28, 10, 11, 12, tzinfo=UTC).timestamp())
    assert line.value_day == (date(2026, 11, 30) - date(1970, 1, 1)).days


def test_a_refund_is_known_by_the_call_of_the_refund_and_not_of_the_payment() -> None:
    other = {**REFUND, "refund_metadata[reference]": ""}
    assert read(DAY).lines[1].key == REFUND_CALL
    assert read([CHARGE, other, PAYOUT]).lines[1].key == theirs("psp", "src_2")


@pytest.mark.parametrize("reference", ["", "po_7Qm2", CALL.upper(), CALL[:-1], CALL + "0", "g" * 32])
def test_what_is_no_call_of_ours_leaves_stripes_own_id(reference: str) -> None:
    charge = {**CHARGE, "payment_metadata[reference]": reference}
    assert read([charge, REFUND, PAYOUT]).lines[0].key == theirs("psp", "src_1")


def test_our_call_is_found_whatever_its_metadata_are_called() -> None:
    columns = ("payment_metadata[Order No.]", "payment_metadata[x]", *COLUMNS[:-2])
    charge = {**CHARGE, "payment_metadata[x]": CALL, "payment_metadata[Order No.]": "po_7"}
    [line, *_] = read([charge, REFUND, PAYOUT], columns).lines
    assert (line.key, line.order_ref) == (CALL, "po_7")


def test_a_dispute_is_known_by_its_own_id_though_the_row_names_the_payment() -> None:
    dispute = row(3, "dispute", "-10.00", "15.00", "-25.00", **{"payment_metadata[reference]": CALL})
    won = row(4, "dispute_reversal", "10.00", "0", "10.00", source_id="src_3")
    payout = {**PAYOUT, "gross": "-83.35", "net": "-83.35"}
    lines = read([CHARGE, dispute, won, payout]).lines
    assert [(line.kind, line.key, line.gross, line.fee) for line in lines[1:3]] == [
        ("b", theirs("psp", "src_3"), -10_00, 15_00),
        ("B", theirs("psp", "src_3"), 10_00, 0),
    ]


@pytest.mark.parametrize(("category", "tax"), [("fee", 0), ("network_cost", 0), ("tax", 50)])
def test_what_stripe_charges_for_itself_is_a_fee_on_nothing(category: str, tax: int) -> None:
    fee = row(3, category, "-0.50", "0", "-0.50", source_id="")
    line = read([CHARGE, fee, {**PAYOUT, "gross": "-97.85", "net": "-97.85"}]).lines[1]
    assert (line.kind, line.gross, line.fee, line.net, line.tax, line.key) == ("f", 0, 50, -50, tax, NO_KEY)


def test_a_partial_capture_is_two_rows_of_one_capture() -> None:
    rest = row(3, "partial_capture_reversal", "-40.00", "0", "-40.00", **{"payment_metadata[reference]": CALL})
    lines = read([CHARGE, rest, {**PAYOUT, "gross": "-58.35", "net": "-58.35"}]).lines
    assert {(line.kind, line.key) for line in lines[:2]} == {("c", CALL)}
    assert sum(line.gross for line in lines[:2]) == 60_00


def test_a_hold_is_held_or_released_by_its_sign() -> None:
    held = row(3, "risk_reserved_funds", "-10.00", "0", "-10.00")
    released = row(4, "risk_reserved_funds", "10.00", "0", "10.00")
    assert read([CHARGE, REFUND, held, released, PAYOUT]).kinds() == "crhHp"


def test_the_sign_decides_and_not_the_category() -> None:
    """A charge whose fee is more than it took, and a payout that takes what the account owes."""
    charge = row(1, "charge", "0.10", "0.35", "-0.25")
    payout = row(9, "payout", "0.25", "0", "0.25")
    told_ = read([charge, payout])
    assert [line.net for line in told_.lines] == [-25, 25]
    assert told_.control.sums == (SettlementSum("po_1", "EUR", -25, -25, True),)


def test_every_known_category_has_a_kind_and_an_unknown_one_makes_the_file_drift() -> None:
    rows = [
        row(place, category, "1.00", "0", "1.00") for place, category in enumerate(CATEGORIES) if category != "payout"
    ]
    total = f"-{len(rows)}.00"
    assert len(read([*rows, row(99, "payout", total, "0", total)]).lines) == len(CATEGORIES)
    drifted = refused(READER, report([CHARGE, row(3, "surprise_fund", "1.00", "0", "1.00"), PAYOUT]))
    assert (drifted.code, drifted.line) == ("schema_drift", 3)
    assert "surprise_fund" in drifted.detail


# ── currencies ──


def test_a_charge_in_another_currency_has_the_amount_that_the_customer_saw_and_the_rate() -> None:
    charge = row(1, "charge", "8.70", "0.20", "8.50", customer_facing_amount="100.00", customer_facing_currency="sek")
    line = read([charge, row(9, "payout", "-8.50", "0", "-8.50")]).lines[0]
    assert (line.gross, line.gross_currency, line.net, line.net_currency) == (100_00, "SEK", 8_50, "EUR")
    assert (line.fee, line.rate) == (20, "0.087")


def test_a_refund_in_another_currency_is_a_minus_whatever_sign_the_customers_amount_has() -> None:
    for facing in ("1000", "-1000"):
        refund = row(1, "refund", "-8.00", "0", "-8.00", customer_facing_amount=facing, customer_facing_currency="jpy")
        line = read([refund, row(9, "payout", "8.00", "0", "8.00")]).lines[0]
        assert (line.gross, line.gross_currency, line.rate) == (-1000, "JPY", "0.008")


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.sampled_from(["JPY", "EUR", "BHD"]),
    st.sampled_from(["USD", "KWD"]),
)
def test_the_customers_amount_at_the_rate_is_what_was_settled(charged: int, settled: int, one: str, other: str) -> None:
    amount, facing = Money(settled, other).amount, Money(charged, one).amount
    charge = row(1, "charge", amount, "0", amount, currency=other.lower())
    charge |= {"customer_facing_amount": facing, "customer_facing_currency": one.lower()}
    line = read([charge, row(9, "payout", f"-{amount}", "0", f"-{amount}", currency=other.lower())]).lines[0]
    assert line.gross == charged
    units = Decimal(10) ** (DECIMALS[other] - DECIMALS[one])
    assert abs(line.gross * Decimal(line.rate) * units - settled) < Decimal("0.1")


def test_a_rate_of_any_size_is_exact() -> None:
    """A cent for billions, and billions for a cent: nobody's rate, and no reason to fail otherwise than by a break."""
    for settled, charged, rate in (
        ("9999999999999.00", "0.01", "999999999999900"),
        ("0.01", "9999999999999.00", "0.000000000000001"),
    ):
        amounts = {"customer_facing_amount": charged, "customer_facing_currency": "usd"}
        rows = [row(1, "charge", settled, "0", settled, **amounts), row(9, "payout", f"-{settled}", "0", f"-{settled}")]
        assert read(rows).lines[0].rate == rate


def test_amounts_are_of_their_currencys_decimals() -> None:
    yen = row(1, "charge", "100", "1", "99", currency="jpy")
    assert read([yen, row(9, "payout", "-99", "0", "-99", currency="jpy")]).lines[0].gross == 100
    assert code([row(1, "charge", "100.5", "0", "100.5", currency="jpy"), PAYOUT]) == "wrong_decimals"
    assert code([row(1, "charge", "1.005", "0", "1.005"), PAYOUT]) == "wrong_decimals"
    assert code([row(1, "charge", "1", "0", "1", currency="xxx"), PAYOUT]) == "currency_unknown"
    assert code([row(1, "charge", "1", "0", "1", currency="eıur"), PAYOUT]) == "currency_unknown"


# ── columns ──


@pytest.mark.parametrize("missing", ["gross", "fee"])
def test_two_of_three_amounts_are_enough(missing: str) -> None:
    columns = [name for name in COLUMNS if name != missing]
    assert read(DAY, columns).lines == read(DAY).lines


def test_columns_are_found_by_name_in_any_order_and_case() -> None:
    turned = [name.upper().replace("_", " ") for name in reversed(COLUMNS)]
    rows = [{name.upper().replace("_", " "): value for name, value in each.items()} for each in DAY]
    assert read(rows, turned).lines == read(DAY).lines


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ([name for name in COLUMNS if name != "net"], "net"),
        ([name for name in COLUMNS if name != "automatic_payout_id"], "automatic payout id"),
        ([name for name in COLUMNS if name not in ("gross", "fee")], "gross"),
        ([*COLUMNS, "interchange_fee"], "interchange fee"),
        ([*COLUMNS, "net_amount"], "net amount"),
        ([*COLUMNS, "Gross"], "Gross"),
    ],
)
def test_a_report_whose_money_we_may_misread_drifts(columns: list[str], named: str) -> None:
    refusal = refused(READER, report(DAY, columns))
    assert (refusal.code, refusal.line) == ("schema_drift", 1)
    assert named in refusal.detail


def test_other_unknown_columns_are_noted_and_read_past() -> None:
    assert read(DAY, [*COLUMNS, "shipping_country"]).control.notes == ("shipping country",)


def test_times_in_utc_go_before_their_twins_in_the_reports_zone() -> None:
    columns = [*COLUMNS, "created"]
    assert read([{**CHARGE, "created": "2026-11-28 05:11:12"}, REFUND, PAYOUT], columns).lines == read(DAY).lines


def test_times_in_the_reports_zone_are_read_in_the_sources() -> None:
    columns = [name.removesuffix("_utc") for name in COLUMNS]
    rows = [{name.removesuffix("_utc"): value for name, value in each.items()} for each in DAY]
    lines = read(rows, columns, ReadFrom("main", "psp", timezone="America/New_York")).lines
    assert lines[0].at == int(datetime(2026, 11, 28, 15, 11, 12, tzinfo=UTC).timestamp())
    assert lines[0].value_day == read(DAY).lines[0].value_day


@pytest.mark.parametrize(
    ("local", "utc"), [("2026-10-25 02:30:00", "2026-10-25 00:30:00"), ("2026-10-25 03:30:00", "2026-10-25 02:30:00")]
)
def test_of_an_hour_that_comes_twice_the_first_is_meant(local: str, utc: str) -> None:
    columns = [*COLUMNS, "created"]
    columns.remove("created_utc")
    berlin = ReadFrom("main", "psp", timezone="Europe/Berlin")
    line = read([{**CHARGE, "created": local}, REFUND, {**PAYOUT, "created": MADE_AT}], columns, berlin).lines[0]
    assert line.at == int(datetime.fromisoformat(f"{utc}+00:00").timestamp())


def test_an_hour_that_spring_leaves_out_is_no_time() -> None:
    columns = ["created" if name == "created_utc" else name for name in COLUMNS]
    rows = [{**each, "created": "2026-03-29 02:30:00"} for each in DAY]
    refusal = refused(READER, report(rows, columns), ReadFrom("main", "psp", timezone="Europe/Berlin"))
    assert (refusal.code, refusal.line, refusal.column) == ("bad_row", 2, "created")


# ── rows that are refused ──


@pytest.mark.parametrize(
    "wrong",
    [
        {"gross": "100,00"},
        {"gross": "1_00.00"},
        {"gross": "１00.00"},
        {"gross": "+100.00"},
        {"gross": "1e2"},
        {"gross": "100."},
        {"gross": " 100.00"},
        {"fee": "-0.00", "gross": "98.35"},
        {"gross": "1" * 19},
        {"net": ""},
        {"created_utc": "2026-02-30 00:00:00"},
        {"created_utc": "2026-11-28 24:00:00"},
        {"created_utc": "28.11.2026 00:00:00"},
        {"created_utc": "", "available_on_utc": "", "automatic_payout_effective_at_utc": ""},
        {"balance_transaction_id": ""},
        {"balance_transaction_id": "txn_2"},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_read_refuses_the_file_and_names_its_line(wrong: Row) -> None:
    refusal = refused(READER, report([REFUND, {**CHARGE, **wrong}, PAYOUT]))
    assert (refusal.code, refusal.line) == ("bad_row", 3)


def test_a_refusal_names_the_column() -> None:
    assert refused(READER, report([{**CHARGE, "fee": "1,65"}, PAYOUT])).column == "fee"
    assert refused(READER, report([{**CHARGE, "created_utc": "today"}, PAYOUT])).column == "created utc"


def test_a_row_whose_net_is_not_gross_less_fee_does_not_tie() -> None:
    refusal = refused(READER, report([{**CHARGE, "net": "98.36"}, REFUND, PAYOUT]))
    assert (refusal.code, refusal.line) == ("row_does_not_tie", 2)


def test_a_header_in_the_middle_of_two_pasted_exports_is_no_row() -> None:
    second = [{**each, "balance_transaction_id": f"b{place}"} for place, each in enumerate(DAY)]
    assert refused(READER, report(DAY) + report(second)).line == 5


def test_a_row_of_another_width_is_refused() -> None:
    assert refused(READER, report(DAY) + b"po_1,x\n").code == "bad_row"


def test_a_decimal_comma_shifts_no_column() -> None:
    data = report(DAY).replace(b"100.00", b"100,00")
    assert refused(READER, data).code == "bad_row"


# ── payouts ──


def test_a_payout_ties_by_its_own_row_and_claims_it() -> None:
    control = read(DAY).control
    assert control.sums == (SettlementSum("po_1", "EUR", 73_35, 73_35, True),)
    [claim] = control.claims
    assert (claim.settlement, claim.amount, claim.day) == ("po_1", Money(73_35, "EUR"), "2026-11-30")
    assert (control.lines, control.totals, control.first_day) == (3, {"EUR": 0}, "2026-11-30")


def test_the_only_payout_of_a_report_must_tie() -> None:
    refusal = refused(READER, report([CHARGE, PAYOUT]))
    assert refusal.code == "bad_total"
    assert "98.35 EUR" in refusal.detail
    assert "73.35 EUR" in refusal.detail


def test_of_several_payouts_one_that_does_not_tie_leaves_the_others_whole() -> None:
    second = [
        {**each, "automatic_payout_id": "po_2", "balance_transaction_id": f"b{place}"} for place, each in enumerate(DAY)
    ]
    sums = read([*DAY, second[0], second[2]]).control.sums
    assert [(each.settlement, each.ties) for each in sums] == [("po_1", True), ("po_2", False)]


def test_a_payout_in_two_currencies_is_two_sums() -> None:
    dollars = [{**each, "currency": "usd", "balance_transaction_id": f"b{place}"} for place, each in enumerate(DAY)]
    assert [(each.currency, each.ties) for each in read([*DAY, *dollars]).control.sums] == [
        ("EUR", True),
        ("USD", True),
    ]


def test_a_payout_whose_row_is_elsewhere_is_not_said_to_tie() -> None:
    """Nothing of it is claimed, though its rows add up to nothing."""
    back = {**CHARGE, "automatic_payout_id": "po_2", "balance_transaction_id": "b1"}
    there = row(5, "refund", "-98.35", "0", "-98.35", automatic_payout_id="po_2")
    control = read([*DAY, back, there]).control
    assert [(each.settlement, each.net, each.ties) for each in control.sums] == [
        ("po_1", 73_35, True),
        ("po_2", 0, False),
    ]
    assert [claim.settlement for claim in control.claims] == ["po_1"]


def test_without_any_payout_row_a_report_is_cut_off() -> None:
    assert code([CHARGE, REFUND]) == "truncated"


def test_a_payout_of_zero_ties() -> None:
    refund = row(2, "refund", "-98.35", "0", "-98.35")
    assert read([CHARGE, refund, row(9, "payout", "0.00", "0.00", "0.00")]).control.sums[0].ties


def test_rows_of_manual_and_instant_payouts_belong_to_no_settlement() -> None:
    manual = row(5, "payout", "-50.00", "0.50", "-50.50", automatic_payout_id="", automatic_payout_effective_at_utc="")
    told_ = read([*DAY, manual])
    assert (told_.lines[3].settlement, told_.lines[3].kind) == ("", "p")
    assert [each.settlement for each in told_.control.sums] == ["po_1"]
    assert told_.control.notes == ("1 rows of no automatic payout",)


def test_a_payout_has_what_the_bank_will_show() -> None:
    assert read([CHARGE, REFUND, {**PAYOUT, "trace_id": "TX7XT"}]).lines[2].order_ref == "TX7XT"


def test_what_is_no_payout_id_names_no_settlement() -> None:
    assert code([{**each, "automatic_payout_id": "po 1"} for each in DAY]) == "bad_row"


def test_a_payout_that_came_back_counts_among_the_rows_of_the_next() -> None:
    back = row(5, "payout_reversal", "50.00", "0", "50.00", source_id="po_0")
    assert read([CHARGE, REFUND, back, row(9, "payout", "-123.35", "0", "-123.35")]).kinds() == "crqp"


# ── the file as a whole ──


def test_a_report_is_known_by_its_columns() -> None:
    assert READER.sniff(report(DAY), "any.csv") > 90
    assert READER.sniff(b"\xef\xbb\xbf" + report(DAY, end="\r\n"), "any.csv") > 90
    assert READER.sniff(b"Company Account,Merchant Account,Net Debit (NC)\n", "any.csv") == 0
    assert READER.sniff(b"\xff\xfe\x00", "stripe.csv") == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + report(DAY),
        report(DAY, end="\r\n"),
        report(DAY, end="\r"),
        report(DAY).decode().encode("utf-16"),
        report(DAY) + b"\n\n",
        report(DAY)[:-1],
    ],
)
def test_line_ends_and_encodings_change_nothing(data: bytes) -> None:
    assert told(READER, data).lines == read(DAY).lines


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", "empty"),
        (report([]), "empty"),
        (report(DAY) + b'"po_1', "truncated"),
        (report(DAY) + b"\0", "binary"),
        (report([{**CHARGE, "description": "é"}, REFUND, PAYOUT]).decode().encode("latin-1"), "bad_encoding"),
        (b"name,age\nx,1\n", "schema_drift"),
    ],
    ids=["nothing", "no row", "a quote never closed", "a NUL", "latin-1", "another table"],
)
def test_a_file_that_is_not_whole_is_refused(data: bytes, refusal: str) -> None:
    assert refused(READER, data).code == refusal


def test_a_source_that_names_accounts_gets_only_reports_that_name_one_of_them() -> None:
    columns = [*COLUMNS, "connected_account_id"]
    rows = [{**each, "connected_account_id": "acct_1"} for each in DAY]
    ours, other = (ReadFrom("main", "psp", accounts=frozenset({name})) for name in ("acct_1", "acct_2"))
    assert read(rows, columns, ours).control.account_ids == ("acct_1",)
    assert code(rows, columns, other) == "wrong_account"
    assert code(DAY, source=ours) == "wrong_account"


def test_a_formula_or_a_card_number_in_an_order_is_text() -> None:
    rows = [
        {**CHARGE, "payment_metadata[order]": "4111 1111 1111 1111"},
        {**REFUND, "source_id": '=HYPERLINK("x")'},
        PAYOUT,
    ]
    lines = read(rows).lines
    assert (lines[0].order_ref, lines[1].psp_ref) == ("[card]", '=HYPERLINK("x")')


def test_two_reports_that_overlap_name_each_row_once() -> None:
    second = [
        {**each, "automatic_payout_id": "po_2", "balance_transaction_id": f"b{place}"} for place, each in enumerate(DAY)
    ]
    first_week, both_weeks = read(DAY), read([*second, *DAY])
    assert len({*first_week.digests(), *both_weeks.digests()}) == 6
    assert set(first_week.digests()) < set(both_weeks.digests())
    elsewhere = read(DAY, source=ReadFrom("other", "psp"))
    assert not {*elsewhere.digests()} & {*first_week.digests()}
