"""What persons have said in a PSP's place → had each outcome its two persons, and did the executor take it?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson

from operations.auditor.engine.records import Reader
from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.unfinished import OVERDUE
from schemas.envelope import header
from schemas.persons import person_of
from topics.catalog import PSP_NOTIFICATIONS
from topics.runtime.shape.record import headers_of

CHECK = "resolutions_by_two"
_SOURCE = b'"operator"'
_APPROVED = (
    "SELECT event_id::text, proposal_id, call_id, event, proposed_by, decided_by, decided_at FROM proposal_view"
    " WHERE state = 'approved'"
)
_UNDECIDED = """
SELECT call_id, state FROM attempt_view a WHERE call_id = ANY(%(calls)s) AND state IN ('unknown', 'unresolved')
    AND NOT EXISTS (SELECT FROM operation_view o WHERE o.payment_order_id = a.payment_order_id
                    AND o.kind = 'charge' AND o.checking IS NOT NULL)
UNION ALL
SELECT call_id, state FROM operation_view WHERE call_id = ANY(%(calls)s) AND state IN ('unknown', 'unresolved')
    AND checking IS NULL
UNION ALL
SELECT call_id, state FROM payout_view WHERE call_id = ANY(%(calls)s) AND state IN ('unknown', 'unresolved')
    AND resolution IS DISTINCT FROM 'asked'
UNION ALL
SELECT file_id, state FROM bank_file_view WHERE file_id = ANY(%(calls)s) AND state = 'unresolved'
"""


def check_resolutions(stores: Stores, reading: Reader, now: datetime) -> Check:
    """Each operator's notification is what two persons have agreed on, and the executor has taken each."""
    examined, wrong = faults(stores, reading, now)
    return judged(CHECK, examined, wrong, expected=False)


def faults(stores: Stores, reading: Reader, now: datetime) -> tuple[int, list[str]]:
    """The number of approved proposals, and what is wrong."""
    said = dict(_said(reading))  # before the proposals, so that each one's is there
    approved = {row[0]: row[1:] for row in stores.rows("doors", _APPROVED)}
    wrong = [f"{event_id}: {fault}" for event_id in said if (fault := _fault(said[event_id], approved.get(event_id)))]
    wrong += [
        f"{row[0]}: {row[3]} alone has approved it"
        for row in approved.values()
        if person_of(row[3]) == person_of(row[4])
    ]
    wrong += _untaken(stores, {row[1]: row[0] for row in approved.values() if row[5] < now - OVERDUE})
    return len(approved), wrong


def _said(reading: Reader) -> Iterator[tuple[str, dict[str, Any]]]:
    """The operators' notifications, by event id."""
    ends = reading.ends(PSP_NOTIFICATIONS)
    for record in reading.records({where: each for where, each in ends.items() if each[0] < each[1]}):
        value = record.value() or b""
        if _SOURCE not in value:
            continue
        try:
            said = orjson.loads(value)
        except ValueError:
            continue  # a dead letter
        if isinstance(said, dict) and said.get("source") == "operator":
            yield header(headers_of(record), "ce_id") or "", said


def _fault(said: dict[str, Any], approved: tuple[Any, ...] | None) -> str | None:
    if approved is None:
        return f"an operator's notification about {said.get('reference')}, and nobody has approved it"
    if {name: value for name, value in said.items() if value is not None} != approved[2]:
        return f"it says other things than {approved[0]}, which was approved"
    return None


def _untaken(stores: Stores, approved: dict[str, str]) -> list[str]:
    rows = stores.rows("executor", _UNDECIDED, {"calls": [*approved]}) if approved else []
    return [f"{approved[call]}: call {call} is still {state}" for call, state in rows]
