"""Payments that are settled in another currency: within the band of the reference rate realised, beyond it a break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest
from pydantic import ValidationError

from schemas.money import Money
from schemas.settlements import SettlementFileDiscarded
from tests.captures import capture
from tests.reconciling import ADYEN, BANK, Report, Room, Row, call_id
from topics.settings import Settings
from topics.settlement_sources import ReferenceRate

# CHF 100.00 are EUR 105.00, and yen are worth less from the third day on.
RATES = (
    ReferenceRate(valid_from=date(2026, 1, 1), currency="CHF", settled_in="EUR", rate="1.05", band_bps=100),
    ReferenceRate(valid_from=date(2026, 1, 1), currency="JPY", settled_in="EUR", rate="0.0062", band_bps=0),
    ReferenceRate(valid_from=date(2026, 1, 3), currency="JPY", settled_in="EUR", rate="0.0060", band_bps=0),
)
CONVERTING = ADYEN.model_copy(update={"rates": RATES})


@pytest.fixture
def room(stored: Settings) -> Iterator[Room]:
    room = Room(stored, (CONVERTING, BANK))
    yield room
    room.close()
    assert room.dead == 0


def row(number: int, worth: int, gross: int = 10_000, currency: str = "CHF", day: int = 5, fee: int = 50) -> Row:
    return Row(
        call_id(number), gross, fee, currency=currency, net_currency="EUR", net=worth - fee, day=date(2026, 1, day)
    )


def settles(room: Room, *rows: Row, name: str = "238") -> Report:
    for each in rows:
        number = int(each.key, 16)
        room.hear(capture(f"order-{number}", call_id=each.key, gross=Money(each.gross, each.currency)))
    rows = tuple(replace(each, settlement=name) for each in rows)
    total = sum(each.net or 0 for each in rows)
    payout = Row("", -total, kind="p", settlement=name)
    report = Report((*rows, payout), ((name, "EUR", total),), source=CONVERTING)
    room.reads(report)
    room.settles()
    return report


def fx(room: Room) -> dict[str, int]:
    return {side: amount for booked in room.booked().values() for side, amount in booked.items() if "fx" in side}


@pytest.mark.parametrize("worth", [10_395, 10_500, 10_605])
def test_a_rate_within_the_band_is_realised_and_no_break(room: Room, worth: int) -> None:
    settles(room, row(1, worth))
    assert room.breaks() == set()
    spread = {"fx_spread EUR": 10_500 - worth} if worth != 10_500 else {}
    assert fx(room) == {"fx CHF": 10_000, "fx EUR": -10_500, **spread}


@pytest.mark.parametrize("worth", [10_394, 10_606])
def test_a_rate_beyond_the_band_is_a_break_and_is_not_realised(room: Room, worth: int) -> None:
    settles(room, row(1, worth), row(2, 10_510))
    assert room.breaks() == {("FX_DIFFERENCE", "fx|adyen-eu/238/EUR/CHF")}
    (item,) = room.rows("SELECT amount, currency, detail->>'lines' AS lines FROM break_item_view")
    assert item == {"amount": worth - 10_500, "currency": "EUR", "lines": "1"}
    assert fx(room) == {"fx CHF": 20_000, "fx EUR": -10_500 - worth, "fx_spread EUR": -10}


def test_one_far_rate_is_not_hidden_by_those_that_are_right(room: Room) -> None:
    settles(room, row(1, 10_800), *(row(number, 10_500) for number in range(2, 60)))
    assert room.breaks() == {("FX_DIFFERENCE", "fx|adyen-eu/238/EUR/CHF")}


def test_a_line_is_compared_at_the_rate_of_its_day_and_a_unit_is_rounding(room: Room) -> None:
    """Of yen there are no hundredths."""
    old, new = (row(1, 6_201, 10_000, "JPY", 2), row(2, 5_999, 10_000, "JPY", 3))
    settles(room, old, new)
    assert room.breaks() == set()
    settles(room, row(3, 6_200, 10_000, "JPY", 3), name="239")
    assert room.breaks() == {("FX_DIFFERENCE", "fx|adyen-eu/239/EUR/JPY")}


def test_without_a_reference_nothing_is_compared(room: Room) -> None:
    settles(room, row(1, 50_000, currency="GBP"))
    assert (room.breaks(), fx(room)) == (set(), {"fx GBP": 10_000, "fx EUR": -50_000})


def test_a_line_that_is_withdrawn_is_compared_no_more(room: Room) -> None:
    report = settles(room, row(1, 11_000))
    assert room.breaks() != set()
    room.hear(SettlementFileDiscarded(source="adyen-eu", file_id=report.file_id, discarded_by="ann", reason="wrong"))
    room.settles()
    assert (room.breaks(), fx(room)) == (set(), {})
    assert room.rows("SELECT * FROM conversion_view") == []


@pytest.mark.parametrize(
    "given",
    [
        {"currency": "EUR", "settled_in": "EUR"},
        {"rate": "0.00"},
        {"rate": "1,05"},
        {"band_bps": -1},
    ],
)
def test_a_rate_that_is_none_is_refused(given: dict[str, object]) -> None:
    fits = {"valid_from": date(2026, 1, 1), "currency": "CHF", "settled_in": "EUR", "rate": "1.05"}
    with pytest.raises(ValidationError):
        ReferenceRate(**{**fits, **given})  # type: ignore[arg-type]


def test_two_rates_of_one_day_are_refused() -> None:
    with pytest.raises(ValidationError, match="same first day"):
        ADYEN.model_validate({**ADYEN.model_dump(), "rates": (RATES[0], RATES[0])})
