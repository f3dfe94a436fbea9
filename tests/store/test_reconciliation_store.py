"""The room of reconciliation on a real database: files and facts in, tallies, bookings and breaks out."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from reconciliation.file_rows import lease
from reconciliation.formats import keys
from reconciliation.stuck import stuck
from schemas.events import PaymentCaptured
from schemas.settlements import (
    SettlementFileDiscarded,
    SettlementFileReleased,
    SettlementMatched,
    SettlementReclassified,
    StatementMatched,
)
from tests.captures import capture
from tests.contract.running import wait
from tests.money_back import capture_reversed, opened, share
from tests.reconciling import ADYEN, BANK, SECOND, Report, Room, Row, call_id, paid_out
from topics.runtime.delivery import apply
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.reading import connect_reader
from topics.settings import Settings

WAITING = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"


def captured(number: int) -> PaymentCaptured:
    """EUR 12.34 at northpay."""
    return capture(f"order-{number}", call_id=call_id(number))


def test_a_settlement_whose_captures_are_known_is_booked_and_its_payout_meets_the_statement(room: Room) -> None:
    room.hear(captured(1), captured(2))
    room.reads(paid_out([Row(call_id(1), 1234, 34), Row(call_id(2), 1234, 34)]))
    (matched,) = room.settles()
    assert isinstance(matched, SettlementMatched)
    assert (matched.subject, matched.revision, matched.psp, matched.bank_account) == (
        "adyen-eu/238/EUR", 1, "northpay", "main",
    )  # fmt: skip
    assert {each.role: each.amount.minor for each in matched.amounts} == {
        "receivable": -2468,
        "fees": 68,
        "bank_clearing": 2400,
    }
    entry = Row(keys.paid_out("main", "238", "EUR"), 2400, kind="s", settlement="st-1")
    room.reads(Report((entry,), (("st-1", "EUR", 2500),), source=BANK, opening=100))
    (statement,) = room.settles()
    assert isinstance(statement, StatementMatched)
    assert {each.role: each.amount.minor for each in statement.amounts} == {"bank_clearing": -2400, "bank": 2400}
    assert room.breaks() == set()


def test_a_line_that_nobody_knows_waits_in_suspense_until_its_capture_is_heard(room: Room) -> None:
    room.reads(paid_out([Row(call_id(1), 1234, 34)]))
    (matched,) = room.settles()
    assert {each.role: each.amount.minor for each in matched.amounts}["suspense"] == -1234
    assert room.breaks() == set()  # it may be our own lag
    room.after += timedelta(minutes=20)
    room.heard_all()
    room.settles()
    assert room.breaks() == {("MISSING_INTERNAL", f"northpay|c|{call_id(1)}")}
    room.hear(captured(1))
    (reclassified,) = room.settles()
    assert isinstance(reclassified, SettlementReclassified)
    assert {each.role: each.amount.minor for each in reclassified.amounts} == {"suspense": 1234, "receivable": -1234}
    assert room.breaks() == set()


def test_a_capture_that_is_taken_back_after_it_was_settled_is_a_break_once_the_line_of_that_is_late(
    room: Room,
) -> None:
    """The PSP says it in a later file; until then it is what we expect."""
    key = "1" * 32
    item = f"northpay|c|{key}"
    room.hear(capture(call_id=key))
    room.reads(paid_out([Row(key, 1234, 34)]))
    room.settles()
    room.hear(capture_reversed(None, share(1234, 34)))
    room.settles()
    assert room.breaks() == set()
    room.settles(after=timedelta(days=20))
    assert ("AMOUNT", item) in room.breaks()
    room.reads(paid_out([Row(key, -1234, -34)], "239"))
    room.settles()
    assert ("AMOUNT", item) not in room.breaks()


def test_a_line_and_its_expectation_that_commit_at_the_same_time_meet_in_one_row(room: Room, stored: Settings) -> None:
    """Each process works on the same tallies, in opposite orders of its own."""
    other = Room(stored, name="b")
    numbers = range(1, 201)
    report = paid_out([Row(call_id(number), 1234, 34) for number in numbers])
    room.hear(report.stored())
    room.gated(report)
    with ThreadPoolExecutor(1) as beside:
        folded = beside.submit(room.hear_each, report.chunks(50))
        for at in reversed(range(1, 201, 50)):
            other.hear(*[captured(number) for number in range(at, at + 50)])
        folded.result()
    other.close()
    room.hear(report.ended(50))
    (matched,) = room.settles()
    assert {each.role: each.amount.minor for each in matched.amounts} == {
        "receivable": -246_800,
        "fees": 6_800,
        "bank_clearing": 240_000,
    }
    rows = room.rows("SELECT count(*) AS tallies, sum(abs(open))::bigint AS open FROM tally_view WHERE kind = 'c'")
    assert rows == [{"tallies": 200, "open": 0}]


def test_two_processes_fold_the_lanes_of_one_file_and_it_is_settled_once_all_are_in(
    room: Room, stored: Settings
) -> None:
    other = Room(stored, name="b")
    report = paid_out([Row(call_id(number), 1000, 10) for number in range(1, 401)])
    chunks = report.chunks(40)
    room.hear(report.stored())
    room.gated(report)
    with ThreadPoolExecutor(1) as beside:
        folded = beside.submit(other.hear_each, chunks[1::2][:-1])
        room.hear_each(chunks[0::2][:-1])
        folded.result()
    room.hear(report.ended(40))
    assert room.settles() == []  # a chunk of each lane is missing
    for chunk in chunks[-2:]:
        other.hear(chunk)
    other.close()
    assert [type(event) for event in room.settles()] == [SettlementMatched]
    assert room.booked() == {
        "adyen-eu/238/EUR": {"suspense EUR": -400_000, "fees EUR": 4_000, "bank_clearing EUR": 396_000}
    }


def test_a_file_that_is_odd_in_one_way_is_held_before_anything_of_it_is_booked(room: Room) -> None:
    room.hear(*[captured(number) for number in range(1, 61)])
    wrong = paid_out([Row(call_id(number), 123_400, 34) for number in range(1, 61)])  # another unit
    room.reads(wrong)
    assert room.settles() == []
    assert [(row["state"], row["why"]) for row in room.rows("SELECT state, why FROM file_view")] == [
        ("held", "amounts")
    ]
    with room.store.transaction() as conn:
        (found,) = stuck(conn, StuckLimits(), room.now())
    assert (found.id, found.state) == (wrong.file_id, "file_held")
    room.hear(
        SettlementFileDiscarded(source="adyen-eu", file_id=wrong.file_id, discarded_by="ann", reason="wrong unit")
    )
    assert room.settles() == []
    assert room.booked() == {}
    assert room.breaks() == set()


def refused(room: Room, report: Report, code: str) -> None:
    """As a reader does."""
    with room.store.transaction() as conn:
        conn.execute("UPDATE files SET state = 'quarantined', why = %s WHERE file_id = %s", [code, report.file_id])


def by_two(report: Report) -> SettlementFileReleased:
    return SettlementFileReleased(
        source="adyen-eu", file_id=report.file_id, proposed_by="ann", released_by="bob", reason="theirs"
    )


def test_a_file_that_is_refused_for_two_reasons_is_read_once_both_are_released(room: Room) -> None:
    """The second is only seen when the first is released, and the first must stay so."""
    report = paid_out([Row(call_id(1), 1234, 34)])
    room.hear(report.stored())
    for code in ("bad_total", "balance_gap"):
        refused(room, report, code)
        room.hear(by_two(report))
    with room.store.transaction() as conn:
        file = lease(conn, "reader", ["adyen-eu"])
    assert file is not None
    assert set(file.released) == {"bad_total", "balance_gap"}


def test_who_releases_what_the_gate_refuses_does_not_release_the_brake(room: Room) -> None:
    room.hear(captured(1))
    first = paid_out([Row(call_id(1), 1234, 34)], identity="batch 238")
    room.reads(first)
    room.settles()
    second = paid_out([Row(call_id(1), 1134, 34)], identity="batch 238")
    room.hear(second.stored())
    refused(room, second, "bad_total")
    room.hear(by_two(second))
    room.reads(second)
    assert room.settles() == [], "nobody has said that it replaces the first"
    assert room.rows("SELECT why FROM file_view WHERE state = 'held'") == [{"why": "restated"}]
    room.hear(by_two(second))
    assert [matched.revision for matched in room.settles()] == [2]


def test_what_is_stuck_says_whether_two_persons_can_release_it(room: Room) -> None:
    for number, code in enumerate(("bad_total", "bad_row")):
        report = paid_out([Row(call_id(number), 1234, 34)])
        room.hear(report.stored())
        refused(room, report, code)
    with room.store.transaction() as conn:
        releasable, unreadable = stuck(conn, StuckLimits(), room.now())
    assert "two persons release it" in releasable.next
    assert "release" not in unreadable.next


def test_what_changes_of_a_settlement_while_its_source_is_not_set_up_is_booked_once_it_is_again(
    room: Room, stored: Settings
) -> None:
    room.reads(paid_out([Row(call_id(1), 1234, 34)]))
    assert [event.revision for event in room.settles()] == [1], "to suspense"
    without = Room(stored, sources=(SECOND, BANK, ADYEN.model_copy(update={"name": "adyen-new"})), name="b")
    without.hear(captured(1))
    assert without.settles(timedelta(minutes=1)) == []
    without.close()
    room.hear(captured(2))
    assert [type(event) for event in room.settles(timedelta(minutes=2))] == [SettlementReclassified]


def test_what_was_booked_of_a_file_is_taken_back_when_it_is_discarded(room: Room) -> None:
    room.hear(captured(1))
    wrong = paid_out([Row(call_id(1), 1234, 34), Row(call_id(9), 500, 5)])
    room.reads(wrong)
    [booked] = room.settles()
    room.hear(SettlementFileDiscarded(source="adyen-eu", file_id=wrong.file_id, discarded_by="bob", reason="not ours"))
    [back] = room.settles()
    assert {each.role: -each.amount.minor for each in back.amounts} == {
        each.role: each.amount.minor for each in booked.amounts
    }
    assert (room.booked(), room.breaks()) == ({}, set())
    room.reads(paid_out([Row(call_id(1), 1234, 34, settlement="239")], settlement="239"))
    assert [event.subject for event in room.settles()] == ["adyen-eu/239/EUR"]


def test_a_fact_whose_transaction_lasts_past_the_sweep_that_it_shares_is_not_left_out(
    room: Room, stored: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep waits for all who have set it."""
    room.reads(paid_out([Row(call_id(1), 1234, 34)]))
    room.settles()
    room.hear(captured(2))  # sets it, too
    other = Room(stored, name="b")
    other.after = room.after + timedelta(seconds=11)
    sweep = threading.Thread(target=other.fires)

    def lasts(name: str) -> None:
        if name == "before_commit" and threading.current_thread() is not sweep:
            sweep.start()
            wait("it is fired, or waits", lambda: not sweep.is_alive() or waits_for_a_lock(stored))

    with monkeypatch.context() as patch:
        patch.setattr(apply, "hit", lasts)
        room.hear(captured(1))
    sweep.join()
    assert [type(event) for event in [*other.said, *other.settles()]][-1:] == [SettlementReclassified]
    other.close()


def waits_for_a_lock(settings: Settings) -> bool:
    with psycopg.connect(settings.dsn("tally_reconciliation")) as conn:
        return conn.execute(WAITING).fetchone() is not None


# ── what waits ───────────────────────────────────────────────────────────────────────────────────────────────────────

WAITS_FOR = {
    "received": (600, "TALLY_SETTLEMENT_SOURCES must name adyen-eu"),
    "reading": (600, "tally run reconciliation reads it"),
    "gated": (600, "all its lines have come"),
    "folding": (600, "all its lines have come"),
    "quarantined": (0, "one person discards"),
    "held": (0, "two persons release it"),
}


@pytest.mark.parametrize("state", WAITS_FOR)
def test_tally_stuck_names_a_file_that_waits_past_its_limit_and_what_it_waits_for(room: Room, state: str) -> None:
    limit_s, wanted = WAITS_FOR[state]
    report = paid_out([Row(call_id(1), 1234, 34)])
    room.hear(report.stored())
    with room.store.transaction() as conn:
        conn.execute("UPDATE files SET state = %s", [state])
    at = room.now()
    with connect_reader(room.settings, "reconciliation", name="tally stuck") as conn:
        if limit_s:
            assert stuck(conn, StuckLimits(), at + timedelta(seconds=limit_s - 1)) == []
        (found,) = stuck(conn, StuckLimits(), at + timedelta(seconds=limit_s))
    assert (found.id, found.state, found.age_s) == (report.file_id, f"file_{state}", limit_s)
    assert wanted in found.next


@pytest.mark.parametrize("state", ["folded", "superseded", "discarded"])
def test_tally_stuck_leaves_out_a_file_that_is_through(room: Room, state: str) -> None:
    room.hear(paid_out([Row(call_id(1), 1234, 34)]).stored())
    with room.store.transaction() as conn:
        conn.execute("UPDATE files SET state = %s", [state])
        assert stuck(conn, StuckLimits(), room.now() + timedelta(days=60)) == []


@pytest.mark.parametrize("second", ["b", "2"])
def test_a_second_chargeback_ties_whether_or_not_the_report_calls_it_so(room: Room, second: str) -> None:
    stages = [opened(share(1234, 0), stage=stage) for stage in (1, 2)]
    room.hear(*(each.model_copy(update={"dispute_reference": "d-1"}) for each in stages))
    key = keys.theirs("northpay", "d-1")
    room.reads(paid_out([Row(key, -1234, kind="b"), Row(key, -1234, kind=second, name="second")]))
    [matched] = room.settles(timedelta(days=12))
    assert {each.role for each in matched.amounts} == {"receivable", "bank_clearing"}
    assert {code for code, _ in room.breaks()} <= {"PAYOUT_MISSING"}
