"""What a PSP has charged in a month, part by part, and what the schedule lets it charge: on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from producers import recon_fees, recon_replies
from producers.recon_reports import Answer
from schemas.money import Money
from tests.captures import capture
from tests.reconciling import ADYEN, BANK, Report, Row, call_id, paid_out
from tests.store.finance import Books
from tests.store.hearing import NOW
from topics.settings import Settings
from topics.settlement_sources import FeeScheduleRow

TERMS = (
    FeeScheduleRow(valid_from=date(2025, 1, 1), percent="1"),
    FeeScheduleRow(valid_from=date(2026, 1, 1), scheme="visa", percent="1", band_percent="0.5"),
)
MONTH = "2026-01"
INTERCHANGE = (100, 0, 20, 30, 0)  # of 100.00: what is agreed for Visa, and a band of 50


@pytest.fixture
def books(stored: Settings) -> Iterator[Books]:
    books = Books(stored, (ADYEN.model_copy(update={"fees": TERMS}), BANK))
    yield books
    books.close()


def captured(books: Books, number: int, scheme: str | None = "visa", **changes: Any) -> None:
    """EUR 100.00."""
    money = Money(10_000, "EUR")
    terms = {"gross": money, "fee": Money(0, "EUR"), "net": money, "scheme": scheme} | changes
    books.room.hear(capture(f"order-{number}", call_id=call_id(number), **terms))


def settled(number: int, *parts: int, gross: int = 10_000, **rest: Any) -> Row:
    return Row(call_id(number), gross, sum(parts), parts=(*parts, *[0] * (5 - len(parts))), **rest)


def settle(books: Books, *files: Report) -> None:
    """As the gate says, with the days of their lines."""
    for file in files:
        days = sorted(row.day.isoformat() for row in file.rows)
        books.settle(replace(file, days=(days[0], days[-1]) if days else None))


def of(books: Books, month: str = MONTH) -> list[Answer]:
    told = books.walk(recon_fees.fees("northpay", month))
    recon_replies.FeeReport.model_validate(told)
    return list(told["fees"])


def test_each_part_is_shown_by_scheme_beside_what_is_agreed_since_when(books: Books) -> None:
    captured(books, 1)
    captured(books, 2)
    captured(books, 3, "amex")
    rows = [settled(1, *INTERCHANGE), settled(2, 100, 5, 20, 30, 19), settled(3, 90, 9)]
    settle(books, paid_out(rows))
    amex, visa, *rest = of(books)
    assert [(one["kind"], one["charged"]) for one in rest] == [("p", "0.00")]
    parts = ("commission", "markup", "scheme_fee", "interchange", "tax", "other", "charged")
    assert [visa[part] for part in parts] == ["2.00", "0.05", "0.40", "0.60", "0.19", "0.00", "3.24"]
    assert (visa["scheme"], visa["lines"], visa["gross"], visa["agreed_since"]) == (
        "visa",
        2,
        "200.00",
        date(2026, 1, 1),
    )
    assert (visa["payments"], visa["compared"], visa["least"], visa["most"]) == (2, "3.24", "2.00", "3.00")
    assert (visa["over"], visa["under"]) == ("0.24", "0.00")
    assert (amex["scheme"], amex["agreed_since"], amex["least"], amex["most"]) == (
        "amex",
        date(2025, 1, 1),
        "1.00",
        "1.00",
    )
    assert (amex["over"], amex["under"]) == ("0.00", "-0.01")


def test_what_one_payment_was_charged_too_much_another_one_does_not_make_up_for(books: Books) -> None:
    captured(books, 1)
    captured(books, 2)
    settle(books, paid_out([settled(1, 151), settled(2, 99)]))
    [visa, _] = of(books)
    assert (visa["compared"], visa["over"], visa["under"]) == ("2.50", "0.01", "-0.01")


def test_of_a_month_are_the_lines_whose_value_day_is_in_it(books: Books) -> None:
    for number in (1, 2, 3):
        captured(books, number)
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 31)]
    settle(books, paid_out([settled(n, *INTERCHANGE, day=day) for n, day in enumerate(days, 1)]))
    settle(books, paid_out([Row(call_id(9), 1, day=date(2026, 2, 1))], settlement="239"))
    captures = [one for month in ("2025-12", MONTH, "2026-02") for one in of(books, month) if one["kind"] == "c"]
    assert [(one["lines"], one["payments"]) for one in captures] == [(1, 1), (2, 2), (1, 0)]
    assert of(books, "2026-03") == []


def test_a_payment_that_is_settled_in_two_months_is_charged_in_both_and_compared_in_none(books: Books) -> None:
    captured(books, 1)
    settle(books, paid_out([settled(1, 60, gross=6_000), settled(1, 40, gross=4_000, day=date(2026, 2, 2))]))
    for month, charged in ((MONTH, "0.60"), ("2026-02", "0.40")):
        [one] = [one for one in of(books, month) if one["kind"] == "c"]
        assert (one["charged"], one["payments"], one["compared"]) == (charged, 0, "0.00")


def test_lines_that_come_again_or_are_withdrawn_are_charged_once_or_not_at_all(books: Books) -> None:
    captured(books, 1)
    captured(books, 2)
    first = paid_out([settled(1, *INTERCHANGE)], identity="i", version="1", mode="replace")
    again = paid_out([settled(1, *INTERCHANGE), settled(2, 100)], identity="j", mode="union")
    settle(books, first, again)
    assert [one["lines"] for one in of(books) if one["kind"] == "c"] == [2]
    settle(books, Report((), (), identity="i", version="2"))
    [one] = [one for one in of(books) if one["kind"] == "c"]
    assert (one["lines"], one["charged"]) == (2, "2.50")


def test_a_fee_that_is_a_line_of_its_own_is_charged_and_no_schedule_is_held_against_it(books: Books) -> None:
    settle(books, Report((Row("", -995, kind="f"), Row("", 995, kind="p")), (("238", "EUR", -995),)))
    fee, _ = of(books)
    assert (fee["kind"], fee["other"], fee["charged"], fee["payments"]) == ("f", "9.95", "9.95", 0)


def test_a_line_in_another_currency_is_charged_in_that_and_compared_in_the_payments(books: Books) -> None:
    captured(books, 1)
    row = Row(call_id(1), 10_000, 220, net_currency="USD", net=21_780, parts=(220, 0, 0, 0, 0))
    settle(books, Report((row,), (("238", "USD", 21_780),)))
    [one] = of(books)
    assert (one["currency"], one["payment_currency"], one["charged"], one["compared"]) == ("USD", "EUR", "2.20", "1.00")
    assert NOW.date() >= one["agreed_since"]


def test_a_claim_names_each_payment_that_was_charged_more_than_agreed_and_no_other(books: Books) -> None:
    for number in (1, 2, 3, 4, 5):
        captured(books, number)
    early, late = date(2026, 1, 5), date(2026, 1, 9)
    rows = [
        settled(1, *INTERCHANGE),  # 1.50 are agreed at most
        settled(2, 100, 5, 20, 30, 19, day=late),
        settled(3, 80),
        settled(4, 100, 0, 30, 30, 0, gross=6_000, day=early),
        settled(4, 0, 0, 0, 0, 1, gross=4_000, day=early, name="its second line"),
        settled(5, 200, day=date(2026, 2, 1)),
    ]
    settle(books, paid_out(rows))
    claimed = books.walk(recon_fees.claims("northpay", MONTH))
    shown = [
        tuple(one[name] for name in ("our_ref", "day", "gross", "charged", "agreed", "difference")) for one in claimed
    ]
    assert shown == [
        ("order-4", early, "100.00", "1.61", "1.50", "0.11"),
        ("order-2", late, "100.00", "1.74", "1.50", "0.24"),
    ]
    over = sum(Decimal(one["over"]) for one in of(books))
    assert sum(Decimal(one["difference"]) for one in claimed) == over
    assert {(one["currency"], one["scheme"], one["agreed_since"]) for one in claimed} == {
        ("EUR", "visa", date(2026, 1, 1))
    }
    assert [one["call_id"] for one in claimed] == [call_id(4), call_id(2)]
    assert all(one["line"].partition(":")[2] for one in claimed)


def test_nothing_is_claimed_where_nothing_is_agreed_or_the_payment_does_not_tie(books: Books) -> None:
    captured(books, 1)
    settle(books, paid_out([settled(1, 900, gross=9_000), Row(call_id(9), 10_000, 900)]))
    assert books.walk(recon_fees.claims("northpay", MONTH)) == []
