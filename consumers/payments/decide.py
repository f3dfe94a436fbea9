"""(a payment, an event about it) → its changes and events. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import assert_never

import orjson

from consumers.payments import asking, booking, disputing, operating
from consumers.payments.advancing import NOTHING, advance, order_moved, order_of, payment_of, step_of_order
from consumers.payments.booking import is_money_back
from consumers.payments.payment import (
    Checkout,
    Fact,
    Order,
    OrderTerms,
    Payment,
    Payments,
    Redirect,
    Refusal,
    SellerHeard,
    Step,
)
from consumers.payments.policy import Policy, fee_of
from schemas.envelope import trace_of
from schemas.errors import Permanent
from schemas.events import (
    CaptureRequested,
    ChargeOutcome,
    NextAction,
    OperationRequested,
    OrderDetail,
    OrderPlaced,
    OrderStatus,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentDeclined,
    PaymentPending,
    PaymentRefused,
    PaymentRequested,
    PaymentStatus,
    PaymentStatusChanged,
    RefundRequested,
    RiskCleared,
    RiskHeld,
    RiskRefused,
    ScreeningRequested,
    TimerFired,
    VoidRequested,
    WalletCredited,
)
from schemas.journals import JournalPosted
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
    WalletCorrected,
    WalletDebited,
)
from schemas.requests import RequestedOrder, contents
from schemas.sellers import SellerSet
from topics.runtime.shape.consumer import Broken, Cause, Decision, Timer

Booking = WalletCredited | JournalPosted
Heard = (
    PaymentRequested
    | CaptureRequested
    | VoidRequested
    | RefundRequested
    | Broken
    | RiskCleared
    | RiskRefused
    | RiskHeld
    | TimerFired
    | Execution
    | Booking
    | WalletDebited
    | SellerSet
    | FundsAvailable
    | WalletCorrected
)

UNDECIDED: tuple[PaymentStatus, ...] = ("received", "in_review")  # by risk
DEADLINE = "deadline"  # kind of the timer that ends a payment in review

_WAITING_RANK: dict[str, int] = {
    "": 0,
    "unknown": 1,
    "pending": 2,
    "action_required": 3,
    "unresolved": 4,
    "authorised": 5,
}  # an older status never replaces a newer one


def decide(state: Payments, event: Heard, cause: Cause, policy: Policy) -> Decision:
    """Errors: Permanent if an event is about an unknown payment or order, or contradicts what is settled."""
    match event:
        case WalletCredited() | JournalPosted():
            return booking.book(state, event, cause) if is_money_back(event) else _book(state, event, cause)
        case PaymentCaptured() | PaymentPending() | OutcomeUnknown() | OutcomeUnresolved():
            return operating.happen(state, event, cause) if is_money_back(event) else _execute(state, event, cause)
        case PaymentDeclined():
            return _execute(state, event, cause)
        case PaymentRequested():
            return _request(state, event, cause, policy)
        case CaptureRequested() | VoidRequested() | RefundRequested():
            return asking.request(state, event, _sender(event, cause), cause, policy.contents_key)
        case RiskCleared():
            return _clear(state, event, cause, policy)
        case RiskRefused():
            return _refuse_by_risk(state, event, cause)
        case RiskHeld():
            return _hold(state, event, cause)
        case TimerFired():
            return _expire(state, event, cause)
        case FundsAvailable() | WalletCorrected():
            return NOTHING
        case SellerSet():
            return Decision([SellerHeard(event, cause.event_id, cause.now)], revision=event.seller_revision)
        case Broken():
            return _refuse_broken(event, cause)
        case WalletDebited():
            return booking.book(state, event, cause)
        case DisputeInquiry() | ChargebackOpened() | ChargebackWon() | ChargebackLost():
            return disputing.dispute(state, event, cause)
        case (
            PaymentAuthorised()
            | CaptureFailed()
            | CaptureReversed()
            | PaymentVoided()
            | VoidFailed()
            | AuthorisationExpired()
            | PaymentRefunded()
            | RefundFailed()
            | RefundReversed()
        ):
            return operating.happen(state, event, cause)
        case _:
            assert_never(event)


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _request(state: Payments, event: PaymentRequested, cause: Cause, policy: Policy) -> Decision:
    owner = _sender(event, cause)
    if cause.upstream is not None and event.owner is not None:
        return _refuse(
            event.checkout_id, owner, "owner_claimed", "the topic names the owner, the event must not", cause
        )
    if cause.upstream is not None and event.deadline_defaulted is not None:
        return _refuse(event.checkout_id, owner, "deadline_claimed", "the HTTP door alone fixes a deadline", cause)
    if cause.upstream is not None and event.received_at is not None:
        return _refuse(event.checkout_id, owner, "time_claimed", "the HTTP door alone says when it took it", cause)
    if not policy.allows(event.payment_method.return_url):
        detail = "payment_method.return_url: the scheme must be https"
        return _refuse(event.checkout_id, owner, "invalid_url", detail, cause)
    asked = contents_hash(event, policy.contents_key)
    known = state.payments.get(event.checkout_id)
    if known is not None:
        return _again(known, owner, asked, cause)
    taken = [o.payment_order_id for o in event.payment_orders if o.payment_order_id in state.orders]
    if taken:
        return _refuse(event.checkout_id, owner, "id_taken", f"payment_order_id {taken[0]}", cause)
    for seller_account in [order.seller_account for order in event.payment_orders]:
        if why := policy.refusal(state.sellers.get(seller_account)):
            return _refuse(event.checkout_id, owner, why, f"seller_account {seller_account}", cause)
    return _receive(state, event, owner, asked, cause, policy)


def _sender(event: PaymentRequested | OperationRequested, cause: Cause) -> str:
    """The request's owner: named by an upstream's own topic, or by our doors in the event. Errors: Permanent `no_owner`."""
    owner = event.owner if cause.upstream is None else cause.upstream
    if owner is None:
        raise Permanent("no_owner", "neither the topic nor the event names an owner", ours=False)
    return owner


def contents_hash(event: PaymentRequested, key: bytes) -> str:
    """The same hash for equal contents (`schemas.requests.contents` defines equal), whichever door they came by."""
    asked = contents(event)
    if event.deadline_defaulted:
        asked.pop("deadline", None)
    return blake2b(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS), key=key, digest_size=16).hexdigest()


def _again(known: Payment, owner: str, asked: str, cause: Cause) -> Decision:
    """The decision about a request for a checkout that exists. Another owner's refusal tells nothing of it."""
    if known.owner != owner:
        return _refuse(known.checkout_id, owner, "id_taken", "checkout_id", cause)
    if known.contents != asked:
        return _refuse(known.checkout_id, owner, "checkout_conflict", "this checkout_id has other contents", cause)
    return NOTHING


def _receive(
    state: Payments, event: PaymentRequested, owner: str, asked: str, cause: Cause, policy: Policy
) -> Decision:
    checkout = _checkout(state, event, cause, policy)
    order_ids = tuple(terms.payment_order_id for terms in checkout.terms)
    payment = Payment(event.checkout_id, owner, asked, order_ids=order_ids)
    orders = [Order(id_, event.checkout_id) for id_ in payment.order_ids]
    step = Step(event.checkout_id, None, None, "received", "", checkout.received_at, cause.event_id)
    return Decision([checkout, payment, *orders, step], [_screening(event, owner, checkout)], revision=payment.version)


def _checkout(state: Payments, event: PaymentRequested, cause: Cause, policy: Policy) -> Checkout:
    return Checkout(
        checkout_id=event.checkout_id,
        buyer_account=event.buyer_info.buyer_account,
        token=event.payment_method.token,
        deadline=event.deadline or cause.now + timedelta(seconds=policy.deadline_s),
        terms=tuple(_terms(order, state.sellers.get(order.seller_account)) for order in event.payment_orders),
        received_at=event.received_at or cause.now,
        event_id=cause.event_id,
        description=event.description,
        metadata=event.metadata,
        trace=trace_of(cause.traceparent, cause.event_id)[0],
        capture="manual" if event.capture == "manual" else None,
        return_url=event.payment_method.return_url,
    )


def _terms(order: RequestedOrder, seller: SellerSet | None) -> OrderTerms:
    return OrderTerms(order.payment_order_id, order.seller_account, order.gross, fee_of(order, seller), seller)


def _screening(event: PaymentRequested, owner: str, checkout: Checkout) -> ScreeningRequested:
    totals: dict[str, Money] = {}
    for terms in checkout.terms:
        so_far = totals.get(terms.gross.currency)
        totals[terms.gross.currency] = terms.gross if so_far is None else so_far + terms.gross
    buyer = event.buyer_info
    return ScreeningRequested(
        checkout_id=event.checkout_id,
        owner=owner,
        buyer_account=buyer.buyer_account,
        name=buyer.name,
        email=buyer.email,
        country=buyer.country,
        totals=tuple(totals.values()),
        sellers=tuple(dict.fromkeys(terms.seller_account for terms in checkout.terms)),
    )


def _refuse_broken(broken: Broken, cause: Cause) -> Decision:
    """Refuse a malformed request, by the kind that it asked for: a malformed refund never refuses a payment."""
    owner = cause.upstream or broken.owner
    if owner is None:
        raise Permanent("malformed", f"{broken.field}: {broken.detail}; and no owner is known to tell", ours=False)
    if issubclass(broken.kind, OperationRequested):
        return asking.refuse_broken(broken, broken.kind.kind, owner, cause)
    if broken.kind is not PaymentRequested:
        raise Permanent("malformed", f"{broken.field}: {broken.detail}; and this type has no refusal", ours=False)
    return _refuse(broken.subject_id, owner, broken.code, f"{broken.field}: {broken.detail}", cause)


def _refuse(checkout_id: str, owner: str, code: str, detail: str, cause: Cause) -> Decision:
    """Publish and store a refusal; nothing that exists under these ids changes."""
    said = PaymentRefused(checkout_id=checkout_id, owner=owner, code=code, detail=detail)
    return Decision([Refusal(checkout_id, owner, code, detail, cause.now, cause.event_id)], [said])


# ── risk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _clear(state: Payments, event: RiskCleared, cause: Cause, policy: Policy) -> Decision:
    payment = payment_of(state, event.checkout_id)
    if payment.status == "refused":
        raise Permanent("contradiction", "cleared after it was refused")
    if payment.status not in UNDECIDED:
        return NOTHING
    checkout = state.checkouts[event.checkout_id]
    if cause.now >= checkout.deadline:
        return _move_all(state, payment, cause, to="FAILED", detail="expired", status="failed")
    moved = _move_all(state, payment, cause, to="EXECUTING", detail="", status="executing")
    placed = [_place(payment, checkout, terms, cause.now, policy) for terms in checkout.terms]
    return moved._replace(events=[*placed, *moved.events])


def _place(payment: Payment, checkout: Checkout, terms: OrderTerms, now: datetime, policy: Policy) -> OrderPlaced:
    """The order to place. `available_on` is now; if the terms hold money back, its capture says until when."""
    return OrderPlaced(
        payment_order_id=terms.payment_order_id,
        checkout_id=payment.checkout_id,
        owner=payment.owner,
        seller_account=terms.seller_account,
        buyer_account=checkout.buyer_account,
        gross=terms.gross,
        fee=terms.fee,
        net=terms.net,
        available_on=now,
        deadline=checkout.deadline,
        token=checkout.token,
        capture=checkout.capture,
        return_url=checkout.return_url,
        **policy.terms(terms.seller),
    )


def _refuse_by_risk(state: Payments, event: RiskRefused, cause: Cause) -> Decision:
    payment = payment_of(state, event.checkout_id)
    if payment.status == "refused" or _has_expired(state, payment):
        return NOTHING
    if payment.status not in UNDECIDED:
        raise Permanent("contradiction", f"refused by risk when it was {payment.status}")
    moved = _move_all(state, payment, cause, to="FAILED", detail="refused", status="refused")
    refused = PaymentRefused(
        checkout_id=payment.checkout_id, owner=payment.owner, code=event.rule, detail="refused by risk"
    )
    return moved._replace(events=[refused, *moved.events])


def _hold(state: Payments, event: RiskHeld, cause: Cause) -> Decision:
    """A person is asked. The payment's deadline goes on: it ends the waiting if nobody has decided by then."""
    payment = payment_of(state, event.checkout_id)
    if payment.status != "received":
        return NOTHING
    held = _move_all(state, payment, cause, to="NOT_STARTED", detail="held", status="in_review")
    return held._replace(timers=[Timer(DEADLINE, payment.checkout_id, state.checkouts[event.checkout_id].deadline)])


def _expire(state: Payments, event: TimerFired, cause: Cause) -> Decision:
    """Nobody has decided in time. A payment that is decided has nothing left to expire."""
    payment = payment_of(state, event.timer_key)
    if payment.status != "in_review":
        return NOTHING
    return _move_all(state, payment, cause, to="FAILED", detail="expired", status="failed")


def _has_expired(state: Payments, payment: Payment) -> bool:
    """Whether the deadline came before any order was placed."""
    return payment.status == "failed" and all(state.orders[id_].detail == "expired" for id_ in payment.order_ids)


def _move_all(
    state: Payments, payment: Payment, cause: Cause, *, to: OrderStatus, detail: OrderDetail, status: PaymentStatus
) -> Decision:
    """Change all orders of a payment that risk has not cleared at once."""
    before = [state.orders[id_] for id_ in payment.order_ids]
    orders = [order._replace(status=to, detail=detail, version=order.version + 1) for order in before]
    steps = [step_of_order(old, new, detail, cause) for old, new in zip(before, orders, strict=True)]
    return advance(payment, orders, status, [*orders, *steps], cause)


# ── executions, wallet and ledger: any of them may come first ────────────────────────────────────────────────────────


def _book(state: Payments, event: Booking, cause: Cause) -> Decision:
    """Note that the wallet or the ledger has booked the order, which may be consumed before the capture."""
    payment = payment_of(state, event.checkout_id)
    order = order_of(state, payment, event.payment_order_id)
    if isinstance(event, WalletCredited):
        moved = order._replace(wallet_updated=True, version=order.version + 1)
    else:
        moved = order._replace(ledger_updated=True, version=order.version + 1)
    if (moved.wallet_updated, moved.ledger_updated) == (order.wallet_updated, order.ledger_updated):
        return NOTHING
    return order_moved(state, payment, moved, [moved], cause)


def _execute(state: Payments, event: ChargeOutcome, cause: Cause) -> Decision:
    payment = payment_of(state, event.checkout_id)
    order = order_of(state, payment, event.payment_order_id)
    if order.status == "NOT_STARTED":
        raise Permanent("not_placed", "an outcome for an order that was never placed")
    match event:
        case PaymentCaptured():
            return _capture(state, payment, order, event, cause)
        case PaymentDeclined():
            return _decline(state, payment, order, event, cause)
        case PaymentPending():
            return _pend(state, payment, order, event, cause)
        case OutcomeUnknown():
            return _wait(state, payment, order, "unknown", cause)
        case OutcomeUnresolved():
            return _wait(state, payment, order, "unresolved", cause)
        case _:
            assert_never(event)


def _capture(state: Payments, payment: Payment, order: Order, event: PaymentCaptured, cause: Cause) -> Decision:
    if order.status == "SUCCESS":
        return NOTHING
    if order.status == "FAILED" and event.instead_of != "declined":
        raise Permanent("contradiction", f"captured after it was {order.detail}")
    moved = order._replace(status="SUCCESS", detail="", version=order.version + 1, decline_code=None)
    fact = Fact(order.payment_order_id, event.psp, event.scheme, event.psp_reference, cause.now)
    return order_moved(state, payment, moved, [moved, fact, step_of_order(order, moved, "", cause)], cause)


def _decline(state: Payments, payment: Payment, order: Order, event: PaymentDeclined, cause: Cause) -> Decision:
    if order.status == "FAILED":
        return NOTHING
    if order.status == "SUCCESS":
        raise Permanent("contradiction", "declined after it was captured")
    detail: OrderDetail = "expired" if event.code == "deadline_passed" else "declined"
    code = event.code if detail == "declined" else None
    moved = order._replace(status="FAILED", detail=detail, version=order.version + 1, decline_code=code)
    fact = Fact(order.payment_order_id, event.psp, event.scheme, None, None)
    return order_moved(state, payment, moved, [moved, fact, step_of_order(order, moved, event.code, cause)], cause)


def _pend(state: Payments, payment: Payment, order: Order, event: PaymentPending, cause: Cause) -> Decision:
    """Wait for the PSP; for the buyer, if the PSP has a page to pay on."""
    if event.redirect_url is None:
        return _wait(state, payment, order, "pending", cause)
    if not _is_later(order, "action_required"):
        return NOTHING
    moved = order._replace(detail="action_required", version=order.version + 1)
    page = Redirect(order.payment_order_id, event.redirect_url, event.expires_at)
    acting = replace(moved.state(), next_action=NextAction(page.redirect_url, page.expires_at))
    said = PaymentStatusChanged(
        checkout_id=payment.checkout_id,
        owner=payment.owner,
        status=payment.status,
        payment_orders=tuple(
            acting if id_ == page.payment_order_id else state.orders[id_].state() for id_ in payment.order_ids
        ),
    )
    step = step_of_order(order, moved, moved.detail, cause)
    return order_moved(state, payment, moved, [moved, page, step], cause, first=[said])


def _is_later(order: Order, detail: OrderDetail) -> bool:
    """Whether the order waits, and not yet for this."""
    return order.status == "EXECUTING" and _WAITING_RANK[order.detail] < _WAITING_RANK[detail]


def _wait(state: Payments, payment: Payment, order: Order, detail: OrderDetail, cause: Cause) -> Decision:
    """Keep the order EXECUTING while its outcome is open; its detail says why."""
    if not _is_later(order, detail):
        return NOTHING
    moved = order._replace(detail=detail, version=order.version + 1)
    return order_moved(state, payment, moved, [moved, step_of_order(order, moved, detail, cause)], cause)
