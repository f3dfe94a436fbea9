"""An order with its operations and disputes → the amounts captured, refunded and still to come; each part's fee; refusals
in order of precedence.

Amounts are minor units of the order's currency. Waiting operations are sent in the order of their placement: an operation is
checked against those that are under way or over, and those that were placed before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from consumers.executor.attempt import Attempt
from consumers.executor.operation import (
    CHARGE_SEQ,
    DECLARED,
    OPEN,
    AnyKind,
    Check,
    Dispute,
    DisputeKey,
    Operation,
    OperationKey,
    OperationState,
    automatic_id,
)
from schemas.fees import FeeRule

COMING: tuple[OperationState, ...] = ("waiting", *OPEN)
TAKEN: tuple[OperationState, ...] = (*COMING, "done", "reversed")  # the PSP may do again what it has reversed
RETURNED: tuple[OperationState, ...] = (*COMING, "done")


class Position:
    """An order's attempt, operations by key in the order of the queue, and disputes by key."""

    def __init__(
        self, attempt: Attempt, operations: dict[OperationKey, Operation], disputes: dict[DisputeKey, Dispute]
    ) -> None:
        self.attempt = attempt
        self.operations = operations
        self.disputes = disputes
        if attempt.state == "captured" and not attempt.manual:
            asked = operations.get(("charge", automatic_id(attempt.key)))
            operations.setdefault(("capture", automatic_id(attempt.key)), _automatic(attempt, asked))

    # ── amounts ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def gross(self) -> int:
        return self.attempt.placed.gross.minor

    @property
    def captured(self) -> int:
        return _sum(self.of("capture", ("done",)))

    @property
    def captured_fee(self) -> int:
        return sum(each.fee_minor for each in self.of("capture", ("done",)))

    @property
    def ever_captured(self) -> bool:
        return any(True for _ in self.of("capture", ("done", "reversed")))

    @property
    def released(self) -> int:
        """The amount that is released when the authorisation ends. Reversed captures stay in: the PSP may capture them again."""
        return self.gross - _sum(self.of("capture", ("done", "reversed")))

    @property
    def disputed(self) -> int:
        return sum(dispute.amount_minor for dispute in self.standing_disputes())

    @property
    def coming(self) -> int:
        """The amount of the captures that are asked for and may still succeed."""
        return self.gross if self.attempt.undecided else _sum(self.of("capture", COMING))

    def refundable(self, asked: Operation) -> int:
        """The amount that may still be refunded after `asked`. Below zero: `asked` is too much."""
        return self.captured - self._with(asked, "refund", RETURNED) - self.disputed

    def taken(self, asked: Operation) -> int:
        return self._with(asked, "capture", TAKEN)

    def of(self, kind: AnyKind, states: tuple[OperationState, ...]) -> Iterable[Operation]:
        return (each for each in self.operations.values() if each.kind == kind and each.state in states)

    def standing_disputes(self) -> Iterable[Dispute]:
        """The disputes whose amount the buyer has."""
        return (each for each in self.disputes.values() if each.state in ("opened", "lost"))

    def _with(self, asked: Operation, kind: AnyKind, states: tuple[OperationState, ...]) -> int:
        return asked.amount_minor + _sum(each for each in self.of(kind, states) if _ahead(each, asked))

    # ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────

    def refusal(self, asked: Operation, many: bool, now: datetime) -> str | None:
        """Why the operation is refused now, or None: the codes of the doors. `many`: whether the PSP takes several captures of
        one charge.
        """
        if asked.kind == "refund":
            return self._refund_refusal(asked)
        if self.attempt.state == "declined":
            return "not_authorised"
        if self._expired(now):
            return "authorisation_expired"
        return self._void_refusal() if asked.kind == "void" else self._capture_refusal(asked, many)

    def _expired(self, now: datetime) -> bool:
        state, expires_at = self.attempt.state, self.attempt.expires_at
        return state == "expired" or (state == "authorised" and expires_at is not None and now >= expires_at)

    def _capture_refusal(self, asked: Operation, many: bool) -> str | None:
        if not self.attempt.manual or self.attempt.state in ("captured", "voided"):
            return "not_authorised"
        if any(_ahead(void, asked) for void in self.of("void", RETURNED)):
            return "voiding"
        if not many and any(_ahead(each, asked) for each in self.of("capture", TAKEN)):
            return "one_capture_only"
        return "exceeds_authorised" if self.taken(asked) > self.gross else None

    def _void_refusal(self) -> str | None:
        closed = self.attempt.state in ("captured", "voided") or not self.attempt.manual
        return "nothing_to_void" if closed or self.released <= 0 else None

    def _refund_refusal(self, asked: Operation) -> str | None:
        if not self.captured and not self.coming:
            return "not_captured"
        rest = self.refundable(asked) + self.coming
        if rest >= 0:
            return None
        return "order_disputed" if rest + self.disputed >= 0 else "exceeds_refundable"

    def fits(self, asked: Operation) -> bool:
        """Whether an operation that is not refused can be sent now: a refund waits for its capture, a capture for its charge."""
        return self.refundable(asked) >= 0 if asked.kind == "refund" else self.attempt.state == "authorised"

    # ── shares of the fee ────────────────────────────────────────────────────────────────────────────────────────────

    def capture_fee(self, amount: int) -> int:
        """The share of the order's fee in the next capture."""
        return share(self.attempt.placed.fee.minor, self.captured + amount, self.gross) - self.captured_fee

    def refund_fee(self, amount: int) -> int:
        """The share of the fee that is returned with the next refund."""
        return self._fee_back(self.attempt.placed.fee_refund or "proportional", amount)

    def dispute_fee(self, amount: int) -> int:
        """The share of the fee that is returned with the next chargeback."""
        return self._fee_back(self.attempt.placed.fee_chargeback or "none", amount)

    def _fee_back(self, rule: FeeRule, amount: int) -> int:
        if rule == "none":
            return 0
        back, given = self._given_back(rule)
        if rule == "full":
            return self.captured_fee - given if back + amount >= self.captured else 0
        return share(self.captured_fee, back + amount, self.captured) - given

    def _given_back(self, rule: FeeRule) -> tuple[int, int]:
        """Amounts and fees that were returned by this rule; by any rule, if the rule is that the last part returns all."""
        placed = self.attempt.placed
        refunds = list(self.of("refund", ("done",))) if rule in ("full", placed.fee_refund or "proportional") else []
        disputes = list(self.standing_disputes()) if rule in ("full", placed.fee_chargeback or "none") else []
        gone: list[Operation | Dispute] = [*refunds, *disputes]
        return sum(each.amount_minor for each in gone), sum(each.fee_minor for each in gone)


def share(fee: int, part: int, whole: int) -> int:
    """The part's share of a fee on the whole. A later part's is the share of the sum less the shares before it."""
    return fee * min(part, whole) // whole if whole else 0


def _sum(operations: Iterable[Operation]) -> int:
    return sum(each.amount_minor for each in operations)


def _ahead(other: Operation, asked: Operation) -> bool:
    return other.key != asked.key and (other.state != "waiting" or other.seq < asked.seq)


def _automatic(attempt: Attempt, asked: Operation | None) -> Operation:
    """An automatic charge as a capture. It is stored as a row only once a check asks about it.

    `asked`: the row of a charge that was asked about before it was captured: its checks have used the first numbers.
    """
    assert attempt.outcome_event_id is not None, "a captured charge has the event of its outcome"
    return Operation(
        "capture",
        automatic_id(attempt.key),
        attempt.key,
        CHARGE_SEQ,
        attempt.placed.gross.minor,
        final=True,
        state="done",
        call_id=attempt.call_id,
        psp=attempt.psp,
        cause_event_id=attempt.cause_event_id,
        placed_at=attempt.created_at,
        changed_at=attempt.changed_at,
        fee_minor=attempt.placed.fee.minor,
        psp_reference=attempt.psp_reference,
        outcome_event_id=attempt.outcome_event_id,
        outcome_place=0,
        revision=0,
        code=DECLARED if attempt.code == DECLARED else None,
        check=Check(0 if asked is None else asked.check.number),
    )
