"""(wallets, an execution, a correction, a timer or an event about a pay-out) → movements. Pure (docs/books.md)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, assert_never

from consumers.wallet import correcting, reserving
from consumers.wallet.holding import AVAILABLE, Holding, held_of, taken_from
from consumers.wallet.wallet import Kind, Movement, Purchase, Wallets, after, movement_id_of
from schemas.corrections import CorrectionApproved
from schemas.errors import Permanent
from schemas.events import (
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentDeclined,
    PaymentPending,
    TimerFired,
    WalletCredited,
)
from schemas.money import Money
from schemas.money_back import (
    AuthorisationExpired,
    CaptureFailed,
    CaptureReversed,
    ChargebackLost,
    ChargebackOpened,
    ChargebackWon,
    DisputeInquiry,
    Execution,
    FundsAvailable,
    PaymentAuthorised,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    RefundReversed,
    VoidFailed,
    WalletDebited,
)
from schemas.payouts import PayoutEvent, PayoutExecution, PayoutOrder
from topics.runtime.shape.consumer import Cause, Decision, Timer

Heard = Execution | PayoutOrder | PayoutExecution | CorrectionApproved | TimerFired

NOTHING = Decision()


class Effect(NamedTuple):
    """The movement of a seller's wallet that follows from a fact."""

    kind: Kind
    part: str
    amount: Money


def effect_of(event: Execution) -> Effect | None:
    """The effect of an event on its seller's wallet; None if no money has moved."""
    match event:
        case PaymentCaptured():
            return Effect("captured", event.part, event.net)
        case CaptureReversed():
            return Effect("capture_reversed", event.part, -event.share.net)
        case PaymentRefunded():
            return Effect("refunded", event.part, -event.share.net)
        case RefundReversed():
            return Effect("refund_reversed", event.part, event.share.net)
        case ChargebackOpened():
            return Effect("chargeback_opened", event.part, -_with_fee(event))
        case ChargebackWon():
            return Effect("chargeback_won", event.part, _with_fee(event))
        case PaymentDeclined() | PaymentPending() | OutcomeUnknown() | OutcomeUnresolved():
            return None
        case PaymentAuthorised() | PaymentVoided() | AuthorisationExpired():
            return None
        case CaptureFailed() | VoidFailed() | RefundFailed():
            return None
        case DisputeInquiry() | ChargebackLost():
            return None
        case _:
            assert_never(event)


def _with_fee(event: ChargebackOpened | ChargebackWon) -> Money:
    """The amount that a chargeback moves in the seller's wallet: with the dispute fee if the seller bears it."""
    fee = event.fee_of_seller
    return event.share.net if fee is None else event.share.net + fee


def decide(state: Wallets, event: Heard, cause: Cause) -> Decision:
    """Move each fact's money once, whatever the balance: facts from outside are always posted.

    Errors: Permanent `movement_differs`, `unknown_timer`; of pay-outs those of `reserving`.
    """
    if isinstance(event, TimerFired):
        return _release(state, event, cause)
    if isinstance(event, CorrectionApproved):
        return correcting.correct(state, event, cause)
    if isinstance(event, PayoutEvent):
        return reserving.decide(state, event, cause)
    effect = effect_of(event)
    return _move(state, event, effect, cause) if effect is not None else NOTHING


def _move(state: Wallets, event: Execution, effect: Effect, cause: Cause) -> Decision:
    """Errors: Permanent `movement_differs` if this part of the order has moved on other terms."""
    kind, part, amount = effect
    before = state.movements.get((event.payment_order_id, kind, part))
    if before is not None:
        return _repeated(before, event, amount)
    movement_id = movement_id_of(cause)
    held, to_pending = _held(state, event, effect, movement_id, cause.now)
    wallet = state.wallets[event.seller_account, amount.currency].add(amount, to_pending)
    movement = Movement(
        movement_id,
        kind,
        event.payment_order_id,
        part,
        event.checkout_id,
        cause.event_id,
        cause.now,
        amount,
        wallet,
        to_pending,
    )
    said = _announce(movement, kind)
    timers = [Timer(AVAILABLE, wallet.name, each.bucket) for each in held] if kind == "captured" else ()
    return Decision((wallet, movement, *held, *_purchases(state, event)), (said,), revision=1, timers=timers)


def _held(
    state: Wallets, event: Execution, effect: Effect, movement_id: str, now: datetime
) -> tuple[tuple[Holding, ...], int]:
    """The holdings that a fact makes or lessens, and by how much `pending` grows."""
    if isinstance(event, PaymentCaptured):
        if event.hold_days is None and event.reserve_share is None:
            return (), 0
        made = tuple(held_of(event, movement_id, now))
        return made, sum(each.remaining for each in made)
    if effect.amount.minor >= 0:
        return (), 0
    lessened = tuple(taken_from(_open_holdings(state, event, effect), -effect.amount.minor))
    return lessened, sum(each.remaining - state.holdings[each.key].remaining for each in lessened)


def _open_holdings(state: Wallets, event: Execution, effect: Effect) -> list[Holding]:
    """The order's; of a capture that is taken back its own first."""
    held = state.holdings.of_order(event.payment_order_id)
    if effect.kind != "capture_reversed":
        return held
    own = state.movements.get((event.payment_order_id, "captured", effect.part))
    return sorted(held, key=lambda each: own is None or each.movement_id != own.movement_id)


def _release(state: Wallets, event: TimerFired, cause: Cause) -> Decision:
    """What is due becomes available: one movement for all of it. A negative balance is paid off by that."""
    if event.kind != AVAILABLE:
        raise Permanent("unknown_timer", event.kind)
    seller_account, _, currency = event.timer_key.rpartition(":")
    side = (seller_account, currency)
    again = (Timer(AVAILABLE, event.timer_key, event.due_at),) if side in state.unread else ()
    due = state.holdings.due(side, event.due_at)
    if not due:
        return Decision(timers=again)
    minor = sum(holding.remaining for holding in due)
    wallet = state.wallets[side].add(Money.zero(currency), -minor)
    movement = Movement(
        movement_id_of(cause),
        AVAILABLE,
        wallet.name,
        cause.event_id,
        None,
        cause.event_id,
        cause.now,
        Money.zero(currency),
        wallet,
        -minor,
    )
    released = [replace(holding, released_by=movement.movement_id) for holding in due]
    said = _funds_available(movement, event.due_at)
    return Decision((wallet, movement, *released), (said,), revision=1, timers=again)


def _repeated(before: Movement, event: Execution, amount: Money) -> Decision:
    """Ignore the same fact under another event id. Errors: Permanent `movement_differs`."""
    if (before.checkout_id, before.after.seller_account, before.amount) == (
        event.checkout_id,
        event.seller_account,
        amount,
    ):
        return NOTHING
    raise Permanent(
        "movement_differs", f"{event.payment_order_id} has moved in {before.movement_id} ({before.kind}) on other terms"
    )


def _purchases(state: Wallets, event: Execution) -> tuple[Purchase, ...]:
    match event:
        case PaymentCaptured():
            return (Purchase(event.buyer_account, event.gross, orders=int(_is_first(state, event))),)
        case CaptureReversed():
            return (Purchase(event.buyer_account, -event.share.gross, orders=0),)
        case PaymentRefunded():
            return (_given_back(event, event.share.gross),)
        case RefundReversed():
            return (_given_back(event, -event.share.gross),)
        case _:
            return ()


def _is_first(state: Wallets, event: PaymentCaptured) -> bool:
    """Whether this is the order's first capture: an order counts once in its buyer's totals."""
    return (event.turn or 1) == 1 and event.payment_order_id not in state.captured_in_parts


def _given_back(event: PaymentRefunded | RefundReversed, amount: Money) -> Purchase:
    return Purchase(event.buyer_account, Money.zero(amount.currency), orders=0, refunded=amount.minor)


def _announce(movement: Movement, kind: Kind) -> WalletCredited | WalletDebited:
    """The movement's event. A debit's amount is what left the wallet: above zero, unless the share's net is a cent below."""
    part = movement.part
    moved: dict[str, Any] = {
        "payment_order_id": movement.subject_id,
        "checkout_id": movement.checkout_id,
        **after(movement),
    }
    match kind:
        case "refunded" | "capture_reversed" | "chargeback_opened":
            return WalletDebited(**moved, amount=-movement.amount, reason=kind, part=part)
        case "refund_reversed" | "chargeback_won":
            return WalletCredited(**moved, amount=movement.amount, reason=kind, part=part)
        case "captured":
            return WalletCredited(**moved, amount=movement.amount, part=part or None)
        case _:
            assert_never(kind)


def _funds_available(movement: Movement, until: datetime) -> FundsAvailable:
    amount = Money(-movement.to_pending, movement.after.currency)
    return FundsAvailable(wallet=movement.subject_id, amount=amount, until=until, **after(movement))
