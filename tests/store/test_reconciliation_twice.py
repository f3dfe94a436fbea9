"""Orders that are charged twice: the second capture is a break and stands in suspense, until a refund gives it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from reconciliation.formats import keys
from schemas.envelope import charge_call_id
from schemas.events import AnyEvent, PaymentCaptured, PaymentDeclined
from schemas.settlements import SettlementFileDiscarded
from tests.captures import capture
from tests.money_back import capture_reversed, share
from tests.reconciling import Report, Room, Row, call_id, paid_out

ORDER = "order-7"
CALL = charge_call_id(ORDER, 1)
ITEM = f"northpay|c|{CALL}"
FIRST, SECOND = (Row(CALL, 1234, 34, psp_ref=f"ch_{number}", order=ORDER) for number in (1, 2))
BACK = Row(call_id(99), -1234, kind="r", psp_ref="re_2", order=ORDER, settlement="239")


def captured(call: str = CALL, **more: object) -> PaymentCaptured:
    """EUR 12.34 at northpay."""
    return capture(ORDER, call_id=call, **more)


def declined(call: str) -> PaymentDeclined:
    return PaymentDeclined(**captured().terms(), psp="northpay", call_id=call, code="do_not_honor")


def lives(room: Room, *what: Report | AnyEvent) -> Room:
    for each in what:
        if isinstance(each, Report):
            room.reads(each)
        else:
            room.hear(each)
        room.settles()
    room.heard_all()
    room.settles(timedelta(minutes=20))
    room.heard_all()
    room.settles(timedelta(minutes=20))
    return room


def suspense(room: Room) -> int:
    return sum(booked.get("suspense EUR", 0) for booked in room.booked().values())


def receivable(room: Room) -> int:
    return sum(booked.get("receivable EUR", 0) for booked in room.booked().values())


@pytest.mark.parametrize("captured_first", [True, False])
def test_an_order_that_its_psp_charged_twice_is_a_break_and_the_second_stands_in_suspense(
    room: Room, captured_first: bool
) -> None:
    what: Sequence[Report | AnyEvent] = (captured(), paid_out([FIRST, SECOND]))
    lives(room, *(what if captured_first else reversed(what)))
    assert room.breaks() == {("DUPLICATE_CHARGE", ITEM)}
    (case,) = room.rows("SELECT subject, class, amount FROM break_view WHERE state = 'open'")
    assert case == {"subject": f"northpay/{ORDER}", "class": "B", "amount": 1234}
    assert (receivable(room), suspense(room)) == (-1234, -1234)


def test_which_of_the_two_is_apart_does_not_depend_on_the_order_of_files(room: Room) -> None:
    lives(room, captured(), paid_out([SECOND]), paid_out([replace(FIRST, settlement="237")], "237"))
    assert {subject: booked.get("suspense EUR") for subject, booked in room.booked().items()} == {
        "adyen-eu/237/EUR": None,
        "adyen-eu/238/EUR": -1234,
    }


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_refund_that_gives_it_back_ends_both_breaks_in_any_order(room: Room, order: Sequence[int]) -> None:
    what = (captured(), paid_out([FIRST, SECOND]), paid_out([BACK], "239"))
    lives(room, *(what[place] for place in order))
    assert (room.breaks(), receivable(room), suspense(room)) == (set(), -1234, 0)


def test_a_refund_of_another_amount_or_order_gives_nothing_back(room: Room) -> None:
    less = Row(call_id(98), -1233, kind="r", psp_ref="re_3", order=ORDER, settlement="239")
    other = Row(call_id(97), -1234, kind="r", psp_ref="re_4", order="order-8", settlement="239")
    lives(room, captured(), paid_out([FIRST, SECOND]), paid_out([less, other], "239"))
    assert room.breaks() == {
        ("DUPLICATE_CHARGE", ITEM),
        ("UNEXPECTED_REVERSAL", f"northpay|r|{call_id(98)}"),
        ("UNEXPECTED_REVERSAL", f"northpay|r|{call_id(97)}"),
    }


def test_the_refund_that_is_withdrawn_gives_nothing_back_any_more(room: Room) -> None:
    back = paid_out([BACK], "239")
    lives(room, captured(), paid_out([FIRST, SECOND]), back)
    assert room.breaks() == set()
    lives(
        room, SettlementFileDiscarded(source=back.source.name, file_id=back.file_id, discarded_by="ann", reason="wrong")
    )
    assert room.breaks() == {("DUPLICATE_CHARGE", ITEM)}


def test_the_second_capture_that_is_withdrawn_leaves_nothing_in_suspense(room: Room) -> None:
    second = paid_out([replace(SECOND, settlement="239")], "239")
    lives(room, captured(), paid_out([FIRST]), second)
    assert suspense(room) == -1234
    lives(
        room,
        SettlementFileDiscarded(source=second.source.name, file_id=second.file_id, discarded_by="ann", reason="wrong"),
    )
    assert (room.breaks(), receivable(room), suspense(room)) == (set(), -1234, 0)


def test_two_rows_under_one_reference_of_the_psp_are_too_much_and_no_second_charge(room: Room) -> None:
    lives(room, captured(), paid_out([FIRST, Row(CALL, 1234, 34, psp_ref="ch_1", order=ORDER, name="again")]))
    assert (room.breaks(), suspense(room)) == ({("AMOUNT", ITEM)}, 0)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_capture_under_a_declined_charge_of_an_order_that_has_its_capture_is_a_second_one_in_any_order(
    room: Room, order: Sequence[int]
) -> None:
    """The first PSP has declined, the second one has captured; the files of both have it."""
    retried = charge_call_id(ORDER, 2)
    what = (
        declined(CALL),
        captured(retried),
        paid_out([Row(CALL, 1234, 34, psp_ref="ch_1", order=ORDER)], "238"),
        paid_out([Row(retried, 1234, 34, psp_ref="ch_2", order=ORDER, settlement="239")], "239"),
    )
    lives(room, *(what[place] for place in order))
    assert room.breaks() == {("DUPLICATE_CHARGE", ITEM)}
    assert (receivable(room), suspense(room)) == (-1234, -1234)


def test_a_declined_charge_that_is_settled_alone_is_no_second_one(room: Room) -> None:
    lives(room, declined(CALL), paid_out([FIRST]))
    assert room.breaks() == {("STATUS_MISMATCH", ITEM)}


def test_an_order_whose_capture_was_taken_back_is_not_charged_twice(room: Room) -> None:
    retried = charge_call_id(ORDER, 2)
    lives(room, declined(CALL), captured(retried), paid_out([FIRST]))
    assert room.breaks() == {("DUPLICATE_CHARGE", ITEM)}
    lives(room, capture_reversed(None, share(1234, 0), ORDER).model_copy(update={"call_id": retried}))
    assert room.breaks() == {("STATUS_MISMATCH", ITEM)}


def test_an_order_that_is_captured_in_parts_is_not_charged_twice(room: Room) -> None:
    """Each part is a call of its own; two of them may be of one amount."""
    parts = [captured(call_id(number), capture_id=f"c{number}") for number in (1, 2)]
    rows = [Row(call_id(number), 1234, 34, psp_ref=f"cap_{number}", order=ORDER) for number in (1, 2)]
    lives(room, *parts, paid_out(rows))
    assert (room.breaks(), suspense(room)) == (set(), 0)


def test_an_unknown_capture_that_names_an_order_with_a_capture_is_a_second_one(room: Room) -> None:
    """Our own CSV tells the order."""
    unknown = Row(call_id(5), 1234, 34, psp_ref="ch_5", order=ORDER)
    lives(room, captured(), paid_out([FIRST, unknown]))
    assert room.breaks() == {("DUPLICATE_CHARGE", f"northpay|c|{call_id(5)}")}


def test_what_only_the_psp_has_a_name_for_is_found_by_its_order_too(room: Room) -> None:
    theirs = keys.theirs("northpay", "ch_5")
    lives(room, captured(), paid_out([FIRST, Row(theirs, 1234, 34, psp_ref="ch_5", order=ORDER)]))
    assert room.breaks() == {("DUPLICATE_CHARGE", f"northpay|c|{theirs}")}
