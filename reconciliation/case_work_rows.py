"""What persons have done about breaks → their rows, the history, the corrections; and what is said of breaks by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

import orjson

from reconciliation.breaking import said
from reconciliation.case import CaseWorked, CorrectionMade
from topics.runtime.shape.consumer import Connection, Latest

_WORKED: LiteralString = """
UPDATE breaks SET work = %s, assignee = %s, proposal = %s::jsonb, worked_amount = %s, revision = revision + 1, changed_at = %s
WHERE break_id = %s
RETURNING replace(break_id::text, '-', ''), revision, code, class, subject, source, psp, items, amount, currency, detail,
    opened_at
"""
_ACTED: LiteralString = """
INSERT INTO break_actions (break_id, revision, action, actor, at, detail, operation_id) VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
_MADE: LiteralString = """
INSERT INTO corrections (correction_id, break_id, kind, undoes, event_id, entries, movements, reason, maker, approver, sha256, at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_CHANGED: LiteralString = """
INSERT INTO correction_facts (correction_id, psp, kind, key, currency, amount)
SELECT %s::uuid, psp, kind, key, currency, amount
FROM unnest(%s::text[], %s::text[], %s::uuid[], %s::text[], %s::bigint[]) AS w (psp, kind, key, currency, amount)
"""


def save(conn: Connection, worked: Sequence[CaseWorked], made: Sequence[CorrectionMade]) -> list[Latest]:
    """The breaks are locked since they were loaded. Whoever has heard of a break hears that a person has resolved it, or opened
    it again.
    """
    told: list[Latest] = []
    for each in made:
        _save_correction(conn, each)
    for case, action, operation_id, actor, at, detail in worked:
        proposal = None if case.proposal is None else orjson.dumps(dict(case.proposal)).decode()
        row = (case.work, case.assignee, proposal, case.worked_amount, at, case.break_id)
        [after] = conn.execute(_WORKED, row).fetchall()
        written = orjson.dumps(dict(detail)).decode()
        conn.execute(_ACTED, (case.break_id, after[1], action, actor, at, written, operation_id))
        if "refused" not in detail and case.work == "resolved" and action in ("resolve", "approve"):
            told.append(said("closed", *after))
        elif "refused" not in detail and action == "reopen":
            told.append(said("reopened", *after))
    return told


def _save_correction(conn: Connection, made: CorrectionMade) -> None:
    repair = made.repair
    told = repair.told()
    movements = [[m.seller_account, m.amount.minor, m.amount.currency] for m in repair.movements]
    books = (orjson.dumps(told["entries"]).decode(), orjson.dumps(movements).decode())
    who = (made.reason, made.maker, made.approver, repair.sha256, made.at)
    conn.execute(_MADE, (made.correction_id, made.break_id, repair.kind, repair.undoes, made.event_id, *books, *who))
    if repair.changes:
        conn.execute(_CHANGED, (made.correction_id, *(list(column) for column in zip(*repair.changes, strict=True))))
