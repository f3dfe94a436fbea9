"""The report of a day → one HTML page that stands by itself, and one CSV: nothing in them runs, or comes from elsewhere.

Cells are as in the CSV of other commands: a text that a spreadsheet would run begins with an apostrophe, and what would move a
terminal's cursor or cannot be seen is written out. Then HTML's own characters are escaped.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from operations.cli.csv_rows import cell
from operations.cli.recon_charts import by_age, by_code
from producers.recon_reports import Answer
from reconciliation.formats.shape import KINDS

Columns = Sequence[tuple[str, str]]


class Section(NamedTuple):
    """A table of the report: its name there, its title, and what is said where it has no rows."""

    name: str
    title: str
    columns: Columns
    none: str


def _same(*names: str) -> Columns:
    return [(name, name.replace("_", " ")) for name in names]


SECTIONS = (
    Section(
        "sources",
        "Files of each source",
        _same("source", "came", "counted", "under_way", "held", "missing", "missing_since"),
        "No source is set up.",
    ),
    Section(
        "missing", "Files that are missing", _same("source", "first_day", "last_day", "since"), "No file is missing."
    ),
    Section("under_way", "Files under way", _same("source", "name", "state", "file_id"), "No file is under way."),
    Section(
        "held",
        "Files that the gate or the brake holds",
        _same("source", "name", "state", "why", "received_at", "file_id"),
        "No file is held.",
    ),
    Section(
        "settlements",
        "Settlements and statements of the day",
        [
            *_same("source", "settlement", "currency", "lines", "unknown", "fee"),
            ("net", "adds up to"),
            *_same("claimed", "state", "at_the_bank"),
        ],
        "No settlement is of this day.",
    ),
    Section(
        "clearing_totals",
        "Still out: by count and by absolute value, what is not due apart",
        [
            ("psp", "PSP or bank"),
            *_same("station", "currency"),
            ("not_due_tallies", "not due: count"),
            ("not_due", "not due: value"),
            ("late_tallies", "late or unknown: count"),
            ("late", "late or unknown: value"),
        ],
        "Nothing is out.",
    ),
    Section(
        "clearing",
        "Still out by age",
        [
            ("psp", "PSP or bank"),
            *_same("station", "currency", "days_late", "tallies"),
            ("plus", "they owe us"),
            ("minus", "we owe them"),
        ],
        "Nothing is out.",
    ),
    Section(
        "proof",
        "Proof: each account, and what explains it",
        _same("equation", "account", "currency", "ledger", "explained", "difference"),
        "There is nothing to prove.",
    ),
    Section(
        "breaks",
        "Open breaks by code",
        [*_same("code", "class", "currency", "breaks", "items"), ("amount", "absolute value"), ("oldest_at", "oldest")],
        "No break is open.",
    ),
    Section(
        "carried_over",
        "Carried over: each open break",
        [
            ("break_id", "break"),
            *_same("code", "class", "subject", "amount", "currency", "items", "opened_at", "owner", "work"),
        ],
        "Nothing is carried over.",
    ),
    Section(
        "fees",
        "Fees of the settlements of the day",
        [("psp", "PSP"), *_same("kind", "lines", "gross", "fee", "currency")],
        "Nothing was charged.",
    ),
)
_COUNTS = ("came", "counted", "under_way", "held", "missing", "lines", "tallies", "breaks", "items")
_OUT = ("not_due_tallies", "not_due", "late_tallies", "late", "plus", "minus")
_AMOUNTS = ("unknown", "fee", "net", "claimed", "at_the_bank", "ledger", "explained", "difference", "amount", "gross")
_LONG = frozenset(("break_id", "subject", "settlement", "file_id", "name", "opened_at"))
_NUMBERS = frozenset((*_COUNTS, *_OUT, *_AMOUNTS))
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1c2330; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
table { border-collapse: collapse; width: 100% } th, td { padding: .2rem .6rem; text-align: left; vertical-align: top }
th { border-bottom: 1px solid #8a94a6; font-weight: 600 } td { border-bottom: 1px solid #e3e7ee }
td.t { overflow-wrap: anywhere } .wide { overflow-x: auto }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.stand { margin: .4rem 0 } .good { color: #1b7a43 } .bad { color: #b3261e } .hash { font-family: monospace; font-size: .85em }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem } figure { margin: 0 } figcaption { font-weight: 600; margin-bottom: .3rem }
svg { background: #f6f8fb } svg text { font: 12px system-ui, sans-serif; fill: #1c2330 }
@media print { body { margin: 0; max-width: none; font-size: 9px } th, td { padding: .1rem .25rem }
  h2 { break-after: avoid } tr { break-inside: avoid } }
"""


def rows_of(report: Answer, name: str) -> list[Answer]:
    """A section's rows, as people read them."""
    rows: list[Answer] = report[name]
    return [row | {"kind": KINDS.get(row["kind"], row["kind"])} for row in rows] if name == "fees" else rows


def page(report: Answer, sha256: str, signed: Sequence[Mapping[str, object]]) -> str:
    """`signed`: who has proposed and signed the report; empty where it is not signed."""
    title = f"Reconciliation of {_text(report['date'])}"
    parts = [_tables(report, section) for section in SECTIONS]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            *_standing(report, sha256, signed),
            '<div class="charts">',
            *by_age(report["clearing"]),
            *by_code(report["breaks"]),
            "</div>",
            *parts,
            "</body></html>\n",
        ]
    )


def _standing(report: Answer, sha256: str, signed: Sequence[Mapping[str, object]]) -> list[str]:
    said = [
        f'<p class="stand">As of {_text(report["taken_at"])}, SHA-256 <span class="hash">{_text(sha256)}</span></p>'
    ]
    if signed:
        said += [f'<p class="stand good">{_text(_said(each))}</p>' for each in signed]
    else:
        said.append('<p class="stand bad">Not signed.</p>')
    if report["holds"]:
        said.append(f'<p class="stand good">The proof holds, of {len(report["proof"])} accounts.</p>')
    else:
        wrong = sum(line["ledger"] != line["explained"] for line in report["proof"])
        said.append(
            f'<p class="stand bad">The proof does not hold: {wrong} of {len(report["proof"])} accounts differ.</p>'
        )
    return said


def _said(decision: Mapping[str, object]) -> str:
    verb = "Signed" if decision["state"] == "signed" else "Proposed"
    return f"{verb} by {decision['decided_by']} at {decision['decided_at']}: {decision['reason']}"


def _tables(report: Answer, section: Section) -> str:
    rows = rows_of(report, section.name)
    heading = f"<h2>{escape(section.title)}</h2>"
    if not rows:
        return f"{heading}\n<p>{escape(section.none)}</p>"
    cells = ((field, _text(title)) for field, title in section.columns)
    head = "".join(f"<th{_right(field)}>{title}</th>" for field, title in cells)
    body = "\n".join(_row(row, section) for row in rows)
    return f'{heading}\n<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _row(row: Answer, section: Section) -> str:
    told = "".join(f"<td{_right(field)}>{_text(row[field])}</td>" for field, _ in section.columns)
    return f"<tr>{told}</tr>"


def _right(field: str) -> str:
    """Numbers stand on the right; long texts may break anywhere, and no other one does."""
    return ' class="n"' if field in _NUMBERS else ' class="t"' if field in _LONG else ""


def _text(value: object) -> str:
    return escape(cell(value), quote=True)


def table(report: Answer) -> str:
    """All sections as one CSV: the first column names the section, and each has its own of the others."""
    fields = list(dict.fromkeys(field for section in SECTIONS for field, _ in section.columns))
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(["section", *fields])
    for section in SECTIONS:
        own = {field for field, _ in section.columns}
        for row in rows_of(report, section.name):
            lines.writerow([section.name, *(cell(row[field]) if field in own else "" for field in fields)])
    return written.getvalue()
