"""A pay-out's facts, its seller, the time → its next step; and the decision that a step makes. Pure.

No order of answers, approvals, freezes and cancels needs a case of its own: each is a fact, and after each fact every gate
is looked at again, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from consumers.payouts.payout import Change, End, HistoryLine, Lack, Payout, Payouts, Release, standing
from consumers.payouts.policy import Policy
from schemas.conversions import Conversion
from schemas.money import Money
from schemas.payouts import (
    PayoutEvent,
    PayoutPlaced,
    PayoutReady,
    PayoutReleased,
    PayoutScreeningRequested,
    PayoutStatusChanged,
    PayoutWithdrawn,
)
from schemas.sellers import SellerSet
from topics.payout_accounts import PayoutAccount
from topics.runtime.shape.consumer import Cause, Decision, Timer

APPROVAL, RESERVATION, PROVIDER, CUT_OFF = (
    "approval",
    "reservation",
    "provider",
    "cut_off",
)  # kinds of timers; their key is the pay-out's id

LATE = timedelta(minutes=5)  # after its cut-off a release may be put into a file for so long
BLOCKED = "blocked_country"  # as risk calls it


class Step(NamedTuple):
    """The pay-out after its next step, and what it says with it."""

    payout: Payout
    events: tuple[PayoutEvent, ...] = ()
    timers: tuple[Timer, ...] = ()
    ready: PayoutReady | None = None
    lacks: Lack | None = None  # what it waits for, where that is neither a person nor a room


def next_step(payout: Payout, seller: SellerSet, now: datetime, policy: Policy, is_held: bool = False) -> Step:
    """The first gate that is closed: wait there, end, or ask whoever opens it. Where all are open: release.

    `is_held`: wallet and ledger do not agree about the seller.
    """
    if payout.ended is not None:
        return Step(payout)
    if payout.released:
        return _withdraw(payout) if _must_not_leave(payout, seller, policy, is_held) else Step(payout)
    if payout.stop is not None:
        return _end(payout, payout.stop)
    if "refused" in (payout.risk, payout.reserve):
        return _end(payout, "refused", payout.refusal)
    if policy.is_blocked(payout.destination):  # since it was asked for
        return _end(payout, "refused", BLOCKED)
    if payout.reserved_at is not None and now >= payout.reserved_at + policy.reservation_life:
        return _end(payout, "expired", "not_released_in_time")
    if payout.screen_no == 0:
        return screen(payout)
    if payout.risk != "cleared":
        return Step(payout)
    if payout.reserve == "none":
        return _reserve(payout, policy)
    if payout.reserved_at is None or payout.cleared_at is None or payout.amount is None:
        return Step(payout)
    conversion = policy.conversion(Money(payout.amount, payout.currency), payout.payout_currency)
    if isinstance(conversion, str) and conversion != "no_rate":
        return _end(payout, "refused", conversion)
    if payout.approvals_missing:
        late = now >= payout.reserved_at + policy.approval_life
        return _end(payout, "expired", "not_approved_in_time") if late else Step(payout)
    if seller.state != "active":
        return Step(payout)
    if is_held:
        return Step(payout, lacks="open_break")
    provider = policy.provider(payout.sent_currency, payout.destination)
    if provider is None:
        return _wait_for(payout, "no_provider", now)
    if isinstance(conversion, str):
        return _wait_for(payout, "no_rate", now)
    cut_off = provider.next_cut_off(now)
    if cut_off is not None and now < provider.leaves_from(cut_off):
        return Step(payout, timers=(Timer(CUT_OFF, payout.payout_id, provider.leaves_from(cut_off)),), lacks="cut_off")
    if now - payout.cleared_at > policy.screening_life:
        return screen(payout)
    return _release(payout, provider, conversion, now + policy.release_life, cut_off)


def _wait_for(payout: Payout, lacks: Lack, now: datetime) -> Step:
    """The settings had it when the pay-out was asked for, and may have it again."""
    return Step(payout, timers=(Timer(PROVIDER, payout.payout_id, _next_hour(now)),), lacks=lacks)


def _must_not_leave(payout: Payout, seller: SellerSet, policy: Policy, is_held: bool) -> bool:
    """Whether a release is to be withdrawn; once each."""
    is_closed = payout.stop is not None or payout.risk != "cleared" or seller.state != "active" or is_held
    return (is_closed or policy.is_blocked(payout.destination)) and payout.withdrawn < payout.release_no


def _withdraw(payout: Payout) -> Step:
    said = PayoutWithdrawn(payout_id=payout.payout_id, release_no=payout.release_no)
    return Step(replace(payout, withdrawn=payout.release_no), (said,))


def _end(payout: Payout, how: End, why: str | None = None) -> Step:
    """What was asked to be reserved is given up; the wallet knows whether it was."""
    ended = replace(payout, ended=how, why=why)
    if payout.reserve not in ("asked", "reserved"):
        return Step(ended)
    freed = PayoutReleased(payout_id=payout.payout_id, seller_account=payout.seller_account, currency=payout.currency)
    return Step(ended, (freed,))


def screen(payout: Payout) -> Step:
    """The next question to risk: no answer to an earlier one counts any more."""
    asked = replace(payout, screen_no=payout.screen_no + 1, risk=None)
    said = PayoutScreeningRequested(
        payout_id=payout.payout_id,
        owner=payout.owner,
        seller_account=payout.seller_account,
        screen_no=asked.screen_no,
        destination=payout.destination,
        amount=payout.money,
        currency=payout.currency,
    )
    return Step(asked, (said,))


def _reserve(payout: Payout, policy: Policy) -> Step:
    said = PayoutPlaced(
        payout_id=payout.payout_id,
        owner=payout.owner,
        seller_account=payout.seller_account,
        currency=payout.currency,
        amount=payout.money,
        minimum=_money(payout.minimum, payout.currency),
        keep=_money(payout.keep, payout.currency),
    )
    return Step(replace(payout, reserve="asked"), (said,))


def _money(minor: int | None, currency: str) -> Money | None:
    return None if minor is None else Money(minor, currency)


def _release(
    payout: Payout,
    provider: PayoutAccount,
    conversion: Conversion | None,
    deadline: datetime,
    cut_off: datetime | None,
) -> Step:
    """The rate is read here alone: whatever follows from the release takes it from there."""
    assert payout.amount is not None
    released = replace(payout.converted(conversion), release_no=payout.release_no + 1, released=True, doubt=None)
    ready = PayoutReady(
        payout_id=payout.payout_id,
        owner=payout.owner,
        seller_account=payout.seller_account,
        amount=Money(payout.amount, payout.currency),
        conversion=conversion,
        release_no=released.release_no,
        deadline=deadline if cut_off is None else cut_off + LATE,
        provider=provider.name,
        bank_account=provider.bank_account,
        destination=payout.destination,
        cut_off=cut_off,
    )
    return Step(released, (ready,), ready=ready)


def _next_hour(now: datetime) -> datetime:
    """Full hours, so that all that wait look again at once, and each once."""
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


# ── from steps to decisions ──────────────────────────────────────────────────────────────────────────────────────────


def advance(
    state: Payouts,
    facts: Payout,
    cause: Cause,
    policy: Policy,
    kept: Sequence[Change] = (),
    now: datetime | None = None,
    seller: SellerSet | None = None,
    is_held: bool | None = None,
) -> Decision:
    """Take the step that follows from new facts, and say the status once if it, or what is sent, has changed. `kept` is stored
    besides.

    `now` is the cause's, or later; `seller` and `is_held` where this very event sets them.
    """
    now, seller = now or cause.now, seller or state.sellers[facts.seller_account]
    held = state.is_held(facts.seller_account) if is_held is None else is_held
    before = state.payouts.get(facts.payout_id)
    step = next_step(facts, seller, now, policy, held)
    stands = standing(step.payout, seller, step.lacks)
    is_new = before is None or (stands, step.payout.sent) != ((before.status, before.code), before.sent)
    if not is_new and step.payout == before:
        return Decision(kept, timers=step.timers)
    after = replace(step.payout, status=stands.status, code=stands.code, version=step.payout.version + 1)
    line, told = [], []
    if is_new:
        after = replace(after, changed_at=now)
        line = [HistoryLine(after.payout_id, after.status, after.code, now, cause.event_id)]
        told = [status_changed(after)] if after.is_told else []
    changes = [after, *line, *kept, *_releases(after, step, now, cause, policy)]
    return Decision(changes, [*step.events, *told], (), after.version, step.timers)


def _releases(after: Payout, step: Step, now: datetime, cause: Cause, policy: Policy) -> list[Release]:
    if step.ready is None:
        return []
    assert after.cleared_at is not None
    release = Release(
        payout_id=after.payout_id,
        release_no=after.release_no,
        provider=step.ready.provider,
        bank_account=step.ready.bank_account,
        conversion=step.ready.conversion,
        released_at=now,
        deadline=step.ready.deadline,
        cleared_at=after.cleared_at,
        fresh_until=after.cleared_at + policy.screening_life,
        approvals_needed=after.approvals_needed,
        approvals=len(after.approved_by),
        event_id=cause.event_id,
        cut_off=step.ready.cut_off,
    )
    return [release]


def status_changed(payout: Payout, code: str | None = None) -> PayoutStatusChanged:
    """Where it stands; `code` in place of its own."""
    return PayoutStatusChanged(
        payout_id=payout.payout_id,
        owner=payout.owner,
        seller_account=payout.seller_account,
        currency=payout.currency,
        status=payout.status,
        amount=payout.money,
        payout_currency=payout.payout_currency,
        target=payout.sent,
        rate=payout.rate,
        code=code or payout.code,
    )
