"""Executions of payments and pay-outs → what we expect a PSP or a bank to say of them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from reconciliation.business_days import due_day, later
from reconciliation.fees import expected_fee
from reconciliation.formats import keys
from reconciliation.tally import BANK_ENTRY, Outcome, Reference
from schemas.events import (
    OperationKind,
    OutcomeUnknown,
    OutcomeUnresolved,
    PaymentCaptured,
    PaymentDeclined,
    PaymentPending,
    Terms,
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
    PaymentAuthorised,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    RefundReversed,
    VoidFailed,
)
from schemas.payouts import (
    PayoutExecution,
    PayoutFailed,
    PayoutNotSent,
    PayoutPaid,
    PayoutReturned,
    PayoutSubmitted,
    PayoutUnknown,
    PayoutUnresolved,
)
from topics.settlement_sources import SettlementSource


@dataclass(frozen=True, slots=True)
class Fact:
    """Adds to what a tally expects, once: `digest` names it. Without a digest only the executor's word is kept."""

    reference: Reference
    currency: str
    amount: int  # minor units, + the PSP or the bank owes us more
    digest: int | None
    due: date | None
    fee: int | None = None  # None: not checked
    fee_slack: int = 0  # so much more may be charged
    fee_since: date | None = None  # the first day of the terms by which the fee is expected
    scheme: str | None = None
    outcome: Outcome | None = None
    payment_order_id: str | None = None  # or the pay-out's id
    seller: str | None = None


class Sources:
    """The accounts whose files are reconciled. Nothing is expected of a PSP or a bank account that has none."""

    def __init__(self, sources: Sequence[SettlementSource]) -> None:
        self.by_name: Mapping[str, SettlementSource] = {source.name: source for source in sources}
        self.all_of: dict[str, list[SettlementSource]] = defaultdict(list)  # by PSP or bank account
        for source in sources:
            self.all_of[account_of(source)].append(source)
        self.of = {account: several[0] for account, several in self.all_of.items()}


def account_of(source: SettlementSource) -> str:
    """The PSP, or the bank account, under whose name its lines are tallied."""
    return source.psp if source.kind == "psp" else source.bank_account


def expected(event: Execution | PayoutExecution, sources: Sources, at: datetime) -> Fact | None:
    """What an event makes us expect; None where nothing is to come, or nobody would say so."""
    match event:
        case PaymentCaptured():
            return _captured(event, sources, at)
        case CaptureReversed():
            return _moved(event, "c", event.call_id, -event.share.gross, sources, at)
        case PaymentRefunded():
            return _moved(event, "r", event.call_id, -event.share.gross, sources, at)
        case RefundReversed():
            return _moved(event, "R", event.call_id, event.share.gross, sources, at)
        case ChargebackOpened():
            return _moved(event, "b", _dispute_key(event), -_disputed(event), sources, at)
        case ChargebackWon():
            return _moved(event, "B", _dispute_key(event), _disputed(event), sources, at)
        case PaymentDeclined():
            return _not_expected(event, event.psp, "c", event.call_id, "declined", sources)
        case AuthorisationExpired():
            return _not_expected(event, event.psp, "c", event.call_id, "expired", sources)
        case PaymentVoided():
            return _not_expected(event, event.psp, "c", event.charge_call_id, "voided", sources)
        case CaptureFailed():
            return _not_expected(event, event.psp, "c", event.call_id, "failed", sources)
        case RefundFailed():
            return _not_expected(event, event.psp, "r", event.call_id, "failed", sources)
        case OutcomeUnknown() | OutcomeUnresolved() | PaymentPending():
            outcome: Outcome = "pending" if isinstance(event, PaymentPending) else "unknown"
            return _not_expected(event, event.psp, _LINE_OF[event.operation], event.call_id, outcome, sources)
        case PayoutSubmitted() | PayoutPaid():
            return _paid_out(event, "out", -event.sent, sources, at)
        case PayoutFailed():
            return _paid_out(event, "back", event.sent, sources, at) if event.submitted else None
        case PayoutReturned():
            return _paid_out(event, "back", event.returned, sources, at)
        case PaymentAuthorised() | VoidFailed():
            return None
        case DisputeInquiry() | ChargebackLost() | PayoutUnknown() | PayoutUnresolved() | PayoutNotSent():
            return None


def _captured(event: PaymentCaptured, sources: Sources, at: datetime) -> Fact | None:
    fact = _moved(event, "c", event.call_id, event.gross, sources, at)
    if fact is None:
        return None
    fee = expected_fee(sources.of[event.psp].fees, event.scheme, event.gross, at.date())
    if fee is None:
        return replace(fact, scheme=event.scheme)
    return replace(fact, scheme=event.scheme, fee=fee.fee, fee_slack=fee.slack, fee_since=fee.since)


_Moving = PaymentCaptured | CaptureReversed | PaymentRefunded | RefundReversed | ChargebackOpened | ChargebackWon


def _dispute_key(event: ChargebackOpened | ChargebackWon) -> str | None:
    """The PSP names a dispute by its own reference alone."""
    return None if event.dispute_reference is None else keys.theirs(event.psp, event.dispute_reference)


def _disputed(event: ChargebackOpened | ChargebackWon) -> Money:
    """With the PSP's fee for it, or what the PSP gives back of the fee, as the ledger has booked them."""
    gross, fee = event.share.gross, event.dispute_fee
    return gross + fee if fee is not None and fee.currency == gross.currency else gross


def _moved(event: _Moving, kind: str, key: str | None, amount: Money, sources: Sources, at: datetime) -> Fact | None:
    source = sources.of.get(event.psp)
    if source is None or key is None:
        return None
    return Fact(
        Reference(key, kind, event.psp),
        amount.currency,
        amount.minor,
        keys.digest(type(event).__name__, event.payment_order_id, event.part),
        due_day(source, at, source.lag_days),
        payment_order_id=event.payment_order_id,
        seller=event.seller_account,
    )


_LINE_OF: Mapping[OperationKind | None, str | None] = {None: "c", "capture": "c", "refund": "r", "void": None}


def _not_expected(
    event: Terms, psp: str | None, kind: str | None, call_id: str | None, outcome: Outcome, sources: Sources
) -> Fact | None:
    """A line of it contradicts the executor, and is not simply unknown."""
    if psp not in sources.of or kind is None or call_id is None:
        return None
    return Fact(
        Reference(call_id, kind, psp),
        event.gross.currency,
        0,
        None,
        None,
        outcome=outcome,
        payment_order_id=event.payment_order_id,
        seller=event.seller_account,
    )


_PaidOut = PayoutSubmitted | PayoutPaid | PayoutFailed | PayoutReturned


def _paid_out(event: _PaidOut, way: str, amount: Money, sources: Sources, at: datetime) -> Fact | None:
    """At the bank, under the call id of the transfer. Submitted and paid are one fact: each may be the first that is heard."""
    source = sources.of.get(event.bank_account)
    if source is None:
        return None
    return Fact(
        Reference(event.call_id, BANK_ENTRY, event.bank_account),
        amount.currency,
        amount.minor,
        keys.digest(way, event.payout_id, str(event.release_no), event.part),
        due_day(source, at, source.lag_days),
        payment_order_id=event.payout_id,
        seller=event.seller_account,
    )


def paid_by_psp(
    source: SettlementSource, settlement: str, reference: str, revision: int, amount: Money, day: date
) -> Fact:
    """At the bank: what a settlement of that day pays out, or what a revision of it pays out more. `reference`: the bank's,
    where it has one of its own."""
    named = (reference,) if reference else ()
    key = keys.paid_out(source.bank_account, reference or settlement, amount.currency)
    return Fact(
        Reference(key, BANK_ENTRY, source.bank_account),
        amount.currency,
        amount.minor,
        keys.digest("settlement", source.name, settlement, amount.currency, str(revision), *named),
        later(source, day, 1),
        payment_order_id=f"{source.name}/{settlement}",
    )
