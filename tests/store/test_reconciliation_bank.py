"""Bank statements on a real database: entries by key and without one, balances that follow each other, files that are missing."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise

import pytest

from reconciliation.formats import keys
from tests.payouts import submitted
from tests.reconciling import ADYEN, BANK, SECOND, Report, Room, Row, call_id, numbered, paid_out


def statement(number: int, opening: int, *rows: Row) -> Report:
    closing = opening + sum(row.gross for row in rows)
    entries = tuple(Row(**{**vars(row), "kind": "s", "settlement": f"st-{number}"}) for row in rows)
    return Report(entries, ((f"st-{number}", "EUR", closing),), source=BANK, opening=opening)


def known(key: str, amount: int) -> Row:
    return Row(key, amount)


def unknown(name: str, amount: int) -> Row:
    """An entry that the bank names by a reference of its own."""
    return Row(keys.theirs("main", name), amount, name=name)


def test_a_payout_to_a_seller_is_seen_at_the_bank_by_its_call_id(room: Room) -> None:
    room.hear(submitted(call_id=call_id(7)))
    room.reads(statement(1, 20_000, known(call_id(7), -10_000)))
    room.settles()
    assert room.booked() == {"bank-main/st-1/EUR": {"bank EUR": -10_000, "bank_clearing EUR": 10_000}}
    assert room.breaks() == set()


def test_an_entry_of_another_amount_than_the_payout_is_a_break(room: Room) -> None:
    room.hear(submitted(call_id=call_id(7)))
    room.reads(statement(1, 20_000, known(call_id(7), -10_025)))
    room.settles()
    assert room.breaks() == {("BANK_AMOUNT", f"main|s|{call_id(7)}")}


def test_a_payout_that_the_bank_does_not_show_is_missing_after_its_grace(room: Room) -> None:
    room.hear(submitted(call_id=call_id(7)))
    room.settles()
    assert room.breaks() == set()
    room.settles(after=timedelta(days=20))
    assert room.breaks() == {("PAYOUT_MISSING", f"main|s|{call_id(7)}")}
    room.reads(statement(1, 20_000, known(call_id(7), -10_000)))
    room.settles()
    assert room.breaks() == set()


@pytest.mark.parametrize("seed", range(3))
def test_twins_without_a_key_are_paired_whatever_comes_first(room: Room, seed: int) -> None:
    """Three settlements of one PSP pay out the same amount; the bank names none of them."""
    reports = [paid_out([Row("", 500, kind="j", settlement=str(n), name=str(n))], str(n)) for n in range(3)]
    statements = [statement(1, 0, unknown("x", 500), unknown("y", 500)), statement(2, 1000, unknown("z", 500))]
    files = [*reports, *statements]
    random.Random(seed).shuffle(files)
    for file in files:
        room.reads(file)
        room.settles()
    assert {item for code, item in room.breaks() if "|s|" in item} == set()
    booked = room.booked()
    assert booked["bank-main/st-1/EUR"] == {"bank EUR": 1000, "bank_clearing EUR": -1000}
    assert booked["bank-main/st-2/EUR"] == {"bank EUR": 500, "bank_clearing EUR": -500}
    pairs = {row["key"] for row in room.rows("SELECT key FROM unmatched_view WHERE pair IS NOT NULL")}
    assert len(pairs) == 6


def test_a_pair_is_given_up_when_the_payout_is_seen_by_its_key(room: Room) -> None:
    room.reads(paid_out([Row("", 500, kind="j", settlement="9", name="9")], "9"))
    room.reads(statement(1, 0, unknown("x", 500)))
    room.settles()
    assert room.booked()["bank-main/st-1/EUR"] == {"bank EUR": 500, "bank_clearing EUR": -500}
    room.reads(statement(2, 500, known(keys.paid_out("main", "9", "EUR"), 500)))
    room.settles()
    assert room.booked()["bank-main/st-1/EUR"] == {"bank EUR": 500, "suspense EUR": -500}
    assert ("UNEXPLAINED", f"main|s|{keys.theirs('main', 'x')}") in room.breaks()


def test_payouts_of_two_sellers_in_one_amount_are_never_guessed(room: Room) -> None:
    room.hear(submitted(call_id=call_id(7)), submitted(call_id=call_id(8), payout_id="p-8", seller_account="seller-8"))
    room.reads(statement(1, 20_000, unknown("x", -10_000)))
    room.settles()
    assert room.breaks() == {("UNEXPLAINED", f"main|s|{keys.theirs('main', 'x')}")}


def test_a_statement_that_does_not_open_where_another_has_closed_is_a_gap_until_that_comes(room: Room) -> None:
    days = [statement(1, 0, unknown("a", 5)), statement(2, 5, unknown("b", 7)), statement(3, 12, unknown("c", 9))]
    for file in (days[0], days[2]):
        room.reads(file)
    room.settles()
    assert {each for each in room.breaks() if each[0] == "FILE_MISSING"} == {("FILE_MISSING", "gap|bank-main/st-3/EUR")}
    room.reads(days[1])
    room.settles()
    assert {each for each in room.breaks() if each[0] == "FILE_MISSING"} == set()


def test_a_number_that_no_file_has_is_a_missing_file(room: Room) -> None:
    for number in (7, 9):
        room.reads(numbered(number, [Row(call_id(number), 100, settlement=str(number))]))
    room.settles()
    assert room.breaks() == {("FILE_MISSING", "sequence|adyen-eu/8")}


def test_what_a_settlement_pays_out_in_two_currencies_is_judged_each_by_itself(room: Room) -> None:
    """Of the euros less has come, of the dollars nothing."""
    rows = (Row("", 500, kind="f"), Row("", 700, kind="f", currency="USD"))
    room.reads(Report(rows, (("238", "EUR", 500), ("238", "USD", 700))))
    room.settles()
    room.reads(statement(1, 0, known(keys.paid_out("main", "238", "EUR"), 480)))
    room.settles(timedelta(days=20))
    assert room.breaks() == {
        ("BANK_AMOUNT", f"main|s|{keys.paid_out('main', '238', 'EUR')}"),
        ("PAYOUT_MISSING", f"main|s|{keys.paid_out('main', '238', 'USD')}"),
    }


def test_what_pays_out_in_order_ends_in_the_bank_to_the_cent(room: Room) -> None:
    """Four days: each settlement is paid out on the day after, and the books equal the bank's closing balance."""
    amounts = [1000, 2500, -300, 40]
    balances = [0]
    for amount in amounts:
        balances.append(balances[-1] + amount)
    for number, (opening, _) in enumerate(pairwise(balances)):
        room.reads(paid_out([Row("", amounts[number], kind="f", settlement=str(number))], str(number)))
        room.reads(statement(number, opening, known(keys.paid_out("main", str(number), "EUR"), amounts[number])))
    room.settles()
    books = room.booked().values()
    assert sum(book.get("bank EUR", 0) for book in books) == balances[-1]
    assert sum(book.get("bank_clearing EUR", 0) for book in books) == 0


def test_payouts_that_the_bank_shows_under_references_of_its_own_are_found_by_them(room: Room) -> None:
    """A day of PayPal: two withdrawals, and the rest stays there."""
    rows = [Row("", -150, kind="f", settlement="acc:05"), Row("", 1000, kind="h", settlement="acc:05", name="x")]
    out = [Row("", -minor, kind="p", settlement="acc:05", name=name) for name, minor in (("b-1", 500), ("b-2", 250))]
    day = Report((*rows, *out), (("acc:05", "EUR", 850),), payouts=(("b-1", 500), ("b-2", 250)), kept=100)
    room.reads(day)
    room.reads(statement(1, 0, known(keys.paid_out("main", "b-2", "EUR"), 250)))
    room.reads(statement(2, 250, known(keys.paid_out("main", "b-1", "EUR"), 500)))
    room.settles(after=timedelta(days=20))
    assert room.breaks() == set()
    booked = room.booked()
    of_day = booked["adyen-eu/acc:05/EUR"]
    assert (of_day["balance EUR"], of_day["bank_clearing EUR"]) == (100, 750)
    assert sum(book.get("bank_clearing EUR", 0) for book in booked.values()) == 0


def test_a_reference_that_a_newer_version_gives_moves_what_the_bank_is_to_show(room: Room) -> None:
    rows = [Row("", 500, kind="h", settlement="9")]
    for version, payouts in (("1", ()), ("2", (("b-9", 500),)), ("3", ())):
        room.reads(paid_out(rows, "9", identity="day", version=version, payouts=payouts))
        room.settles()
        expected = room.rows(
            "SELECT replace(key, '-', '') AS key, expected FROM tally_view WHERE kind = 's' AND expected <> 0"
        )
        assert expected == [{"key": keys.paid_out("main", "b-9" if payouts else "9", "EUR"), "expected": 500}]


@pytest.mark.parametrize("seed", range(3))
def test_two_psps_with_one_batch_number_pay_into_one_account_and_the_sums_stay_right(room: Room, seed: int) -> None:
    files = [
        paid_out([Row("", 500, kind="h", settlement="12")], "12"),
        paid_out([Row("", 300, kind="h", settlement="12")], "12", source=SECOND),
        statement(1, 0, Row(keys.paid_out("main", "12", "EUR"), 300, name="a")),
        statement(2, 300, Row(keys.paid_out("main", "12", "EUR"), 500, name="b")),
    ]
    random.Random(seed).shuffle(files)
    for file in files:
        room.reads(file)
        room.settles()
    assert room.breaks() == set()
    books = room.booked().values()
    assert sum(book.get("bank_clearing EUR", 0) for book in books) == 0
    assert sum(book.get("bank EUR", 0) for book in books) == 800


@pytest.mark.parametrize("seed", range(4))
def test_a_credit_that_is_all_of_a_psps_payouts_of_a_day_is_paired_with_them_whatever_comes_first(
    room: Room, seed: int
) -> None:
    reports = [paid_out([Row("", minor, kind="h", settlement=str(minor))], str(minor)) for minor in (500, 300)]
    files = [*reports, statement(1, 0, unknown("x", 800), unknown("y", 77))]
    random.Random(seed).shuffle(files)
    for file in files:
        room.reads(file)
        room.settles()
    assert room.booked()["bank-main/st-1/EUR"] == {"bank EUR": 877, "bank_clearing EUR": -800, "suspense EUR": -77}
    assert room.breaks() == {("UNEXPLAINED", f"main|s|{keys.theirs('main', 'y')}")}
    room.reads(statement(2, 877, known(keys.paid_out("main", "300", "EUR"), 300)))
    room.settles()
    assert room.booked()["bank-main/st-1/EUR"] == {"bank EUR": 877, "suspense EUR": -877}, "one of them was paid alone"
    assert ("UNEXPLAINED", f"main|s|{keys.theirs('main', 'x')}") in room.breaks()


def test_a_credit_that_may_be_the_payouts_of_two_psps_is_not_guessed(room: Room) -> None:
    for source in (ADYEN, SECOND):
        for minor in (500, 300):
            name = f"{source.psp}-{minor}"
            room.reads(paid_out([Row("", minor, kind="h", settlement=name)], name, source=source))
    room.reads(statement(1, 0, unknown("x", 800)))
    room.settles()
    assert room.breaks() == {("UNEXPLAINED", f"main|s|{keys.theirs('main', 'x')}")}
