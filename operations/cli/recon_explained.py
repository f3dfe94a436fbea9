"""A settlement or tallies, explained → tables, or CSV for an accountant."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from operations.cli.csv_rows import say_csv
from operations.cli.recon_answers import table
from operations.cli.terminal import say
from producers.recon_reports import Answer
from reconciliation.formats.shape import KINDS

SUMS = ("kind", "lines", "gross", "gross_currency", "unknown", "fee", "net")
FILES = ("name", "file_id", "state", "day", "opening", "paid")
BOOKED = ("role", "amount", "currency")
LINES = ("kind", "currency", "source", "name", "line", "day", "settlement", "gross", "fee")
EVIDENCE = ("kind", "key", "currency", "source", "name", "settlement", "gross", "fee", "line", "day", "file_id", "first_byte",
            "last_byte", "text")  # fmt: skip
PARTS = (("commission", "commission"), ("markup", "markup"), ("scheme_fee", "scheme fees"), ("interchange", "interchange"),
         ("tax", "tax"), ("other", "other"))  # fmt: skip


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
    lines = named_kinds([{**one, **line} for one in found for line in one["lines"]])
    if as_csv:
        say_csv(EVIDENCE, lines)
        return
    say(*(_expected(one) for one in found))
    if lines:
        table(lines, _same(LINES))
    _say_texts(lines)


def lines(found: Sequence[Answer], as_csv: bool) -> None:
    """Records of files, each with all that its reader took from it."""
    if as_csv and found:
        say_csv([*found[0]], named_kinds(found))
        return
    for one in named_kinds(found):
        says = (
            ""
            if one["counts"]
            else "; does not count: another file's does, it is only noted, or its file is not settled yet"
        )
        say(f"record {one['record']} of {one['name']} ({one['source']} {one['file_id']}, {one['state']}){says}")
        told = [f"{one['kind']} {one['gross']} {one['gross_currency']}", f"fee {one['fee']}"]
        parts = [f"{heading} {one[part]}" for part, heading in PARTS if Decimal(one.get(part, "0"))]
        told[-1] += f" ({', '.join(parts)})" if parts else ""
        say(
            ", ".join([*told, f"net {one['net']} {one['currency']}", *([f"rate {one['rate']}"] if one["rate"] else [])])
        )
        in_ = f", settlement {one['source']}/{one['settlement']}" if one["settlement"] else ""
        theirs = "".join(
            f", {name} {one[of]}" for name, of in (("their", "psp_ref"), ("order", "order_ref")) if one[of]
        )
        say(f"value day {one['day']}{in_}{theirs}, key {one['key']}")
    _say_texts(found)


def named_kinds(found: Sequence[Answer]) -> list[Answer]:
    return [one | {"kind": KINDS.get(one["kind"], one["kind"])} for one in found]


def _say_texts(lines: Sequence[Answer]) -> None:
    """What the files themselves say."""
    for line in lines:
        if line["first_byte"] is not None:
            said = line["text"] if line["text"] is not None else "(its bytes are not in the store)"
            say(f"{line['line']}, bytes {line['first_byte']} to {line['last_byte']}:", f"  {said}")


def fee_tables(psp: str, month: str, found: Sequence[Answer]) -> None:
    """For each kind, scheme and currency: the parts that were charged, and what the schedule says of the whole."""
    rows = []
    for one in named_kinds(found):
        first = {
            "kind": one["kind"],
            "scheme": one["scheme"] or "-",
            "lines": one["lines"],
            "currency": one["currency"],
        }
        for part, heading in PARTS:
            if Decimal(one[part]):
                rows.append(first | {"part": heading, "charged": one[part]})
                first = dict.fromkeys(first, "")
        rows.append(first | {"part": "all", "charged": one["charged"]} | _agreed(one))
    names = ("kind", "scheme", "lines", "currency", "part", "charged", "agreed", "too_much", "too_little")
    table([dict.fromkeys(names, "") | row for row in rows], _same(names), f"Fees of {psp} in {month}")


def _agreed(one: Answer) -> Answer:
    if not one["payments"]:
        return {"agreed": "nothing agreed" if one["kind"] == "capture" else ""}
    most = "" if one["least"] == one["most"] else f" to {one['most']}"
    paid_in = "" if one["currency"] == one["payment_currency"] else f" {one['payment_currency']}"
    of = "" if one["payments"] == one["lines"] else f", for {one['payments']} of them"
    agreed = f"{one['least']}{most}{paid_in} since {one['agreed_since']}{of}"
    return {"agreed": agreed, "too_much": one["over"], "too_little": one["under"]}


def _expected(one: Answer) -> str:
    subject = f" of {one['subject']}" if one["subject"] else ""
    due = f", due {one['due']}" if one["due"] else ""
    outcome = f", which the executor calls {one['outcome']}" if one["outcome"] else ""
    expected = f"{one['expected']} {one['currency']} expected{due}{outcome}"
    kind = KINDS.get(one["kind"], one["kind"])
    return f"{kind}{subject} at {one['psp']}: {expected}; {one['settled']} settled, fee {one['fee']}"


def _same(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, name.replace("_", " ")) for name in names]
