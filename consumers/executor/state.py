"""The state that a batch of the executor loads, and the policy by which it decides."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from consumers.executor.attempt import Attempt, CallFacts
from consumers.executor.bank_file import BankFile
from consumers.executor.early import EarlyNotification
from consumers.executor.ladder import Ladders
from consumers.executor.operation import Dispute, DisputeKey, Operation, OperationKey
from consumers.executor.payout import Payout, PayoutCallFacts
from consumers.executor.repeating import Repeat
from consumers.executor.routing import Routing
from consumers.executor.settings import Failover
from psp.port import Declared, Kind

Change = Attempt | Operation | Dispute | Payout | BankFile | EarlyNotification | Repeat


@dataclass(slots=True)
class Attempts:
    """Attempts, operations (in the order of their queues) and disputes by payment order; pay-outs by id; facts of the calls
    that the batch's messages are about, by call id.
    """

    attempts: dict[str, Attempt] = field(default_factory=dict)
    calls: dict[str, CallFacts] = field(default_factory=dict)
    operations: dict[str, dict[OperationKey, Operation]] = field(default_factory=dict)
    disputes: dict[str, dict[DisputeKey, Dispute]] = field(default_factory=dict)
    payouts: dict[str, Payout] = field(default_factory=dict)
    payout_calls: dict[str, PayoutCallFacts] = field(default_factory=dict)
    files: dict[str, BankFile] = field(default_factory=dict)

    def fold(self, change: Change) -> None:
        if isinstance(change, Attempt):
            self.attempts[change.key] = change
        elif isinstance(change, Operation):
            self.operations.setdefault(change.payment_order_id, {})[change.key] = change
        elif isinstance(change, Dispute):
            self.disputes.setdefault(change.payment_order_id, {})[change.key] = change
        elif isinstance(change, Payout):
            self.payouts[change.key] = change
        elif isinstance(change, BankFile):
            self.files[change.file_id] = change


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings and PSP properties that decisions depend on besides state and event."""

    routing: Routing
    psps: Mapping[str, Mapping[Kind, Declared]]
    failover: Failover = field(default_factory=Failover)
    ladders: Ladders = field(default_factory=Ladders)
    providers: Mapping[str, Declared] = field(default_factory=dict)  # of pay-outs
    banks: AbstractSet[str] = frozenset()  # get pay-outs as files: they are asked nothing
