"""Calls on a real PostgreSQL to PSPs in a process of their own: each fault ends in one charge or none, and we know it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.executor import client
from consumers.executor.consumer import build
from consumers.executor.sender import run_sender
from consumers.executor.settings import RoutingRule
from operations.cli.commands.stuck import find_stuck
from operations.stack.servers import Servers
from schemas.envelope import charge_call_id
from tests.contract.calls_running import Desk, calling, calling_process, killed_calling, psp_accounts, topics_for_nobody
from tests.simulator.running import RunningSimulator, free_port, wait_for
from tests.unit.executor_cases import notification, order
from topics.runtime.shape.consumer import Call
from topics.settings import Settings, SettingsError

CHARGED = (
    "tok_visa",
    "tok_slow",
    "tok_429_once",
    "tok_503_once",
    "tok_500_charged",
    "tok_500_uncharged",
    "tok_timeout_charged",
    "tok_timeout_uncharged",
    "tok_reset_charged",
    "tok_garbage",
)
DECLINED = ("tok_declined_insufficient_funds", "tok_nonsense")


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[RunningSimulator]:
    """It shares its folder, and so its clock, with the settings."""
    running = RunningSimulator(tmp_path)
    yield running
    running.kill()


@pytest.fixture(scope="module")
def prefix(servers: Servers) -> Iterator[str]:
    with topics_for_nobody(servers) as prefix:
        yield prefix


@pytest.fixture
def make_desk(make_store: Callable[..., Settings], prefix: str, tmp_path: Path) -> Callable[[str], Desk]:
    """A maker of an executor whose PSPs are at that address."""
    return lambda url: Desk(make_store(home=tmp_path, topic_prefix=prefix, psps=psp_accounts(url)))


@pytest.fixture
def desk(simulator: RunningSimulator, make_desk: Callable[[str], Desk]) -> Desk:
    return make_desk(simulator.url)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hard deadline of 2 s instead of 10 s."""
    monkeypatch.setattr(client, "HARD_DEADLINE_S", 2.0)


def placed(token: str, name: str | None = None, in_s: float = 3600) -> object:
    now = datetime.now(UTC)
    return order(name or f"order-{token}", token=token, available_on=now, deadline=now + timedelta(seconds=in_s))


@pytest.mark.usefixtures("impatient")
def test_every_fault_ends_in_one_charge_and_every_decline_in_none(desk: Desk) -> None:
    desk.place([placed(token) for token in (*CHARGED, *DECLINED)])  # type: ignore[misc]
    with calling(desk.settings):
        states = desk.finish()
    assert states == {f"order-{token}": "captured" for token in CHARGED} | {
        f"order-{token}": "declined" for token in DECLINED
    }
    charged = {name: statuses for name, statuses in desk.charges().items() if "succeeded" in statuses}
    assert charged == {f"order-{token}": ["succeeded"] for token in CHARGED}
    assert desk.rows("SELECT 1 FROM parked") == []


@pytest.mark.parametrize("failpoint", ["before_send", "after_reply", "after_record", "after_apply"])
def test_a_sender_killed_anywhere_charges_once(desk: Desk, failpoint: str) -> None:
    desk.place([placed("tok_visa", f"order-{number}") for number in range(5)])  # type: ignore[misc]
    assert killed_calling(desk.settings, f"call.{failpoint}")
    desk.lose_leases()
    with calling(desk.settings):
        states = desk.finish()
    assert states == {f"order-{number}": "captured" for number in range(5)}
    assert desk.charges() == {f"order-{number}": ["succeeded"] for number in range(5)}


def test_two_senders_send_each_call_once(desk: Desk) -> None:
    with calling(desk.settings), calling_process(desk.settings):
        desk.place([placed("tok_visa", f"order-{number}") for number in range(300)])  # type: ignore[misc]
        desk.finish()
    assert desk.rows("SELECT send_no, count(*) FROM calls GROUP BY 1") == [(1, 300)]
    assert list(desk.charges().values()) == [["succeeded"]] * 300


def test_a_reply_after_its_lease_was_lost_is_taken_all_the_same(desk: Desk) -> None:
    desk.place([placed("tok_slow")])  # type: ignore[list-item]
    with calling(desk.settings):
        wait_for(lambda: desk.rows("SELECT 1 FROM calls WHERE state = 'sending'") != [])
        desk.lose_leases()
        assert desk.finish() == {"order-tok_slow": "captured"}
    assert desk.charges() == {"order-tok_slow": ["succeeded"]}


def test_while_a_psp_is_down_its_calls_wait_and_then_all_go_through(desk: Desk, simulator: RunningSimulator) -> None:
    simulator.control("PUT", "/control/faults", {"psp": "all", "down": True})
    desk.place([placed("tok_visa", f"order-{number}") for number in range(100)])  # type: ignore[misc]
    with calling(desk.settings):
        wait_for(lambda: desk.rows("SELECT 1 FROM calls WHERE state = 'due' AND send_no > 0") != [])
        simulator.control("PUT", "/control/faults", {"psp": "all", "down": False})
        desk.now_is_later_by(60)
        assert set(desk.finish().values()) == {"captured"}
    assert list(desk.charges().values()) == [["succeeded"]] * 100
    assert desk.rows("SELECT 1 FROM parked") == []


def test_a_psp_that_cannot_be_reached_until_the_deadline_declines(make_desk: Callable[[str], Desk]) -> None:
    desk = make_desk(f"http://127.0.0.1:{free_port()}")
    desk.place([placed("tok_visa", f"order-{number}", in_s=60) for number in range(40)])  # type: ignore[misc]
    with calling(desk.settings):
        wait_for(lambda: desk.rows("SELECT 1 FROM calls WHERE state = 'due' AND send_no > 0") != [])
        desk.now_is_later_by(60)
        assert set(desk.finish().values()) == {"declined"}
    assert desk.rows("SELECT DISTINCT code FROM attempts") == [("deadline_passed",)]


def test_what_was_sent_and_never_answered_is_unresolved_past_its_key(desk: Desk) -> None:
    desk.place([placed("tok_500_uncharged", in_s=9 * 86_400)])  # type: ignore[list-item]
    with calling(desk.settings):
        wait_for(lambda: desk.states() == {"order-tok_500_uncharged": "unknown"})
        desk.now_is_later_by(86_400)
        assert desk.finish() == {"order-tok_500_uncharged": "unresolved"}
    assert desk.charges() == {}


def test_a_psp_is_not_taken_out_of_the_settings_before_its_calls_have_ended(desk: Desk) -> None:
    """Its PSP alone can say what became of a call: without the account it would never be asked."""
    desk.place([placed("tok_review")])  # type: ignore[list-item]
    with calling(desk.settings):
        wait_for(lambda: desk.states() == {"order-tok_review": "pending"})
    [(psp,)] = desk.rows("SELECT psp FROM calls")
    others = tuple(account for account in desk.settings.psps if account.name != psp)
    gone = desk.settings.model_copy(update={"psps": others, "routing": ()})
    with pytest.raises(SettingsError, match=f"TALLY_PSPS: calls at {psp} have not ended"):
        run_sender(gone, build(gone), threading.Event(), threading.Event())
    desk.now_is_later_by(60)
    with calling(desk.settings):
        desk.finish()
    desk.settings = gone
    desk.place([placed("tok_visa")])  # type: ignore[list-item]
    with calling(gone):
        assert desk.finish()["order-tok_visa"] == "captured"


def test_a_stopped_room_sends_nothing_until_it_is_lifted(desk: Desk) -> None:
    desk.place([placed("tok_visa")])  # type: ignore[list-item]
    desk.rows("INSERT INTO stops (code, reason, messages) VALUES ('test', 'a person said so', 0)")
    with calling(desk.settings):
        wait_for(lambda: desk.rows(_HAS_LOOKED) != [])
        desk.rows("UPDATE stops SET lifted_at = clock_timestamp()")
        assert desk.finish() == {"order-tok_visa": "captured"}
    assert desk.rows("SELECT acted_at >= lifted_at FROM calls, stops") == [(True,)]


_HAS_LOOKED = """
SELECT 1 FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'tally executor' AND query = 'COMMIT'
"""


def test_what_is_stuck_is_told_with_age_amount_and_what_comes_next(desk: Desk) -> None:
    desk.place([placed("tok_review"), placed("tok_visa")])  # type: ignore[list-item]
    with calling(desk.settings):
        wait_for(lambda: set(desk.states().values()) == {"pending", "captured"})
    assert find_stuck(desk.settings) == []
    wait = desk.settings.stuck.pending_s + 60
    desk.now_is_later_by(wait)
    (one,) = find_stuck(desk.settings)
    assert (one.id, one.state, [*map(str, one.amounts)]) == ("order-tok_review", "pending", ["12.34 EUR"])
    assert one.age_s >= wait
    assert one.next.startswith("asks as soon as")
    with calling(desk.settings):
        assert desk.finish()["order-tok_review"] == "captured"
    assert find_stuck(desk.settings) == []


def test_a_notification_before_its_call_is_kept_and_taken_up(desk: Desk) -> None:
    late = placed("tok_visa", "order-late")
    call = Call(charge_call_id("order-late", 1), "order-late", "charge", "northpay", b"", late.deadline)  # type: ignore[attr-defined]
    desk.tell(notification(call, psp="southpay", notification_id="evt_of_nobody"))
    desk.tell(notification(call))
    assert desk.rows("SELECT count(*) FROM notifications WHERE taken_at IS NULL") == [(2,)]
    desk.settings = desk.settings.model_copy(update={"routing": (RoutingRule(psp="northpay"),)})
    desk.place([late])  # type: ignore[list-item]
    desk.rows("UPDATE calls SET due_at = due_at + interval '1 day'")  # so that only the notification can decide
    with calling(desk.settings):
        assert desk.finish() == {"order-late": "captured"}
        wait_for(lambda: desk.rows("SELECT 1 FROM notifications WHERE taken_at IS NOT NULL") != [])
    desk.now_is_later_by(desk.settings.stuck.notification_s + 60)
    assert [one.state for one in find_stuck(desk.settings)] == ["notification"]
    assert desk.charges() == {}


def test_a_notification_that_comes_again_under_another_id_changes_nothing(desk: Desk) -> None:
    """As one does that a PSP repeats after the door has forgotten it."""
    order = placed("tok_visa")
    desk.place([order])  # type: ignore[list-item]
    with calling(desk.settings):
        assert desk.finish() == {"order-tok_visa": "captured"}
        [(call_id, psp, theirs, before)] = desk.rows("SELECT call_id, psp, psp_reference, revision FROM attempts")
        call = Call(str(call_id), "order-tok_visa", "charge", str(psp), b"", order.deadline)  # type: ignore[attr-defined]
        for number in range(2):
            desk.tell(notification(call, notification_id=f"evt_again_{number}", psp_reference=theirs))
    assert desk.rows("SELECT state, revision FROM attempts") == [("captured", before)]
    assert desk.rows("SELECT 1 FROM parked UNION ALL SELECT 1 FROM notifications") == []
    assert [statuses.count("succeeded") for statuses in desk.charges().values()] == [1]
