"""BAI2 as banks write it → entries whose signs come from their types, and balances; or the refusal of the whole file."""

from __future__ import annotations

import pytest

from reconciliation.formats import keys
from reconciliation.formats.bai2 import Bai2
from reconciliation.formats.shape import ReadFrom, RefusalCode
from schemas.money import Money
from tests.settlement_files import call
from tests.unit.settlement_reading import Told, refused, told

SOURCE = ReadFrom("house-bank", "house", accounts=frozenset({"0001"}), references=frozenset({r"\bbatch (\d+)\b"}))


def account(*records: str, opening: int = 10_000, closing: int, more: str = "", number: str = "0001") -> list[str]:
    """`records`: without their totals, which are added up here."""
    lines = [f"03,{number},USD,010,{opening},,,015,{closing},,{more}/", *records]
    written = [int(line.split(",")[2].rstrip("/") or 0) for line in records if line.startswith("16,")]
    summary = [int(each) for each in more.split(",")[2::4] if each]
    return [*lines, f"49,{opening + closing + sum(written) + sum(summary)},{len(lines) + 1}/"]


def group(*accounts: list[str], modifier: str = "2", day: str = "260211", status: str = "1") -> list[str]:
    lines = [line for each in accounts for line in each]
    total = sum(int(line.split(",")[1]) for line in lines if line.startswith("49,"))
    return [
        f"02,SHOP,BANK,{status},{day},2400,USD,{modifier}/",
        *lines,
        f"98,{total},{len(accounts)},{len(lines) + 2}/",
    ]


def report(*groups: list[str]) -> bytes:
    lines = [line for each in groups for line in each]
    total = sum(int(line.split(",")[1]) for line in lines if line.startswith("98,"))
    whole = ["01,BANK,SHOP,260212,0754,1,,,2/", *lines, f"99,{total},{len(groups)},{len(lines) + 2}/"]
    return "".join(f"{line}\n" for line in whole).encode()


def read(data: bytes, source: ReadFrom = SOURCE) -> Told:
    return told(Bai2(), data, source)


IN = "16,142,3728,Z,B1,P-1,TX1 batch 1042"
OUT = f"16,495,2000,Z,B2,{call(5)},pay-out"
GOOD = report(group(account(IN, OUT, closing=11_728)))


def test_a_type_says_which_way_money_goes() -> None:
    found = read(GOOD)
    assert [line.net for line in found.lines] == [3_728, -2_000]
    assert [line.key for line in found.lines] == [keys.paid_out("house", "1042", "USD"), call(5)]
    assert [line.psp_ref for line in found.lines] == ["B1", "B2"]
    [claim] = found.control.claims
    assert (claim.settlement, claim.opening, claim.amount, claim.day) == (
        "0001-USD-2026-02-11", Money(10_000, "USD"), Money(11_728, "USD"), "2026-02-11",
    )  # fmt: skip
    assert found.control.version == "2026-02-12T07:54 0000000001"


@pytest.mark.parametrize(
    ("funds", "value_day"),
    [("Z", 11), ("0", 11), ("S,100,200,3428", 11), ("V,260213,1200", 13), ("V,260213,", 13), ("D,2,0,3000,1,728", 11)],
)
def test_funds_types_have_fields_of_their_own(funds: str, value_day: int) -> None:
    [line] = read(report(group(account(f"16,142,3728,{funds},B1,P-1,text", closing=13_728)))).lines
    assert (line.net, line.psp_ref, line.order_ref, line.value_day) == (3_728, "B1", "P-1", 20_484 + value_day)


@pytest.mark.parametrize(
    "records",
    [
        ("16,142,3728,Z,B1,P-1,a / b, batch 1042/ c",),
        ("16,142,3728,Z,B1,P-1,a / b", "88,batch 1042"),
        ("16,142,3728,Z,B1,P-1/", "88,batch 1042"),
        ("16,142,3728,Z,B1/", "88,P-1,batch 1042"),
        ("16,142,3728,Z/", "88,B1,P-1,batch 1042/"),
    ],
)
def test_a_record_goes_on_in_lines_88_and_a_text_may_hold_slashes(records: tuple[str, ...]) -> None:
    [line] = read(report(group(account(*records, closing=13_728)))).lines
    assert (line.net, line.psp_ref, line.key) == (3_728, "B1", keys.paid_out("house", "1042", "USD"))


def test_what_is_left_out_at_a_records_end_is_empty() -> None:
    found = read(report(group(account("16,142,3728,Z,B1/", "16,142,100/", "16,142,,,,/", closing=13_828))))
    assert [(line.net, line.psp_ref) for line in found.lines] == [(3_728, "B1"), (100, ""), (0, "")]


@pytest.mark.parametrize(
    "more",
    [
        ",100,3728,1,S,1,2,3725,400,0,0,", ",100,3728,1,V,260213,,400,0,0,", ",100,3728,1,D,1,0,3728,400,0,0,",
        ",,100,3728,1,,400,0,0,",
    ],
)  # fmt: skip
def test_totals_behind_funds_types_with_more_fields_are_found(more: str) -> None:
    control = 10_000 + 13_728 + 3_728 + 3_728
    lines = [f"03,0001,USD,010,10000,,,015,13728,,{more}/", IN, f"49,{control},3/"]
    assert read(report(group(lines))).lines[0].net == 3_728


def test_an_overdrawn_account_ties() -> None:
    found = read(report(group(account("16,495,12000,Z,B1,,x", closing=-2_000))))
    assert found.control.claims[0].amount == Money(-2_000, "USD")


def test_days_of_one_file_follow_each_other() -> None:
    first, second = account(IN, closing=13_728), account(OUT, opening=13_728, closing=11_728)
    found = read(report(group(second, day="260212"), group(first)))
    assert [each.settlement for each in found.control.claims] == ["0001-USD-2026-02-11", "0001-USD-2026-02-12"]
    gap = report(group(first), group(account(OUT, opening=13_727, closing=11_727), day="260212"))
    assert refused(Bai2(), gap, SOURCE).code == "balance_gap"


@pytest.mark.parametrize("modifier", ["1", "3"])
def test_a_report_within_the_day_is_shown_and_never_booked(modifier: str) -> None:
    lines = ["03,0001,USD,030,13728,,/", IN, "49,17456,3/"]
    found = read(report(group(lines, modifier=modifier)))
    assert [(line.kind, line.net, line.settlement) for line in found.lines] == [("n", 3_728, "")]
    assert (found.control.claims, found.control.first_day) == ((), "")


def test_what_moves_nothing_is_noted() -> None:
    found = read(report(group(account(IN, "16,890,,,,,an advice", closing=13_728))))
    assert (len(found.lines), found.control.notes) == (1, ("records that move nothing (890)",))


def changed(old: str, new: str) -> bytes:
    assert old.encode() in GOOD
    return GOOD.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (changed("49,27456,4", "49,27455,4"), "bad_total"),
        (changed("49,27456,4", "49,27456,5"), "bad_count"),
        (changed("98,27456,1", "98,27455,1"), "bad_total"),
        (changed("98,27456,1,6", "98,27456,2,6"), "bad_count"),
        (changed("98,27456,1,6", "98,27456,1,7"), "bad_count"),
        (changed("99,27456,1,8", "99,27457,1,8"), "bad_total"),
        (changed("99,27456,1,8", "99,27456,2,8"), "bad_count"),
        (changed("99,27456,1,8", "99,27456,1,9"), "bad_count"),
        (changed("015,11728", "015,11729").replace(b"27456", b"27457"), "bad_total"),  # opening + movements
        (changed("16,142", "16,475"), "bad_total"),  # a debit
        (GOOD[: GOOD.index(b"99,")], "truncated"),
        (GOOD + b"16,142,1,Z,,,/\n", "bad_row"),
        (changed("03,0001", "03,0002"), "wrong_account"),
        (changed("16,142", "16,100"), "schema_drift"),
        (changed("16,142", "16,999"), "schema_drift"),
        (changed("010,10000", "040,10000"), "schema_drift"),
        (changed("02,SHOP,BANK,1", "02,SHOP,BANK,2"), "schema_drift"),
        (changed("02,SHOP,BANK,1", "02,SHOP,BANK,4"), "schema_drift"),
        (changed("3728", "37.28"), "bad_row"),
        (changed("3728", "3_728"), "bad_row"),
        (changed("3728", "-3728"), "bad_row"),
        (changed("3728", "３728"), "bad_row"),
        (changed("010,10000", "010,1e4"), "bad_row"),
        (changed(",Z,B1", ",Q,B1"), "bad_row"),
        (changed(",Z,B1", ",V,260230,,B1"), "bad_row"),
        (changed("260211,2400", "260230,2400"), "bad_row"),
        (changed("16,142", "17,142"), "bad_row"),
        (changed("16,142", "49,1,1/\n16,142"), "bad_row"),
        (changed("USD", "XXX"), "currency_unknown"),
        (changed("TX1 batch", "x" * 20_000), "line_too_long"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_refused(data: bytes, code: RefusalCode) -> None:
    assert refused(Bai2(), data, SOURCE).code == code


def test_an_account_is_there_once_on_a_day() -> None:
    twice = report(group(account(IN, closing=13_728), account(IN, closing=13_728)))
    assert refused(Bai2(), twice, SOURCE).code == "schema_drift"
