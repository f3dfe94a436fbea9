"""The stores → the books of money back, for orders with operations or disputes alone: most orders have none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operations.auditor.engine.stores import Stores, grouped, scan_by, slices
from operations.auditor.money_back.books import (
    Books,
    Call,
    FeeRules,
    Operation,
    PaymentsDispute,
    PaymentsOperation,
    Revenue,
    Stage,
    Terms,
)
from operations.auditor.money_back.effects import KINDS
from operations.auditor.rows import ATTEMPTS, CAPTURED, JOURNALS, MOVEMENTS, Attempt, Journal, Movement

_OPERATION = ("payment_order_id", "seq", "kind")  # a charge that was asked about and its capture have one number
_OPERATIONS = """
SELECT payment_order_id, seq, kind, operation_id, amount_minor, fee_minor, currency, final, state, turn, call_id, psp,
    psp_reference, checks, checking, cause_event_id, outcome_event_id, outcome_place, placed_at FROM operation_view"""
_STAGES = """
SELECT psp, dispute_reference, stage, payment_order_id, dispute_id, state, amount_minor, fee_minor, currency,
    dispute_fee_minor, dispute_fee_currency, checking, outcome_event_id, outcome_place, placed_at FROM dispute_view"""
_ASKED = """
SELECT kind, operation_id, payment_order_id, amount, final, status, wallet_updated, ledger_updated, asked, event_id::text
FROM operation_view"""
_TOLD = """
SELECT dispute_id, stage, payment_order_id, status, wallet_updated, ledger_updated FROM dispute_view"""
_REVENUE = """
SELECT payment_order_id, kind, part, seller_account, currency, psp, orders, gross::bigint, fee::bigint,
    (refunded + charged_back)::bigint, fee_returned::bigint FROM revenue_line_view"""
_TERMS = "SELECT payment_order_id, seller_account, currency, gross, fee FROM order_view"
_RULES = "SELECT payment_order_id, fee_refund, fee_chargeback FROM fee_rule_view"
_OPENED = "SELECT payment_order_id, part, at, kind FROM movement_view"
_CALLS = "SELECT call_id, state, created_at FROM call_view"


def read_all(stores: Stores) -> Books:
    """Read the ids of these orders, from effects to causes; then each order's rows, chunk by chunk."""
    orders = {row[0] for row in stores.rows("ledger", _other("journal_view", "template"))}
    orders |= {row[0] for row in stores.rows("wallet", _other("movement_view", "kind"))}
    orders |= {row[2] for row in scan_by(stores, "payments", _ASKED, ("kind", "operation_id"), ("", ""))}
    orders |= {row[2] for row in scan_by(stores, "payments", _TOLD, ("dispute_id", "stage"), ("", 0))}
    orders |= {row[0] for row in scan_by(stores, "executor", _OPERATIONS, _OPERATION, ("", -1, ""))}
    disputes = scan_by(stores, "executor", _STAGES, ("psp", "dispute_reference", "stage"), ("", "", 0))
    orders |= {row[3] for row in disputes}
    books = Books()
    for some in slices(sorted(orders)):
        add_orders(stores, books, some)
    return books


def _other(view: str, kind: str) -> str:
    """The orders with a movement or journal other than an automatic capture's."""
    kinds = ", ".join(f"'{each}'" for each in KINDS if each != CAPTURED)
    other = f"{kind} IN ({kinds}) OR ({kind} = 'captured' AND part <> '')"
    return f"SELECT DISTINCT payment_order_id FROM {view} WHERE {other}"


def add_orders(stores: Stores, books: Books, order_ids: Sequence[str]) -> None:
    """Read the rows of these orders now, effects before causes."""
    wanted = list(order_ids)

    def rows(room: str, statement: str) -> list[tuple[Any, ...]]:
        return stores.rows(room, f"{statement} WHERE payment_order_id = ANY(%s)", [wanted])

    books.orders |= set(wanted)
    books.told |= {row[:2]: PaymentsDispute(*row[2:]) for row in rows("payments", _TOLD)}
    asked = rows("payments", _ASKED)
    books.revenue |= {row[:3]: Revenue(*row) for row in rows("payments", _REVENUE)}
    found = stores.rows("ledger", JOURNALS.format(where="e.payment_order_id = ANY(%s)"), [wanted])
    books.journals |= grouped((row[0], Journal(*row[1:])) for row in found)
    # Of one order the wallet hears in the order in which the executor spoke, and it counts each wallet's movements.
    found = stores.rows("wallet", f"{MOVEMENTS} WHERE payment_order_id = ANY(%s) ORDER BY wallet_version", [wanted])
    books.movements |= grouped((row[0], Movement(*row[1:-1])) for row in found)
    books.opened_at |= {part: at for _, part, at, kind in rows("wallet", _OPENED) if kind == "chargeback_opened"}
    stages = [Stage(*row) for row in rows("executor", _STAGES)]
    operations = [Operation(*row) for row in rows("executor", _OPERATIONS)]
    books.stages |= {(stage.dispute_id, stage.stage): stage for stage in stages}
    books.operations |= {(operation.kind, operation.id): operation for operation in operations}
    calls = [operation.call_id for operation in operations]
    found = stores.rows("executor", f"{_CALLS} WHERE call_id = ANY(%s)", [calls])
    books.calls |= {row[0]: Call(*row[1:]) for row in found}
    books.attempts |= {row[0]: Attempt(*row[1:]) for row in rows("executor", ATTEMPTS)}
    books.rules |= {row[0]: FeeRules(*row[1:]) for row in rows("executor", _RULES)}
    books.terms |= {row[0]: Terms(*row[1:]) for row in rows("payments", _TERMS)}
    books.asked |= {row[:2]: PaymentsOperation(*row[2:]) for row in asked}
