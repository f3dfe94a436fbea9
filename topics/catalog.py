"""Every topic and every room, in the order that money flows: the map of the system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from schemas import break_work, breaks, corrections, events, journals, money_back, payouts, sellers, settlements
from schemas.events import AnyEvent

DAYS = 86_400
PARTITIONS = 4  # of a new topic, where nobody says


@dataclass(frozen=True, slots=True)
class Topic:
    """One speaker, one subject; a few have another speaker beside. `retention_days` None keeps records for ever."""

    name: str
    key: str
    says: tuple[type[AnyEvent], ...]
    spoken_by: str
    retention_days: int | None = 30
    compacted: bool = False
    door: bool = False  # written by the outside: ids are unique per source only, times are the broker's
    per_upstream: bool = (
        False  # a service that writes itself gets `<stem>.<upstream>.v1`, so its name is known, not claimed
    )
    on_kafka: bool = True
    partitions: int | None = None  # None: as many as the setting says
    for_readers: bool = False  # dashboards and finance may read it: docs/dashboards.md
    also_by: tuple[str, ...] = ()  # rooms that say the same as `spoken_by`, of other sources

    @property
    def speakers(self) -> tuple[str, ...]:
        return (self.spoken_by, *self.also_by)

    def of(self, upstream: str) -> str:
        stem, _, version = self.name.rpartition(".")
        return f"{stem}.{upstream}.{version}"


@dataclass(frozen=True, slots=True)
class Outside:
    """A way between a room and the outside world that is no topic."""

    who: Literal["upstream", "psps"]
    says: Literal["to us", "to them", "both"]
    over: str


@dataclass(frozen=True, slots=True)
class Room:
    """One consumer: Kafka group, PostgreSQL schema, dead-letter suffix and metric label are its name.

    The doors are listed as one, since they have a schema and an outbox; they read no topic, so they are no consumer.
    """

    name: str
    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]
    migrations: str  # the package whose folder `migrations` makes its tables
    ladder_s: tuple[float, ...] = (5, 30, 120, 600, 3600)
    gather_s: float = 0  # at least so long between two batches, where no payment waits for this room
    outside: tuple[Outside, ...] = ()
    streamed: tuple[Topic, ...] = ()  # of `reads`: heard through Faust; the others through the runtime's own loop

    @property
    def dead_letters(self) -> Topic:
        return Topic(f"{self.name}.dlq.v1", "as the message", (), self.name, retention_days=365, partitions=3)


PAYMENT_REQUESTS = Topic(
    "payment-requests.v1",
    "checkout_id",
    (events.PaymentRequested, events.CaptureRequested, events.VoidRequested, events.RefundRequested),
    "doors",
    7,
    door=True,
    per_upstream=True,
)
SCREENINGS = Topic("screenings.v1", "checkout_id", (events.ScreeningRequested,), "payments", 7)
RISK_DECISIONS = Topic(
    "risk-decisions.v1", "checkout_id", (events.RiskCleared, events.RiskRefused, events.RiskHeld), "risk"
)
OPERATOR_ACTIONS = Topic("operator-actions.v1", "subject", (events.RiskReviewed, break_work.BreakWorked), "doors")
PAYMENT_ORDERS = Topic(
    "payment-orders.v1",
    "payment_order_id",
    (events.OrderPlaced, money_back.CapturePlaced, money_back.VoidPlaced, money_back.RefundPlaced),
    "payments",
)
PSP_NOTIFICATIONS = Topic(
    "psp-notifications.v1",
    "reference",
    (events.NotificationReceived, money_back.DisputeNotified, payouts.PayoutNotified, payouts.BankFileNotified),
    "doors",
    also_by=("reconciliation",),  # what settlement files say of outcomes that the executor does not know
)
CALLS = Topic(
    "calls", "payment_order_id or payout_id", (events.CallEnded, payouts.PayoutCallEnded), "executor", on_kafka=False
)
TIMERS = Topic("timers", "timer_key", (events.TimerFired,), "the room itself", on_kafka=False)
EXECUTIONS = Topic("executions.v1", "payment_order_id", get_args(money_back.Execution), "executor")
WALLET_MOVEMENTS = Topic(
    "wallet-movements.v1",
    "payment_order_id",
    (events.WalletCredited, money_back.WalletDebited, money_back.WalletCorrected, money_back.FundsAvailable),
    "wallet",
    for_readers=True,
)
WALLET_BALANCES = Topic(
    "wallet-balances.v1", "wallet", (events.WalletBalance,), "wallet", None, compacted=True, for_readers=True
)
LEDGER_ENTRIES = Topic(
    "ledger-entries.v1", "payment_order_id", (journals.JournalPosted,), "ledger", None, for_readers=True
)
ACCOUNT_BALANCES = Topic(
    "account-balances.v1",
    "account:currency",
    (journals.AccountBalance,),
    "ledger",
    None,
    compacted=True,
    for_readers=True,
)
PAYMENTS = Topic(
    "payments.v1",
    "checkout_id",
    (
        events.PaymentStatusChanged,
        events.PaymentRefused,
        events.PaymentCompleted,
        money_back.CaptureStatusChanged,
        money_back.VoidStatusChanged,
        money_back.RefundStatusChanged,
        money_back.DisputeStatusChanged,
    ),
    "payments",
    for_readers=True,
)

WEBHOOK_ENDPOINTS = Topic(
    "webhook-endpoints.v1",
    "endpoint_id",
    (events.WebhookEndpointSet, events.WebhookTestRequested, events.WebhookResendRequested),
    "doors",
    None,
    partitions=3,
)

# Not compacted, since a door may publish an older record once more behind a newer one (docs/decisions/18-…).
SELLERS = Topic("sellers.v1", "seller_account", (sellers.SellerSet,), "doors", None, partitions=3)

PAYOUT_REQUESTS = Topic(
    "payout-requests.v1",
    "payout_id",
    (payouts.PayoutRequested, payouts.PayoutCancelRequested),
    "doors",
    7,
    door=True,
    per_upstream=True,
)
PAYOUT_SCREENINGS = Topic("payout-screenings.v1", "payout_id", (payouts.PayoutScreeningRequested,), "payouts", 7)
PAYOUT_RISK_DECISIONS = Topic("payout-risk-decisions.v1", "payout_id", get_args(payouts.PayoutRiskDecision), "risk")
APPROVALS = Topic("approvals.v1", "payout_id", (payouts.PayoutApproved,), "doors", None)
PAYOUTS = Topic("payouts.v1", "payout_id", get_args(payouts.PayoutOrder), "payouts")
PAYOUT_MOVEMENTS = Topic(
    "payout-movements.v1", "payout_id", get_args(payouts.PayoutMovement), "wallet", for_readers=True
)
PAYOUT_EXECUTIONS = Topic("payout-executions.v1", "payout_id", get_args(payouts.PayoutExecution), "executor")

SETTLEMENT_FILES = Topic(
    "settlement-files.v1",
    "source",
    (settlements.SettlementFileStored, settlements.SettlementFileReleased, settlements.SettlementFileDiscarded),
    "doors",
    None,
)
SETTLEMENT_LINES = Topic(
    "settlement-lines.v1",
    "source and lane",
    (settlements.SettlementLines, settlements.SettlementLinesEnded),
    "reconciliation",
    7,
)
SETTLEMENTS = Topic("settlements.v1", "settlement or tally", get_args(settlements.Settlement), "reconciliation", None)
BREAKS = Topic("breaks.v1", "break_id", get_args(breaks.Break), "reconciliation", None, for_readers=True)
CORRECTIONS = Topic("corrections.v1", "correction_id", (corrections.CorrectionApproved,), "reconciliation", None)

TOPICS = (
    PAYMENT_REQUESTS,
    SCREENINGS,
    RISK_DECISIONS,
    OPERATOR_ACTIONS,
    PAYMENT_ORDERS,
    PSP_NOTIFICATIONS,
    EXECUTIONS,
    WALLET_MOVEMENTS,
    WALLET_BALANCES,
    LEDGER_ENTRIES,
    ACCOUNT_BALANCES,
    PAYMENTS,
    WEBHOOK_ENDPOINTS,
    SELLERS,
    PAYOUT_REQUESTS,
    PAYOUT_SCREENINGS,
    PAYOUT_RISK_DECISIONS,
    APPROVALS,
    PAYOUTS,
    PAYOUT_MOVEMENTS,
    PAYOUT_EXECUTIONS,
    SETTLEMENT_FILES,
    SETTLEMENT_LINES,
    SETTLEMENTS,
    BREAKS,
    CORRECTIONS,
)

PSEUDO_TOPICS = (CALLS, TIMERS)  # what a room hears from its own store

DOORS = Room(
    "doors",
    (),
    (
        PAYMENT_REQUESTS,
        PSP_NOTIFICATIONS,
        WEBHOOK_ENDPOINTS,
        OPERATOR_ACTIONS,
        SELLERS,
        PAYOUT_REQUESTS,
        APPROVALS,
        SETTLEMENT_FILES,
    ),
    "producers",
    outside=(Outside("upstream", "to us", "HTTP"), Outside("psps", "to us", "webhooks")),
)
PAYMENTS_ROOM = Room(
    "payments",
    (PAYMENT_REQUESTS, SELLERS, RISK_DECISIONS, EXECUTIONS, WALLET_MOVEMENTS, LEDGER_ENTRIES, TIMERS),
    (SCREENINGS, PAYMENT_ORDERS, PAYMENTS),
    "consumers.payments",
)
RISK_ROOM = Room(
    "risk",
    (SCREENINGS, PAYOUT_SCREENINGS, OPERATOR_ACTIONS, TIMERS),
    (RISK_DECISIONS, PAYOUT_RISK_DECISIONS),
    "consumers.risk",
)
EXECUTOR_ROOM = Room(
    "executor",
    (PAYMENT_ORDERS, PAYOUTS, PSP_NOTIFICATIONS, BREAKS, CALLS, TIMERS),
    (EXECUTIONS, PAYOUT_EXECUTIONS),
    "consumers.executor",
    outside=(Outside("psps", "both", "calls"),),
)
WALLET_ROOM = Room(
    "wallet",
    (EXECUTIONS, PAYOUTS, PAYOUT_EXECUTIONS, CORRECTIONS, TIMERS),
    (WALLET_MOVEMENTS, PAYOUT_MOVEMENTS, WALLET_BALANCES),
    "consumers.wallet",
)
LEDGER_ROOM = Room(
    "ledger",
    (EXECUTIONS, PAYOUT_EXECUTIONS, SETTLEMENTS, CORRECTIONS),
    (LEDGER_ENTRIES, ACCOUNT_BALANCES),
    "consumers.ledger",
)
PAYOUTS_ROOM = Room(
    "payouts",
    (PAYOUT_REQUESTS, SELLERS, PAYOUT_RISK_DECISIONS, APPROVALS, PAYOUT_MOVEMENTS, PAYOUT_EXECUTIONS, BREAKS, TIMERS),
    (PAYOUT_SCREENINGS, PAYOUTS),
    "consumers.payouts",
)
RECONCILIATION_ROOM = Room(
    "reconciliation",
    (
        SETTLEMENT_FILES,
        SETTLEMENT_LINES,
        EXECUTIONS,
        PAYOUT_EXECUTIONS,
        WALLET_MOVEMENTS,
        PAYOUT_MOVEMENTS,
        LEDGER_ENTRIES,
        OPERATOR_ACTIONS,
        TIMERS,
    ),
    (SETTLEMENT_LINES, SETTLEMENTS, BREAKS, CORRECTIONS, PSP_NOTIFICATIONS),
    "reconciliation",
    gather_s=1,
    streamed=(SETTLEMENT_FILES, SETTLEMENT_LINES),
)
WEBHOOKS_ROOM = Room(
    "webhooks",
    (WEBHOOK_ENDPOINTS, PAYMENTS, PAYOUTS),
    (),
    "consumers.webhooks",
    gather_s=0.1,
    outside=(Outside("upstream", "to them", "webhooks"),),
)

ROOMS = (
    DOORS,
    PAYMENTS_ROOM,
    RISK_ROOM,
    EXECUTOR_ROOM,
    WALLET_ROOM,
    LEDGER_ROOM,
    PAYOUTS_ROOM,
    RECONCILIATION_ROOM,
    WEBHOOKS_ROOM,
)
CONSUMERS = tuple(room for room in ROOMS if room.reads)


def names(topic: Topic, upstreams: frozenset[str]) -> list[str]:
    """The names under which a topic exists, without prefix: its own, and one per upstream that writes itself."""
    own = [topic.of(upstream) for upstream in sorted(upstreams)] if topic.per_upstream else []
    return [topic.name, *own]


def find(name: str, upstreams: frozenset[str]) -> tuple[Topic, str | None]:
    """The topic with that name (no prefix) and the upstream that it belongs to. Errors: KeyError."""
    return _index(upstreams)[name]


_INDEXES: dict[frozenset[str], dict[str, tuple[Topic, str | None]]] = {}


def _index(upstreams: frozenset[str]) -> dict[str, tuple[Topic, str | None]]:
    if upstreams not in _INDEXES:
        index: dict[str, tuple[Topic, str | None]] = {topic.name: (topic, None) for topic in (*TOPICS, *PSEUDO_TOPICS)}
        for topic in TOPICS:
            if topic.per_upstream:
                index |= {topic.of(upstream): (topic, upstream) for upstream in upstreams}
        _INDEXES[upstreams] = index
    return _INDEXES[upstreams]


def all_topics(upstreams: frozenset[str]) -> dict[str, Topic]:
    """Every topic to be made, by name without prefix, dead-letter topics included."""
    named = {name: topic for topic in TOPICS for name in names(topic, upstreams)}
    return named | {room.dead_letters.name: room.dead_letters for room in CONSUMERS}


def room(name: str) -> Room:
    """Errors: KeyError."""
    return {room.name: room for room in ROOMS}[name]
