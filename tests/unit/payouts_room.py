"""The room of pay-outs in memory: hears events by hand, remembers what it says and which timers it sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from consumers.payouts.decide import Heard, decide
from consumers.payouts.payout import Approval, Change, HistoryLine, Payout, Payouts, Release
from consumers.payouts.policy import Policy
from schemas.conversions import Quote
from schemas.envelope import derive_id
from schemas.events import AnyEvent, TimerFired
from schemas.money import Money
from schemas.payouts import (
    FundsReserved,
    PayoutApproved,
    PayoutCancelRequested,
    PayoutFailed,
    PayoutNotSent,
    PayoutPaid,
    PayoutRequested,
    PayoutReturned,
    PayoutRiskCleared,
    PayoutRiskHeld,
    PayoutRiskRefused,
    PayoutStatusChanged,
    PayoutSubmitted,
    PayoutUnknown,
    PayoutUnresolved,
    ReservationRefused,
    SealedDestination,
)
from schemas.sellers import SellerSet
from topics.payout_accounts import PayoutProviderAccount
from topics.payout_rules import PayoutRules
from topics.runtime.shape.consumer import Cause, Decision, Timer

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
IBAN = SealedDestination("iban", "DE", "DE89 … 3000", "0123456789abcdef", "c2VhbGVk")
HARBOUR = PayoutProviderAccount(
    name="harbour",
    adapter="harbour",
    url="http://harbour",
    api_key="k",
    bank_account="main",
    countries=frozenset({"DE"}),
)
NOBODY: dict[str, Any] = {"approvals": [{"currency": "EUR", "above": "1000.00", "persons": 1}]}
Said = TypeVar("Said", bound=AnyEvent)


def euro(minor: int) -> Money:
    return Money(minor, "EUR")


def seller(**changes: object) -> SellerSet:
    """Registered by shop, with a German account, and without a recent change of it."""
    terms: dict[str, object] = {
        "seller_account": "s-1",
        "owner": "shop",
        "seller_revision": 1,
        "state": "active",
        "destination": IBAN,
        "destination_changed_by": "shop (key 1a2b3c4d)",
        "destination_changed_at": NOW - 30 * DAY,
    }
    return SellerSet(**{**terms, **changes})  # type: ignore[arg-type]


def requested(payout_id: str = "po-1", **changes: object) -> PayoutRequested:
    """EUR 120.00 by HTTP, asked for by a key of shop."""
    asked: dict[str, object] = {
        "payout_id": payout_id,
        "seller_account": "s-1",
        "amount": "120.00",
        "currency": "EUR",
        "owner": "shop",
        "requested_by": "shop (key 1a2b3c4d)",
    }
    return PayoutRequested(**{**asked, **changes})  # type: ignore[arg-type]


def cancelled(payout_id: str = "po-1", owner: str | None = "shop") -> PayoutCancelRequested:
    return PayoutCancelRequested(payout_id=payout_id, owner=owner)


Answer = Literal["cleared", "refused", "held"]
_ANSWERS = {"cleared": PayoutRiskCleared, "refused": PayoutRiskRefused, "held": PayoutRiskHeld, "anew": PayoutRiskHeld}
_EXECUTED = {
    "submitted": PayoutSubmitted,
    "paid": PayoutPaid,
    "failed": PayoutFailed,
    "returned": PayoutReturned,
    "unknown": PayoutUnknown,
    "unresolved": PayoutUnresolved,
    "not_sent": PayoutNotSent,
}


@dataclass
class Room:
    """One process. `now` is what its clock shows; events have ids of their own."""

    rules: dict[str, Any] = field(default_factory=lambda: dict(NOBODY))
    providers: tuple[PayoutProviderAccount, ...] = (HARBOUR,)
    blocked: frozenset[str] = frozenset()
    rates: dict[str, Quote] = field(default_factory=dict)  # by "EUR-USD"
    now: datetime = NOW
    state: Payouts = field(default_factory=Payouts)
    said: list[AnyEvent] = field(default_factory=list)
    kept: list[Change] = field(default_factory=list)
    timers: set[Timer] = field(default_factory=set)
    heard: int = 0

    @property
    def policy(self) -> Policy:
        return Policy(PayoutRules.model_validate(self.rules), self.providers, b"key", self.blocked, self)

    def quote(self, currency: str, payout_currency: str) -> Quote | None:
        """As of now: a test changes the rates as it likes."""
        return self.rates.get(f"{currency}-{payout_currency}")

    def hears(self, event: Heard, upstream: str | None = None) -> list[AnyEvent]:
        """→ what it says to that."""
        self.heard += 1
        event_id = derive_id(f"event {self.heard}", "tests", 0, 0)
        decision = decide(self.state, event, Cause(event_id, "", upstream, self.now, 0), self.policy)
        self._fold(decision)
        return list(decision.events)

    def _fold(self, decision: Decision) -> None:
        for change in decision.changes:
            self.state.fold(change)  # type: ignore[arg-type]
        self.kept += decision.changes  # type: ignore[arg-type]
        self.said += decision.events
        self.timers |= set(decision.timers)

    # ── what the other rooms would say ──

    def screens(self, answer: Answer = "cleared", payout_id: str = "po-1", **changes: Any) -> list[AnyEvent]:
        """Risk answers the last question."""
        told: dict[str, Any] = {
            "screen_no": self.of(payout_id).screen_no,
            "rule": "none",
            "list_version": "1",
            "score": 0,
        }
        told["decided_at"] = self.now
        return self.hears(_ANSWERS[answer](payout_id=payout_id, **{**told, **changes}))

    def reserves(self, minor: int = 12000, payout_id: str = "po-1") -> list[AnyEvent]:
        balances = {"available": euro(0), "pending": euro(0), "reserved": euro(minor)}
        return self.hears(
            FundsReserved(
                payout_id=payout_id,
                movement_id="m-1",
                seller_account="s-1",
                amount=euro(minor),
                wallet_version=1,
                **balances,
            )
        )

    def has_too_little(self, code: Any = "insufficient_funds", payout_id: str = "po-1") -> list[AnyEvent]:
        return self.hears(ReservationRefused(payout_id=payout_id, seller_account="s-1", code=code, available=euro(5)))

    def approves(self, approver: str = "bob", payout_id: str = "po-1", **changes: Any) -> list[AnyEvent]:
        return self.hears(self.approval(approver, payout_id, **changes))

    def approval(self, approver: str, payout_id: str = "po-1", **changes: Any) -> PayoutApproved:
        told = {"decision": "approved", "sha256": self.of(payout_id).sha256 or "0" * 64, "reason": "seen"}
        return PayoutApproved(payout_id=payout_id, approver=approver, **{**told, **changes})

    def executes(self, what: str, payout_id: str = "po-1", **changes: Any) -> list[AnyEvent]:
        return self.hears(self.execution(what, payout_id, **changes))

    def execution(self, what: str, payout_id: str = "po-1", **changes: Any) -> Any:
        payout = self.of(payout_id)
        told: dict[str, Any] = {
            "owner": payout.owner,
            "seller_account": payout.seller_account,
            "amount": payout.money,
            "release_no": payout.release_no,
            "provider": "harbour",
            "bank_account": "main",
            "call_id": "0" * 32,
            "provider_reference": "tr-1",
        }
        more: dict[str, dict[str, Any]] = {
            "failed": {"submitted": False, "code": "account_closed"},
            "returned": {"returned": payout.money, "code": "account_closed"},
            "unknown": {"reason": "timeout"},
            "unresolved": {"reason": "timeout"},
            "not_sent": {"code": "deadline_passed"},
        }
        return _EXECUTED[what](payout_id=payout_id, **{**told, **more.get(what, {}), **changes})

    def fires(self, kind: str, read_at: datetime | None = None) -> list[AnyEvent]:
        """All due timers of that kind, each once, as the runtime deletes them with their effect."""
        due = sorted((t for t in self.timers if t.kind == kind and t.due_at <= self.now), key=lambda t: t.due_at)
        self.timers -= set(due)
        self.now = read_at or self.now
        return [
            said
            for timer in due
            for said in self.hears(TimerFired(kind=timer.kind, timer_key=timer.key, due_at=timer.due_at))
        ]

    # ── what is seen of it ──

    def of(self, payout_id: str = "po-1") -> Payout:
        return self.state.payouts[payout_id]

    def standing(self, payout_id: str = "po-1") -> tuple[str, str | None]:
        return self.of(payout_id).status, self.of(payout_id).code

    def told(self, payout_id: str = "po-1") -> list[str]:
        """The statuses that its owner was told, in order."""
        return [event.status for event in self.all_said(PayoutStatusChanged) if event.payout_id == payout_id]

    def all_said(self, kind: type[Said]) -> list[Said]:
        return [event for event in self.said if isinstance(event, kind)]

    def approvals(self) -> list[tuple[str, str | None]]:
        return [(each.approver, each.why_not) for each in self.kept if isinstance(each, Approval)]

    def releases(self) -> list[Release]:
        return [each for each in self.kept if isinstance(each, Release)]

    def history(self, payout_id: str = "po-1") -> list[str]:
        return [each.status for each in self.kept if isinstance(each, HistoryLine) and each.payout_id == payout_id]


def names(said: list[AnyEvent]) -> list[str]:
    return [type(event).__name__ for event in said]


def room(**rules: Any) -> Room:
    """With an active seller; amounts up to EUR 1,000.00 need nobody unless the rules say otherwise."""
    made = Room(rules={**NOBODY, **rules})
    made.hears(seller())
    return made


def asked(**rules: Any) -> Room:
    """And EUR 120.00 asked for."""
    made = room(**rules)
    made.hears(requested())
    return made


def reserved(**rules: Any) -> Room:
    """And reserved: released where nobody need approve."""
    made = asked(**rules)
    made.screens()
    made.reserves()
    return made


def frozen(revision: int = 2, **changes: object) -> SellerSet:
    return seller(seller_revision=revision, state="frozen", **changes)
