"""Transfers of ours that are back at the bank, and pay-outs of a PSP that it has got back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations

import pytest

from reconciliation.formats import keys
from schemas.events import AnyEvent
from schemas.settlements import SettlementFileDiscarded
from tests.payouts import PAYOUT, returned, submitted
from tests.reconciling import BANK, Report, Room, Row, call_id, paid_out

CALL = call_id(7)
ITEM = f"main|s|{CALL}"
AT = {"call_id": CALL, "bank_account": "main"}


def statement(number: int, opening: int, *entries: int) -> Report:
    rows = tuple(Row(CALL, each, kind="s", settlement=f"st-{number}", name=f"{number} {each}") for each in entries)
    closing = opening + sum(entries)
    return Report(rows, ((f"st-{number}", "EUR", closing),), source=BANK, opening=opening, name=f"st-{number}")


OUT, BACK = statement(1, 50_000, -10_000), statement(2, 40_000, 10_000)


def lives(room: Room, what: Sequence[Report | AnyEvent]) -> None:
    for each in what:
        if isinstance(each, Report):
            room.reads(each)
        else:
            room.hear(each)
        room.settles()
    room.settles(timedelta(minutes=1))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_transfer_that_is_back_unsaid_is_a_break_in_any_order(room: Room, order: Sequence[int]) -> None:
    what = (submitted(**AT), OUT, BACK)
    lives(room, [what[place] for place in order])
    assert {each for each in room.breaks() if each[0] != "FILE_MISSING"} == {("PAYOUT_RETURNED", ITEM)}
    (case,) = room.rows(
        "SELECT subject, class, amount FROM break_view WHERE state = 'open' AND code = 'PAYOUT_RETURNED'"
    )
    assert case == {"subject": f"main/{PAYOUT}", "class": "B", "amount": 10_000}


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_it_is_none_once_its_provider_has_said_so(room: Room, order: Sequence[int]) -> None:
    what = (submitted(**AT), OUT, BACK, returned(**AT))
    lives(room, [what[place] for place in order])
    assert {each for each in room.breaks() if each[0] != "FILE_MISSING"} == set()


def test_less_that_is_back_is_a_return_too(room: Room) -> None:
    """A bank may keep a charge."""
    lives(room, [submitted(**AT), OUT, statement(2, 40_000, 9_900)])
    (case,) = room.rows("SELECT code, amount FROM break_view WHERE state = 'open'")
    assert case == {"code": "PAYOUT_RETURNED", "amount": 9_900}


def test_a_payout_that_a_psp_has_got_back_is_a_break_until_its_line_is_withdrawn(room: Room) -> None:
    back = Row(keys.theirs("northpay", "po_1"), 5_000, kind="q", psp_ref="po_1")
    report = paid_out([back])
    lives(room, [report])
    assert room.breaks() == {("PAYOUT_RETURNED", "returned|adyen-eu/238/EUR")}
    room.hear(
        SettlementFileDiscarded(source="adyen-eu", file_id=report.file_id, discarded_by="ann, bob", reason="wrong")
    )
    room.settles()
    assert room.breaks() == set()
