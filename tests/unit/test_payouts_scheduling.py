"""Schedules: when they fall due, what they pay out, and what their owner hears of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.payouts.scheduling import next_time, scheduled_id
from schemas.conversions import Quote
from schemas.money import Money
from schemas.payouts import PayoutPlaced, PayoutReady, PayoutStatusChanged
from schemas.sellers import Schedule
from tests.unit.payouts_room import DAY, HOUR, Room, cancelled, euro, names, requested, seller
from topics.runtime.shape.consumer import Timer

DAILY = Schedule("EUR", "day", "06:00")
WEEKLY = Schedule("EUR", "week", "06:00", weekday=1)
FIRST = Schedule("EUR", "month", "00:00", day=1)
LAST = Schedule("EUR", "month", "23:59", day=-1)
SIX = datetime(2026, 3, 3, 6, tzinfo=UTC)  # the first after NOW


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        (DAILY, "2026-03-02T05:59", "2026-03-02T06:00"),
        (DAILY, "2026-03-02T06:00", "2026-03-03T06:00"),  # after, not at
        (DAILY, "2026-12-31T12:00", "2027-01-01T06:00"),
        (WEEKLY, "2026-03-02T05:00", "2026-03-02T06:00"),
        (WEEKLY, "2026-03-02T06:00", "2026-03-09T06:00"),
        (FIRST, "2026-03-02T12:00", "2026-04-01T00:00"),
        (LAST, "2026-02-01T00:00", "2026-02-28T23:59"),
        (LAST, "2028-02-01T00:00", "2028-02-29T23:59"),  # a leap year
        (LAST, "2026-02-28T23:59", "2026-03-31T23:59"),
        (LAST, "2026-04-01T00:00", "2026-04-30T23:59"),
    ],
)
def test_the_next_time_of_a_schedule(schedule: Schedule, after: str, due: str) -> None:
    assert next_time(schedule, at(after)) == at(due)


SCHEDULES = st.one_of(
    st.just(DAILY),
    st.integers(1, 7).map(lambda day: Schedule("EUR", "week", "06:00", weekday=day)),
    st.sampled_from([-1, *range(1, 29)]).map(lambda day: Schedule("EUR", "month", "18:30", day=day)),
)


@given(SCHEDULES, st.datetimes(at("2026-01-01").replace(tzinfo=None), at("2030-01-01").replace(tzinfo=None)))
def test_the_next_time_is_later_falls_on_the_schedule_and_is_soon_enough(schedule: Schedule, when: datetime) -> None:
    after = when.replace(tzinfo=UTC)
    due = next_time(schedule, after)
    longest = {"day": 1, "week": 7, "month": 31}[schedule.every]
    assert after < due <= after + timedelta(days=longest)
    assert next_time(schedule, due - timedelta(microseconds=1)) == due


# ── a schedule that fires ────────────────────────────────────────────────────────────────────────────────────────────


def scheduled(schedule: Schedule = DAILY, **rules: Any) -> Room:
    made = Room()
    made.rules |= rules
    made.hears(seller(schedules=(schedule,)))
    return made


def fired(seen: Room, when: datetime = SIX) -> str:
    """→ the id of the pay-out that comes of it."""
    seen.now = when
    seen.fires("schedule")
    return scheduled_id("s-1", "EUR", when)


def test_a_schedule_pays_out_all_that_is_available_and_sets_its_next_time() -> None:
    seen = scheduled()
    id_ = fired(seen)
    seen.screens(payout_id=id_)
    assert seen.all_said(PayoutPlaced)[0].amount is None
    seen.reserves(4200, id_)
    assert seen.all_said(PayoutReady)[0].amount == euro(4200)
    assert (seen.of(id_).requested_by, id_.startswith("auto~"), len(id_)) == ("schedule", True, 37)
    assert seen.of(id_).makers == {"schedule", "shop"}, "its owner has set the schedule, and does not approve it"
    assert [timer.due_at for timer in seen.timers if timer.kind == "schedule"] == [SIX + DAY]


def test_minimum_and_what_is_kept_go_to_the_wallet() -> None:
    schedule = Schedule("EUR", "day", "06:00", minimum=euro(2500), keep=euro(1000))
    for least, minimum in (("1.00", 2500), ("30.00", 3000)):
        seen = scheduled(schedule, minimum={"EUR": least})
        seen.screens(payout_id=fired(seen))
        (placed,) = seen.all_said(PayoutPlaced)
        assert (placed.minimum, placed.keep) == (euro(minimum), euro(1000))


def test_a_schedule_to_a_blocked_country_leaves_its_time_out_and_sets_the_next() -> None:
    seen = scheduled()
    seen.blocked = frozenset({"DE"})
    fired(seen)
    assert seen.state.payouts == {}
    assert [timer.due_at for timer in seen.timers if timer.kind == "schedule"] == [SIX + DAY]


def test_a_schedule_in_another_currency_converts_at_the_rate_of_its_release() -> None:
    seen = scheduled(Schedule("EUR", "day", "06:00", minimum=euro(2500), payout_currency="USD"))
    seen.rates = {"EUR-USD": Quote("1.0825", 50)}
    id_ = fired(seen)
    seen.screens(payout_id=id_)
    (placed,) = seen.all_said(PayoutPlaced)
    assert (placed.currency, placed.minimum) == ("EUR", euro(2500))
    seen.reserves(10_000, id_)
    (ready,) = seen.all_said(PayoutReady)
    assert (ready.amount, ready.sent) == (euro(10_000), Money(10_770, "USD"))


@pytest.mark.parametrize(("to", "made"), [("USD", 0), ("EUR", 1)])
def test_a_schedule_without_a_rate_leaves_its_time_out_and_its_own_currency_needs_none(to: str, made: int) -> None:
    seen = scheduled(Schedule("EUR", "day", "06:00", payout_currency=to))
    fired(seen)
    assert [each.payout_currency for each in seen.state.payouts.values()] == [None] * made
    assert [timer.due_at for timer in seen.timers if timer.kind == "schedule"] == [SIX + DAY]


def test_a_timer_that_fires_twice_makes_one_pay_out() -> None:
    seen = scheduled()
    (timer,) = seen.timers
    fired(seen)
    seen.timers.add(timer)
    fired(seen)
    assert len(seen.state.payouts) == 1


def test_times_that_were_missed_are_one_and_the_next_lies_ahead() -> None:
    seen = scheduled()
    seen.now = SIX + 9 * DAY + HOUR
    seen.fires("schedule")
    assert list(seen.state.payouts) == [scheduled_id("s-1", "EUR", SIX)]
    assert [timer.due_at for timer in seen.timers if timer.kind == "schedule"] == [SIX + 10 * DAY]


def test_a_clock_that_is_set_back_after_a_timer_pays_nothing_twice() -> None:
    seen = scheduled()
    seen.now = SIX
    seen.fires("schedule", read_at=SIX - 3 * DAY)
    assert [timer.due_at for timer in seen.timers if timer.kind == "schedule"] == [SIX + DAY]


@pytest.mark.parametrize("after", [(), None, (WEEKLY,), (Schedule("USD", "day", "06:00"),)])
def test_a_timer_of_a_schedule_that_has_changed_or_gone_fires_in_vain(after: Any) -> None:
    seen = scheduled()
    seen.hears(seller(seller_revision=2, schedules=after))
    assert fired(seen) not in seen.state.payouts
    assert Timer("schedule", "s-1:EUR", SIX + DAY) not in seen.timers


def test_a_schedule_that_is_taken_away_and_set_again_pays_once_a_day() -> None:
    seen = scheduled()
    seen.hears(seller(seller_revision=2, schedules=()))
    seen.hears(seller(seller_revision=3, schedules=(DAILY,)))
    fired(seen)
    fired(seen, SIX + DAY)
    assert len(seen.state.payouts) == 2
    assert len([timer for timer in seen.timers if timer.kind == "schedule"]) == 1


@pytest.mark.parametrize("change", [{"state": "frozen"}, {"state": "closed"}, {"destination": None}])
def test_a_seller_that_cannot_be_paid_is_left_out_this_time(change: dict[str, Any]) -> None:
    """Fourteen days of a freeze are not fourteen pay-outs on the day it ends."""
    seen = scheduled()
    seen.hears(seller(seller_revision=2, schedules=(DAILY,), **change))
    fired(seen)
    assert seen.state.payouts == {}
    seen.hears(seller(seller_revision=3, schedules=(DAILY,)))
    assert fired(seen, SIX + DAY) in seen.state.payouts


@pytest.mark.parametrize("code", ["insufficient_funds", "below_minimum"])
def test_a_schedule_that_finds_too_little_is_kept_and_no_news(code: str) -> None:
    seen = scheduled()
    id_ = fired(seen)
    seen.screens(payout_id=id_)
    seen.has_too_little(code, id_)
    assert (seen.standing(id_), seen.told(id_)) == (("refused", code), [])
    assert seen.history(id_) == ["screening", "reserving", "refused"]


def test_a_schedules_pay_out_is_news_from_the_reservation_on() -> None:
    seen = scheduled()
    id_ = fired(seen)
    seen.screens(payout_id=id_)
    seen.reserves(4200, id_)
    seen.executes("submitted", id_)
    assert seen.told(id_) == ["processing", "submitted"]
    assert {event.amount for event in seen.all_said(PayoutStatusChanged)} == {euro(4200)}


def test_a_schedules_pay_out_that_risk_refuses_is_news() -> None:
    seen = scheduled()
    id_ = fired(seen)
    seen.screens("refused", id_, rule="sanctions")
    assert seen.told(id_) == ["refused"]


def test_an_owner_may_cancel_what_a_schedule_has_made() -> None:
    seen = scheduled()
    id_ = fired(seen)
    assert names(seen.hears(cancelled(id_))) == ["PayoutStatusChanged"]
    assert seen.standing(id_) == ("cancelled", None)


def test_an_upstream_called_schedule_hears_of_its_own_pay_outs() -> None:
    seen = Room()
    seen.hears(seller(owner="schedule"))
    assert "PayoutStatusChanged" in names(seen.hears(requested(owner="schedule", requested_by="schedule")))
