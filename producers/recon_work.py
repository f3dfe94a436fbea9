"""Reconciliation's views → what an action on a break would do, and what has become of one. The same for the API and commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

from producers.recon_reports import Answer, Ask, Row
from producers.recon_steps import Steps
from schemas import repairs
from schemas.break_work import REPAIRS, BreakWorked
from schemas.money import Money
from schemas.repairs import ITEMS_MAX, CaseState, NotPossible, Repair, TallyState
from topics.break_rules import BreakRules

_CASE: LiteralString = (
    "SELECT state, work, amount, currency, proposal FROM break_view WHERE break_id = %(id)s::uuid::text"
)
_ITEMS: LiteralString = """
SELECT item FROM break_item_view WHERE break_id = %(id)s::uuid::text AND closed_at IS NULL ORDER BY item LIMIT %(limit)s
"""
_TALLIES: LiteralString = """
SELECT psp, kind, replace(key::text, '-', '') AS key, currency, expected, settled, facts > 0 AS known
FROM tally_by_key_view WHERE key = ANY (%(keys)s::uuid[])
"""
_CORRECTION: LiteralString = """
SELECT kind, entries, undoes, EXISTS (SELECT 1 FROM correction_view u WHERE u.undoes = c.correction_id) AS is_undone
FROM correction_view c WHERE correction_id = %(id)s::uuid
"""
_FACTS: LiteralString = """
SELECT psp, kind, replace(key::text, '-', '') AS key, currency, amount FROM correction_fact_view
WHERE correction_id = %(id)s::uuid ORDER BY psp, kind, key, currency
"""
_SELLERS: LiteralString = "SELECT DISTINCT seller_account FROM wallet_view WHERE seller_account = ANY (%(sellers)s)"
_OUTCOME: LiteralString = """
SELECT action, actor, at, detail FROM break_action_view WHERE operation_id = %(operation_id)s
"""


def is_break(break_id: str) -> Steps[bool]:
    rows = yield Ask("reconciliation", _CASE, {"id": break_id})
    return bool(rows)


def unknown_sellers(asked: BreakWorked) -> Steps[list[str]]:
    """Of the sellers whose payable a journal moves, those that have no wallet: a slip of the pen would open one."""
    named = sorted({movement.seller_account for movement in Repair("correct", (), asked.entries or ()).movements})
    if not named:
        return []
    rows = yield Ask("wallet", _SELLERS, {"sellers": named})
    return sorted(set(named) - {row["seller_account"] for row in rows})


def outcome(operation_id: str) -> Steps[Answer]:
    """What reconciliation has made of it."""
    rows = yield Ask("reconciliation", _OUTCOME, {"operation_id": operation_id})
    if not rows:
        return {"outcome": "waiting", "code": None, "why": None, "detail": {}}
    detail = rows[0]["detail"]
    refused = detail.get("refused")
    return {
        "outcome": "refused" if refused else "proposed" if "proposed" in detail else "done",
        "code": refused,
        "why": detail.get("why"),
        "detail": detail,
    }


def preview(asked: BreakWorked, rules: BreakRules) -> Steps[Answer]:
    """What would be done now: entries, movements, expectations; and its hash. Errors: NotPossible."""
    rows = yield Ask("reconciliation", _CASE, {"id": asked.subject})
    if not rows:
        raise NotPossible("unknown_break", "there is no such break")
    row = rows[0]
    repair: Repair | None = None
    if asked.action in ("approve", "reject"):
        if row["proposal"] is None:
            raise NotPossible("nothing_proposed", "nothing is proposed that could be decided on")
        repair = Repair.read(row["proposal"]["repair"])
    elif asked.action == "undo":
        repair = yield from _undone(asked.correction_id)
    elif asked.action in REPAIRS:
        repair = yield from _repair(asked, row)
    if repair is None:
        return {"action": asked.action, "sha256": None, "second_person": False, "does": []}
    two = asked.action == "approve" or rules.needs_two(repairs.weight(repair, row["amount"], row["currency"]))
    return {"action": asked.action, "sha256": repair.sha256, "second_person": two, "does": sentences(repair)}


def sentences(repair: Repair) -> list[str]:
    """What a repair does, in words."""
    told = [f"{entry.direction} {entry.account} {entry.amount}" for entry in repair.entries]
    told += [
        f"the wallet of {movement.seller_account} {'gets' if movement.amount.minor > 0 else 'loses'}"
        f" {Money(abs(movement.amount.minor), movement.amount.currency)}"
        for movement in repair.movements
    ]
    for change in repair.changes:
        amount, more = Money(abs(change.amount), change.currency), "more" if change.amount > 0 else "less"
        told.append(f"of {change.psp}|{change.kind}|{change.key} {amount} {more} is expected")
    return told or ["nothing is booked"]


def _repair(asked: BreakWorked, row: Row) -> Steps[Repair]:
    rows = yield Ask("reconciliation", _ITEMS, {"id": asked.subject, "limit": ITEMS_MAX + 1})
    items = [each["item"] for each in rows]
    named = [*items, *(asked.expectations or ())]
    keys = sorted({key for item in named if (key := _key_of(item))})
    tallies = (yield Ask("reconciliation", _TALLIES, {"keys": keys})) if keys else []
    return repairs.repair_of(asked, CaseState(row["amount"], row["currency"], items), by_item(tallies))


def _undone(correction_id: str | None) -> Steps[Repair]:
    rows = (yield Ask("reconciliation", _CORRECTION, {"id": correction_id})) if correction_id else []
    if not rows:
        raise NotPossible("unknown_correction", "there is no such repair")
    if rows[0]["is_undone"]:
        raise NotPossible("is_undone", "it was taken back before")
    facts = yield Ask("reconciliation", _FACTS, {"id": correction_id})
    told: dict[str, Any] = {name: rows[0][name] for name in ("kind", "entries")}
    changes = [list(fact.values()) for fact in facts]
    undoes = None if rows[0]["undoes"] is None else str(rows[0]["undoes"])
    done = Repair.read(told | {"changes": changes, "undoes": undoes, "about": ""})
    return repairs.undone(str(correction_id), done)


def by_item(rows: Iterable[Row]) -> Mapping[str, Sequence[TallyState]]:
    found: dict[str, list[TallyState]] = defaultdict(list)
    for row in sorted(rows, key=lambda each: (each["psp"], each["kind"], each["key"], each["currency"])):
        tally = TallyState(**row)
        found[tally.item].append(tally)
    return found


def _key_of(item: str) -> str | None:
    _, _, rest = item.partition("|")
    kind, _, key = rest.partition("|")
    return key if len(kind) == 1 and len(key) == 32 and set(key) <= set("0123456789abcdef") else None
