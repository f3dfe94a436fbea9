"""Reconciliation's and ledger's views → the report of a day that finance signs: what came, what ties, what is still out and how
late, whether the books hold, what must be decided, and what was charged.

Everything stands by count and by absolute value: what one case lacks is not made up for by what another has too much. The report
is as of the moment at which it is taken; the day says which files, settlements and fees it is about, and how late all else is.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import LiteralString

import orjson

from producers import recon_reports
from producers.recon_reports import SETTLEMENTS, Answer, Ask, Report, Row, Rows, money, money_or_none
from producers.recon_steps import Steps, steps_of
from topics.settlement_sources import SettlementSource

LISTED_MAX = 10_000  # settlements, and open breaks one by one; `breaks` counts all
_OF_DAY: LiteralString = (
    SETTLEMENTS + " WHERE c.day = %(day)s ORDER BY s.source, s.settlement, s.currency LIMIT %(limit)s"
)
_OPEN: LiteralString = """
SELECT replace(break_id, '-', '') AS break_id, code, class, subject, source, psp, currency, amount, items, opened_at,
       assignee AS owner, work
FROM break_view WHERE state = 'open' ORDER BY opened_at, code, subject LIMIT %(limit)s
"""
# Files that are late, of this day or before.
_MISSING: LiteralString = """
SELECT b.source, b.subject, i.detail->>'first_day' AS first_day, i.detail->>'last_day' AS last_day, i.opened_at AS since
FROM break_view b JOIN break_item_view i ON i.break_id = b.break_id
WHERE b.code = 'FILE_MISSING' AND b.state = 'open' AND i.closed_at IS NULL AND i.detail->>'first_day' <= %(day)s::date::text
ORDER BY 1, 3, 2
"""
_UNDER_WAY: LiteralString = """
SELECT source, file_id, name, state FROM file_view
WHERE state IN ('received', 'reading', 'gated', 'folding') AND received_at < %(until)s ORDER BY source, file_id
"""
_FEES: LiteralString = """
SELECT s.psp, s.currency, x.kind, sum(x.lines)::bigint AS lines, sum(x.fee)::bigint AS fee,
       sum(x.gross) FILTER (WHERE x.gross_currency = s.currency)::bigint AS gross
FROM settlement_view s JOIN settlement_sum_view x ON x.settlement_no = s.settlement_no
WHERE x.fee <> 0 AND %(day)s = (SELECT max(c.day) FROM settlement_claim_view c JOIN file_view f ON f.file_no = c.file_no
    WHERE c.settlement_no = s.settlement_no AND f.state <> ALL ('{superseded,discarded}'))
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A report as it is signed: its text, which is JSON with sorted names, and the SHA-256 of that."""

    day: date
    text: str
    sha256: str
    refusals: tuple[str, ...]  # why the day cannot be signed yet

    def says_the_same(self, text: str) -> bool:
        """Whether another report differs in nothing but the moment at which it was taken."""
        one, other = ({**orjson.loads(each), "taken_at": None} for each in (self.text, text))
        return one == other


def taken(report: Answer, today: date) -> Taken:
    text = orjson.dumps(report, option=orjson.OPT_SORT_KEYS).decode()
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Taken(report["date"], text, sha256, tuple(refusals(report, today)))


def refusals(report: Answer, today: date) -> list[str]:
    """Why the day cannot be signed yet: it is not over, a file is missing or under way, or nobody owns a case of class C."""
    found = [] if report["date"] < today else [f"{report['date']} is not over"]
    found += [f"{one['source']}: the file of {one['first_day']} is missing" for one in report["missing"]]
    found += [f"{one['source']}: {one['file_id'][:12]} is still {one['state']}" for one in report["under_way"]]
    return found + [
        f"{case['code']} {case['break_id'][:12]} of class C has no owner: {case['subject']}"
        for case in report["carried_over"]
        if case["class"] == "C" and needs_owner(case)
    ]


def needs_owner(case: Row) -> bool:
    """Whether an open case waits for somebody who works it: one that a person has resolved does not."""
    return not case["owner"] and case["work"] != "resolved"


def day_report(sources: Sequence[SettlementSource], of: date, at: datetime) -> Steps[Answer]:
    """The report of a day, as of now."""
    told = yield from steps_of(_day(sources, of))
    at_bank = yield from steps_of(recon_reports.at_the_bank(told["settlements"], sources))
    return {"date": of, "taken_at": at} | told | at_bank


def _day(sources: Sequence[SettlementSource], of: date) -> Report:
    since, until = recon_reports.whole(of)
    parts = {
        "files": recon_reports.files(sources, since, until),
        "clearing": recon_reports.clearing(None, of),
        "proof": recon_reports.proof(sources),
        "breaks": recon_reports.open_by_code(),
    }
    asks = {f"{part} {name}": ask for part, report in parts.items() for name, ask in report.asks.items()}
    values = {"day": of, "until": until, "limit": LISTED_MAX}
    own: dict[str, LiteralString] = {
        "of_day": _OF_DAY, "open": _OPEN, "missing": _MISSING, "under_way": _UNDER_WAY, "charged": _FEES,
    }  # fmt: skip
    asks |= {name: Ask("reconciliation", statement, values) for name, statement in own.items()}

    def shape(rows: Mapping[str, Rows]) -> Answer:
        told: Answer = {}
        for part, report in parts.items():
            told |= report.shape({name: rows[f"{part} {name}"] for name in report.asks})
        settlements = recon_reports.settlements_shown({"settlements": rows["of_day"]})["settlements"]
        return told | {
            "sources": [one | _missing_since(one["source"], rows["missing"]) for one in told["sources"]],
            "held": [{name: one[name] for name in _HELD} for one in told["held"]],
            "missing": rows["missing"],
            "under_way": rows["under_way"],
            "settlements": settlements,
            "clearing_totals": _totals(told["clearing"]),
            "carried_over": [_case(row) for row in rows["open"]],
            "fees": [_fee(row) for row in rows["charged"]],
        }

    return Report(asks, shape)


_HELD = ("source", "file_id", "name", "state", "why", "received_at")


def _missing_since(source: str, missing: Rows) -> Answer:
    days = [row["first_day"] for row in missing if row["source"] == source]
    return {"missing": len(days), "missing_since": min(days, default=None)}


def _totals(clearing: Sequence[Answer]) -> list[Answer]:
    """Of each station and currency: how much is out whichever side it is on, what is not due apart from what is late."""
    found: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_TOTALS, 0))
    for row in clearing:
        when = "not_due" if row["days_late"] == "not due" else "late"
        into = found[row["psp"], row["station"], row["currency"]]
        into[f"{when}_tallies"] += row["tallies"]
        into[when] += _minor(row["plus"]) - _minor(row["minus"])
    return [
        {"psp": psp, "station": station, "currency": currency}
        | {name: money(value, currency) if name in ("not_due", "late") else value for name, value in sums.items()}
        for (psp, station, currency), sums in sorted(found.items())
    ]


_TOTALS = ("not_due_tallies", "not_due", "late_tallies", "late")


def _minor(amount: str) -> int:
    """A decimal of `money`, which has all the digits of its currency, in minor units."""
    return int(amount.replace(".", ""))


def _case(row: Row) -> Answer:
    currency = row["currency"]
    return row | {"amount": money_or_none(row["amount"], currency) if currency else None}


def _fee(row: Row) -> Answer:
    currency = row["currency"]
    return row | {"gross": money_or_none(row["gross"], currency), "fee": money(row["fee"], currency)}
