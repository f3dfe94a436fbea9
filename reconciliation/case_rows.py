"""Items of breaks → their rows. A break's amount and state follow from its items, computed under its lock.

A break has one item, or all of one cause. While a code and group (a settlement, or what is due on one day) has more than
GROUPED_PAST open items, they are one break: a person works one cause, not a thousand. When there are fewer, each is a break of
its own again: what the breaks are follows from what is open, and not from the order in which that was found.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, LiteralString

import orjson

from reconciliation.breaking import break_id, said
from reconciliation.matching import CLASSES
from reconciliation.state import ItemClosed, ItemOpened
from topics.runtime.shape.consumer import Connection, Latest
from topics.runtime.shape.store import text_array, uuid_array

GROUPED_PAST = 500
# Breaks are locked in one order: those of groups first, each kind sorted.
_ACTIVE: LiteralString = """
SELECT replace(break_id::text, '-', '') FROM breaks WHERE break_id = ANY (%s::uuid[]) AND items > 0
"""
_GROUPS_OF: LiteralString = """
SELECT DISTINCT replace(i.group_id::text, '-', '') FROM break_items i
JOIN unnest(%s::text[], %s::uuid[]) AS w (item, break_id) ON i.item = w.item AND i.break_id = w.break_id
WHERE i.closed_at IS NULL AND i.group_id IS NOT NULL
"""
# Whoever comes second counts what the first has changed: a group has no row that could be locked before it is a break.
_LOCK_GROUP: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
_LOCK: LiteralString = """
INSERT INTO breaks AS b (break_id, code, subject, class, state, source, psp, currency, amount, items, detail, opened_at,
    changed_at, revision)
SELECT break_id, code, subject, class, 'closed', source, psp, currency, 0, 0, detail::jsonb, at, at, 0
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
    AS w (break_id, code, subject, class, source, psp, currency, detail, at) ORDER BY break_id
ON CONFLICT (break_id) DO UPDATE SET class = excluded.class, detail = excluded.detail, changed_at = excluded.changed_at
"""
_OPEN: LiteralString = """
INSERT INTO break_items AS i (item, break_id, group_id, amount, currency, detail, opened_at, closed_at)
SELECT item, break_id, group_id, amount, currency, detail::jsonb, at, CASE WHEN closed THEN at END
FROM unnest(%s::text[], %s::uuid[], %s::uuid[], %s::bigint[], %s::text[], %s::text[], %s::timestamptz[], %s::boolean[])
    AS w (item, break_id, group_id, amount, currency, detail, at, closed)
ON CONFLICT (item, break_id) DO UPDATE SET amount = excluded.amount, detail = excluded.detail, closed_at = excluded.closed_at
"""
_CLOSE: LiteralString = """
UPDATE break_items i SET closed_at = w.at FROM unnest(%s::text[], %s::uuid[], %s::timestamptz[]) AS w (item, break_id, at)
WHERE i.item = w.item AND i.break_id = w.break_id AND i.closed_at IS NULL RETURNING replace(i.break_id::text, '-', '')
"""
_COUNT: LiteralString = """
SELECT replace(group_id::text, '-', ''), count(*) AS open, count(*) FILTER (WHERE break_id = group_id) AS together
FROM break_items WHERE group_id = ANY (%s::uuid[]) AND closed_at IS NULL GROUP BY group_id
"""
_REGROUP: LiteralString = """
WITH gone AS (
    UPDATE break_items SET closed_at = %(at)s
    WHERE group_id = ANY (%(groups)s::uuid[]) AND break_id <> group_id AND closed_at IS NULL
    RETURNING item, break_id, group_id, amount, currency, detail, opened_at
), moved AS (
    INSERT INTO break_items (item, break_id, group_id, amount, currency, detail, opened_at)
    SELECT item, group_id, group_id, amount, currency, detail, opened_at FROM gone
    ON CONFLICT (item, break_id) DO UPDATE SET amount = excluded.amount, detail = excluded.detail, closed_at = NULL
)
SELECT replace(break_id::text, '-', '') FROM gone
"""
_TOGETHER: LiteralString = """
SELECT b.code, i.item, b.source, b.psp, i.currency, i.amount, i.detail, b.subject, i.opened_at
FROM break_items i JOIN breaks b USING (break_id)
WHERE i.group_id = ANY (%s::uuid[]) AND i.break_id = i.group_id AND i.closed_at IS NULL
"""
_SUM_UP: LiteralString = """
WITH before AS (
    SELECT break_id, state, revision FROM breaks WHERE break_id = ANY (%s::uuid[]) ORDER BY break_id FOR UPDATE
), counted AS (
    SELECT b.break_id, count(i.item)::integer AS items, coalesce(sum(abs(i.amount)), 0)::bigint AS amount
    FROM before b LEFT JOIN break_items i ON i.break_id = b.break_id AND i.closed_at IS NULL GROUP BY b.break_id
), after AS (
    UPDATE breaks b SET items = c.items, amount = c.amount, state = CASE WHEN c.items > 0 THEN 'open' ELSE 'closed' END,
        work = CASE WHEN c.items = 0 THEN CASE WHEN b.work IN ('approved', 'resolved') THEN 'resolved' ELSE 'auto_closed' END
                    WHEN b.work IN ('auto_closed', 'approved') OR b.state = 'closed'
                        OR b.work = 'resolved' AND b.worked_amount IS DISTINCT FROM c.amount
                    THEN CASE WHEN b.assignee IS NULL THEN 'open' ELSE 'assigned' END
                    ELSE b.work END,
        proposal = CASE WHEN c.items > 0 THEN b.proposal END,
        revision = b.revision + 1, changed_at = %s
    FROM counted c WHERE b.break_id = c.break_id RETURNING b.*
), acted AS (
    INSERT INTO break_actions (break_id, revision, action, actor, at, detail)
    SELECT a.break_id, a.revision,
        CASE WHEN a.state = 'closed' THEN CASE WHEN p.revision = 0 THEN 'recorded' ELSE 'closed' END
             WHEN p.revision = 0 THEN 'opened' WHEN p.state = 'closed' THEN 'reopened' ELSE 'changed' END,
        'reconciliation', %s, jsonb_build_object('items', a.items, 'amount', a.amount)
    FROM after a JOIN before p USING (break_id) RETURNING break_id, action
)
SELECT acted.action, replace(a.break_id::text, '-', ''), a.revision, a.code, a.class, a.subject, a.source, a.psp, a.items,
    a.amount, a.currency, a.detail, a.opened_at
FROM after a JOIN acted USING (break_id) WHERE acted.action <> 'recorded' AND NOT (a.state = 'open' AND a.work = 'resolved')
ORDER BY a.break_id
"""


def save(conn: Connection, opened: Sequence[ItemOpened], closed: Sequence[ItemClosed]) -> list[Latest]:
    """Lock groups and breaks, change their items, then count: whoever comes second counts what the first has changed.
    → what is said of the breaks that were open before or are now
    """
    if not opened and not closed:
        return []
    at = opened[0].at if opened else closed[0].at
    listed = list({(item.item, item.break_id): item for item in opened}.values())
    groups = _locked_groups(conn, listed, closed)
    items = _with_groups(conn, listed, groups)
    left = [(one.item, one.break_id, at) for one, other in zip(listed, items, strict=True) if one is not other]
    touched = _moves(conn, [*left, *((each.item, each.break_id, each.at) for each in closed)], items)
    if groups:
        touched |= _regrouped(conn, groups, items, at)
    return [said(*row) for row in conn.execute(_SUM_UP, [uuid_array(sorted(touched)), at, at])]


def _locked_groups(conn: Connection, opened: Sequence[ItemOpened], closed: Sequence[ItemClosed]) -> list[str]:
    """The groups whose items change."""
    groups = {group for item in opened if (group := _group_id(item))}
    if closed:
        named = [text_array(each.item for each in closed), uuid_array([each.break_id for each in closed])]
        groups |= {row[0] for row in conn.execute(_GROUPS_OF, named)}
    for number in sorted(int(group[:15], 16) for group in groups):
        conn.execute(_LOCK_GROUP, [number])
    return sorted(groups)


def _moves(conn: Connection, gone: Sequence[tuple[str, str, datetime]], items: Sequence[ItemOpened]) -> set[str]:
    """Close these, and open those. → the breaks that change"""
    _lock(conn, items)
    closed = _close(conn, gone)
    if items:
        conn.execute(_OPEN, [list(column) for column in zip(*map(_item_row, items), strict=True)])
    return closed | {item.break_id for item in items}


def _close(conn: Connection, gone: Sequence[tuple[str, str, datetime]]) -> set[str]:
    """→ the breaks of those that were open"""
    if not gone:
        return set()
    return {row[0] for row in conn.execute(_CLOSE, [list(column) for column in zip(*gone, strict=True)])}


def _with_groups(conn: Connection, listed: Sequence[ItemOpened], groups: Sequence[str]) -> list[ItemOpened]:
    """An item goes to the break of its group where there is one."""
    active = {row[0] for row in conn.execute(_ACTIVE, [uuid_array(groups)])} if groups else set[str]()
    return [_moved(item, active) for item in listed]


def _moved(item: ItemOpened, active: Collection[str]) -> ItemOpened:
    group = _group_id(item)
    return item if group is None or group == item.break_id or group not in active else item._replace(break_id=group)


def _regrouped(conn: Connection, groups: Sequence[str], items: Sequence[ItemOpened], at: datetime) -> set[str]:
    """Items of groups that have too many now go into one break, and out of it where they are few. → the breaks that change"""
    counts = {group: counted for group, *counted in conn.execute(_COUNT, [uuid_array(groups)])}
    one_of = {group: item for item in items if (group := _group_id(item))}
    many = [group for group, (found, together) in counts.items() if found > GROUPED_PAST and found > together]
    few = [group for group, (found, together) in counts.items() if found <= GROUPED_PAST and together]
    changed = set[str]()
    if joining := sorted(group for group in many if group in one_of):
        _lock(conn, [one_of[group]._replace(break_id=group) for group in joining])
        moved = conn.execute(_REGROUP, {"at": at, "groups": uuid_array(joining)})
        changed |= {row[0] for row in moved} | set(joining)
    return changed | (_split(conn, sorted(few), at) if few else set())


def _split(conn: Connection, groups: Sequence[str], at: datetime) -> set[str]:
    """→ the breaks that change"""
    rows = conn.execute(_TOGETHER, [uuid_array(groups)])
    singles = [ItemOpened(item, break_id(code, item), code, item, *rest) for code, item, *rest in rows]
    gone = [(item.item, break_id(item.code, item.group), at) for item in singles]
    return _moves(conn, gone, singles)


def _lock(conn: Connection, items: Sequence[ItemOpened]) -> None:
    rows = [_break_row(item) for item in {item.break_id: item for item in items}.values()]
    if rows:
        conn.execute(_LOCK, [list(column) for column in zip(*rows, strict=True)])


def _group_id(item: ItemOpened) -> str | None:
    return break_id(item.code, item.group) if item.group else None


def _break_row(item: ItemOpened) -> tuple[Any, ...]:
    grouped = item.break_id == _group_id(item)
    subject, detail = (item.group, {"grouped": True}) if grouped else (item.subject, item.detail)
    named = (item.break_id, item.code, subject, _class_of(item), item.source, item.psp, item.currency)
    return (*named, orjson.dumps(dict(detail)).decode(), item.at)


def _class_of(item: ItemOpened) -> str:
    """That of its code; a person's where two versions of a file wait for one."""
    return "B" if item.detail.get("waits") else CLASSES[item.code]


def _item_row(item: ItemOpened) -> tuple[Any, ...]:
    detail = orjson.dumps(dict(item.detail)).decode()
    return (item.item, item.break_id, _group_id(item), item.amount, item.currency, detail, item.at, item.closed)
