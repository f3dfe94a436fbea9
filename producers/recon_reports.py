"""Reconciliation's and ledger's views → the reports of finance. The same for the API and the commands: what to ask, and the
answer's shape.

Amounts in answers are decimal strings; + is what a PSP or bank owes us more.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, LiteralString, NamedTuple

from producers.stored_files import ROOT
from schemas.breaks import HOLDS_PAYOUTS
from schemas.money import Money
from schemas.settlement_keys import paid_out
from topics.break_rules import DECIDE_WITHIN, BreakLimit, decide_by, overdue_since
from topics.settlement_sources import SettlementSource

is_key = re.compile(r"[0-9a-f]{32}").fullmatch
Answer = dict[str, Any]
Row = dict[str, Any]
Rows = list[Row]


class Ask(NamedTuple):
    """One statement on a room's views."""

    room: str
    statement: LiteralString
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Report:
    """What to ask, and what to make of the rows."""

    asks: Mapping[str, Ask]
    shape: Callable[[Mapping[str, Rows]], Answer]


def money(minor: object, currency: str) -> str:
    return Money(int(minor), currency).amount  # type: ignore[call-overload]


def money_or_none(minor: object, currency: str) -> str | None:
    return None if minor is None else money(minor, currency)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_BY_SOURCE: LiteralString = """
SELECT source, count(*) FILTER (WHERE of_day) AS came,
       count(*) FILTER (WHERE of_day AND state IN ('folded', 'superseded')) AS counted,
       count(*) FILTER (WHERE state IN ('received', 'reading', 'gated', 'folding')) AS under_way,
       count(*) FILTER (WHERE state IN ('quarantined', 'held')) AS held, max(received_at) AS newest_at
FROM (SELECT *, received_at >= %(since)s AND received_at < %(until)s AS of_day FROM file_view) f GROUP BY source
"""
_HELD: LiteralString = """
SELECT source, file_id, name, state, why, CASE WHEN state = 'quarantined' THEN refusal END AS refusal, received_at
FROM file_view WHERE state IN ('quarantined', 'held') ORDER BY received_at DESC, file_no DESC LIMIT 100
"""


def whole(day: date) -> tuple[datetime, datetime]:
    """When a day begins, and when the next one does, in UTC."""
    since = datetime.combine(day, time(), UTC)
    return since, since + timedelta(days=1) if day < date.max else datetime.max.replace(tzinfo=UTC)


def files(sources: Sequence[SettlementSource], since: datetime, until: datetime) -> Report:
    """Of each source: what came in this time, what of it counts, what is under way or held, whenever it came."""

    def shape(rows: Mapping[str, Rows]) -> Answer:
        found = {row["source"]: row for row in rows["by_source"]}
        none = {"came": 0, "counted": 0, "under_way": 0, "held": 0, "newest_at": None}
        names = [source.name for source in sources]
        listed = [*names, *sorted(found.keys() - set(names))]
        held = [row | {"links": {"self": f"{ROOT}/{row['source']}/{row['file_id']}"}} for row in rows["held"]]
        return {"sources": [found.get(name, {"source": name} | none) for name in listed], "held": held}

    asks = {"by_source": Ask("reconciliation", _BY_SOURCE, {"since": since, "until": until})}
    return Report(asks | {"held": Ask("reconciliation", _HELD, {})}, shape)


# ── settlements ──────────────────────────────────────────────────────────────────────────────────────────────────────

SETTLEMENTS: LiteralString = """
SELECT s.settlement_no, s.source, s.settlement, s.currency, s.psp, s.ties, s.revision, s.changed_at, s.paid AS payouts,
       l.lines, l.unknown, l.net, l.fee, c.claims, c.paid, c.day
FROM settlement_view s
LEFT JOIN LATERAL (
    SELECT coalesce(sum(lines), 0)::bigint AS lines, coalesce(sum(net), 0)::bigint AS net, coalesce(sum(fee), 0)::bigint AS fee,
           coalesce(sum(unknown) FILTER (WHERE gross_currency = s.currency), 0)::bigint AS unknown
    FROM settlement_sum_view x WHERE x.settlement_no = s.settlement_no AND x.kind <> 'p'
) l ON TRUE
LEFT JOIN LATERAL (
    SELECT count(DISTINCT paid - coalesce(opening, 0)) AS claims, max(paid - coalesce(opening, 0)) AS paid, max(day) AS day
    FROM settlement_claim_view x JOIN file_view f ON f.file_no = x.file_no
    WHERE x.settlement_no = s.settlement_no AND f.state <> ALL ('{superseded,discarded}')
) c ON TRUE
"""
_NEWEST: LiteralString = " ORDER BY s.settlement_no DESC LIMIT %(limit)s"
# By the key, or by the amount: what is paired has its line under another key.
_AT_BANK: LiteralString = """
SELECT replace(key::text, '-', '') AS key, psp, currency, settled FROM tally_by_key_view
WHERE key = ANY (%(keys)s::uuid[]) AND kind = 's'
UNION ALL SELECT replace(key, '-', ''), psp, currency, amount FROM unmatched_view
WHERE key = ANY (%(keys)s::uuid[]::text[]) AND NOT is_line AND pair IS NOT NULL
"""


def settlements(source: str | None, before: int | None, limit: int) -> Report:
    """Newest first, of one source or all; one more than `limit`, where there are more."""
    statement: LiteralString = SETTLEMENTS + " WHERE TRUE"
    if source is not None:
        statement += " AND s.source = %(source)s"
    if before is not None:
        statement += " AND s.settlement_no < %(before)s"
    values = {"source": source, "before": before, "limit": limit + 1}
    return Report({"settlements": Ask("reconciliation", statement + _NEWEST, values)}, settlements_shown)


def settlements_shown(rows: Mapping[str, Rows]) -> Answer:
    return {"settlements": [_settlement(row) for row in rows["settlements"]]}


def _settlement(row: Row) -> Answer:
    currency = row["currency"]
    return {
        "settlement_no": row["settlement_no"],
        "source": row["source"],
        "settlement": row["settlement"],
        "currency": currency,
        "psp": row["psp"],
        "state": _standing(row),
        "lines": row["lines"],
        "unknown": money(row["unknown"], currency),
        "net": money(row["net"], currency),
        "fee": money(row["fee"], currency),
        "claimed": money_or_none(row["paid"] if row["claims"] == 1 else None, currency),
        "claims": row["claims"],
        "day": row["day"],
        "payouts": {reference: money(minor, currency) for reference, minor in sorted(row["payouts"].items())},
        "revision": row["revision"],
        "changed_at": row["changed_at"],
    }


def _standing(row: Row) -> str:
    if row["ties"] is None:
        return "waiting"
    if not row["ties"]:
        return "untied" if row["lines"] or row["claims"] else "withdrawn"
    return "booked" if row["revision"] else "tied"


def at_the_bank(shown: Sequence[Answer], sources: Iterable[SettlementSource]) -> Report:
    """What has arrived of what each of these settlements pays out; None where no statement can say so."""
    bank_of = {source.name: source.bank_account for source in sources if source.kind == "psp"}
    keys = {
        one["settlement_no"]: bank_keys(bank_of[one["source"]], one["settlement"], one["currency"], one["payouts"])
        for one in shown
        if one["source"] in bank_of
    }

    def shape(rows: Mapping[str, Rows]) -> Answer:
        found: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for row in rows["at_the_bank"]:
            found[row["key"], row["psp"], row["currency"]].append(row["settled"])
        told = []
        for one in shown:
            wanted = [(key, bank_of[one["source"]], one["currency"]) for key in keys.get(one["settlement_no"], ())]
            entries = [minor for name in wanted for minor in found.get(name, ())]
            arrived = sum(entries) if entries else None
            told.append(one | {"at_the_bank": money_or_none(arrived, one["currency"])})
        return {"settlements": told}

    wanted = sorted(key for of_one in keys.values() for key in of_one)
    return Report({"at_the_bank": Ask("reconciliation", _AT_BANK, {"keys": wanted})}, shape)


def bank_keys(bank_account: str, settlement: str, currency: str, payouts: Mapping[str, object]) -> list[str]:
    """Under which its pay-outs are expected at the bank: by the bank's references, or by the settlement's own."""
    return [paid_out(bank_account, reference or settlement, currency) for reference in payouts or ("",)]


# ── clearing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

AGES = ("not due", "0-1", "2-3", "4-7", "8-30", "over 30")  # days late
_CLEARING: LiteralString = """
SELECT psp, CASE WHEN NOT known THEN 'unknown' WHEN kind = 's' THEN 'bank clearing' ELSE 'receivable' END AS station, currency,
       CASE WHEN NOT known OR due IS NULL OR due >= %(today)s THEN 'not due' WHEN %(today)s - due <= 1 THEN '0-1'
            WHEN %(today)s - due <= 3 THEN '2-3' WHEN %(today)s - due <= 7 THEN '4-7' WHEN %(today)s - due <= 30 THEN '8-30'
            ELSE 'over 30' END AS days_late,
       sum(tallies)::bigint AS tallies, sum(plus) AS plus, sum(minus) AS minus
FROM tally_sum_view WHERE kind = ANY (%(kinds)s)
"""
_OPEN: LiteralString = " GROUP BY 1, 2, 3, 4 HAVING sum(tallies) <> 0"
_JUDGED = list("crRbB2sju")  # kinds of lines that need a fact, or an owner
_OWED = list("crRbB2s")  # of which a receivable or clearing is made: adjustments stay in suspense, explained or not


def clearing(psp: str | None, today: date) -> Report:
    """What is still out, by how late it is: plus and minus apart, since they do not make up for each other."""
    statement: LiteralString = (
        _CLEARING + ("" if psp is None else " AND psp = %(psp)s") + " GROUP BY 1, 2, 3, 4 HAVING sum(tallies) <> 0"
    )

    def shape(rows: Mapping[str, Rows]) -> Answer:
        order = sorted(rows["open"], key=lambda r: (r["psp"], r["station"], r["currency"], AGES.index(r["days_late"])))
        signed = ("plus", "minus")
        return {"clearing": [row | {side: money(row[side], row["currency"]) for side in signed} for row in order]}

    return Report({"open": Ask("reconciliation", statement, {"psp": psp, "today": today, "kinds": _JUDGED})}, shape)


# ── proof ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_EXPECTED: LiteralString = """
SELECT psp, kind = 's' AS bank, currency, sum(expected) AS amount FROM tally_sum_view
WHERE known AND kind = ANY (%(kinds)s) GROUP BY 1, 2, 3
"""
_BOOKED: LiteralString = """
SELECT s.source, s.psp, split_part(b.key, ' ', 1) AS role, split_part(b.key, ' ', 2) AS currency, sum(b.value::bigint) AS amount
FROM settlement_view s CROSS JOIN LATERAL jsonb_each_text(s.booked) b GROUP BY 1, 2, 3, 4
"""
# What persons have booked there of lines that stay in suspense: of all others their tallies expect as much more.
_CORRECTED: LiteralString = """
SELECT l->>3 AS currency, sum(CASE l->>1 WHEN 'debit' THEN (l->>2)::bigint ELSE -(l->>2)::bigint END) AS amount
FROM correction_view CROSS JOIN LATERAL jsonb_array_elements(entries) AS l WHERE l->>0 = 'suspense' GROUP BY 1
"""
_STATEMENTS: LiteralString = """
SELECT psp, currency, (array_agg(paid ORDER BY day DESC, settlement_no DESC))[1]
       - (array_agg(opening ORDER BY day, settlement_no))[1] AS amount
FROM (SELECT s.psp, s.currency, s.settlement_no, c.paid, c.opening, c.day FROM settlement_view s
      JOIN settlement_claim_view c ON c.settlement_no = s.settlement_no WHERE s.ties AND c.opening IS NOT NULL) c
GROUP BY 1, 2
"""
_BALANCES: LiteralString = """
SELECT account, currency, debits - credits AS balance FROM account_view WHERE account = ANY (%(accounts)s)
"""
Side = tuple[str, str]  # account and currency


def proof(sources: Sequence[SettlementSource]) -> Report:
    """The four equations: each account's balance, and what files and facts explain of it.

    Rooms are some seconds apart while money moves: a difference that stays is one.
    """
    psps = sorted({source.psp for source in sources if source.kind == "psp"})
    banks = sorted({source.bank_account for source in sources if source.kind == "bank"})
    bank_sources = {source.name for source in sources if source.kind == "bank"}
    equations = {f"psp:{psp}:receivable": "receivable" for psp in psps} | {"suspense": "suspense"}
    equations |= {f"bank:{bank}:clearing": "bank clearing" for bank in banks} | {
        f"bank:{bank}": "bank" for bank in banks
    }

    def shape(rows: Mapping[str, Rows]) -> Answer:
        explained: dict[Side, int] = defaultdict(int)
        for row in rows["expected"]:
            account = f"bank:{row['psp']}:clearing" if row["bank"] else f"psp:{row['psp']}:receivable"
            explained[account, row["currency"]] += int(row["amount"])
        for row in rows["booked"]:
            booked_on = _account_of(row, row["source"] in bank_sources)
            if booked_on is not None:
                explained[booked_on, row["currency"]] += int(row["amount"])
        for row in rows["corrected"]:
            explained["suspense", row["currency"]] += int(row["amount"])
        for row in rows["statements"]:
            explained[f"bank:{row['psp']}", row["currency"]] += int(row["amount"])
        balances = {(row["account"], row["currency"]): int(row["balance"]) for row in rows["balances"]}
        sides = sorted(side for side in {*explained, *balances} if side[0] in equations)
        lines = [_equation(equations[side[0]], side, balances.get(side, 0), explained.get(side, 0)) for side in sides]
        return {"proof": lines, "holds": all(line["ledger"] == line["explained"] for line in lines)}

    asks = {
        "expected": Ask("reconciliation", _EXPECTED, {"kinds": _OWED}),
        "corrected": Ask("reconciliation", _CORRECTED, {}),
        "booked": Ask("reconciliation", _BOOKED, {}),
        "statements": Ask("reconciliation", _STATEMENTS, {}),
        "balances": Ask("ledger", _BALANCES, {"accounts": sorted(equations)}),
    }
    return Report(asks, shape)


def _account_of(row: Row, of_bank: bool) -> str | None:
    """The account that a booked amount explains. What a settlement pays out is expected at the bank, and explained there."""
    if row["role"] == "receivable":
        return f"psp:{row['psp']}:receivable"
    if row["role"] == "suspense":
        return "suspense"
    if row["role"] == "bank_clearing" and of_bank:
        return f"bank:{row['psp']}:clearing"
    return None


def _equation(name: str, side: Side, ledger: int, explained: int) -> Answer:
    account, currency = side
    amounts = {"ledger": ledger, "explained": explained, "difference": ledger - explained}
    told = {what: money(minor, currency) for what, minor in amounts.items()}
    return {"equation": name, "account": account, "currency": currency, **told}


# ── breaks ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_BREAKS: LiteralString = """
SELECT replace(break_id, '-', '') AS break_id, code, subject, class, state, source, psp, currency, amount, items, detail,
       opened_at, changed_at, work, assignee FROM break_view WHERE state = %(state)s
"""
_BREAK: LiteralString = """
SELECT replace(break_id, '-', '') AS break_id, code, subject, class, state, source, psp, currency, amount, items, detail,
       opened_at, changed_at, work, assignee, proposal FROM break_view WHERE break_id = %(id)s::uuid::text
"""
_ITEMS: LiteralString = """
SELECT item, amount, currency, detail, opened_at, closed_at FROM break_item_view WHERE break_id = %(id)s::uuid::text
ORDER BY closed_at IS NOT NULL, abs(amount) DESC, item LIMIT %(limit)s
"""
_ACTIONS: LiteralString = """
SELECT revision, action, actor, at, detail, operation_id FROM break_action_view
WHERE break_id = %(id)s::uuid::text ORDER BY revision
"""
_OPEN_BY_CODE: LiteralString = """
SELECT code, class, currency, count(*) AS breaks, sum(items) AS items, sum(amount) AS amount, min(opened_at) AS oldest_at
FROM break_view WHERE state = 'open' GROUP BY 1, 2, 3 ORDER BY 1, 3
"""
ITEMS_MAX = 500


@dataclass(frozen=True, slots=True)
class BreaksAsked:
    """Which breaks: newest first, before that time and id."""

    state: str = "open"
    code: str | None = None
    psp: str | None = None
    at: datetime | None = None
    id_: str = ""
    limit: int = 50
    assignee: str | None = None
    unassigned: bool = False
    overdue_at: datetime | None = None  # those alone that are overdue then


OPEN_MAX = 10_000  # among which overdue ones are looked for


def breaks(asked: BreaksAsked, within: Sequence[BreakLimit] = DECIDE_WITHIN) -> Report:
    statement: LiteralString = _BREAKS
    if asked.code is not None:
        statement += " AND code = %(code)s"
    if asked.psp is not None:
        statement += " AND psp = %(psp)s"
    if asked.at is not None:
        statement += " AND (opened_at, replace(break_id, '-', '')) < (%(at)s, %(id_)s)"
    if asked.assignee is not None:
        statement += " AND lower(assignee) = lower(%(assignee)s)"
    if asked.unassigned:
        statement += " AND assignee IS NULL AND work <> 'resolved'"
    values = {name: getattr(asked, name) for name in ("state", "code", "psp", "at", "id_", "assignee")}
    values["limit"] = asked.limit + 1
    if asked.overdue_at is not None:
        statement += " AND work <> 'resolved' AND opened_at <= %(since)s"
        values |= {"since": overdue_since(within, asked.overdue_at), "limit": OPEN_MAX}
    statement += " ORDER BY opened_at DESC, break_id DESC LIMIT %(limit)s"

    def shape(rows: Mapping[str, Rows]) -> Answer:
        shown = [_break(row, within) for row in rows["breaks"]]
        if (at := asked.overdue_at) is not None:
            shown = [row for row in shown if row["decide_by"] and row["decide_by"] <= at][: asked.limit + 1]
        return {"breaks": shown}

    return Report({"breaks": Ask("reconciliation", statement, values)}, shape)


_BREAK_IDS: LiteralString = """
SELECT replace(break_id, '-', '') AS id FROM break_view WHERE starts_with(replace(break_id, '-', ''), %(beginning)s) LIMIT 4
"""
is_beginning = re.compile(r"[0-9a-f]{6,32}").fullmatch


def break_ids(beginning: str) -> Report:
    """Breaks whose id begins so; four at most."""
    ask = Ask("reconciliation", _BREAK_IDS, {"beginning": beginning})
    return Report({"ids": ask}, lambda rows: {"ids": [row["id"] for row in rows["ids"]]})


def one_break(break_id: str, within: Sequence[BreakLimit] = DECIDE_WITHIN) -> Report:
    """With its items, open ones first, and all that was done. `break_id` is 32 hex digits."""

    def shape(rows: Mapping[str, Rows]) -> Answer:
        if not rows["break"]:
            return {}
        items = [row | {"amount": _in_its_currency(row)} for row in rows["items"]]
        shown = {"its_items": items, "actions": rows["actions"], "suggestions": []}  # those come after it
        return _break(rows["break"][0], within) | shown

    values = {"id": break_id, "limit": ITEMS_MAX}
    asks = {"break": _BREAK, "items": _ITEMS, "actions": _ACTIONS}
    return Report({name: Ask("reconciliation", statement, values) for name, statement in asks.items()}, shape)


# What a person has resolved holds nobody any more, though its condition may still be there.
_HELD_SELLERS: LiteralString = """
SELECT seller, currency, amount, replace(break_id, '-', '') AS break_id, code, detail->'orders'->>0 AS about, opened_at
FROM break_view CROSS JOIN LATERAL jsonb_array_elements_text(detail->'sellers') AS s (seller)
WHERE state = 'open' AND work <> 'resolved' AND code = ANY (%(codes)s) ORDER BY seller, opened_at, break_id
"""


def held_sellers() -> Report:
    """Sellers whose pay-outs wait until a break is closed: seller, amount, break, since."""

    def shape(rows: Mapping[str, Rows]) -> Answer:
        return {"sellers": [row | {"amount": _in_its_currency(row)} for row in rows["held"]]}

    return Report({"held": Ask("reconciliation", _HELD_SELLERS, {"codes": sorted(HOLDS_PAYOUTS)})}, shape)


def open_by_code() -> Report:
    def shape(rows: Mapping[str, Rows]) -> Answer:
        return {
            "breaks": [row | {"items": int(row["items"]), "amount": _in_its_currency(row)} for row in rows["codes"]]
        }

    return Report({"codes": Ask("reconciliation", _OPEN_BY_CODE, {})}, shape)


def _break(row: Row, within: Sequence[BreakLimit]) -> Answer:
    waits = row["state"] == "open" and row["work"] != "resolved"
    by = decide_by(within, row["class"], row["amount"], row["currency"], row["opened_at"]) if waits else None
    return row | {"amount": _in_its_currency(row), "decide_by": by}


def _in_its_currency(row: Row) -> str | None:
    return money_or_none(row["amount"], row["currency"]) if row["currency"] else None


# ── the day ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def day(sources: Sequence[SettlementSource], of: date) -> Report:
    """All of it on one screen."""
    parts = {
        "files": files(sources, *whole(of)),
        "settlements": untied(),
        "clearing": clearing(None, of),
        "proof": proof(sources),
        "breaks": open_by_code(),
    }
    asks = {f"{part} {name}": ask for part, report in parts.items() for name, ask in report.asks.items()}

    def shape(rows: Mapping[str, Rows]) -> Answer:
        told: Answer = {"date": of}
        for part, report in parts.items():
            told |= report.shape({name: rows[f"{part} {name}"] for name in report.asks})
        return told

    return Report(asks, shape)


def untied() -> Report:
    """Settlements that do not tie, newest first."""
    statement: LiteralString = SETTLEMENTS + " WHERE NOT s.ties AND (l.lines > 0 OR c.claims > 0)" + _NEWEST
    return Report({"settlements": Ask("reconciliation", statement, {"limit": 100})}, settlements_shown)
