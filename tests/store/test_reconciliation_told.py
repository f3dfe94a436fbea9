"""What reconciliation tells the executor of breaks about outcomes that it does not know: each once, and of no others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciliation.formats import keys
from schemas.envelope import charge_call_id
from schemas.events import AnyEvent, NotificationReceived, OutcomeUnknown, PaymentDeclined, PaymentPending
from schemas.money import Money
from schemas.money_back import DisputeNotified
from tests.captures import capture
from tests.money_back import refunded, share
from tests.reconciling import Room, Row, call_id, paid_out
from tests.store.test_reconciliation_twice import ORDER, captured, lives

CALL = charge_call_id(ORDER, 1)
LINE = Row(CALL, 1234, 34, psp_ref="ch_1")


def told(room: Room) -> list[AnyEvent]:
    return [each for each in room.said if isinstance(each, NotificationReceived | DisputeNotified)]


def unknown(kind: str = "unknown") -> AnyEvent:
    named = {**capture(ORDER).terms(), "psp": "northpay", "call_id": CALL}
    if kind == "pending":
        return PaymentPending(**named, psp_reference="ch_1", reason="3ds")
    return OutcomeUnknown(**named, reason="timeout")


def test_a_capture_of_which_nothing_is_known_is_told_once_all_is_heard(room: Room) -> None:
    room.reads(paid_out([LINE]))
    room.settles()
    assert told(room) == []  # it may be our own lag
    lives(room)
    (said,) = told(room)
    assert isinstance(said, NotificationReceived)
    assert (said.reference, said.psp, said.source, said.status, said.amount, said.psp_reference, said.about) == (
        CALL, "northpay", "settlement_line", "succeeded", Money(1234, "EUR"), "ch_1", None,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["unknown", "pending"])
def test_a_line_of_a_payment_whose_outcome_is_open_is_told_at_once_and_its_capture_closes_the_break(
    room: Room, kind: str
) -> None:
    room.hear(unknown(kind))
    room.reads(paid_out([LINE]))
    room.settles()
    assert room.breaks() == {("STATUS_MISMATCH", f"northpay|c|{CALL}")}
    assert [each.key for each in told(room)] == [CALL]
    lives(room, captured())
    assert (room.breaks(), len(told(room))) == (set(), 1)


def test_what_the_executor_holds_as_declined_is_a_persons(room: Room) -> None:
    """Its last word stands until two persons say otherwise."""
    declined = PaymentDeclined(**capture(ORDER).terms(), psp="northpay", call_id=CALL, code="no")
    lives(room, declined, paid_out([LINE]))
    assert (room.breaks(), told(room)) == ({("STATUS_MISMATCH", f"northpay|c|{CALL}")}, [])


def test_what_only_the_psp_has_a_name_for_is_a_persons(room: Room) -> None:
    theirs = keys.theirs("northpay", "ch_9")
    lives(room, paid_out([Row(theirs, 1234, 34, psp_ref="ch_9"), Row("", 500, psp_ref="ch_8", name="nameless")]))
    assert {code for code, _ in room.breaks()} == {"MISSING_INTERNAL"}
    assert told(room) == []


@pytest.mark.parametrize(("kind", "gross", "status"), [("r", -500, "succeeded"), ("R", 500, "reversed")])
def test_a_refund_that_nobody_knows_and_one_that_came_back_are_told_of_their_call(
    room: Room, kind: str, gross: int, status: str
) -> None:
    lives(room, paid_out([Row(call_id(3), gross, kind=kind, psp_ref="re_3")]))
    (said,) = told(room)
    assert isinstance(said, NotificationReceived)
    assert (said.reference, said.status, said.about, said.amount.minor) == (call_id(3), status, "refund", 500)


@pytest.mark.parametrize(("kind", "gross", "status"), [("b", -1234, "opened"), ("B", 1234, "won")])
def test_a_dispute_that_nobody_knows_is_told_of_the_charge_of_its_order(
    room: Room, kind: str, gross: int, status: str
) -> None:
    row = Row(keys.theirs("northpay", "dp_1"), gross, 1500, kind, psp_ref="dp_1", order=ORDER)
    lives(room, captured(), paid_out([row]))
    (said,) = [each for each in told(room) if isinstance(each, DisputeNotified)]
    assert (said.reference, said.dispute_reference, said.status, said.source) == (
        CALL, "dp_1", status, "settlement_line",
    )  # fmt: skip
    assert (said.amount, said.fee) == (Money(1234, "EUR"), Money(1500, "EUR"))


def test_what_no_file_has_is_looked_up_once_it_is_late(room: Room) -> None:
    back = refunded("r-1", share(500, 0), ORDER).model_copy(update={"call_id": call_id(4)})
    room.hear(captured(), back)
    room.settles(timedelta(days=1))
    assert told(room) == []
    lives(room)
    room.settles(timedelta(days=20))
    assert {
        (each.reference, each.status, each.code) for each in told(room) if isinstance(each, NotificationReceived)
    } == {
        (CALL, "pending", "not_settled"),
        (call_id(4), "pending", "not_settled"),
    }
    room.settles(timedelta(days=20))
    assert len(told(room)) == 2


def test_of_more_than_five_hundred_of_one_code_nobody_is_asked(room: Room) -> None:
    """They are one cause, and one break."""
    lives(room, paid_out([Row(call_id(number), 100, psp_ref=f"ch_{number}") for number in range(1, 503)]))
    assert (told(room), len(room.breaks())) == ([], 502)
    assert len({*room.rows("SELECT break_id FROM break_view WHERE state = 'open'")[0].values()}) == 1
