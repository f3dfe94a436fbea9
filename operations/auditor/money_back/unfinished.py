"""Authorisations past their end → those that are not captured, voided or expired."""

from __future__ import annotations

from datetime import datetime, timedelta

from operations.auditor.engine.stores import Stores
from operations.auditor.engine.unfinished import Look, LookResult

ENDED_AFTER = timedelta(hours=2)  # the executor tries again each hour while an operation is open at the PSP


def authorisations(stores: Stores, now: datetime) -> LookResult:
    """No authorisation is past its end, unless an operation is open at the PSP or waits for a person."""
    seen = LookResult(
        stores.one("executor", "SELECT count(*) FROM attempt_view WHERE expires_at IS NOT NULL AND state <> 'pending'")[
            0
        ]
    )
    rows = stores.rows(
        "executor",
        "SELECT payment_order_id, expires_at::text FROM attempt_view a WHERE state = 'authorised' AND expires_at < %s"
        " AND NOT EXISTS (SELECT 1 FROM operation_view o WHERE o.payment_order_id = a.payment_order_id"
        " AND o.state IN ('calling', 'unknown', 'pending', 'unresolved')) ORDER BY expires_at LIMIT 100",
        [now - ENDED_AFTER],
    )
    seen.wrong = {order_id: f"authorised until {until}, and still open" for order_id, until in rows}
    return seen


LOOKS: dict[str, Look] = {"authorisations_end": authorisations}
