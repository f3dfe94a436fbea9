"""Items of breaks → their rows. A break's amount and state follow from its items, computed under its lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

import orjson

from reconciliation.matching import CLASSES
from reconciliation.state import ItemClosed, ItemOpened
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import uuid_array

_LOCK: LiteralString = """
INSERT INTO breaks AS b (break_id, code, subject, class, state, source, psp, currency, amount, items, detail, opened_at,
    changed_at, revision)
VALUES (%s, %s, %s, %s, 'closed', %s, %s, %s, 0, 0, %s, %s, %s, 0)
ON CONFLICT (break_id) DO UPDATE SET detail = excluded.detail, changed_at = excluded.changed_at
"""
_OPEN: LiteralString = """
INSERT INTO break_items AS i (item, break_id, amount, currency, detail, opened_at, closed_at) VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (item, break_id) DO UPDATE SET amount = excluded.amount, detail = excluded.detail, closed_at = excluded.closed_at
"""
_CLOSE: LiteralString = "UPDATE break_items SET closed_at = %s WHERE item = %s AND break_id = %s AND closed_at IS NULL"
_SUM_UP: LiteralString = """
WITH before AS (
    SELECT break_id, state, revision FROM breaks WHERE break_id = ANY (%s::uuid[]) ORDER BY break_id FOR UPDATE
), counted AS (
    SELECT b.break_id, count(i.item)::integer AS items, coalesce(sum(abs(i.amount)), 0)::bigint AS amount
    FROM before b LEFT JOIN break_items i ON i.break_id = b.break_id AND i.closed_at IS NULL GROUP BY b.break_id
), after AS (
    UPDATE breaks b SET items = c.items, amount = c.amount, state = CASE WHEN c.items > 0 THEN 'open' ELSE 'closed' END,
        revision = b.revision + 1
    FROM counted c WHERE b.break_id = c.break_id RETURNING b.break_id, b.state, b.revision, b.items, b.amount
)
INSERT INTO break_actions (break_id, revision, action, actor, at, detail)
SELECT a.break_id, a.revision,
    CASE WHEN a.state = 'closed' THEN CASE WHEN p.revision = 0 THEN 'recorded' ELSE 'closed' END
         WHEN p.revision = 0 THEN 'opened' WHEN p.state = 'closed' THEN 'reopened' ELSE 'changed' END,
    'reconciliation', %s, jsonb_build_object('items', a.items, 'amount', a.amount)
FROM after a JOIN before p USING (break_id)
"""


def save(conn: Connection, opened: Sequence[ItemOpened], closed: Sequence[ItemClosed]) -> None:
    """Lock the breaks in sorted order, change their items, then count: whoever comes second counts what the first has changed."""
    if not opened and not closed:
        return
    first = {item.break_id: item for item in opened}
    for break_id in sorted(first):
        item = first[break_id]
        named = (item.code, item.subject, CLASSES[item.code], item.source, item.psp, item.currency)
        conn.execute(_LOCK, (break_id, *named, _json(item), item.at, item.at))
    for gone in closed:
        conn.execute(_CLOSE, (gone.at, gone.item, gone.break_id))
    for item in opened:
        until = item.at if item.closed else None
        conn.execute(_OPEN, (item.item, item.break_id, item.amount, item.currency, _json(item), item.at, until))
    touched = sorted({*first, *(gone.break_id for gone in closed)})
    at = opened[0].at if opened else closed[0].at
    conn.execute(_SUM_UP, [uuid_array(touched), at])


def _json(item: ItemOpened) -> str:
    return orjson.dumps(dict(item.detail)).decode()
