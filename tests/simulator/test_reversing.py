"""What the PSPs take back and do again by themselves, and what of their books outlives the process."""

from __future__ import annotations

import sqlite3
import urllib.error
from pathlib import Path
from uuid import uuid4

import pytest

from psp.port import (
    Authorised,
    Captured,
    Psp,
    Refund,
    Refunded,
    Reversed,
)
from tests.simulator.behind import (
    a_capture,
    a_refund,
    a_wish,
    asked,
    authorised,
    operations,
    order_of,
    sent,
)
from tests.simulator.conftest import psps_of
from tests.simulator.running import RunningSimulator
from tests.simulator.test_behind import captured, code, euros, plan, status_of
from tests.simulator.test_charging import a_charge, books, charged

# ── taken back, and done again ───────────────────────────────────────────────────────────────────────────────────────


def reverse(simulator: RunningSimulator, subject: str, op: str = "capture", *, again: bool = False) -> str:
    told = simulator.control("POST", "/control/reverse", {"subject": subject, "op": op, "again": again})
    return str(told["status"])


def test_a_capture_is_taken_back_and_done_again(psp: Psp, simulator: RunningSimulator) -> None:
    charge = authorised(psp)
    capture = a_capture(charge)
    done = sent(psp, capture)
    assert isinstance(done, Captured)
    assert reverse(simulator, order_of(charge)) == "reversed"
    assert asked(psp, capture) == sent(psp, capture) == Reversed(done.psp_reference, charge.amount)
    assert operations(psp, "capture")[-1].status == "reversed"
    assert code(sent(psp, a_refund(charge))) == "not_captured"
    assert code(sent(psp, a_capture(charge))) in ("exceeds_authorised", "closed"), "the PSP may do it again"
    assert reverse(simulator, order_of(charge), again=True) == "succeeded"
    assert asked(psp, capture) == done
    assert isinstance(sent(psp, a_refund(charge)), Refunded)


def test_a_refund_is_taken_back_and_done_again_as_far_as_there_is_money(psp: Psp, simulator: RunningSimulator) -> None:
    charge = captured(psp)
    refund = a_refund(charge, 1000)
    done = sent(psp, refund)
    assert isinstance(done, Refunded)
    reverse(simulator, refund.call_id, "refund")
    assert asked(psp, refund) == Reversed(done.psp_reference, euros(1000))
    reverse(simulator, refund.call_id, "refund", again=True)
    assert asked(psp, refund) == done
    reverse(simulator, refund.call_id, "refund")
    assert isinstance(sent(psp, a_refund(charge, 1000)), Refunded), "its amount is free again"
    assert "exceeds_captured" in refused(simulator, "reverse", refund.call_id, op="refund", again=True)


def refused(simulator: RunningSimulator, act: str, subject: str, **asked_for: object) -> str:
    """Why the simulator does not do it."""
    with pytest.raises(urllib.error.HTTPError) as error:
        simulator.control("POST", f"/control/{act}", {"subject": subject, **asked_for})
    assert error.value.code == 400
    return error.value.read().decode()


def test_what_was_declined_may_be_done_after_all(psp: Psp, simulator: RunningSimulator) -> None:
    charge = captured(psp)
    refund = a_refund(charge, 1000)
    plan(simulator, refund, "declined")
    assert code(sent(psp, refund)) == "refused_by_issuer"
    assert reverse(simulator, refund.call_id, "refund", again=True) == "succeeded"
    assert isinstance(asked(psp, refund), Refunded)
    over = a_refund(charge, 1000)
    assert code(sent(psp, over)) == "exceeds_captured"
    assert "exceeds_captured" in refused(simulator, "reverse", over.call_id, op="refund", again=True)


def test_an_automatic_charge_is_taken_back_and_done_again(psp: Psp, simulator: RunningSimulator) -> None:
    charge = a_charge()
    done = charged(psp, charge)
    assert isinstance(done, Captured)
    assert reverse(simulator, charge.payment_order_id) == "reversed"
    assert asked(psp, charge) == Reversed(done.psp_reference, charge.amount)
    assert "reversed" in {one.status for one in books(psp) if one.psp_reference == done.psp_reference}
    assert "nothing to take back" in refused(simulator, "reverse", charge.payment_order_id)
    assert reverse(simulator, charge.payment_order_id, again=True) == "succeeded"
    assert asked(psp, charge) == done


def test_what_is_refunded_is_not_taken_back_besides(psp: Psp, simulator: RunningSimulator) -> None:
    charge = captured(psp)
    sent(psp, a_refund(charge, 1))
    assert "its refunds are more" in refused(simulator, "reverse", order_of(charge))
    automatic = a_charge()
    taken = charged(psp, automatic)
    assert isinstance(taken, Captured)
    sent(psp, Refund(uuid4().hex, automatic.payment_order_id, euros(1), taken.psp_reference))
    assert "its refunds are more" in refused(simulator, "reverse", automatic.payment_order_id)


def test_of_several_one_must_be_named(simulator: RunningSimulator) -> None:
    psp = psps_of(simulator)["northpay"]
    charge = authorised(psp)
    first, second = a_capture(charge, 100), a_capture(charge, 200)
    sent(psp, first)
    sent(psp, second)
    why = refused(simulator, "reverse", order_of(charge))
    assert first.call_id in why
    assert second.call_id in why
    assert reverse(simulator, second.call_id) == "reversed"
    assert [one.status for one in operations(psp, "capture")[-2:]] == ["succeeded", "reversed"]


# ── what outlives the process ────────────────────────────────────────────────────────────────────────────────────────


def test_operations_survive_kill_9_and_so_do_their_limits(own_simulator: RunningSimulator) -> None:
    psp = psps_of(own_simulator)["northpay"]
    charge = captured(psp)
    refund = a_refund(charge, 1000)
    done = sent(psp, refund)
    own_simulator.kill()
    own_simulator.start()
    assert asked(psp, refund) == done == sent(psp, refund)
    assert code(sent(psp, a_refund(charge, 1000))) == "exceeds_captured"
    assert status_of(psp, charge) == "succeeded"


_BEFORE = """
CREATE TABLE charges (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, psp TEXT NOT NULL, key TEXT NOT NULL, reference TEXT NOT NULL,
    order_id TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL, token TEXT NOT NULL, scheme TEXT,
    decline_code TEXT, created_at INTEGER NOT NULL, visible_at INTEGER NOT NULL, decided_at INTEGER NOT NULL DEFAULT 0
);
INSERT INTO charges VALUES
    (1, '000000000001aaaaaaaaaaaa', 'northpay', 'k', 'k', 'order-1', 1234, 'EUR', 'tok_visa', 'visa', NULL, 1, 0, 0);
"""


def test_books_of_an_earlier_release_are_read_and_what_they_hold_can_be_refunded(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = sqlite3.connect(tmp_path / "data" / "psps.sqlite")
    file.executescript(_BEFORE)
    file.close()
    running = RunningSimulator(tmp_path)
    try:
        psp = psps_of(running)["northpay"]
        [listed] = books(psp)
        assert (listed.status, listed.amount) == ("succeeded", euros(1234))
        refund = Refund(uuid4().hex, "order-1", euros(1234), listed.psp_reference)
        assert isinstance(sent(psp, refund), Refunded)
        assert isinstance(sent(psp, a_wish()), Authorised)
    finally:
        running.kill()
