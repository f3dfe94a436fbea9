"""Pay-outs on a real database: what is stored is what is decided by, and a freeze and a release never miss each other."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest

from consumers.payouts.consumer import build
from consumers.payouts.scheduling import scheduled_id
from consumers.payouts.stuck import stuck
from operations.stack.settings import AllSettings
from schemas.breaks import BreakOpened, BreakResolved
from schemas.money import Money
from schemas.payouts import (
    FundsReserved,
    PayoutApproved,
    PayoutPaid,
    PayoutReady,
    PayoutRefused,
    PayoutRiskCleared,
    PayoutRiskHeld,
    PayoutStatusChanged,
    PayoutSubmitted,
    PayoutUnknown,
    PayoutWithdrawn,
)
from schemas.sellers import Schedule
from tests.store.hearing import NOW, Hearing
from tests.store.test_wallet_holdings import PLACES, in_parallel
from tests.unit.payouts_room import HARBOUR, IBAN, frozen, requested, seller
from tests.unit.test_payouts_held import said as said_of_break
from topics.payout_rules import PayoutRules
from topics.runtime.calls import timers
from topics.runtime.delivery.apply import apply
from topics.runtime.delivery.fire import fire
from topics.runtime.shape import failpoints
from topics.runtime.shape.store import Store

LONG_AGO = NOW - timedelta(days=30)
RULES = {"approvals": [{"currency": "EUR", "above": "100.00", "persons": 1}]}


@pytest.fixture
def payouts(stored: AllSettings) -> Iterator[Hearing]:
    """A room that knows one seller. More than EUR 100.00 need one person."""
    chosen = stored.model_copy(update={"payouts": PayoutRules.model_validate(RULES), "payout_providers": (HARBOUR,)})
    room = Hearing(chosen, build(chosen))
    room.hears(seller(destination_changed_at=LONG_AGO))
    yield room
    room.close()


def cleared(payout_id: str = "po-1", screen_no: int = 1) -> PayoutRiskCleared:
    return PayoutRiskCleared(
        payout_id=payout_id, screen_no=screen_no, rule="none", list_version="1", score=0, decided_at=NOW
    )


def reserved(payout_id: str = "po-1", minor: int = 12000) -> FundsReserved:
    none = Money(0, "EUR")
    return FundsReserved(
        payout_id=payout_id,
        movement_id="m",
        seller_account="s-1",
        amount=Money(minor, "EUR"),
        available=none,
        pending=none,
        reserved=none,
        wallet_version=1,
    )


def executed(ready: PayoutReady) -> dict[str, Any]:
    names = ("payout_id", "owner", "seller_account", "amount", "release_no", "provider", "bank_account")
    return {"call_id": "0" * 32, **{name: getattr(ready, name) for name in names}}


def one(room: Hearing, view: str = "payout_view") -> dict[str, Any]:
    (row,) = room.rows(f"SELECT * FROM {view}")
    return row


def test_the_provider_that_has_the_destination_is_stored_and_read_again(payouts: Hearing) -> None:
    account = replace(IBAN, type="provider_account", provider="harbour")
    payouts.hears(seller(seller_revision=2, destination=account, destination_changed_at=LONG_AGO))
    payouts.hears(requested(amount="10.00"))
    payouts.hears(cleared())
    payouts.hears(reserved(minor=1000))
    (ready,) = payouts.all_said(PayoutReady)
    assert (ready.destination, ready.provider) == (account, "harbour")


def test_a_pay_out_is_stored_read_again_and_shown_whole(payouts: Hearing) -> None:
    payouts.hears(requested(description='"May"'))
    payouts.hears(cleared())
    payouts.hears(reserved())
    waiting = one(payouts)
    assert (waiting["status"], waiting["approvals_needed"], waiting["approvals_given"]) == ("awaiting_approval", 1, 0)
    approval = PayoutApproved(
        payout_id="po-1", approver="Bob", decision="approved", sha256=waiting["sha256"], reason="invoice 88 seen"
    )
    payouts.hears(approval)
    (ready,) = payouts.all_said(PayoutReady)
    assert (ready.destination, ready.amount) == (IBAN, Money(12000, "EUR"))
    told = executed(ready)
    payouts.hears(PayoutSubmitted(**told, provider_reference="tr-1"), PayoutPaid(**told, provider_reference="tr-1"))
    shown = one(payouts)
    assert (shown["status"], shown["detail"], shown["amount"], shown["description"]) == ("paid", None, 12000, '"May"')
    assert (shown["destination_masked"], shown["provider_reference"]) == ("DE89 … 3000", "tr-1")
    statuses = [row["status"] for row in payouts.rows("SELECT status FROM history_view ORDER BY id")]
    assert statuses == ["screening", "reserving", "awaiting_approval", "processing", "submitted", "paid"]
    assert [event.status for event in payouts.all_said(PayoutStatusChanged)] == statuses
    assert one(payouts, "approval_view")["why_not"] is None
    assert (one(payouts, "release_view")["outcome"], one(payouts, "screening_view")["counts"]) == ("paid", True)
    assert payouts.dead == 0


def test_a_batch_of_all_steps_comes_to_the_same(payouts: Hearing) -> None:
    payouts.hears(requested(amount="100.00"), requested(amount="100.00"), cleared(), reserved(minor=10000))
    assert (one(payouts)["status"], len(payouts.all_said(PayoutReady))) == ("processing", 1)
    assert [type(event).__name__ for event in payouts.hears(frozen())] == ["PayoutWithdrawn"]


def test_whoever_set_the_destination_is_a_maker_until_others_have_approved_a_pay_out_to_it(payouts: Hearing) -> None:
    payouts.hears(requested("po-1"), cleared("po-1"), reserved("po-1"))
    waiting = one(payouts)
    assert waiting["destination_changers"] == ["shop (key 1a2b3c4d)"]
    said = {"payout_id": "po-1", "decision": "approved", "sha256": waiting["sha256"], "reason": "seen"}
    payouts.hears(PayoutApproved(**said, approver="Bob"))
    payouts.hears(requested("po-2"))
    told = executed(payouts.all_said(PayoutReady)[0])
    payouts.hears(PayoutSubmitted(**told, provider_reference="tr-1"), PayoutPaid(**told, provider_reference="tr-1"))
    payouts.hears(requested("po-3"))
    rows = payouts.rows("SELECT destination_changers FROM payout_view WHERE payout_id <> 'po-1' ORDER BY payout_id")
    assert [row["destination_changers"] for row in rows] == [["shop (key 1a2b3c4d)"], []]


# ── two processes, and one that dies ─────────────────────────────────────────────────────────────────────────────────

SELLERS = [f"s-{number}" for number in range(150)]


def other(room: Hearing, name: str = "b") -> Hearing:
    return Hearing(room.settings, room.consumer, name)


def test_a_freeze_and_a_release_at_the_same_moment_never_miss_each_other(payouts: Hearing) -> None:
    """A pay-out is asked for and released by one process while another, which has not seen it, freezes its seller."""
    payouts.hears(*(seller(seller_account=each, destination_changed_at=LONG_AGO) for each in SELLERS))
    releasing, freezing, both = other(payouts), other(payouts, "c"), Barrier(2)

    def release() -> None:
        for each in SELLERS:
            asked = requested(each, seller_account=each, amount="100.00")
            both.wait(60)
            releasing.hears(asked, cleared(each), reserved(each, 10000))

    def freeze() -> None:
        for each in SELLERS:
            both.wait(60)
            freezing.hears(frozen(seller_account=each, destination_changed_at=LONG_AGO))

    in_parallel([release, freeze])
    rows = payouts.rows("SELECT status FROM payout_view")
    missed = payouts.rows("SELECT payout_id FROM payout_view WHERE released AND release_no <> withdrawn")
    assert (len(rows), missed, releasing.dead + freezing.dead) == (len(SELLERS), [], 0)


def test_a_break_and_a_release_at_the_same_moment_never_miss_each_other(payouts: Hearing) -> None:
    payouts.hears(*(seller(seller_account=each, destination_changed_at=LONG_AGO) for each in SELLERS))
    releasing, holding, both = other(payouts), other(payouts, "c"), Barrier(2)

    def release() -> None:
        for each in SELLERS:
            asked = requested(each, seller_account=each, amount="100.00")
            both.wait(60)
            releasing.hears(asked, cleared(each), reserved(each, 10000))

    def hold() -> None:
        for number, each in enumerate(SELLERS):
            both.wait(60)
            holding.hears(said_of_break(BreakOpened, 1, number, sellers=(each,)))

    in_parallel([release, hold])
    missed = payouts.rows("SELECT payout_id FROM payout_view WHERE released AND release_no <> withdrawn")
    assert (missed, releasing.dead + holding.dead) == ([], 0)
    held = payouts.rows("SELECT seller_account FROM hold_view WHERE is_open")
    assert {row["seller_account"] for row in held} == {*SELLERS}


def test_a_hold_is_kept_and_an_older_word_changes_nothing(payouts: Hearing) -> None:
    payouts.hears(said_of_break(BreakOpened, 1))
    payouts.hears(requested(amount="100.00"), cleared(), reserved("po-1", 10000))
    row = "SELECT status, detail FROM payout_view WHERE payout_id = 'po-1'"
    assert payouts.rows(row) == [{"status": "on_hold", "detail": "open_break"}]
    payouts.hears(said_of_break(BreakResolved, 2))
    assert payouts.rows(row)[0]["status"] == "processing"
    payouts.hears(said_of_break(BreakOpened, 1))
    assert payouts.rows(row)[0]["status"] == "processing"
    assert [(row["revision"], row["is_open"]) for row in payouts.rows("SELECT * FROM hold_view")] == [(2, False)]


def test_one_id_asked_for_by_two_processes_at_once_is_one_pay_out(payouts: Hearing) -> None:
    rooms, both = [other(payouts), other(payouts, "c")], Barrier(2)

    def ask(room: Hearing, amount: str) -> None:
        for number in range(20):
            both.wait(60)
            room.hears(requested(f"po-{number}", amount=amount))

    in_parallel([lambda: ask(rooms[0], "10.00"), lambda: ask(rooms[1], "20.00")])
    refused = [event.code for room in rooms for event in room.all_said(PayoutRefused)]
    assert (len(payouts.rows("SELECT 1 FROM payout_view")), refused) == (20, ["contents_conflict"] * 20)
    assert [room.dead for room in rooms] == [0, 0]


def doomed(room: Hearing, place: str, work: Callable[[Hearing], object]) -> None:
    """Another process that does this and is killed at a failpoint."""
    pid = os.fork()
    if not pid:
        failpoints._plan[place] = (signal.SIGKILL, 1)
        room.store = Store(room.settings, "payouts")
        work(room)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def test_a_process_that_is_killed_at_any_step_of_a_release_or_a_withdrawal_says_it_once(payouts: Hearing) -> None:
    for place in PLACES:
        own = {"seller_account": f"of-{place}", "destination_changed_at": LONG_AGO}
        payouts.hears(seller(**own), requested(place, amount="100.00", seller_account=f"of-{place}"), cleared(place))
        for event, said in ((reserved(place, 10000), PayoutReady), (frozen(**own), PayoutWithdrawn)):
            doomed(payouts, place, lambda room, event=event: room.hears(event))  # type: ignore[misc]
            payouts.hears(event)
            told = [each for each in payouts.all_said(said) if each.payout_id == place]
            assert payouts.unpublished(said, place) + len(told) == 1
    rows = payouts.rows("SELECT status, release_no, withdrawn FROM payout_view")
    assert {tuple(row.values()) for row in rows} == {("processing", 1, 1)}
    assert (len(rows), payouts.dead) == (len(PLACES), 0)


DAILY = Schedule("EUR", "day", "06:00")
SIX = NOW + timedelta(hours=18)  # the first after NOW


def fire_all(room: Hearing, holder: str = "one") -> None:
    list(fire(room.store, room.consumer, holder, SIX))


def test_a_process_that_is_killed_at_any_step_of_a_schedule_pays_out_once(payouts: Hearing) -> None:
    payouts.hears(seller(seller_revision=2, schedules=(DAILY,)))
    for place in PLACES:
        doomed(payouts, place, lambda room: fire_all(room, "doomed"))
        with payouts.store.transaction() as conn:
            conn.execute("UPDATE leases SET until = clock_timestamp() WHERE name = 'timers'")
    fire_all(payouts)
    assert (one(payouts)["payout_id"], one(payouts)["is_all"]) == (scheduled_id("s-1", "EUR", SIX), True)
    with payouts.store.transaction() as conn:
        assert conn.execute("SELECT due_at FROM timers").fetchall() == [(SIX + timedelta(days=1),)]


def test_a_timer_that_two_processes_fire_pays_out_once(payouts: Hearing) -> None:
    """The lease keeps them apart usually: here both have read the same rows, as a process does that slept past its lease."""
    payouts.hears(*(seller(seller_account=each, seller_revision=2, schedules=(DAILY,)) for each in SELLERS[:20]))
    with payouts.store.transaction() as conn:
        due = timers.due(conn, SIX)
    rooms = [other(payouts), other(payouts, "c")]
    in_parallel([lambda room=room: list(apply(room.store, room.consumer, due, None, SIX)) for room in rooms])
    assert len(payouts.rows("SELECT 1 FROM payout_view")) == 20
    assert len(payouts.rows("SELECT 1 FROM history_view")) == 20


# ── what is stuck ────────────────────────────────────────────────────────────────────────────────────────────────────


def stuck_after(room: Hearing, seconds: int) -> list[tuple[str, str]]:
    with psycopg.connect(room.settings.dsn("tally_payouts_read"), options="-c search_path=payouts") as conn:
        found = stuck(conn, room.settings.stuck, NOW + timedelta(seconds=seconds))
    return [(one.id, one.state) for one in found]


def test_each_pay_out_is_stuck_from_the_limit_of_where_it_stands_on(payouts: Hearing) -> None:
    """At a time each, so that what is found later has been there all along."""
    limits = payouts.settings.stuck
    ids = ("screening", "in_review", "reserving", "processing", "awaiting_approval", "unknown")
    payouts.hears(*(requested(id_, amount="120.00" if "approval" in id_ else "10.00") for id_ in ids))
    payouts.hears(*(cleared(id_) for id_ in ids[2:]))
    payouts.hears(
        PayoutRiskHeld(payout_id="in_review", screen_no=1, rule="r", list_version="1", score=50, decided_at=NOW),
        *(reserved(id_, 12000 if "approval" in id_ else 1000) for id_ in ids[3:]),
    )
    (ready,) = [event for event in payouts.all_said(PayoutReady) if event.payout_id == "unknown"]
    payouts.hears(PayoutUnknown(**executed(ready), reason="timeout"))
    assert stuck_after(payouts, 0) == [("in_review", "in_review")]
    soon = [("in_review", "in_review"), ("reserving", "reserving"), ("screening", "screening")]
    assert stuck_after(payouts, limits.risk_s) == soon
    assert stuck_after(payouts, limits.executing_s) == sorted([*soon, ("processing", "processing")])
    later = sorted([*soon, ("processing", "processing"), ("awaiting_approval", "awaiting_approval")])
    assert stuck_after(payouts, limits.approval_s) == later


def test_a_pay_out_of_a_frozen_seller_is_stuck_after_a_day_and_says_whose_turn_it_is(payouts: Hearing) -> None:
    payouts.hears(frozen(destination_changed_at=LONG_AGO), requested(amount="100.00"), cleared(), reserved(minor=10000))
    assert stuck_after(payouts, payouts.settings.stuck.hold_s - 1) == []
    with psycopg.connect(payouts.settings.dsn("tally_payouts_read"), options="-c search_path=payouts") as conn:
        (found,) = stuck(conn, payouts.settings.stuck, NOW + timedelta(days=1))
    assert (found.state, [*map(str, found.amounts)], found.age_s) == ("on_hold", ["100.00 EUR"], 86_400)
    assert "active again" in found.next
