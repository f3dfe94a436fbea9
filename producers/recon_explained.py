"""A settlement, an order, a pay-out or a key → what the files say of it, line by line, and what we expected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

from producers.recon_lines import is_line, name_of, one_line, settlement_named, verbatim, with_digests
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
from producers.recon_steps import Steps, steps_of
from schemas.envelope import charge_call_id
from schemas.settlement_keys import named
from topics.settlement_sources import SettlementSource

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
       t.due, t.outcome, t.payment_order_id, t.seller, t.made_at, d.digest, t.lines[4 * d.place - 3] AS line_gross,
       t.lines[4 * d.place - 2] AS line_fee, f.file_no, f.source, f.file_id, f.name, s.settlement
FROM tally_by_key_view t
LEFT JOIN LATERAL unnest(t.digests) WITH ORDINALITY AS d (digest, place) ON TRUE
LEFT JOIN file_view f ON f.file_no = t.lines[4 * d.place]
LEFT JOIN settlement_view s ON s.settlement_no = t.lines[4 * d.place - 1]
WHERE t.key = ANY (%(keys)s::uuid[])
ORDER BY t.psp, t.kind, t.key, t.currency, d.place LIMIT 1000
"""
# Of charges all that were made, by their number.
_CALLS: LiteralString = """
SELECT call_id, attempt_no FROM attempt_view WHERE payment_order_id = %(id)s
UNION ALL SELECT call_id, 0 FROM operation_view WHERE payment_order_id = %(id)s
UNION ALL (SELECT call_id, 0 FROM call_view WHERE subject = %(id)s AND kind <> 'charge' LIMIT 1000)
"""
_DISPUTES: LiteralString = """
SELECT DISTINCT psp, dispute_reference FROM dispute_view WHERE payment_order_id = %(id)s
"""
_OPERATIONS: LiteralString = """
SELECT DISTINCT payment_order_id FROM operation_view WHERE operation_id = %(id)s
UNION SELECT DISTINCT payment_order_id FROM dispute_view WHERE dispute_id = %(id)s LIMIT 100
"""
_CALLS_OF_OPERATION: LiteralString = """
SELECT call_id FROM operation_view WHERE payment_order_id = ANY (%(orders)s) AND operation_id = %(id)s
"""
_DISPUTE: LiteralString = """
SELECT DISTINCT psp, dispute_reference FROM dispute_view WHERE payment_order_id = ANY (%(orders)s) AND dispute_id = %(id)s
"""
TEXTS_MAX = 50  # lines whose bytes are looked up in one answer


def settlement(name: str) -> Report:
    """`name`: as `settlement_named` takes it."""
    of = settlement_named(name)
    values = {"source": of.source, "settlement": of.settlement, "currency": of.currency, "limit": 100}
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


def explained(of: str, sources: Iterable[SettlementSource]) -> Steps[Answer]:
    """What is known of a settlement, a line, an order, a refund, a dispute, a pay-out, a key or a PSP's or bank's reference."""
    told: Answer = {"settlements": [], "tallies": [], "lines": []}
    if is_line(of):
        told["lines"] = yield from one_line(of)
        keys = [line["key"] for line in told["lines"]]
    elif is_settlement(of):
        return told | (yield from steps_of(settlement(of)))
    else:
        keys = [of] if is_key(of) else (yield from keys_of(of, sources))
    told |= yield from steps_of(tallies(keys))
    yield from _look_up_lines(told["tallies"])
    return told


def keys_of(of: str, sources: Iterable[SettlementSource]) -> Steps[list[str]]:
    """The keys of an order or pay-out (the ids of its calls, and its disputes), of a refund or dispute, of their reference."""
    calls = yield Ask("executor", _CALLS, {"id": of})
    disputes = yield Ask("executor", _DISPUTES, {"id": of})
    if not calls and (orders := (yield Ask("payments", _OPERATIONS, {"id": of}))):
        values = {"id": of, "orders": [row["payment_order_id"] for row in orders]}
        calls = yield Ask("executor", _CALLS_OF_OPERATION, values)
        disputes = yield Ask("executor", _DISPUTE, values)
    accounts = {source.psp or source.bank_account for source in sources}
    theirs = {(row["psp"], row["dispute_reference"]) for row in disputes} | {(account, of) for account in accounts}
    charges = {charge_call_id(of, number) for row in calls for number in range(1, row.get("attempt_no", 0))}
    return sorted({row["call_id"] for row in calls} | charges) + sorted(named(*each) for each in theirs)


def _look_up_lines(found: Sequence[Answer]) -> Steps[None]:
    """Where each line stands, and what the file says there: of the first ones."""
    by_file: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for line in [line for tally in found for line in tally["lines"]][:TEXTS_MAX]:
        if line["file_id"] is not None:
            by_file[line["source"], line["file_id"]].append(line)
    for lines in by_file.values():
        places = yield from with_digests(lines[0], [line["digest"] for line in lines])
        for line in lines:
            if (place := places.get(line["digest"])) is not None:
                line |= {name: place[name] for name in ("record", "first_byte", "last_byte", "day")}
                line["line"] = name_of(line["file_id"], place["record"])
                line["text"] = yield from verbatim(line["source"], line["file_id"], place)


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
                each: row[each]
                for each in ("key", "kind", "psp", "currency", "facts", "due", "outcome", "seller", "made_at")
            }
            found[name] |= {each: money(row[each], currency) for each in ("expected", "settled", "fee")}
            found[name] |= {
                "subject": row["payment_order_id"],
                "fee_expected": money_or_none(row["fee_expected"], currency),
            }
            found[name]["lines"] = []
        if row["digest"] is not None:
            line = {each: row[each] for each in ("source", "file_id", "name", "settlement", "digest")}
            line |= dict.fromkeys(("line", "record", "day", "first_byte", "last_byte", "text"))
            amounts = {"gross": money(row["line_gross"], currency), "fee": money(row["line_fee"], currency)}
            found[name]["lines"].append(line | amounts)
    return list(found.values())


def is_settlement(of: str) -> bool:
    return "/" in of and is_key(of) is None
