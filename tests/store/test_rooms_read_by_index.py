"""What rooms ask of their database for each batch, with a plan that needs no table read from end to end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from consumers.executor.consumer import build as build_executor
from consumers.ledger.consumer import build as build_ledger
from consumers.payments.consumer import build as build_payments
from consumers.payouts.consumer import build as build_payouts
from consumers.risk.consumer import build as build_risk
from consumers.wallet.consumer import build as build_wallet
from consumers.webhooks.consumer import build as build_webhooks
from operations.auditor.transfers import page
from operations.cli import payout_timeline, timeline_calls
from operations.stack.settings import AllSettings
from producers import recon_explained
from psp.payout_port import Accepted
from reconciliation.consumer import build as build_reconciliation
from schemas.events import AnyEvent, WebhookResendRequested, WebhookTestRequested
from schemas.money import Money
from schemas.money_back import RefundPlaced
from tests.captures import NOW
from tests.money_back import captured, opened, refunded, share
from tests.payouts import given_up, placed, submitted
from tests.reconciling import SOURCES, Row, call_id, paid_out
from tests.unit.executor_cases import order
from tests.unit.money_back_cases import ask_refund
from tests.unit.payment_cases import cleared, requested
from tests.unit.payout_cases import notified as told
from tests.unit.payout_cases import ready, withdrawn
from tests.unit.payouts_room import cancelled, frozen
from tests.unit.payouts_room import requested as payout_requested
from tests.unit.test_risk_decide import reviewed, screening
from topics.catalog import CONSUMERS
from topics.runtime.shape.store import Store

BACK = (captured(None, share(1000, 50)), refunded("r1", share(300, 15)), opened(share(200, 10)))
PAID_OUT = (submitted(),)
REFUND = RefundPlaced(payment_order_id="order-1", checkout_id="c1", refund_id="r1", amount=Money(300, "EUR"))
REPORT = paid_out([Row(call_id(1), 1234, 34)])
HOOK = {"endpoint_id": "hook", "owner": "shop"}
WHOLE = re.compile(r"Seq Scan|Filter: .*\)::text = ANY")
ROOMS: Mapping[str, tuple[Any, Sequence[AnyEvent]]] = {
    "payments": (build_payments, (requested(), cleared(), ask_refund("r1", "3.00"), *BACK)),
    "risk": (build_risk, (screening(), reviewed())),
    "executor": (build_executor, (order(), REFUND, ready(), withdrawn(), told(Accepted("tr_1")))),
    "wallet": (build_wallet, (*BACK, placed(), given_up(), *PAID_OUT)),
    "ledger": (build_ledger, (*BACK, *PAID_OUT)),
    "payouts": (build_payouts, (payout_requested(), cancelled(), frozen(), *PAID_OUT)),
    "reconciliation": (
        lambda settings: build_reconciliation(settings.model_copy(update={"settlement_sources": SOURCES})),
        (*BACK, *PAID_OUT, REPORT.stored(), *REPORT.chunks(), REPORT.ended()),
    ),
    "webhooks": (
        build_webhooks,
        (WebhookTestRequested(**HOOK), WebhookResendRequested(**HOOK, delivery_id=str(uuid4()))),
    ),
}


class Explained:
    """A connection that notes the plan of each statement before its run."""

    def __init__(self, conn: Any) -> None:
        self._conn, self.plans = conn, list[str]()

    def execute(self, statement: str, *rest: Any, **more: Any) -> Any:
        rows = self._conn.execute(f"EXPLAIN {statement}", *rest).fetchall()
        self.plans.append("\n".join(row[0] for row in rows))
        return self._conn.execute(statement, *rest, **more)


def test_every_room_is_looked_at() -> None:
    assert ROOMS.keys() == {room.name for room in CONSUMERS}


def test_no_batch_reads_a_table_from_end_to_end(stored: AllSettings) -> None:
    """The planner, told to do anything rather than that, still does where no index answers the question: an OR between a
    column and a look-up in a list read all operations for each batch, 25,000 rows for a refund; a comparison with a
    cast column all deliveries.
    """
    for name in ROOMS:
        for plan in plans(stored, name):
            assert not WHOLE.search(plan), f"{name}: {plan}"


def plans(settings: AllSettings, name: str) -> Sequence[str]:
    """Of what the room asks to load its batch."""
    build, events = ROOMS[name]
    with closing(Store(settings, name)) as store, store.transaction() as conn:
        conn.execute("SET LOCAL enable_seqscan = off")
        explained = Explained(conn)
        build(settings).load(explained, events, NOW)
        conn.rollback()
    assert explained.plans
    return explained.plans


ONE: Mapping[str, tuple[str, Any]] = {
    "tally show ORDER": (timeline_calls.CALLS, {"charges": ["c" * 32], "orders": ["order-1"]}),
    "tally show PAYOUT": (payout_timeline.CALLS, ["po_1"]),
    "tally recon explain": (recon_explained._CALLS, {"id": "order-1"}),
    "tally verify": (page._CALLS, [["po_1"]]),
}


@pytest.mark.parametrize("command", ONE)
def test_the_calls_of_one_order_or_pay_out_are_found_without_reading_those_of_all(
    command: str, stored: AllSettings
) -> None:
    statement, values = ONE[command]
    options = "-c search_path=executor -c enable_seqscan=off"
    with psycopg.connect(stored.dsn("tally_executor_read"), options=options) as conn:
        plan = "\n".join(row[0] for row in conn.execute("EXPLAIN " + statement, values))  # type: ignore[operator]
    assert "on calls" in plan
    assert "Seq Scan on calls" not in plan
