"""A PSP and a month → what its lines were charged, part by part, and what the fee schedule lets it charge.

Of the month are the lines whose value day is in it. Files without such a day are not read. A payment is compared where it is
settled whole by lines of this month; one whose lines lie in two months is charged in both, and compared in none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, LiteralString, NamedTuple

from producers.problems import Problem
from producers.reading import Row
from producers.recon_lines import PARTS, Chunk, chunks_after, name_of, unpacked
from producers.recon_reports import Answer, Ask, Rows, money
from producers.recon_steps import Steps

is_month = re.compile(r"2[0-9]{3}-(0[1-9]|1[0-2])").fullmatch
_FILES: LiteralString = """
SELECT f.file_no, f.source, f.file_id, f.lines FROM file_view f
WHERE f.state = 'folded' AND f.first_day < %(until)s AND f.last_day >= %(since)s
    AND EXISTS (SELECT FROM settlement_view s WHERE s.source = f.source AND s.psp = %(psp)s) ORDER BY f.file_no
"""
_TALLIES: LiteralString = """
SELECT replace(key::text, '-', '') AS key, kind, currency, expected, settled, fee, facts, fee_expected, fee_slack, fee_since,
       scheme, payment_order_id, digests, lines
FROM tally_by_key_view WHERE key = ANY (%(keys)s::uuid[]) AND psp = %(psp)s
"""


class Group(NamedTuple):
    kind: str
    scheme: str | None
    currency: str  # in which the PSP charges
    payment_currency: str
    agreed_since: date | None


@dataclass(slots=True)
class Sums:
    """Minor units; the parts and other in the currency of the charge, the rest in that of the payments."""

    lines: int = 0
    gross: int = 0
    parts: list[int] = field(default_factory=lambda: [0] * len(PARTS))
    other: int = 0  # fees that are lines of their own
    payments: int = 0  # settled whole, with a fee that was agreed
    compared: int = 0
    least: int = 0
    most: int = 0
    over: int = 0
    under: int = 0

    def compare(self, tally: Row) -> None:
        fee, least = tally["fee"], tally["fee_expected"]
        most = least + tally["fee_slack"]
        self.payments += 1
        self.compared += fee
        self.least += least
        self.most += most
        self.over += max(0, fee - most)
        self.under += min(0, fee - least)


Name = tuple[str, str, str]  # key, kind and currency of a tally


def fees(psp: str, month: str, lines_max: int | None = None) -> Steps[Answer]:
    """`month`: as `is_month` takes it. Errors: Problem `too_slow` where its files have more lines than `lines_max`."""
    sums: dict[Group, Sums] = defaultdict(Sums)
    yield from _each_line(psp, month, lines_max, partial(_add, sums))
    return {"psp": psp, "month": month, "fees": [_shown(group, sums[group]) for group in sorted(sums, key=str)]}


def claims(psp: str, month: str) -> Steps[list[Answer]]:
    """The payments of a month that were charged more than the schedule lets the PSP charge, for its account manager: by its own
    reference and ours, with the value day and name of the line that settles them. Amounts are in the currency of the payment.
    """
    found: list[Answer] = []
    yield from _each_line(psp, month, None, partial(_claim, found))
    return sorted(found, key=_by_day)


def _by_day(claimed: Answer) -> tuple[date, str, str]:
    return claimed["day"], claimed["psp_ref"] or "", claimed["line"]


def _each_line(psp: str, month: str, lines_max: int | None, take: Take) -> Steps[None]:
    """Each line of the month that counts, with its tally, and whether it is the last one of a payment that is settled whole."""
    since, until = days_of(month)
    files = yield Ask("reconciliation", _FILES, {"psp": psp, "since": since, "until": until})
    if lines_max is not None and sum(file["lines"] or 0 for file in files) > lines_max:
        raise Problem("too_slow", "So many lines are added up by `tally recon fees` alone.")
    seen: dict[Name, int] = {}  # of payments with several lines: how many of them this month has
    for file in files:
        after = -1
        while rows := (yield chunks_after(file, after)):
            after = rows[-1]["chunk"]
            found = [line for line in _lines(rows) if since <= line.day < until]
            tallies = yield from _tallies(psp, found)
            for line in found:
                tally = tallies.get(line.name)
                if tally is not None and _counts(tally, line, file["file_no"]):
                    take(line, tally, file, _is_whole(seen, line, tally))


def days_of(month: str) -> tuple[date, date]:
    """Its first day, and the first one after it."""
    year, number = int(month[:4]), int(month[5:])
    return date(year, number, 1), date(year + number // 12, number % 12 + 1, 1)


class _Line(NamedTuple):
    name: Name
    day: date
    digest: int
    gross: int
    currency: str  # of the charge
    fee: int
    parts: tuple[int, ...]
    chunk: Chunk
    place: int  # in the chunk


Take = Callable[[_Line, Row, Row, bool], None]


def _lines(rows: Rows) -> Iterator[_Line]:
    for chunk in unpacked(rows):
        for place in range(len(chunk.columns["kinds"])):
            yield _Line(*chunk.fee(place), chunk, place)


def _tallies(psp: str, lines: list[_Line]) -> Steps[dict[Name, Row]]:
    keys = list({line.name[0] for line in lines})
    if not keys:
        return {}
    rows = yield Ask("reconciliation", _TALLIES, {"keys": keys, "psp": psp})
    return {(row["key"], row["kind"], row["currency"]): row for row in rows}


def _counts(tally: Row, line: _Line, file_no: int) -> bool:
    """Whether the line counts in this file: else its tally does not name the file."""
    if line.digest not in tally["digests"]:
        return False
    place = tally["digests"].index(line.digest)
    return bool(tally["lines"][4 * place + 3] == file_no)


def _is_whole(seen: dict[Name, int], line: _Line, tally: Row) -> bool:
    """Whether this is the last line of a payment that is settled as expected, with a fee that was agreed."""
    of_it = seen.pop(line.name, 0) + 1
    if of_it < len(tally["digests"]):
        seen[line.name] = of_it
        return False
    return bool(tally["facts"] and tally["fee_expected"] is not None and tally["expected"] == tally["settled"])


def _add(sums: Mapping[Group, Sums], line: _Line, tally: Row, _: Row, is_whole: bool) -> None:
    kind, currency = line.name[1:]
    into = sums[Group(kind, tally["scheme"], line.currency, currency, tally["fee_since"])]
    into.lines += 1
    into.gross += line.gross
    into.parts = [before + more for before, more in zip(into.parts, line.parts, strict=True)]
    into.other += line.fee - sum(line.parts)
    if is_whole:
        into.compare(tally)


def _claim(found: list[Answer], line: _Line, tally: Row, file: Row, is_whole: bool) -> None:
    agreed = (tally["fee_expected"] or 0) + tally["fee_slack"]
    if not is_whole or tally["fee"] <= agreed:
        return
    shown, currency = line.chunk.line(line.place), line.name[2]
    charged = {
        "gross": tally["settled"],
        "charged": tally["fee"],
        "agreed": agreed,
        "difference": tally["fee"] - agreed,
    }
    found.append(
        {name: shown[name] for name in ("psp_ref", "day", "settlement")}
        | {"our_ref": tally["payment_order_id"] or shown["order_ref"], "call_id": line.name[0], "currency": currency}
        | {name: money(minor, currency) for name, minor in charged.items()}
        | {"scheme": tally["scheme"], "agreed_since": tally["fee_since"]}
        | {"line": name_of(file["file_id"], shown["record"])}
    )


def _shown(group: Group, sums: Sums) -> Answer:
    parts = dict(zip(PARTS, sums.parts, strict=True)) | {"other": sums.other}
    charged: dict[str, Any] = parts | {"charged": sum(parts.values())}
    compared = {name: getattr(sums, name) for name in ("compared", "least", "most", "over", "under")}
    return {
        **dict(zip(Group._fields, group, strict=True)),
        "lines": sums.lines,
        "gross": money(sums.gross, group.payment_currency),
        **{name: money(minor, group.currency) for name, minor in charged.items()},
        "payments": sums.payments,
        **{name: money(minor, group.payment_currency) for name, minor in compared.items()},
    }
