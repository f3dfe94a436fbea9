"""Faults planted in settlements: a small matcher of this file alone finds what was told of them, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import urllib.error
from collections import Counter
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from tests.simulator.running import RunningSimulator
from tests.simulator.test_cli import tally_sim
from tests.simulator.test_settling import Days, rows_of, statement_of

DIGITS = {"EUR": 2, "USD": 2, "JPY": 0}
ROW_FAULTS = (
    "missing_row",
    "late_row",
    "extra_row",
    "extra_refund",
    "declined_row",
    "wrong_amount",
    "wrong_fee",
    "other_currency",
    "second_capture",
)
Found = set[tuple[str, str]]  # code, subject


class Told(NamedTuple):
    """A charge as whoever reads the settlement knows it."""

    reference: str
    order: str
    amount: Decimal
    currency: str
    is_declined: bool


def preloaded(days: Days, count: int, psp: str = "southpay") -> dict[str, Told]:
    """Charges of today, every tenth declined."""
    now = int(days.now().timestamp()) - 10
    first, currencies = now * 1_000_000, cycle(DIGITS)
    rows = [
        {
            "psp": psp,
            "reference": UUID(int=first + place).hex,
            "order": f"order-{psp}-{first + place}",
            "amount": 10_000 + 37 * place,
            "currency": next(currencies),
            "created_at": now,
            **({"decline_code": "do_not_honor"} if place % 10 == 0 else {}),
        }
        for place in range(count)
    ]
    days.running.control("POST", "/control/preload", rows)
    told = [
        Told(
            str(row["reference"]),
            str(row["order"]),
            Decimal(str(row["amount"])).scaleb(-DIGITS[str(row["currency"])]),
            str(row["currency"]),
            "decline_code" in row,
        )
        for row in rows
    ]
    return {each.reference: each for each in told}


@pytest.fixture(scope="module")
def shared_days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Days]:
    running = RunningSimulator(tmp_path_factory.mktemp("mischief"))
    yield Days(running)
    running.kill()


@pytest.fixture
def days(shared_days: Days) -> Days:
    """On a day of the test's own: all that happened before is settled."""
    shared_days.settled()
    shared_days.next()
    return shared_days


ADYEN: dict[str, object] = {}  # the usual terms
NATIVE = {"formats": {"southpay": "native", "northpay": "native"}}


def matched(told: dict[str, Told], rows: list[dict[str, str]]) -> Found:
    """What is wrong with these rows: captures against what is known of them."""
    known = {each.reference: each for each in told.values() if not each.is_declined}
    captures = [row for row in rows if row["kind"] == "capture"]
    counted = Counter((row["our_ref"], row["currency"]) for row in captures)
    found: Found = {("UNEXPECTED_REVERSAL", row["our_ref"]) for row in rows if row["kind"] == "refund"}
    for row in captures:
        charge = told.get(row["our_ref"])
        if charge is None:
            found.add(("MISSING_INTERNAL", row["our_ref"]))
        elif charge.is_declined:
            found.add(("STATUS_MISMATCH", row["our_ref"]))
        elif row["currency"] != charge.currency:
            found.add(("CURRENCY", row["our_ref"]))
        elif counted[row["our_ref"], row["currency"]] > 1:
            found.add(("DUPLICATE_CHARGE", row["order_ref"]))
        else:
            found |= differing(row, charge)
    reported = {row["our_ref"] for row in captures}
    return found | {("MISSING_AT_PSP", reference) for reference in known.keys() - reported}


def differing(row: dict[str, str], charge: Told) -> Found:
    unit = Decimal(1).scaleb(-DIGITS[charge.currency])
    commission = (charge.amount * Decimal("0.012")).quantize(unit, ROUND_HALF_UP) + Decimal("0.10").quantize(unit)
    found: Found = set()
    if Decimal(row["gross"]) != charge.amount:
        found.add(("AMOUNT", row["our_ref"]))
    if Decimal(row["commission"]) != commission:
        found.add(("FEE_VARIANCE", row["our_ref"]))
    return found


def subjects(planted: list[dict[str, Any]], *, passing: bool | None = None) -> Found:
    return {(each["code"], each["subject"]) for each in planted if passing in (None, each["passes"])}


def test_each_planted_row_is_found_and_nothing_else(days: Days) -> None:
    told = preloaded(days, 400)
    plant = [f"{fault}=3" for fault in ROW_FAULTS]
    settled = days.settled(NATIVE, plant=plant, seed=7)
    assert Counter(each["fault"] for each in settled["planted"]) == dict.fromkeys(ROW_FAULTS, 3)
    today = days.native(settled["date"])
    assert matched(told, today) == subjects(settled["planted"])
    for row in today:
        assert Decimal(row["gross"]) - Decimal(row["fee"]) == Decimal(row["net"])
    days.next()
    both = today + days.native(days.settled()["date"])
    assert matched(told, both) == subjects(settled["planted"], passing=False)
    for currency in DIGITS:
        assert sum(Decimal(row["net"]) for row in both if row["net_currency"] == currency) == 0


def test_the_same_seed_plants_the_same_and_another_one_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [
        {"psp": "southpay", "reference": UUID(int=place).hex, "order": f"o{place}", "amount": 5000, "currency": "EUR"}
        for place in range(60)
    ]

    def planted(seed: int) -> Found:
        running = RunningSimulator(tmp_path_factory.mktemp("seeded"))
        try:
            running.control("POST", "/control/preload", rows)
            chosen = ["missing_row=5", "second_capture=2", "payout_missing"]
            return subjects(Days(running).settled(NATIVE, plant=chosen, seed=seed)["planted"])
        finally:
            running.kill()

    first = planted(1)
    assert planted(1) == first
    assert planted(2) != first


def adyen_total(file: bytes) -> Decimal:
    rows = csv.DictReader(io.StringIO(file.decode()))
    return sum((Decimal(row["Net Credit (NC)"] or 0) - Decimal(row["Net Debit (NC)"] or 0) for row in rows), Decimal(0))


def test_a_truncated_file_is_followed_by_the_whole_one(days: Days) -> None:
    preloaded(days, 30)
    settled = days.settled(ADYEN, plant=["truncated_file"])
    [told] = settled["planted"]
    files = days.files(settled["date"], psp="southpay")
    first_name, name = files
    first, whole = files[first_name], files[name]
    assert first_name == name.replace(".csv", ".first.csv")
    assert whole.startswith(first)
    assert not first.endswith(b"\n")
    assert (told["code"], told["subject"], told["passes"]) == ("FILE_REFUSED", name, True)


@pytest.mark.parametrize("written", ["adyen", "native", "paypal"])
def test_a_restated_file_differs_in_two_amounts_and_ties_in_both_versions(days: Days, written: str) -> None:
    preloaded(days, 30)
    settled = days.settled({"formats": {"southpay": written}}, plant=["restated_file"], seed=3)
    [told] = settled["planted"]
    files = days.files(settled["date"], psp="southpay")
    [first_name] = [name for name in files if ".first." in name]
    first, second = files[first_name], files[first_name.replace(".first", "")]
    assert told["subject"] == first_name.replace(".first", "")
    different = [
        (one, other) for one, other in zip(first.splitlines(), second.splitlines(), strict=True) if one != other
    ]
    assert len(different) == (3 if written == "paypal" else 2)  # there the time at which it was made, too
    if written == "adyen":
        assert (adyen_total(first), adyen_total(second)) == (0, 0)
    if written == "native":
        for file in (first, second):
            assert sum(Decimal(row["net"]) for row in rows_of(file)) == 0


def test_a_missing_file_comes_with_the_next_day(days: Days) -> None:
    preloaded(days, 30)
    before = days.settled(ADYEN, plant=["missing_file"])
    [told] = before["planted"]
    assert (told["code"], told["subject"], told["passes"]) == ("FILE_MISSING", "southpay", True)
    assert days.files(before["date"], psp="southpay") == {}
    days.next()
    after = days.settled()
    number = told["settlement"].removeprefix("southpay/")
    assert list(days.files(after["date"], psp="southpay")) == [f"settlement_detail_report_batch_{number}.csv"]


def test_a_repeated_batch_stands_in_the_next_ones_file_too(days: Days) -> None:
    preloaded(days, 30)
    first = days.settled(ADYEN, plant=["repeated_batch"])
    days.next()
    preloaded(days, 30)
    second = days.settled()
    [told] = first["planted"]
    [before] = days.files(first["date"], psp="southpay").values()
    [(name, after)] = days.files(second["date"], psp="southpay").items()
    assert (told["code"], told["subject"]) == ("DUPLICATE_ROW", name)
    rows = after.splitlines()
    assert rows[: len(before.splitlines())] == before.splitlines()
    assert len(rows) > len(before.splitlines())
    assert adyen_total(after) == 0


def test_a_wrong_total_is_what_the_file_is_off_by(days: Days) -> None:
    preloaded(days, 30)
    settled = days.settled(ADYEN, plant=["wrong_total"])
    [told] = settled["planted"]
    [file] = days.files(settled["date"], psp="southpay").values()
    rows = list(csv.DictReader(io.StringIO(file.decode())))
    off = {
        currency: sum(
            Decimal(row["Net Credit (NC)"] or 0) - Decimal(row["Net Debit (NC)"] or 0)
            for row in rows
            if row["Net Currency"] == currency
        )
        for currency in DIGITS
    }
    assert off == {
        currency: -Decimal(told["delta"]).scaleb(-DIGITS[currency]) if currency == told["currency"] else 0
        for currency in DIGITS
    }
    assert told["code"] == "FILE_REFUSED"  # a file that must come to zero


def test_what_the_bank_does_not_show_or_shows_otherwise_is_told(days: Days) -> None:
    preloaded(days, 60)
    settled = days.settled(NATIVE, plant=["payout_missing", "bank_amount"])
    missing, less = settled["planted"]
    paid = {
        row["net_currency"]: -Decimal(row["net"]) for row in days.native(settled["date"]) if row["kind"] == "payout"
    }
    statement = next(file for name, file in days.files(settled["date"]).items() if name.startswith("camt053"))
    stated = {currency: amount for currency in DIGITS if (amount := credited(statement, currency))}
    off = -Decimal(less["delta"]).scaleb(-DIGITS[less["currency"]])
    expected = {**paid, less["currency"]: paid[less["currency"]] - off}
    del expected[missing["currency"]]
    assert stated == expected
    assert (missing["code"], less["code"]) == ("PAYOUT_MISSING", "BANK_AMOUNT")
    assert missing["subject"] == less["subject"] == f"southpay/{settled['settlements'][0]['number']}"


def test_an_entry_of_somebody_unknown_is_told_by_the_banks_reference(days: Days) -> None:
    preloaded(days, 60)
    settled = days.settled(NATIVE, plant=["extra_entry"])
    [told] = settled["planted"]
    statement = next(file for name, file in days.files(settled["date"]).items() if name.startswith("camt053"))
    paid = {
        row["net_currency"]: -Decimal(row["net"]) for row in days.native(settled["date"]) if row["kind"] == "payout"
    }
    by = Decimal(told["delta"]).scaleb(-DIGITS[told["currency"]])
    assert credited(statement, told["currency"]) == paid[told["currency"]] + by
    assert f"<AcctSvcrRef>{told['subject']}</AcctSvcrRef>".encode() in statement
    assert told["code"] == "UNEXPLAINED"


def credited(statement: bytes, currency: str) -> Decimal:
    if f"<Ccy>{currency}</Ccy>".encode() not in statement:
        return Decimal(0)
    _, _, entries = statement_of(statement, currency)
    return sum((amount for amount, _, _ in entries), Decimal(0))


def test_what_cannot_be_planted_says_why_and_settles_nothing(days: Days) -> None:
    preloaded(days, 20)
    for plant in (["missing_row=100"], ["no_such_fault"], ["missing_row=many"], ["truncated_file=2"]):
        with pytest.raises(urllib.error.HTTPError) as refused:
            days.settled(ADYEN, plant=plant)
        assert "plant" in json.load(refused.value)["error"]
    assert days.settled(ADYEN)["planted"] == []
    with pytest.raises(urllib.error.HTTPError) as too_late:
        days.settled(ADYEN, plant=["missing_row"])
    assert "settled already" in json.load(too_late.value)["error"]


def test_what_is_planted_is_written_beside_the_folder(days: Days, tmp_path: Path) -> None:
    preloaded(days, 30)
    out = tmp_path / "watched"
    result = tally_sim(days.running, "settle", "--out", str(out), "--plant", "wrong_fee=2", "--plant", "bank_amount")
    assert result.exit_code == 0, result.stderr
    [oracle] = tmp_path.glob("watched-planted-*.json")
    assert [each["fault"] for each in json.loads(oracle.read_text())] == ["wrong_fee", "wrong_fee", "bank_amount"]
    assert sorted(path.name for path in out.iterdir()) == ["main", "southpay"]
    assert "3 faults are planted" in result.stderr
