"""A settlement, an order, a pay-out or a key → what the files say of it, line by line, and what we expected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

from producers.recon_reports import (
    SETTLEMENTS,
    Answer,
    Ask,
    Report,
    Rows,
    is_key,
    money,
    money_or_none,
    settlements_shown,
)

_CURRENCY = re.compile(r"/([A-Z]{3})$")
_OF_SETTLEMENT: LiteralString = (
    " WHERE s.source = %(source)s AND s.settlement = %(settlement)s AND s.currency = coalesce(%(currency)s, s.currency)"
)
_SUMS: LiteralString = """
SELECT s.currency, x.kind, x.gross_currency, x.lines, x.gross, x.unknown, x.fee, x.net
FROM settlement_view s JOIN settlement_sum_view x ON x.settlement_no = s.settlement_no
"""
_CLAIMS: LiteralString = """
SELECT s.currency, f.file_id, f.name, f.state, c.paid, c.opening, c.day FROM settlement_view s
JOIN settlement_claim_view c ON c.settlement_no = s.settlement_no JOIN file_view f ON f.file_no = c.file_no
"""
_BOOKED: LiteralString = """
SELECT s.currency AS of, split_part(b.key, ' ', 1) AS role, split_part(b.key, ' ', 2) AS currency, b.value::bigint AS amount
FROM settlement_view s CROSS JOIN LATERAL jsonb_each_text(s.booked) b
"""
# A row for each line of a tally; one without a line where none has come.
_TALLIES: LiteralString = """
SELECT replace(t.key::text, '-', '') AS key, t.kind, t.psp, t.currency, t.expected, t.facts, t.settled, t.fee, t.fee_expected,
       t.due, t.outcome, t.payment_order_id, t.seller, d.digest, t.lines[4 * d.place - 3] AS line_gross,
       t.lines[4 * d.place - 2] AS line_fee, f.file_no, f.source, f.file_id, f.name, s.settlement
FROM tally_by_key_view t
LEFT JOIN LATERAL unnest(t.digests) WITH ORDINALITY AS d (digest, place) ON TRUE
LEFT JOIN file_view f ON f.file_no = t.lines[4 * d.place]
LEFT JOIN settlement_view s ON s.settlement_no = t.lines[4 * d.place - 1]
WHERE t.key = ANY (%(keys)s::uuid[])
ORDER BY t.psp, t.kind, t.key, t.currency, d.place LIMIT 1000
"""
_CALLS: LiteralString = "SELECT call_id FROM call_view WHERE payment_order_id = %(id)s OR payout_id = %(id)s LIMIT 1000"


def settlement(name: str) -> Report:
    """`name`: "<source>/<its reference>", and "/<currency>" where one of its currencies alone is meant."""
    source, _, rest = name.partition("/")
    currency = _CURRENCY.search(rest)
    values = {
        "source": source,
        "settlement": _CURRENCY.sub("", rest),
        "currency": currency and currency[1],
        "limit": 100,
    }
    order: LiteralString = " ORDER BY s.currency LIMIT %(limit)s"

    def shape(rows: Mapping[str, Rows]) -> Answer:
        shown = settlements_shown(rows)["settlements"]
        return {"settlements": [one | _waterfall(one["currency"], rows) for one in shown]}

    asks: dict[str, LiteralString] = {"settlements": SETTLEMENTS, "sums": _SUMS, "claims": _CLAIMS, "booked": _BOOKED}
    return Report(
        {n: Ask("reconciliation", asked + _OF_SETTLEMENT + order, values) for n, asked in asks.items()}, shape
    )


def _waterfall(currency: str, rows: Mapping[str, Rows]) -> Answer:
    sums = [row for row in rows["sums"] if row["currency"] == currency]
    claims = [row for row in rows["claims"] if row["currency"] == currency]
    booked = [row for row in rows["booked"] if row["of"] == currency]
    return {
        "sums": [
            {
                "kind": row["kind"],
                "lines": row["lines"],
                "gross": money(row["gross"], row["gross_currency"]),
                "unknown": money(row["unknown"], row["gross_currency"]),
                "gross_currency": row["gross_currency"],
                "fee": money(row["fee"], currency),
                "net": money(row["net"], currency),
            }
            for row in sorted(sums, key=lambda row: (row["kind"] == "p", row["kind"], row["gross_currency"]))
        ],
        "files": [
            {name: row[name] for name in ("file_id", "name", "state", "day")}
            | {name: money_or_none(row[name], currency) for name in ("paid", "opening")}
            for row in claims
        ],
        "booked": [
            {"role": row["role"], "currency": row["currency"], "amount": money(row["amount"], row["currency"])}
            for row in sorted(booked, key=lambda row: (row["role"], row["currency"]))
        ],
    }


def calls(of: str) -> Report:
    """The keys of an order or pay-out: the ids of the calls that carried it out."""
    found = {"calls": Ask("executor", _CALLS, {"id": of})}
    return Report(found, lambda rows: {"keys": [row["call_id"] for row in rows["calls"]]})


def tallies(keys: Sequence[str]) -> Report:
    """What was expected under these keys, and each line that has come."""
    asked = {"tallies": Ask("reconciliation", _TALLIES, {"keys": list(keys)})}
    return Report(asked, lambda rows: {"tallies": _with_lines(rows["tallies"])})


def _with_lines(rows: Rows) -> list[Answer]:
    found: dict[tuple[Any, ...], Answer] = {}
    for row in rows:
        currency = row["currency"]
        name = (row["psp"], row["kind"], row["key"], currency)
        if name not in found:
            found[name] = {
                each: row[each] for each in ("key", "kind", "psp", "currency", "facts", "due", "outcome", "seller")
            }
            found[name] |= {each: money(row[each], currency) for each in ("expected", "settled", "fee")}
            found[name] |= {
                "subject": row["payment_order_id"],
                "fee_expected": money_or_none(row["fee_expected"], currency),
            }
            found[name]["lines"] = []
        if row["digest"] is not None:
            line = {each: row[each] for each in ("source", "file_id", "name", "settlement", "digest")}
            amounts = {"gross": money(row["line_gross"], currency), "fee": money(row["line_fee"], currency)}
            found[name]["lines"].append(line | amounts)
    return list(found.values())


def is_settlement(of: str) -> bool:
    return "/" in of and is_key(of) is None
