"""(wallets, an event about a pay-out) → what is reserved for it, leaves for it, or comes back. Pure (docs/books.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, assert_never

from consumers.wallet.wallet import WHOLE, Movement, PayoutKind, Reservation, Wallets, after, movement_id_of
from schemas.errors import Permanent
from schemas.money import Money
from schemas.payouts import (
    FundsReserved,
    FundsReturned,
    PayoutExecuted,
    PayoutExecution,
    PayoutFailed,
    PayoutNotSent,
    PayoutOrder,
    PayoutPaid,
    PayoutPlaced,
    PayoutReady,
    PayoutRefused,
    PayoutReleased,
    PayoutReturned,
    PayoutStatusChanged,
    PayoutSubmitted,
    PayoutUnknown,
    PayoutUnresolved,
    PayoutWithdrawn,
    ReservationMoved,
    ReservationRefused,
    ReservationReleased,
    ReservationSettled,
)
from topics.runtime.shape.consumer import Cause, Decision

Payout = PayoutOrder | PayoutExecution
Moving = PayoutPlaced | PayoutReleased | PayoutSubmitted | PayoutFailed | PayoutReturned  # what may move a wallet

RefusalCode = Literal["insufficient_funds", "below_minimum"]

NOTHING = Decision()


def decide(state: Wallets, event: Payout, cause: Cause) -> Decision:
    """Errors: Permanent `reservation_differs`, `unknown_reservation`, `contradiction`."""
    match event:
        case PayoutPlaced():
            return _place(state, event, cause)
        case PayoutReleased():
            return _release(state, event, cause)
        case PayoutSubmitted():
            return _settle(state, event, cause)
        case PayoutFailed():
            return _return(state, event, cause) if event.submitted else _refused_by_provider(state, event, cause)
        case PayoutReturned():
            return _return(state, event, cause)
        case PayoutReady() | PayoutWithdrawn() | PayoutStatusChanged() | PayoutRefused():
            return NOTHING
        case PayoutPaid() | PayoutUnknown() | PayoutUnresolved() | PayoutNotSent():
            return NOTHING
        case _:
            assert_never(event)


# ── what payouts asks for ────────────────────────────────────────────────────────────────────────────────────────────


def _place(state: Wallets, event: PayoutPlaced, cause: Cause) -> Decision:
    """Reserve once: whatever has become of the reservation, it is never made again. Errors: Permanent `reservation_differs`."""
    asked = _asked(event, cause)
    known = state.reservations.get(event.payout_id)
    if known is not None:
        if _terms(known) != _terms(asked):
            raise Permanent("reservation_differs", f"{event.payout_id} was placed on other terms")
        return NOTHING
    available = state.wallets[asked.side].available
    amount = available - (asked.keep or 0) if asked.asked is None else asked.asked
    if code := _too_little(asked, amount, available):
        refused = replace(asked, state="refused", code=code)
        said = ReservationRefused(
            payout_id=event.payout_id,
            seller_account=event.seller_account,
            code=code,
            available=Money(available, event.currency),
        )
        return Decision((refused,), (said,), revision=refused.version)
    return _move(state, replace(asked, amount=amount), "reserved", WHOLE, cause)


def _asked(event: PayoutPlaced, cause: Cause) -> Reservation:
    """As placed, with nothing decided. Errors: Permanent `reservation_differs` if it names two currencies."""
    named = (event.amount, event.minimum, event.keep)
    if any(money is not None and money.currency != event.currency for money in named):
        raise Permanent("reservation_differs", f"{event.payout_id} names another currency than {event.currency}")
    asked, minimum, keep = (None if money is None else money.minor for money in named)
    return Reservation(
        payout_id=event.payout_id,
        owner=event.owner,
        seller_account=event.seller_account,
        currency=event.currency,
        asked=asked,
        minimum=minimum,
        keep=keep,
        amount=0,
        state="reserved",
        code=None,
        placed_by=cause.event_id,
        placed_at=cause.now,
        moved_by=cause.event_id,
    )


def _terms(reservation: Reservation) -> tuple[object, ...]:
    each = reservation
    return (each.owner, each.side, each.asked, each.minimum, each.keep)


def _too_little(asked: Reservation, amount: int, available: int) -> RefusalCode | None:
    """Why this much cannot be reserved. Of all that is available so much stays, and the rest must be worth it."""
    if amount <= 0 or amount > available:
        return "insufficient_funds"
    if asked.asked is None and amount < (asked.minimum or 0):
        return "below_minimum"
    return None


def _release(state: Wallets, event: PayoutReleased, cause: Cause) -> Decision:
    """What has left stays away: a late yes and a cancel have crossed."""
    reservation = state.reservations.get(event.payout_id)
    if reservation is None or reservation.state != "reserved":
        return NOTHING
    if reservation.side != (event.seller_account, event.currency):
        raise Permanent("reservation_differs", f"{event.payout_id} was placed on other terms")
    return _move(state, reservation, "released", WHOLE, cause)


# ── what the provider has said ───────────────────────────────────────────────────────────────────────────────────────


def _settle(state: Wallets, event: PayoutSubmitted, cause: Cause) -> Decision:
    """The money is out. Where its reservation was given up before, available pays, below zero if need be."""
    reservation = _reserved_for(state, event)
    if _has_moved(state, event, "settled"):
        return NOTHING
    if reservation.state not in ("reserved", "released", "returned"):
        raise _contradiction(reservation, event)
    return _move(state, reservation, "settled", event.part, cause)


def _refused_by_provider(state: Wallets, event: PayoutFailed, cause: Cause) -> Decision:
    """A clear no: it never left. A reservation ends once, so this changes nothing where it has ended before."""
    reservation = _reserved_for(state, event)
    if reservation.state == "reserved":
        return _move(state, reservation, "released", WHOLE, cause)
    if reservation.state == "released" or (event.payout_id, "released", WHOLE) in state.movements:
        return NOTHING
    raise _contradiction(reservation, event)


def _return(state: Wallets, event: PayoutFailed | PayoutReturned, cause: Cause) -> Decision:
    """The seller gets the whole amount again, whatever the bank has kept of it."""
    reservation = _reserved_for(state, event)
    if _has_moved(state, event, "returned"):
        return NOTHING
    if reservation.state != "settled":
        raise _contradiction(reservation, event)
    return _move(state, reservation, "returned", event.part, cause)


def _reserved_for(state: Wallets, event: PayoutExecuted) -> Reservation:
    """Errors: Permanent `unknown_reservation`, `reservation_differs`."""
    found = state.reservations.get(event.payout_id)
    if found is None:
        raise Permanent("unknown_reservation", event.payout_id)
    if (found.side, found.amount) != ((event.seller_account, event.amount.currency), event.amount.minor):
        raise Permanent("reservation_differs", f"{event.payout_id} was reserved on other terms")
    return found


def _has_moved(state: Wallets, event: PayoutExecuted, kind: PayoutKind) -> bool:
    """Whether the same fact has moved the wallet already, under another event id."""
    return (event.payout_id, kind, event.part) in state.movements


def _contradiction(reservation: Reservation, event: PayoutExecuted) -> Permanent:
    name = type(event).__name__
    return Permanent("contradiction", f"{name} {event.part} of {event.payout_id}, which is {reservation.state}")


# ── movements ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _move(state: Wallets, before: Reservation, kind: PayoutKind, part: str, cause: Cause) -> Decision:
    """The movement that brings a reservation to its next state, which is called as the movement."""
    minor, to_reserved = _pockets(before, kind)
    amount = Money(minor, before.currency)
    wallet = state.wallets[before.side].add(amount, to_reserved=to_reserved)
    movement = Movement(
        movement_id_of(cause),
        kind,
        before.payout_id,
        part,
        None,
        cause.event_id,
        cause.now,
        amount,
        wallet,
        to_reserved=to_reserved,
    )
    version = before.version + (kind != "reserved")
    reservation = replace(before, state=kind, moved_by=cause.event_id, version=version)
    said = _announce(movement, kind, before)
    return Decision((wallet, movement, reservation), (said,), revision=version)


def _pockets(reservation: Reservation, kind: PayoutKind) -> tuple[int, int]:
    """By how much the wallet's total changes, and its `reserved`; the rest is `available`."""
    amount = reservation.amount
    match kind:
        case "reserved":
            return 0, amount
        case "released":
            return 0, -amount
        case "settled":
            return -amount, -amount if reservation.state == "reserved" else 0
        case "returned":
            return amount, 0
        case _:
            assert_never(kind)


def _announce(movement: Movement, kind: PayoutKind, before: Reservation) -> ReservationMoved:
    amount = Money(before.amount, before.currency)
    said: dict[str, Any] = {"payout_id": before.payout_id, "amount": amount, **after(movement)}
    match kind:
        case "reserved":
            return FundsReserved(**said)
        case "released":
            return ReservationReleased(**said)
        case "settled":
            return ReservationSettled(**said, late=None if before.state == "reserved" else True)
        case "returned":
            return FundsReturned(**said)
        case _:
            assert_never(kind)
