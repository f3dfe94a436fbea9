"""Rows of the rooms' views → answers of the API; and the models that describe these answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from producers.doors.operations import links as operation_links
from producers.doors.payments import links
from producers.problems import CODES
from producers.reading import Row
from schemas.events import OrderStatus, PaymentStatus
from schemas.money import Money
from schemas.money_back import DisputeStatus, OperationStatus


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Links(_Shape):
    self: str


class _Operation(_Shape):
    """Done when its status is succeeded, failed, reversed or refused; `code` says why it failed or was refused."""

    payment_order_id: str
    checkout_id: str
    amount: str | None
    currency: str | None
    status: OperationStatus
    detail: str
    code: str | None
    wallet_updated: bool
    ledger_updated: bool
    received_at: datetime
    links: Links


class Capture(_Operation):
    """A part of what is authorised, taken. After the last (`final`) what is left is given up."""

    capture_id: str
    final: bool


class Void(_Operation):
    """What was authorised and not captured, given up. Its amount is known once it is done."""

    void_id: str


class Refund(_Operation):
    """Money that goes back to the buyer."""

    refund_id: str
    reason: str | None


class RefundPage(_Shape):
    """Newest first. `next_cursor` leads to older ones."""

    refunds: list[Refund]
    next_cursor: str | None


class Dispute(_Shape):
    """One stage of a dispute: what the buyer's bank took back, or asks about. `fee` is what the PSP asks for it."""

    dispute_id: str
    stage: int
    payment_order_id: str
    checkout_id: str
    status: DisputeStatus
    amount: str
    currency: str
    fee: str | None
    fee_currency: str | None
    reason: str
    due_by: datetime | None
    wallet_updated: bool
    ledger_updated: bool
    opened_at: datetime
    changed_at: datetime


class DisputeShown(Dispute):
    """By its last stage, with all of them."""

    stages: list[Dispute]


class DisputePage(_Shape):
    """Newest first. `next_cursor` leads to older ones."""

    disputes: list[Dispute]
    next_cursor: str | None


class NextAction(_Shape):
    """What the buyer has to do."""

    type: Literal["redirect_to_url"]
    redirect_url: str
    expires_at: datetime | None


class Order(_Shape):
    """One seller's part of a payment. What stands behind `platform_fee` is left out of the 202 of an order that is captured
    automatically; of such an order there are no captures to list but refused ones.
    """

    payment_order_id: str
    payment_order_status: OrderStatus
    detail: str
    decline_code: str | None
    wallet_updated: bool
    ledger_updated: bool
    seller_account: str
    amount: str
    currency: str
    platform_fee: str
    capture: Literal["automatic", "manual"] = "automatic"
    amount_captured: str | None = None
    amount_capturable: str | None = None
    amount_refunded: str | None = None
    amount_disputed: str | None = None
    authorisation_expires_at: datetime | None = None
    captures: list[Capture] = []
    voids: list[Void] = []
    next_action: NextAction | None = None


class Refused(_Shape):
    """Why a payment was not taken after all."""

    code: str
    detail: str


class Payment(_Shape):
    """Done when each order is FAILED, or SUCCESS with both flags."""

    checkout_id: str
    status: PaymentStatus
    is_payment_done: bool
    buyer_account: str | None
    description: str | None
    metadata: dict[str, str]
    deadline: datetime | None
    received_at: datetime
    payment_orders: list[Order]
    links: Links
    refused: Refused | None = None


class Endpoint(_Shape):
    """Where an owner hears of their payments. Secrets go by their version."""

    endpoint_id: str
    url: str
    event_types: list[str]
    secret_versions: list[int]
    created_at: datetime
    changed_at: datetime


class EndpointMade(Endpoint):
    """`secret` is that of the last of `secret_versions` where it was made by this request; it is not shown again."""

    secret: str | None


class EndpointList(_Shape):
    webhook_endpoints: list[Endpoint]


class Delivery(_Shape):
    """One event for one endpoint. `due_at` is when it is tried next, null where it is over."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    state: Literal["due", "waiting", "sending", "delivered", "given_up", "cancelled"]
    created_at: datetime
    due_at: datetime | None
    attempts: int
    ended_at: datetime | None


class DeliveryPage(_Shape):
    """Newest first. `next_cursor` leads to older ones."""

    deliveries: list[Delivery]
    next_cursor: str | None


class DeliveryAttempt(_Shape):
    """`error` is null where the receiver took it (2xx); `reply` is the beginning of what it said."""

    attempt_no: int
    at: datetime
    took_ms: int | None
    status: int | None
    error: str | None
    reply: str | None


class DeliveryShown(Delivery):
    """With the exact body, and the log of its attempts."""

    body: str
    log: list[DeliveryAttempt]


class NotificationStored(_Shape):
    """It need not be sent again."""

    stored: Literal[True]


class DeliveryAsked(_Shape):
    """Will be sent."""

    delivery_id: str


class PaymentPage(_Shape):
    """Newest first. `next_cursor` leads to older ones."""

    payments: list[Payment]
    next_cursor: str | None


class OrderOfPayment(Order):
    """An order by itself."""

    checkout_id: str
    psp: str | None
    scheme: str | None
    captured_at: datetime | None
    links: Links


class BecomesAvailable(_Shape):
    """So much of what is pending, from this hour on."""

    at: datetime
    amount: str


class ReservedFor(_Shape):
    """So much is kept for a pay-out, since then."""

    payout_id: str
    amount: str
    since: datetime


class WalletBalance(_Shape):
    """`becomes_available` has the next 31 dates at which pending money becomes available, `reserved_for` the 31 pay-outs that
    wait longest.
    """

    currency: str
    available: str
    pending: str
    reserved: str
    version: int
    becomes_available: list[BecomesAvailable]
    reserved_for: list[ReservedFor]


class Wallet(_Shape):
    """What a seller has with us; payable in the ledger = available + pending + reserved."""

    seller_account: str
    balances: list[WalletBalance]


class Paid(_Shape):
    currency: str
    paid: str  # captured, less what a PSP took back
    refunded: str
    orders: int


class Buyer(_Shape):
    """What a buyer paid and got back in all, captured orders only."""

    buyer_account: str
    totals: list[Paid]


class AccountBalance(_Shape):
    currency: str
    debits: str
    credits: str
    balance: str
    version: int


class Account(_Shape):
    """A ledger account. `balance` is debits less credits."""

    account: str
    balances: list[AccountBalance]


class Entry(_Shape):
    journal_id: str
    line: int
    direction: Literal["debit", "credit"]
    amount: str
    currency: str
    template: str
    payment_order_id: str
    checkout_id: str
    posted_at: datetime


class EntryPage(_Shape):
    """Newest first."""

    account: str
    entries: list[Entry]
    next_cursor: str | None


class TrialBalanceLine(_Shape):
    currency: str
    accounts: int
    debits: str
    credits: str
    balanced: bool


class TrialBalance(_Shape):
    """All accounts of the ledger, per currency."""

    balanced: bool
    currencies: list[TrialBalanceLine]


class RevenueLine(_Shape):
    """What was captured, on the day of each capture, less captures that a PSP took back; and what went back to buyers since,
    on the day when it did. What was not asked to group by is null.
    """

    day: date | None
    currency: str
    seller_account: str | None
    psp: str | None
    orders: int  # by the day of an order's first capture
    gross: str
    fee: str
    net: str
    refunded: str
    charged_back: str  # disputes opened, less those won
    fee_returned: str  # of the fee, with refunds and chargebacks


class Revenue(_Shape):
    lines: list[RevenueLine]
    truncated: bool


class Ready(_Shape):
    """`reasons` say why not."""

    ready: bool
    reasons: list[str]


ErrorCode = Annotated[str, Field(json_schema_extra={"enum": list(CODES)})]


class FieldAtFault(_Shape):
    field: str
    code: ErrorCode
    detail: str


class ProblemDocument(_Shape):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: ErrorCode
    detail: str
    field: str | None = None
    errors: list[FieldAtFault] = []


# ── rows → replies ───────────────────────────────────────────────────────────────────────────────────────────────────


def json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), status, media_type="application/json")


def decimal(minor: int, currency: str) -> str:
    return Money(int(minor), currency).amount


def payments(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Joined rows of payments and orders → payments with their orders, in the order of the rows."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        payment = found.get(row["checkout_id"])
        if payment is None:
            payment = found[row["checkout_id"]] = _payment(row)
        payment["payment_orders"].append(order(row))
    return list(found.values())


def _payment(row: Row) -> dict[str, Any]:
    copied = ("checkout_id", "status", "is_payment_done", "buyer_account", "description", "metadata", "deadline")
    payment = {name: row[name] for name in (*copied, "received_at")}
    return payment | {"payment_orders": [], "links": links(row["checkout_id"])}


def order(row: Row) -> dict[str, Any]:
    copied = (
        "payment_order_id",
        "payment_order_status",
        "detail",
        "decline_code",
        "wallet_updated",
        "ledger_updated",
        "seller_account",
    )
    return {name: row[name] for name in copied} | {
        "amount": decimal(row["gross"], row["currency"]),
        "currency": row["currency"],
        "platform_fee": decimal(row["fee"], row["currency"]),
    }


_AMOUNTS = ("amount_captured", "amount_capturable", "amount_refunded", "amount_disputed")


def amounts_of(order: Mapping[str, Any], amounts: Row, operations: Iterable[Row]) -> dict[str, Any]:
    """The order's captured and refunded amounts, which `order` does not show."""
    shown = {name: decimal(amounts[name], order["currency"]) for name in _AMOUNTS}
    mine = [row for row in operations if row["payment_order_id"] == order["payment_order_id"]]
    return {
        "capture": amounts["capture"],
        **shown,
        "authorisation_expires_at": amounts["authorisation_expires_at"],
        "captures": [operation(row) for row in mine if row["kind"] == "capture"],
        "voids": [operation(row) for row in mine if row["kind"] == "void"],
        "next_action": None,
    }


def next_action(row: Row) -> dict[str, Any]:
    """A row of payments' `redirect_view` → what the buyer has to do."""
    return {"type": "redirect_to_url", "redirect_url": row["redirect_url"], "expires_at": row["expires_at"]}


def operation(row: Row) -> dict[str, Any]:
    """A row of payments' `operation_view` → a capture, void or refund."""
    kind, currency = row["kind"], row["currency"]
    copied = ("payment_order_id", "checkout_id", "status", "detail", "code", "wallet_updated", "ledger_updated")
    more = {"capture": {"final": bool(row["final"])}, "refund": {"reason": row["reason"]}}.get(kind, {})
    return (
        {f"{kind}_id": row["operation_id"]}
        | {name: row[name] for name in copied}
        | more
        | {
            "amount": None if row["amount"] is None else decimal(row["amount"], currency),
            "currency": currency if row["amount"] is not None else None,
            "received_at": row["requested_at"],
            "links": operation_links(kind, row["operation_id"], row["checkout_id"]),
        }
    )


def not_yet(reply: bytes, refused: str | None) -> dict[str, Any]:
    """An operation that the door has accepted with this reply, and that payments refused with this code, or has not consumed
    yet (None).
    """
    asked: dict[str, Any] = orjson.loads(reply)
    return asked if refused is None else asked | {"status": "refused", "code": refused}


def dispute(row: Row) -> dict[str, Any]:
    fee = None if row["fee"] is None else decimal(row["fee"], row["fee_currency"])
    return dict(row) | {"amount": decimal(row["amount"], row["currency"]), "fee": fee}


def refused(row: Row, reply: bytes | None) -> dict[str, Any]:
    """A payment that the door has accepted with this reply, or None, and that payments has refused."""
    return {
        "checkout_id": row["checkout_id"],
        "status": "refused",
        "is_payment_done": True,
        "buyer_account": None,
        "description": None,
        "metadata": {},
        "deadline": None,
        "received_at": row["at"] if reply is None else orjson.loads(reply)["received_at"],
        "payment_orders": [],
        "links": links(row["checkout_id"]),
        "refused": {"code": row["code"], "detail": row["detail"]},
    }


def in_decimals(row: Row, names: Sequence[str]) -> Mapping[str, Any]:
    """The row with these columns, which are minor units of its currency, as decimal strings."""
    return row | {name: decimal(row[name], row["currency"]) for name in names}


def order_in_reply(reply: bytes, payment_order_id: str) -> dict[str, Any]:
    """One order of a stored 202."""
    orders: list[dict[str, Any]] = orjson.loads(reply)["payment_orders"]
    return next(one for one in orders if one["payment_order_id"] == payment_order_id)
