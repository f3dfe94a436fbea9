"""A seller's schedules → timers; a timer that fires → a pay-out of all that is available. Pure; all times are UTC."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from consumers.payouts.asking import NOTHING, made
from consumers.payouts.gates import advance
from consumers.payouts.payout import BY_SCHEDULE, Payouts
from consumers.payouts.policy import Policy
from schemas.envelope import digest
from schemas.events import TimerFired
from schemas.ids import OWN_PREFIX
from schemas.sellers import Schedule, SellerSet
from topics.runtime.shape.consumer import Cause, Decision, Timer

SCHEDULE = "schedule"  # kind of the timers; their key is `<seller>:<currency>`
_INSTANT = timedelta(microseconds=1)


def timers(seller: SellerSet, now: datetime) -> list[Timer]:
    """One for each schedule. A timer of a schedule that has changed or gone fires in vain: nothing falls on its time."""
    key = seller.seller_account
    return [Timer(SCHEDULE, f"{key}:{each.currency}", next_time(each, now)) for each in seller.schedules or ()]


def next_time(schedule: Schedule, after: datetime) -> datetime:
    """The first time after this one."""
    at = time.fromisoformat(schedule.at)
    days = (day for day in _days_from(after.astimezone(UTC).date()) if _is_day(schedule, day))
    return next(when for when in (datetime.combine(day, at, UTC) for day in days) if when > after)


def _days_from(day: date) -> Iterator[date]:
    while True:
        yield day
        day += timedelta(days=1)


def _is_day(schedule: Schedule, day: date) -> bool:
    if schedule.every == "day":
        return True
    if schedule.every == "week":
        return day.isoweekday() == schedule.weekday
    last = monthrange(day.year, day.month)[1]
    return day.day == (last if schedule.day == -1 else schedule.day)


def scheduled_id(seller_account: str, currency: str, due_at: datetime) -> str:
    """The same for the same time, however often its timer fires."""
    when = due_at.astimezone(UTC).isoformat()
    return OWN_PREFIX + digest(seller_account.encode(), currency.encode(), when.encode()).replace("-", "")


def parts_of(event: TimerFired) -> tuple[str, str]:
    """The seller and the currency of a schedule's timer."""
    seller_account, _, currency = event.timer_key.rpartition(":")
    return seller_account, currency


def fire(state: Payouts, event: TimerFired, cause: Cause, policy: Policy) -> Decision:
    """Pay out all that is available, and set the next timer. Times that were missed are one."""
    seller_account, currency = parts_of(event)
    seller = state.sellers.get(seller_account)
    schedule = None if seller is None else _falling_on(seller, currency, event.due_at)
    if seller is None or schedule is None:
        return NOTHING
    now = max(cause.now, event.due_at)
    again = Timer(SCHEDULE, event.timer_key, next_time(schedule, now))
    payout_id = scheduled_id(seller_account, currency, event.due_at)
    if payout_id in state.payouts or not _is_payable(seller, schedule, policy):
        return Decision(timers=[again])
    payout = made(
        payout_id,
        seller,
        currency,
        policy,
        cause,
        minimum=None if schedule.minimum is None else schedule.minimum.minor,
        keep=None if schedule.keep is None else schedule.keep.minor,
        payout_currency=schedule.payout_currency,
        contents=BY_SCHEDULE,
        requested_by=BY_SCHEDULE,
        vouched_at=state.vouched_at(seller),
    )
    decided = advance(state, payout, cause, policy)
    return decided._replace(timers=[*decided.timers, again])


def _falling_on(seller: SellerSet, currency: str, due_at: datetime) -> Schedule | None:
    own = (each for each in seller.schedules or () if each.currency == currency)
    return next((each for each in own if next_time(each, due_at - _INSTANT) == due_at), None)


def _is_payable(seller: SellerSet, schedule: Schedule, policy: Policy) -> bool:
    """Else this time is left out: what is there then is paid the next time. The seller's payability says why."""
    destination = seller.destination
    if seller.state != "active" or destination is None or policy.is_blocked(destination):
        return False
    sent = schedule.payout_currency or schedule.currency
    return policy.has_rate(schedule.currency, sent) and policy.provider(sent, destination) is not None
