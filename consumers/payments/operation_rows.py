"""Operations, disputes, authorisations, pages, refused requests, lines of revenue ⇄ their rows. Only batches with events about
them read and write them, under the lock of their payments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consumers.payments.operation import Authorisation, Dispute, Operation, OperationRefusal, OperationStep
from consumers.payments.payment import MoneyBack, OrderMoney, Payments, Redirect
from consumers.payments.revenue_line import RevenueLine
from schemas.events import OperationRequested
from schemas.money import Money
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table

_BOOKED = (  # the steps of executor, wallet and ledger
    Column("step", "int4"),
    Column("wallet_step", "int4"),
    Column("ledger_step", "int4"),
    Column("version", "int4"),
)
OPERATIONS = Table(
    "operations",
    Column("kind", "text", key=True),
    Column("operation_id", "text", key=True),
    Column("checkout_id", "text", fixed=True),
    Column("payment_order_id", "text", fixed=True),
    Column("owner", "text", fixed=True),
    Column("currency", "text", fixed=True),
    Column("amount", "int8", null=True),
    Column("requested_at", "timestamptz", fixed=True),
    Column("changed_at", "timestamptz"),
    Column("event_id", "uuid", fixed=True),
    Column("contents", "text", null=True, fixed=True),
    Column("final", "bool", null=True, fixed=True),
    Column("reason", "text", null=True, fixed=True),
    Column("status", "text"),
    Column("detail", "text"),
    Column("code", "text", null=True),
    Column("fee", "int8", null=True),
    Column("net", "int8", null=True),
    Column("done_at", "timestamptz", null=True),
    *_BOOKED,
)
DISPUTES = Table(
    "disputes",
    Column("dispute_id", "text", key=True),
    Column("stage", "int4", key=True),
    Column("checkout_id", "text", fixed=True),
    Column("payment_order_id", "text", fixed=True),
    Column("owner", "text", fixed=True),
    Column("currency", "text", fixed=True),
    Column("amount", "int8"),
    Column("opened_at", "timestamptz", fixed=True),
    Column("changed_at", "timestamptz"),
    Column("status", "text", null=True),
    Column("fee", "int8", null=True),
    Column("fee_currency", "text", null=True),
    Column("reason", "text"),
    Column("due_by", "timestamptz", null=True),
    *_BOOKED,
)
AUTHORISATIONS = Table(
    "authorisations",
    Column("payment_order_id", "text", key=True),
    Column("checkout_id", "text"),
    Column("psp", "text"),
    Column("scheme", "text"),
    Column("psp_reference", "text"),
    Column("authorised_at", "timestamptz"),
    Column("expires_at", "timestamptz"),
)
REDIRECTS = Table(
    "redirects",
    Column("payment_order_id", "text", key=True),
    Column("redirect_url", "text"),
    Column("expires_at", "timestamptz", null=True),
)
OPERATION_HISTORY = Table(
    "operation_history",
    Column("payment_order_id", "text", key=True),
    Column("id", "int8", key=True, by_sql=True),
    Column("checkout_id", "text"),
    Column("what", "text"),
    Column("subject_id", "text"),
    Column("from_status", "text", null=True),
    Column("to_status", "text"),
    Column("detail", "text"),
    Column("at", "timestamptz"),
    Column("event_id", "uuid"),
)
OPERATION_REFUSALS = Table(
    "operation_refusals",
    Column("event_id", "uuid", key=True),
    Column("kind", "text"),
    Column("operation_id", "text"),
    Column("checkout_id", "text"),
    Column("payment_order_id", "text"),
    Column("owner", "text"),
    Column("code", "text"),
    Column("detail", "text"),
    Column("at", "timestamptz"),
)
REVENUE_LINES = Table(
    "revenue_lines",
    Column("payment_order_id", "text", key=True),
    Column("kind", "text", key=True),
    Column("part", "text", key=True),
    Column("at", "timestamptz"),
    Column("owner", "text"),
    Column("currency", "text"),
    Column("seller_account", "text"),
    Column("psp", "text"),
    Column("orders", "int4"),
    Column("gross", "int8"),
    Column("fee", "int8"),
    Column("event_id", "uuid"),
    Column("summed", "bool", by_sql=True),
)

_READ_OPERATIONS = f"SELECT {OPERATIONS.select(Operation)} FROM operations WHERE payment_order_id = ANY(%s::text[])"
# A statement of its own: with OR between the two the planner uses no index, and each batch read all operations.
_READ_NAMED = (
    f"SELECT {OPERATIONS.select(Operation)} FROM operations"
    " WHERE (kind, operation_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))"
)
_READ_DISPUTES = f"SELECT {DISPUTES.select(Dispute)} FROM disputes WHERE payment_order_id = ANY(%s::text[])"
_READ_ASKED = """
SELECT o.payment_order_id, o.gross, o.currency, p.capture FROM orders o JOIN payments p USING (checkout_id)
 WHERE o.payment_order_id = ANY(%s::text[])
"""


def read_money_back(conn: Connection, state: Payments, events: Sequence[Any]) -> None:
    """Load what these events need. Each names its order; a request names its operation, too."""
    order_ids = text_array(sorted({event.payment_order_id for event in events}))
    asked = [event for event in events if isinstance(event, OperationRequested)]
    kinds, ids = text_array([one.kind for one in asked]), text_array([one.operation_id for one in asked])
    operations = conn.execute(_READ_OPERATIONS, [order_ids], binary=True)
    named = conn.execute(_READ_NAMED, [kinds, ids], binary=True) if asked else ()
    disputes = conn.execute(_READ_DISPUTES, [order_ids], binary=True)
    terms = conn.execute(_READ_ASKED, [order_ids], binary=True) if asked else None
    for row in (*operations, *named):
        state.fold(Operation._make(row))
    for row in disputes:
        state.fold(Dispute._make(row))
    for order_id, gross, currency, capture in terms or ():
        state.asked[order_id] = OrderMoney(Money(gross, currency), capture)


_NEW_OPERATIONS, _MOVED_OPERATIONS = OPERATIONS.insert(), OPERATIONS.update()
_NEW_DISPUTES, _MOVED_DISPUTES = DISPUTES.insert(), DISPUTES.update()
_AUTHORISED = AUTHORISATIONS.insert(otherwise="ON CONFLICT (payment_order_id) DO NOTHING")
_REDIRECTED = REDIRECTS.upsert()
_STEPS = OPERATION_HISTORY.insert()
_REFUSED = OPERATION_REFUSALS.insert(otherwise="ON CONFLICT (event_id) DO NOTHING")
_REVENUE = REVENUE_LINES.insert()


def save_money_back(conn: Connection, changes: Sequence[MoneyBack]) -> None:
    """Save the changes of a batch. Of several versions of an operation or dispute the last is saved."""
    operations = [change for change in changes if isinstance(change, Operation)]
    disputes = [change for change in changes if isinstance(change, Dispute)]
    fresh = {one.key for one in operations if one.version == 1}
    last = {one.key: one for one in operations}
    # Sorted, so that processes with the same ids do not deadlock.
    _NEW_OPERATIONS.run(conn, [last[key] for key in sorted(fresh)])
    _MOVED_OPERATIONS.run(conn, [one for key, one in last.items() if key not in fresh])
    begun = {one.key for one in disputes if one.version == 1}
    now = {one.key: one for one in disputes}
    _NEW_DISPUTES.run(conn, [now[key] for key in sorted(begun)])
    _MOVED_DISPUTES.run(conn, [one for key, one in now.items() if key not in begun])
    _AUTHORISED.run(conn, [change for change in changes if isinstance(change, Authorisation)])
    _REDIRECTED.run(conn, [change for change in changes if isinstance(change, Redirect)])
    _STEPS.run(conn, [change for change in changes if isinstance(change, OperationStep)])
    _REFUSED.run(conn, [change for change in changes if isinstance(change, OperationRefusal)])
    _REVENUE.run(conn, [change for change in changes if isinstance(change, RevenueLine)])
