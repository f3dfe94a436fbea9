"""What a person is told that may be done about a break, and by when it must be decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from operations.cli.recon_answers import answer, walked
from producers.recon_reports import BreaksAsked, breaks, one_break
from producers.recon_suggestions import COVER_MAX, smallest_cover, suggestions
from reconciliation.breaking import break_id
from reconciliation.stuck import stuck
from schemas.break_work import BreakWorked
from schemas.corrections import CorrectionApproved
from schemas.envelope import charge_call_id
from schemas.money import Money
from tests.captures import capture
from tests.reconciling import Room, Row, call_id, paid_out
from tests.store.hearing import NOW
from topics.break_rules import DECIDE_WITHIN, BreakLimit, decide_by
from topics.runtime.shape.limits import StuckLimits

DAYS = timedelta(days=10)


def item(number: int) -> str:
    return f"northpay|c|{call_id(number)}"


def told(room: Room, id_: str) -> list[tuple[str, object]]:
    found = answer(room.settings, one_break(id_))
    return [(each["action"], each["fields"]) for each in walked(room.settings, suggestions(found))]


def captured(room: Room, number: int, minor: int) -> None:
    gross = Money(minor, "EUR")
    room.hear(capture(f"order-{number}", call_id=call_id(number), gross=gross, net=Money(minor - 34, "EUR")))


def unknown(room: Room, number: int, minor: int) -> str:
    room.reads(paid_out([Row(call_id(number), minor, 0)], str(number)))
    room.settles()
    room.after += timedelta(hours=1)
    room.heard_all()
    room.settles(timedelta(minutes=2))
    return break_id("MISSING_INTERNAL", item(number))


def test_what_is_expected_in_exactly_that_amount_is_suggested_and_not_done(room: Room) -> None:
    captured(room, 1, 500)
    captured(room, 2, 501)
    id_ = unknown(room, 9, 500)
    assert told(room, id_) == [("match", {"items": [item(9)], "expectations": [item(1)]})]
    room.settles(DAYS)
    assert ("MISSING_INTERNAL", item(9)) in room.breaks()
    late = break_id("MISSING_AT_PSP", item(1))
    assert told(room, late) == [("match", {"items": [item(9)], "expectations": [item(1)]})], "from the other side, too"
    room.hear(
        BreakWorked(subject=id_, operation_id="m", action="match", actor="ann", reason="it is", expectations=(item(1),))
    )
    room.settles()
    assert not {("MISSING_INTERNAL", item(9)), ("MISSING_AT_PSP", item(1))} & room.breaks()


def test_the_fewest_that_come_to_it_exactly_are_suggested_and_matched(room: Room) -> None:
    for number, minor in ((1, 100), (2, 200), (3, 300), (4, 350), (5, 900)):
        captured(room, number, minor)
    id_ = unknown(room, 9, 650)
    [(action, fields)] = told(room, id_)
    assert (action, fields) == ("match", {"items": [item(9)], "expectations": [item(3), item(4)]})
    both = (item(3), item(4))
    room.hear(
        BreakWorked(subject=id_, operation_id="m", action="match", actor="ann", reason="a sum", expectations=both)
    )
    room.settles()
    assert ("MISSING_INTERNAL", item(9)) not in room.breaks()
    assert {key[2]: amounts[0] for key, amounts in room.tallies().items() if amounts[0] and key[0] == "northpay"} == {
        call_id(1): 100,
        call_id(2): 200,
        call_id(5): 900,
        call_id(9): 650,
    }


def test_other_currencies_psps_and_signs_are_not_suggested(room: Room) -> None:
    room.hear(
        capture("order-1", call_id=call_id(1), gross=Money(500, "USD"), fee=Money(0, "USD"), net=Money(500, "USD"))
    )
    room.hear(capture("order-2", call_id=call_id(2), psp="southpay", gross=Money(500, "EUR"), net=Money(466, "EUR")))
    assert told(room, unknown(room, 9, 500)) == []


def test_a_line_that_names_the_order_is_suggested_as_that_orders(room: Room) -> None:
    call = charge_call_id("order-7", 1)
    room.hear(capture("order-7", call_id=call, gross=Money(500, "EUR"), net=Money(466, "EUR")))
    captured(room, 1, 450)  # as much as the line, and of another order
    line = Row("", 450, 0, name="theirs")
    report = paid_out([line], "9")
    room.hear(report.stored())
    room.gated(report)
    for chunk in report.chunks():
        refs = ["order-7" if kind == "c" else "" for kind in chunk.lines.kinds]
        room.hear(chunk.model_copy(update={"lines": replace(chunk.lines, order_refs=refs)}))
    room.hear(report.ended())
    room.settles()
    room.after += timedelta(hours=1)
    room.heard_all()
    room.settles(timedelta(minutes=2))
    [theirs] = [item for code, item in room.breaks() if code == "DUPLICATE_CHARGE"]
    id_ = break_id("DUPLICATE_CHARGE", "northpay/order-7")
    wanted = [("match", {"items": [theirs], "expectations": [f"northpay|c|{call}"]})]
    assert told(room, id_) == wanted, "before anybody refunds it: the order's capture has no line of its own"


def test_what_was_written_off_and_has_come_is_suggested_to_be_taken_back(room: Room) -> None:
    captured(room, 1, 500)
    room.settles(DAYS)
    id_ = break_id("MISSING_AT_PSP", item(1))
    room.hear(BreakWorked(subject=id_, operation_id="w", action="write_off", actor="ann", reason="lost"))
    room.settles()
    room.reads(paid_out([Row(call_id(1), 500, 0)]))
    room.settles()
    [said] = room.all_said(CorrectionApproved)
    assert told(room, break_id("AMOUNT", item(1))) == [("undo", {"correction_id": said.correction_id})]


@given(st.lists(st.integers(-50, 50).filter(bool), max_size=8), st.integers(-200, 200).filter(bool))
def test_a_cover_is_exact_and_none_is_smaller(amounts: list[int], wanted: int) -> None:
    places = smallest_cover(amounts, wanted)
    assert not places or sum(amounts[place] for place in places) == wanted
    most = len(places) if places else len(amounts) + 1
    smaller = (c for size in range(1, most) for c in combinations(amounts, size))
    assert not any(sum(each) == wanted for each in smaller)


def test_a_cover_is_looked_for_among_twelve() -> None:
    assert smallest_cover([1] * COVER_MAX + [100], 100) == ()
    assert smallest_cover([1] * COVER_MAX, COVER_MAX) == tuple(range(COVER_MAX))


# ── by when ──────────────────────────────────────────────────────────────────────────────────────────────────────────

AT = datetime(2026, 1, 5, tzinfo=UTC)


def test_the_larger_a_break_the_sooner_it_is_decided() -> None:
    days = {
        (minor, currency): (decide_by(DECIDE_WITHIN, "B", minor, currency, AT) - AT).days
        for minor, currency in [
            (99_999, "EUR"),
            (100_000, "EUR"),
            (999_999, "EUR"),
            (1_000_000, "EUR"),
            (10_000_000, "EUR"),
            (1_000, "JPY"),
            (999, "JPY"),
            (1_000_000, "BHD"),
            (0, None),
        ]
    }
    assert list(days.values()) == [7, 5, 5, 3, 1, 5, 7, 5, 7]


def test_a_limit_of_the_class_holds_before_one_of_all() -> None:
    within = (
        *DECIDE_WITHIN,
        BreakLimit(amount="1000", days=2, of_class="C"),
        BreakLimit(amount="0", days=4, of_class="C"),
    )
    assert [(decide_by(within, c, 100_000, "EUR", AT) - AT).days for c in "ABC"] == [5, 5, 2]
    assert [(decide_by(within, c, 1, "EUR", AT) - AT).days for c in "ABC"] == [7, 7, 4]


def test_what_nobody_has_decided_in_time_is_overdue_and_stuck(room: Room) -> None:
    captured(room, 1, 500)
    captured(room, 2, 150_000)
    room.settles(DAYS)
    large, small = break_id("MISSING_AT_PSP", item(2)), break_id("MISSING_AT_PSP", item(1))

    def overdue(days: int) -> tuple[set[str], set[str]]:
        at = room.now() + timedelta(days=days)
        rows = answer(room.settings, breaks(BreaksAsked(overdue_at=at), DECIDE_WITHIN))["breaks"]
        with room.store.transaction() as conn:
            found = {each.id for each in stuck(conn, StuckLimits(), at) if each.state == "break_overdue"}
        return {row["break_id"] for row in rows}, found

    assert overdue(4) == (set(), set())
    assert overdue(6) == ({large}, {large})
    assert overdue(8) == ({large, small}, {large, small})
    room.hear(BreakWorked(subject=small, operation_id="r", action="resolve", actor="ann", reason="claimed"))
    assert overdue(8) == ({large}, {large})
    assert room.now() > NOW
