"""A settlement or tallies, explained → tables, or CSV for an accountant."""

from __future__ import annotations

from collections.abc import Sequence

from operations.cli.csv_rows import say_csv
from operations.cli.recon_answers import table
from operations.cli.terminal import say
from producers.recon_reports import Answer
from reconciliation.formats.shape import KINDS

SUMS = ("kind", "lines", "gross", "gross_currency", "unknown", "fee", "net")
FILES = ("name", "file_id", "state", "day", "opening", "paid")
BOOKED = ("role", "amount", "currency")
LINES = ("kind", "key", "currency", "source", "name", "settlement", "gross", "fee")


def settlements(found: Sequence[Answer], as_csv: bool) -> None:
    for one in found:
        sums = [row | {"kind": KINDS.get(row["kind"], row["kind"])} for row in one["sums"]]
        if as_csv:
            say_csv(SUMS, sums)
            continue
        currency = one["currency"]
        said = f"{one['source']}/{one['settlement']} {currency}: {one['state']}"
        claimed = one["claimed"] or ("nothing" if not one["claims"] else "two totals")
        say(f"{said}; its lines add up to {one['net']}, claimed is {claimed}")
        table(sums, _same(SUMS))
        table([row | {"file_id": row["file_id"][:12]} for row in one["files"]], _same(FILES))
        if one["booked"]:
            table(one["booked"], _same(BOOKED), f"Booked, revision {one['revision']}")


def tallies(found: Sequence[Answer], as_csv: bool) -> None:
    lines = [{**one, **line, "kind": KINDS.get(one["kind"], one["kind"])} for one in found for line in one["lines"]]
    if as_csv:
        say_csv(LINES, lines)
        return
    say(*(_expected(one) for one in found))
    if lines:
        table(lines, _same(LINES))


def _expected(one: Answer) -> str:
    subject = f" of {one['subject']}" if one["subject"] else ""
    due = f", due {one['due']}" if one["due"] else ""
    outcome = f", which the executor calls {one['outcome']}" if one["outcome"] else ""
    expected = f"{one['expected']} {one['currency']} expected{due}{outcome}"
    kind = KINDS.get(one["kind"], one["kind"])
    return f"{kind}{subject} at {one['psp']}: {expected}; {one['settled']} settled, fee {one['fee']}"


def _same(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, name.replace("_", " ")) for name in names]
