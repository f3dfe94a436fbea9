"""Requests and events about them, and a small fold like the runtime's, for the tests of payments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from consumers.payments.decide import Heard, decide
from consumers.payments.payment import Checkout, Order, Payment, Payments
from consumers.payments.policy import Policy
from schemas.envelope import EventId
from schemas.events import (
    AnyEvent,
    OrderPlaced,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRequested,
    RiskCleared,
    RiskHeld,
    RiskRefused,
    TimerFired,
    WalletCredited,
)
from schemas.journals import JournalPosted, LedgerEntry
from schemas.money import Money
from topics.runtime.shape.consumer import Cause, Decision

Said = TypeVar("Said", bound=AnyEvent)

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
POLICY = Policy(deadline_s=3600, contents_key=b"k" * 32)


def requested(
    checkout_id: str = "c1", orders: int = 2, owner: str | None = "shop", prefix: str = "o", **more: Any
) -> PaymentRequested:
    """Orders o1, o2, … of 10.00 EUR with a fee of 1.00."""
    asked = {
        "checkout_id": checkout_id,
        "owner": owner,
        "buyer_info": {"buyer_account": "b1", "name": "Ada Lovelace", "country": "GB"},
        "payment_method": {"token": "tok_visa"},
        "payment_orders": tuple(
            {
                "payment_order_id": f"{prefix}{number}",
                "seller_account": f"s{number}",
                "amount": "10.00",
                "currency": "EUR",
                "platform_fee": "1.00",
            }
            for number in range(1, orders + 1)
        ),
    }
    return PaymentRequested.model_validate(asked | more)


def cleared(checkout_id: str = "c1") -> RiskCleared:
    return RiskCleared(checkout_id=checkout_id, rule="none", list_version="none", score=0)


def refused(checkout_id: str = "c1", rule: str = "listed_name") -> RiskRefused:
    return RiskRefused(checkout_id=checkout_id, rule=rule, list_version="none", score=100)


def held(checkout_id: str = "c1", rule: str = "amount_review") -> RiskHeld:
    return RiskHeld(checkout_id=checkout_id, rule=rule, list_version="none", score=0)


def deadline_came(checkout_id: str = "c1") -> TimerFired:
    return TimerFired(kind="deadline", timer_key=checkout_id, due_at=NOW + timedelta(seconds=POLICY.deadline_s))


def captured(placed: OrderPlaced) -> PaymentCaptured:
    return PaymentCaptured.model_validate(_outcome(placed, psp_reference="np_1", scheme="Visa"))


def declined(placed: OrderPlaced, code: str = "do_not_honor") -> PaymentDeclined:
    return PaymentDeclined.model_validate(_outcome(placed, code=code))


def unknown(placed: OrderPlaced) -> OutcomeUnknown:
    return OutcomeUnknown.model_validate(_outcome(placed, reason="timeout"))


def unresolved(placed: OrderPlaced) -> OutcomeUnresolved:
    return OutcomeUnresolved.model_validate(_outcome(placed, reason="still_unknown"))


def _outcome(placed: OrderPlaced, **more: str) -> dict[str, object]:
    return {**placed.terms(), "psp": "northpay", "call_id": "0" * 32, **more}


def credited(placed: OrderPlaced) -> WalletCredited:
    return WalletCredited(
        payment_order_id=placed.payment_order_id,
        checkout_id=placed.checkout_id,
        movement_id="m1",
        seller_account=placed.seller_account,
        amount=placed.net,
        available=placed.net,
        pending=Money.zero("EUR"),
        reserved=Money.zero("EUR"),
        wallet_version=1,
    )


def posted(placed: OrderPlaced) -> JournalPosted:
    return JournalPosted(
        journal_id="j1",
        template="captured",
        payment_order_id=placed.payment_order_id,
        checkout_id=placed.checkout_id,
        entries=(
            LedgerEntry(account="psp:northpay:receivable", direction="debit", amount=placed.gross),
            LedgerEntry(account="platform:revenue", direction="credit", amount=placed.gross),
        ),
    )


class Story:
    """Events folded one after another, as the runtime does within a batch."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.state = Payments()
        self.said: list[AnyEvent] = []
        self.changes: list[Any] = []
        self.policy = policy
        self._count = 0

    def hears(self, *events: Heard, after: timedelta = timedelta(0), upstream: str | None = None) -> Decision:
        """→ the last decision."""
        decision = Decision()
        for event in events:
            self._count += 1
            now = NOW + after
            cause = Cause(EventId(f"cause-{self._count}"), "topic", upstream, now, int(now.timestamp() * 1000))
            decision = decide(self.state, event, cause, self.policy)
            for change in decision.changes:
                self.state.fold(change)  # type: ignore[arg-type]
            self.changes += decision.changes
            self.said += decision.events
        return decision

    def all_said(self, kind: type[Said]) -> list[Said]:
        return [event for event in self.said if isinstance(event, kind)]

    def placed(self) -> list[OrderPlaced]:
        return self.all_said(OrderPlaced)

    def payment(self, checkout_id: str = "c1") -> Payment:
        return self.state.payments[checkout_id]

    def order(self, payment_order_id: str) -> Order:
        return self.state.orders[payment_order_id]

    def checkouts(self) -> Sequence[Checkout]:
        return [change for change in self.changes if isinstance(change, Checkout)]


def placed_story(orders: int = 2) -> tuple[Story, list[OrderPlaced]]:
    story = Story()
    story.hears(requested(orders=orders), cleared())
    return story, story.placed()
