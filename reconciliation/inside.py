"""Executions, what the wallet has moved for them and what the ledger has booked: what is missing, and what differs. Pure.

A link names a fact for all three rooms. Its row holds what an execution wants of wallet and ledger and what these have said, as
text of one form: it is whole when they are equal, whatever came first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import get_args

import orjson

from reconciliation.breaking import Finding, judged
from reconciliation.move import ROOMS, Heard, Move, MovesJudged, Room
from reconciliation.state import ItemClosed, ItemOpened, OpenItem
from schemas.breaks import Code
from schemas.envelope import derive_id, time_ms_of
from schemas.events import PaymentCaptured, WalletCredited
from schemas.journals import JournalPosted
from schemas.money import Money
from schemas.money_back import (
    CaptureReversed,
    ChargebackOpened,
    ChargebackWon,
    Execution,
    PaymentRefunded,
    RefundReversed,
    WalletDebited,
)
from schemas.payouts import (
    FundsReturned,
    PayoutExecution,
    PayoutFailed,
    PayoutPaid,
    PayoutReturned,
    PayoutSubmitted,
    ReservationSettled,
)
from topics.catalog import DAYS, EXECUTIONS, PAYOUT_EXECUTIONS
from topics.runtime.shape.consumer import Cause

INSIDE = "inside"  # the timer
LOOK_EVERY = timedelta(minutes=1)
MISSING_AFTER = timedelta(minutes=5)
PAST_BY = timedelta(seconds=60)  # a room is past a fact when it has spoken about one that is so much younger
# What the topics of executions may have lost already when we begin to hear: nothing is wrong with what is alone then.
assert EXECUTIONS.retention_days is not None
assert EXECUTIONS.retention_days == PAYOUT_EXECUTIONS.retention_days
FORGOTTEN = timedelta(seconds=(EXECUTIONS.retention_days - 1) * DAYS)
HALF_FORGOTTEN = FORGOTTEN - timedelta(days=2)
SETTLING_IN = timedelta(days=1)  # so long after the upgrade rooms may speak of executions from before it

Amounts = dict[tuple[str, str], int]  # account, currency → minor units, + debit
Effect = WalletCredited | WalletDebited | ReservationSettled | FundsReturned | JournalPosted
COMPARED = (*get_args(Execution), *get_args(PayoutExecution), *get_args(Effect))
_ACCOUNTS = re.compile(r"seller:.+:payable|psp:.+:receivable|psp:.+:fees|platform:fees")


# ── what is heard ────────────────────────────────────────────────────────────────────────────────────────────────────


def wanted(event: Execution | PayoutExecution, cause: Cause, since: datetime) -> Iterator[Move]:
    """What an execution makes us expect. Of a pay-out the wallet does not say which part it is: its event's id does."""
    age = cause.now - cause.said_at
    if cause.said_at < since or age > FORGOTTEN:
        return
    if isinstance(event, PayoutSubmitted | PayoutPaid | PayoutFailed | PayoutReturned):
        template, amount = _paid_out(event)
        amounts = {} if amount is None else {(_payable(event.seller_account), amount.currency): amount.minor}
        if template is None:
            return
        known = (event.payout_id, event.seller_account, event.bank_account)
        yield _fact(f"{event.payout_id}|{template}|{event.part}", known, cause, None, _text(amounts))
        if amount is not None:
            moved_by = derive_id(cause.event_id, "wallet", 0, time_ms_of(cause.event_id))
            yield _fact(f"wallet|{moved_by}", known, cause, _text(amounts), None)
        return
    kind = _KINDS.get(type(event))
    if kind is None:
        return
    assert isinstance(event, _Moving)
    amounts = _amounts(event)
    seller = _payable(event.seller_account)
    of_wallet = {side: minor for side, minor in amounts.items() if side[0] == seller}
    known = (event.payment_order_id, event.seller_account, event.psp)
    ledger = _text(amounts) if any(amounts.values()) else None
    yield _fact(f"{event.payment_order_id}|{kind}|{event.part}", known, cause, _text(of_wallet), ledger)


def effect(event: Effect, cause: Cause, since: datetime) -> Move | None:
    """What a room says of an execution; None where it is about something else."""
    age = cause.now - cause.said_at
    if cause.said_at < since or age > FORGOTTEN:
        return None
    counts = age < HALF_FORGOTTEN and cause.said_at >= _after(since)
    match event:
        case JournalPosted():
            if event.payment_order_id is None and event.payout_id is None:
                return None
            link = f"{event.key}|{event.template}|{event.part or ''}"
            return _alone(link, event.key, _seller_in(event), cause, counts, ledger=_text(_journal(event)))
        case ReservationSettled() | FundsReturned():
            sign = 1 if isinstance(event, ReservationSettled) else -1
            moved = {(_payable(event.seller_account), event.amount.currency): sign * event.amount.minor}
            link = f"wallet|{cause.event_id}"
            return _alone(link, event.payout_id, event.seller_account, cause, counts, wallet=_text(moved))
        case WalletCredited() | WalletDebited():
            sign = 1 if isinstance(event, WalletDebited) else -1
            moved = {(_payable(event.seller_account), event.amount.currency): sign * event.amount.minor}
            link = f"{event.payment_order_id}|{event.reason or 'captured'}|{event.part or ''}"
            return _alone(link, event.payment_order_id, event.seller_account, cause, counts, wallet=_text(moved))


def _after(since: datetime) -> datetime:
    return since if since.year < 1900 else since + SETTLING_IN


def _fact(link: str, known: tuple[str, str, str], cause: Cause, wallet: str | None, ledger: str | None) -> Move:
    counts = cause.now - cause.said_at < HALF_FORGOTTEN
    subject, seller, psp = known
    return Move(
        link,
        subject,
        seller,
        psp,
        cause.event_id,
        cause.topic,
        cause.partition,
        cause.offset,
        cause.said_at,
        wallet,
        ledger,
        None,
        None,
        counts,
    )


def _alone(
    link: str,
    subject: str,
    seller: str,
    cause: Cause,
    counts: bool,
    wallet: str | None = None,
    ledger: str | None = None,
) -> Move:
    return Move(link, subject, seller, "", None, None, None, None, cause.said_at, None, None, wallet, ledger, counts)


_Moving = PaymentCaptured | CaptureReversed | PaymentRefunded | RefundReversed | ChargebackOpened | ChargebackWon
_KINDS: Mapping[type, str] = {
    PaymentCaptured: "captured",
    CaptureReversed: "capture_reversed",
    PaymentRefunded: "refunded",
    RefundReversed: "refund_reversed",
    ChargebackOpened: "chargeback_opened",
    ChargebackWon: "chargeback_won",
}


def _payable(seller: str) -> str:
    return f"seller:{seller}:payable"


def _amounts(event: _Moving) -> Amounts:
    """Net to the seller, gross from the PSP, the rest is ours; a dispute's fee at the cost of who bears it."""
    if isinstance(event, PaymentCaptured):
        gross, fee, net, sign = event.gross, event.fee, event.net, 1
    else:
        gross, fee, net = event.share.gross, event.share.fee, event.share.net
        sign = 1 if isinstance(event, RefundReversed | ChargebackWon) else -1
    found: Amounts = defaultdict(int)
    receivable, seller = f"psp:{event.psp}:receivable", _payable(event.seller_account)
    found[receivable, gross.currency] += sign * gross.minor
    found[seller, net.currency] -= sign * net.minor
    found["platform:fees", fee.currency] -= sign * fee.minor
    if isinstance(event, ChargebackOpened | ChargebackWon) and event.dispute_fee is not None:
        charged = event.dispute_fee
        bearer = f"psp:{event.psp}:fees" if event.fee_of_seller is None else seller
        found[receivable, charged.currency] += sign * charged.minor
        found[bearer, charged.currency] -= sign * charged.minor
    return found


def _paid_out(
    event: PayoutSubmitted | PayoutPaid | PayoutFailed | PayoutReturned,
) -> tuple[str | None, Money | None]:
    """The journal's template, and by how much the seller's payable is debited; None: it does not change."""
    match event:
        case PayoutSubmitted():
            return "payout_submitted", event.amount
        case PayoutPaid():
            return "payout_paid", None
        case PayoutFailed():
            return ("payout_failed", -event.amount) if event.submitted else (None, None)
        case PayoutReturned():
            return "payout_returned", -event.amount


def _journal(event: JournalPosted) -> Amounts:
    found: Amounts = defaultdict(int)
    for entry in event.entries:
        if _ACCOUNTS.fullmatch(entry.account):
            sign = 1 if entry.direction == "debit" else -1
            found[entry.account, entry.amount.currency] += sign * entry.amount.minor
    return found


def _seller_in(event: JournalPosted) -> str:
    accounts = (entry.account for entry in event.entries if entry.account.startswith("seller:"))
    return next(accounts, "").removeprefix("seller:").removesuffix(":payable")


def _text(amounts: Amounts) -> str:
    named = {f"{account} {currency}": minor for (account, currency), minor in amounts.items() if minor}
    return orjson.dumps(named, option=orjson.OPT_SORT_KEYS).decode()


# ── what is wrong with it ────────────────────────────────────────────────────────────────────────────────────────────


def item_of(room: Room, move: Move) -> str:
    return f"inside|{room}|{move.link}"


def items_of(moves: Sequence[Heard]) -> list[str]:
    return [item_of(room, heard.move) for heard in moves for room in ROOMS]


def fault(heard: Heard, room: Room, is_open: bool, now: datetime) -> Finding | None:
    """What is wrong between an execution and one room. What is open stays so until its other half is heard."""
    move = heard.move
    want, has = move.wanted(room), move.heard(room)
    if want == has:
        return None
    if move.event_id is not None and has is not None:
        return _finding(move, room, "amounts")
    if not is_open and not (move.counts and now >= move.said_at + MISSING_AFTER and _is_past(heard, room)):
        return None
    return _finding(move, room, "not_heard" if move.event_id is not None else "no_cause")


def _is_past(heard: Heard, room: Room) -> bool:
    """Who is silent is late, or stands still: only who has gone past a fact has missed it."""
    move = heard.move
    until = heard.executions_until if move.event_id is None else heard.room_until(room)
    return until is not None and until >= move.said_at + PAST_BY


def _finding(move: Move, room: Room, reason: str) -> Finding:
    want, has = (orjson.loads(text or "{}") for text in (move.wanted(room), move.heard(room)))
    name, minor = max(
        ((name, has.get(name, 0) - want.get(name, 0)) for name in sorted({*want, *has})),
        key=lambda each: (each[0].startswith("seller:") and each[1] != 0, abs(each[1])),
        default=("", 0),
    )
    missing = reason == "not_heard"
    detail: dict[str, object] = {
        "room": room,
        "reason": reason,
        "orders": [move.subject],
        "sellers": [move.seller] if move.seller else [],
        "expected": want,
        "heard": has,
    }
    if move.event_id is not None:
        detail["event_id"] = move.event_id
    if missing:
        detail["record"] = {
            "event_id": move.event_id,
            "topic": move.topic,
            "partition": move.partition,
            "offset": move.offset,
        }
    code: Code = "LEDGER_WALLET_DIFFER" if not missing else "WALLET_MISSING" if room == "wallet" else "LEDGER_MISSING"
    subject = move.event_id if missing and move.event_id else f"{room}|{move.link}"
    return Finding(code, subject, "", move.psp, name.rpartition(" ")[2] or None, minor, detail)


def judge(
    moves: Sequence[Heard], items: Mapping[str, OpenItem], now: datetime
) -> Iterator[ItemOpened | ItemClosed | MovesJudged]:
    """What opens, changes and closes; last, what becomes of the rows."""
    gone, broken, waiting = list[str](), list[str](), list[str]()
    for heard in moves:
        move, found = heard.move, False
        for room in ROOMS:
            item = item_of(room, move)
            finding = fault(heard, room, item in items, now)
            found = found or finding is not None
            yield from judged(item, finding, items.get(item), now)
        (broken if found else gone if move.is_whole else waiting).append(move.link)
    yield MovesJudged(tuple(gone), tuple(broken), tuple(waiting), now)
