"""Captures, voids, refunds and disputes of some orders: asked for at the door, and as payments tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from operations.auditor.engine.stores import Stores
from operations.cli.moment import Moment
from schemas.money import Money


def asked(stores: Stores, order_ids: Sequence[str]) -> Iterator[Moment]:
    """As doors and payments tell of it."""
    for kind, id_, order_id, owner, at in stores.rows(
        "doors",
        "SELECT kind, operation_id, payment_order_id, owner, accepted_at FROM operation_id_view"
        " WHERE payment_order_id = ANY(%s)",
        [list(order_ids)],
    ):
        yield Moment(at, "doors", f"{kind} accepted", order_id, f"{id_} from {owner}")
    amounts = _amounts(stores, order_ids)
    for order_id, what, id_, before, after, detail, at in stores.rows(
        "payments",
        "SELECT payment_order_id, what, subject_id, from_status, to_status, detail, at FROM operation_history_view"
        " WHERE payment_order_id = ANY(%s) ORDER BY id",
        [list(order_ids)],
    ):
        step = f"{before} → {after}" if before and before != after else after
        told = [part for part in (id_, amounts.get((what, id_)), detail) if part]
        yield Moment(at, "payments", f"{what} {step}", order_id, ", ".join(told))
    for order_id, kind, id_, code, detail, at in stores.rows(
        "payments",
        "SELECT payment_order_id, kind, operation_id, code, detail, at FROM operation_refusal_view"
        " WHERE payment_order_id = ANY(%s)",
        [list(order_ids)],
    ):
        yield Moment(at, "payments", f"{kind} refused: {code}", order_id, f"{id_}, {detail}")


def _amounts(stores: Stores, order_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    rows = stores.rows(
        "payments",
        "SELECT kind, operation_id, amount, currency FROM operation_view WHERE payment_order_id = ANY(%s) AND amount > 0"
        " UNION ALL SELECT 'dispute', dispute_id, amount, currency FROM dispute_view WHERE payment_order_id = ANY(%s)",
        [list(order_ids), list(order_ids)],
    )
    return {(kind, id_): str(Money(amount, currency)) for kind, id_, amount, currency in rows}
