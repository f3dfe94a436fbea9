"""Captures, voids and refunds by each adapter on the real simulator: what its books allow, remember, list and take back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from psp.port import (
    Authorised,
    Capture,
    Captured,
    Declined,
    FindReply,
    NothingHappened,
    NotThere,
    Operation,
    OperationKind,
    Pending,
    Psp,
    Refund,
    Refunded,
    Reply,
    Unknown,
    Void,
    Voided,
)
from schemas.money import Money
from tests.simulator.behind import (
    a_capture,
    a_refund,
    a_void,
    a_wish,
    asked,
    authorised,
    operations,
    order_of,
    sent,
    wish_of,
)
from tests.simulator.conftest import psps_of
from tests.simulator.running import RunningSimulator, send, wait_for
from tests.simulator.test_charging import FIRST_ANSWERS, a_charge, books, charged


def euros(minor: int) -> Money:
    return Money(minor, "EUR")


def status_of(psp: Psp, charge: Authorised) -> str:
    """Of the charge in the PSP's listing."""
    [listed] = [one for one in books(psp) if one.psp_reference == charge.psp_reference]
    return listed.status


def captured(psp: Psp) -> Authorised:
    """A charge of 12.34 that is captured whole."""
    charge = authorised(psp)
    assert isinstance(sent(psp, a_capture(charge)), Captured)
    return charge


# ── authorise ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_charge_to_be_captured_later_is_authorised_for_a_week(psp: Psp) -> None:
    charge = authorised(psp)
    week = timedelta(days=7)
    assert abs(charge.expires_at - datetime.now(UTC) - week) < timedelta(minutes=1)
    assert (charge.amount, charge.scheme) == (euros(1234), "visa")
    assert asked(psp, wish_of(charge)) == charge == sent(psp, wish_of(charge))
    assert status_of(psp, charge) == "authorised"


def test_a_key_of_an_authorisation_takes_no_money(psp: Psp) -> None:
    charge = authorised(psp)
    assert sent(psp, replace(wish_of(charge), capture=True)) == Unknown("key_conflict")
    assert status_of(psp, charge) == "authorised"


def test_a_card_that_is_declined_is_declined_for_later_too(psp: Psp) -> None:
    wish = a_wish(token="tok_declined_insufficient_funds")
    declined = sent(psp, wish)
    assert isinstance(declined, Declined)
    assert declined.code == "insufficient_funds"
    assert declined.psp_reference is not None
    refund = Refund(uuid4().hex, wish.payment_order_id, euros(1), declined.psp_reference)
    refused = sent(psp, refund)
    assert isinstance(refused, Declined)
    assert refused.code == "not_captured"


def test_an_authorisation_that_waits_for_the_buyer_is_pending_first(own_simulator: RunningSimulator) -> None:
    for psp in psps_of(own_simulator).values():
        wish = a_wish(token="tok_3ds")
        assert isinstance(sent(psp, wish), Pending)
    own_simulator.clock.write_text("10")
    assert wait_for(lambda: isinstance(asked(psp, wish), Authorised))


# ── captures and voids ───────────────────────────────────────────────────────────────────────────────────────────────


def test_northpay_takes_captures_in_thirds_and_not_a_cent_more(simulator: RunningSimulator) -> None:
    psp = psps_of(simulator)["northpay"]
    charge = authorised(psp)
    for minor in (411, 411):
        reply = sent(psp, a_capture(charge, minor))
        assert isinstance(reply, Captured)
        assert reply.amount == euros(minor)
    assert status_of(psp, charge) == "authorised"
    over = sent(psp, a_capture(charge, 413))
    assert isinstance(over, Declined)
    assert over.code == "exceeds_authorised"
    assert isinstance(sent(psp, a_capture(charge, 412)), Captured)
    assert status_of(psp, charge) == "succeeded"


def test_southpay_takes_one_capture(simulator: RunningSimulator) -> None:
    psp = psps_of(simulator)["southpay"]
    charge = authorised(psp)
    assert isinstance(sent(psp, a_capture(charge, 400)), Captured)
    assert status_of(psp, charge) == "succeeded"
    for operation in (a_capture(charge, 1), a_void(charge)):
        assert code(sent(psp, operation)) == "closed"


def code(reply: Reply | FindReply) -> str:
    assert isinstance(reply, Declined), reply
    return reply.code


def test_a_final_capture_gives_up_the_rest(psp: Psp) -> None:
    charge = authorised(psp)
    assert isinstance(sent(psp, a_capture(charge, 400, final=True)), Captured)
    assert code(sent(psp, a_capture(charge, 1))) == "closed"
    assert status_of(psp, charge) == "succeeded"


def test_no_capture_is_more_than_what_was_authorised(psp: Psp) -> None:
    charge = authorised(psp)
    assert code(sent(psp, a_capture(charge, 1235))) == "exceeds_authorised"
    assert isinstance(sent(psp, a_capture(charge)), Captured), "what was declined counts for nothing"


def test_a_void_releases_what_is_left_and_ends_it(simulator: RunningSimulator) -> None:
    psp = psps_of(simulator)["northpay"]
    charge = authorised(psp)
    sent(psp, a_capture(charge, 234))
    voided = sent(psp, a_void(charge))
    assert isinstance(voided, Voided)
    assert voided.amount == euros(1000)
    assert code(sent(psp, a_capture(charge, 1))) == "closed"
    assert code(sent(psp, a_void(charge))) == "closed"
    assert status_of(psp, charge) == "succeeded"


def test_a_void_of_all_leaves_nothing_charged(psp: Psp) -> None:
    charge = authorised(psp)
    void = a_void(charge)
    voided = sent(psp, void)
    assert isinstance(voided, Voided)
    assert voided.amount == charge.amount
    assert asked(psp, void) == voided
    assert status_of(psp, charge) == "voided"
    assert code(sent(psp, a_refund(charge, 1))) == "not_captured"
    assert isinstance(asked(psp, wish_of(charge)), Declined)


def test_nothing_is_left_to_void_where_all_is_captured(psp: Psp) -> None:
    charge = captured(psp)
    assert code(sent(psp, a_void(charge))) in ("nothing_left", "closed")


def test_what_took_its_money_at_once_is_neither_captured_nor_voided(psp: Psp) -> None:
    charge = a_charge()
    taken = charged(psp, charge)
    assert isinstance(taken, Captured)
    call_id, order = uuid4().hex, charge.payment_order_id
    assert code(sent(psp, Capture(call_id, order, euros(1), taken.psp_reference))) == "closed"
    assert code(sent(psp, Void(call_id, order, taken.psp_reference))) == "closed"


def test_an_authorisation_ends_by_the_clock_that_can_be_moved(own_simulator: RunningSimulator) -> None:
    for psp in psps_of(own_simulator).values():
        charge, partly = authorised(psp), authorised(psp)
        if psp.declared["capture"].many:
            sent(psp, a_capture(partly, 500))
        own_simulator.clock.write_text(str(7 * 86400 - 60))
        assert status_of(psp, charge) == "authorised"
        own_simulator.clock.write_text(str(7 * 86400 + 60))
        assert wait_for(lambda: status_of(psp, charge) == "voided")  # noqa: B023
        assert code(sent(psp, a_capture(charge))) == "authorisation_expired"
        assert code(sent(psp, a_void(charge))) == "authorisation_expired"
        assert code(asked(psp, wish_of(charge))) == "expired"
        if psp.declared["capture"].many:
            assert status_of(psp, partly) == "succeeded"
            assert isinstance(sent(psp, a_refund(partly, 500)), Refunded)
        own_simulator.clock.write_text("0")
        wait_for(lambda: status_of(psp, charge) == "authorised")  # noqa: B023


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_refunds_go_up_to_what_was_captured(psp: Psp) -> None:
    charge = authorised(psp)
    sent(psp, a_capture(charge, 1000))
    for minor in (300, 700):
        refund = a_refund(charge, minor)
        refunded = sent(psp, refund)
        assert isinstance(refunded, Refunded)
        assert refunded.amount == euros(minor)
        assert asked(psp, refund) == refunded
        assert code(sent(psp, a_refund(charge, 701))) == "exceeds_captured"
    assert code(sent(psp, a_refund(charge, 1))) == "exceeds_captured"


def test_nothing_captured_is_nothing_to_refund(psp: Psp) -> None:
    assert code(sent(psp, a_refund(authorised(psp)))) == "not_captured"


def test_an_automatic_charge_is_refunded_in_its_own_minor_units(psp: Psp) -> None:
    charge = a_charge(minor=700, currency="CLP")
    taken = charged(psp, charge)
    assert isinstance(taken, Captured)
    refund = Refund(uuid4().hex, charge.payment_order_id, Money(700, "CLP"), taken.psp_reference)
    assert sent(psp, refund) == Refunded(operations(psp, "refund")[-1].psp_reference, Money(700, "CLP"))


def test_a_psp_refunds_what_is_disputed(psp: Psp, simulator: RunningSimulator) -> None:
    """It is for us not to ask for it."""
    charge = captured(psp)
    simulator.control("POST", "/control/disputes", {"subject": order_of(charge)})
    assert isinstance(sent(psp, a_refund(charge)), Refunded)


# ── keys, references, listings ───────────────────────────────────────────────────────────────────────────────────────


def one_of_each(psp: Psp) -> list[Operation]:
    return [a_capture(authorised(psp), 500), a_void(authorised(psp)), a_refund(captured(psp), 500)]


def test_sending_again_gives_the_same_answer_and_one_operation(psp: Psp, simulator: RunningSimulator) -> None:
    for operation in one_of_each(psp):
        with ThreadPoolExecutor(20) as threads:
            replies = list(threads.map(lambda _, one=operation: sent(psp, one), range(20)))
        assert len(set(replies)) == 1
        assert isinstance(replies[0], Captured | Voided | Refunded)
        assert asked(psp, operation) == replies[0]
        assert len(in_books(simulator, operation)) == 1


def in_books(simulator: RunningSimulator, operation: Operation) -> list[str]:
    """The statuses under its reference, those that look-ups do not show yet too."""
    told = simulator.control("GET", f"/control/operations?reference={operation.call_id}")
    return [one["status"] for one in told["operations"]]


def test_a_no_stays_a_no_under_its_key(psp: Psp) -> None:
    charge = authorised(psp)
    refund = a_refund(charge, 100)
    assert code(sent(psp, refund)) == "not_captured"
    sent(psp, a_capture(charge))
    assert code(sent(psp, refund)) == "not_captured"
    assert code(asked(psp, refund)) == "not_captured"


def test_a_key_used_for_something_else_is_unknown_and_does_nothing(psp: Psp, simulator: RunningSimulator) -> None:
    for operation in one_of_each(psp):
        sent(psp, operation)
        other = captured(psp)
        changes: list[Operation] = [replace(operation, psp_reference=other.psp_reference)]  # type: ignore[call-arg]
        if operation.kind != "void":
            changes.append(replace(operation, amount=euros(1)))  # type: ignore[call-arg]
        for changed in changes:
            assert sent(psp, changed) == Unknown("key_conflict")
        assert len(in_books(simulator, operation)) == 1


def test_after_its_life_a_key_is_forgotten_and_a_second_one_is_done(own_simulator: RunningSimulator) -> None:
    refunds = [(psp, a_refund(captured(psp), 100)) for psp in psps_of(own_simulator).values()]
    for psp, refund in refunds:
        sent(psp, refund)
    own_simulator.clock.write_text("90000")
    for psp, refund in refunds:
        wait_for(lambda: sent(psp, refund) and len(in_books(own_simulator, refund)) == 2)  # noqa: B023
        assert asked(psp, refund) == Unknown("several_operations")


def test_what_names_no_charge_or_another_order_s_does_nothing(psp: Psp, simulator: RunningSimulator) -> None:
    charge = captured(psp)
    for operation in (a_refund(charge), a_capture(charge), a_void(charge)):
        nowhere = replace(operation, psp_reference="ch_nowhere")  # type: ignore[type-var]
        assert sent(psp, nowhere) == Unknown("http_404")
        strange = replace(operation, payment_order_id="another")  # type: ignore[type-var]
        assert sent(psp, strange) == Declined("psp_rejected_request")
        assert in_books(simulator, nowhere) == []
        assert asked(psp, nowhere) == NotThere()
    dollars = replace(a_refund(charge), amount=Money(1, "USD"))
    assert sent(psp, dollars) == Declined("psp_rejected_request")
    assert sent(psp, a_refund(charge, 0)) == Declined("psp_rejected_request")


def test_a_charge_of_the_other_psp_is_not_there(simulator: RunningSimulator) -> None:
    psps = psps_of(simulator)
    charge = captured(psps["northpay"])
    theirs = charge.psp_reference.removeprefix("ch_").upper()
    assert sent(psps["southpay"], replace(a_refund(charge), psp_reference=theirs)) == Unknown("http_404")


@pytest.mark.parametrize("kind", ["capture", "void", "refund"])
def test_a_listing_is_read_to_the_end_once_and_in_order(psp: Psp, kind: OperationKind) -> None:
    before = len(operations(psp, kind))
    made = []
    for _ in range(5):
        charge = captured(psp) if kind == "refund" else authorised(psp)
        operation = {"capture": a_capture, "void": a_void, "refund": a_refund}[kind](charge)
        sent(psp, operation)
        made.append((operation.call_id, charge.psp_reference, order_of(charge), charge.amount, "succeeded"))
    listed = operations_by_twos(psp, kind)
    assert [
        (one.reference, one.charge_reference, one.payment_order_id, one.amount, one.status) for one in listed[before:]
    ] == made
    assert len({one.psp_reference for one in listed}) == len(listed)


def operations_by_twos(psp: Psp, kind: OperationKind) -> list[object]:
    listed: list[object] = []
    cursor: str | None = None
    while True:
        request = psp.list(kind, cursor)
        page, cursor = psp.read_list(kind, send(replace(request, url=request.url.replace("=1000", "=2")))[2])
        assert len(page) <= 2
        listed += page
        if cursor is None:
            return listed


def test_a_cursor_of_nobody_is_refused(psp: Psp) -> None:
    assert send(psp.list("refund", "nonsense"))[0] in (400, 422)


def test_a_listing_needs_the_api_key(psp: Psp) -> None:
    assert send(replace(psp.list("refund"), headers={}))[0] == 401
    assert send(replace(psp.list("dispute"), headers={}))[0] == 401


# ── races ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def at_once(psp: Psp, *work: Operation) -> list[Reply]:
    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(lambda one: sent(psp, one), work))


def test_of_a_capture_of_all_and_a_void_at_once_one_is_done(psp: Psp) -> None:
    for _ in range(15):
        charge = authorised(psp)
        replies = at_once(psp, a_capture(charge), a_void(charge))
        assert sorted(isinstance(reply, Declined) for reply in replies) == [False, True], replies


def test_captures_at_once_never_take_more_than_was_authorised(simulator: RunningSimulator) -> None:
    psp = psps_of(simulator)["northpay"]
    charge = authorised(psp, 1000)
    replies = at_once(psp, *(a_capture(charge, 300) for _ in range(8)))
    assert sum(isinstance(reply, Captured) for reply in replies) == 3


def test_refunds_at_once_never_give_back_more_than_was_captured(psp: Psp) -> None:
    charge = captured(psp)
    replies = at_once(psp, *(a_refund(charge, 700) for _ in range(8)))
    assert sum(isinstance(reply, Refunded) for reply in replies) == 1


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def plan(simulator: RunningSimulator, operation: Operation, fault: str) -> None:
    planned = {"op": operation.kind, "subject": operation.call_id, "fault": fault}
    simulator.control("POST", "/control/next", planned)


PLANNED = {token.removeprefix("tok_").removesuffix("_once"): reply for token, reply in FIRST_ANSWERS.items()}
DONE = {"500_charged", "timeout_charged", "reset_charged", "garbage"}


@pytest.mark.parametrize("fault", PLANNED)
def test_a_planned_fault_is_met_once(psp: Psp, simulator: RunningSimulator, fault: str) -> None:
    for operation in one_of_each(psp):
        plan(simulator, operation, fault)
        assert sent(psp, operation, timeout_s=0.2) == PLANNED[fault]
        if fault in DONE:
            assert in_books(simulator, operation) == ["succeeded"]
        else:
            assert in_books(simulator, operation) == []
            assert asked(psp, operation) == NotThere()
        assert isinstance(sent(psp, operation), Captured | Voided | Refunded)
        assert in_books(simulator, operation) == ["succeeded"]


def test_a_lost_answer_is_found_within_the_settling_time(psp: Psp, simulator: RunningSimulator) -> None:
    refund = a_refund(captured(psp), 500)
    plan(simulator, refund, "500_charged")
    sent(psp, refund)
    settling_s = psp.declared["refund"].settling_s
    refunded = wait_for(lambda: isinstance(reply := asked(psp, refund), Refunded) and reply, limit_s=settling_s)
    assert refunded == sent(psp, refund)


def test_a_plan_for_an_order_meets_its_next_operation_of_that_kind(psp: Psp, simulator: RunningSimulator) -> None:
    charge = captured(psp)
    simulator.control("POST", "/control/next", {"op": "refund", "subject": order_of(charge), "fault": "declined"})
    assert isinstance(sent(psp, a_refund(captured(psp), 1)), Refunded), "another order's"
    declined = a_refund(charge, 1)
    assert code(sent(psp, declined)) == "refused_by_issuer"
    assert isinstance(sent(psp, a_refund(charge)), Refunded), (
        "the whole of it, for what was declined counts for nothing"
    )
    assert code(sent(psp, declined)) == "refused_by_issuer"


@pytest.mark.parametrize(("fault", "end"), [("pending", "done"), ("pending_declined", "declined")])
def test_what_is_pending_is_decided_by_the_clock_that_can_be_moved(
    own_simulator: RunningSimulator, fault: str, end: str
) -> None:
    refunds = []
    for psp in psps_of(own_simulator).values():
        for operation in one_of_each(psp):
            plan(own_simulator, operation, fault)
            assert isinstance(pending := sent(psp, operation), Pending)
            assert pending.reason == "processing"
        charge = captured(psp)
        refund = a_refund(charge, 1000)
        plan(own_simulator, refund, fault)
        sent(psp, refund)
        assert code(sent(psp, a_refund(charge, 500))) == "exceeds_captured", "it counts until it is decided"
        refunds.append((psp, charge, refund))
    own_simulator.clock.write_text("10")
    for psp, charge, refund in refunds:
        decided = wait_for(lambda: not isinstance(reply := asked(psp, refund), Pending) and reply)  # noqa: B023
        assert isinstance(decided, Refunded if end == "done" else Declined)
        left = sent(psp, a_refund(charge, 500))
        assert isinstance(left, Declined if end == "done" else Refunded)


def test_faults_by_rate_hit_one_kind_at_one_psp_only(simulator: RunningSimulator) -> None:
    psps = psps_of(simulator)
    simulator.control("PUT", "/control/faults", {"psp": "southpay", "op": "refund", "500_uncharged": 1.0})
    for psp in psps.values():
        refund = a_refund(captured(psp), 1)
        wrong = psp.name == "southpay"
        assert sent(psp, refund) == Unknown("http_500") if wrong else isinstance(sent(psp, refund), Refunded)
        assert len(in_books(simulator, refund)) == (0 if wrong else 1)


def test_a_psp_that_is_down_does_nothing_behind_a_charge(psp: Psp, simulator: RunningSimulator) -> None:
    work = one_of_each(psp)
    simulator.control("PUT", "/control/faults", {"psp": psp.name, "down": True})
    assert [sent(psp, operation) for operation in work] == [NothingHappened("unavailable", 1.0)] * 3
    simulator.control("PUT", "/control/faults", {"psp": psp.name, "down": False})
    assert [asked(psp, operation) for operation in work] == [NotThere()] * 3


def test_the_faults_that_were_read_can_be_put_back(simulator: RunningSimulator) -> None:
    simulator.control("PUT", "/control/faults", {"psp": "northpay", "op": "refund", "declined": 0.5, "told": 1})
    before = simulator.control("GET", "/control/faults")
    simulator.control("PUT", "/control/faults", {"psp": "all", "clear": True, "garbage": 0.1})
    for name, faults in before.items():
        simulator.control("PUT", "/control/faults", {"psp": name, "clear": True, **faults})
    assert simulator.control("GET", "/control/faults") == before
