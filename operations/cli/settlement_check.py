"""A file on disk → what the gate says of it: its sums, or why it is refused."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operations.cli.tables import Table, titled
from operations.cli.terminal import say
from reconciliation.formats.blocks import BLOCK_BYTES
from reconciliation.formats.shape import Control, ReadFrom, Refusal
from reconciliation.gate import READERS, opened, reads_from
from schemas.money import Money
from topics.settlement_sources import SettlementSource

_GZIP = b"\x1f\x8b"


def readers() -> list[dict[str, Any]]:
    return [
        {"format": each.name, "version": each.version, "provider": each.provider, "mode": each.mode, "ties": each.ties}
        for each in READERS
    ]


def print_formats() -> None:
    table = Table("format", "of", "a newer file", "is whole if")
    for each in readers():
        table.add_row(
            each["format"], each["provider"], {"replace": "replaces", "union": "adds"}[each["mode"]], each["ties"]
        )
    table.show()


def checked(file: Path, source: SettlementSource | None) -> dict[str, Any]:
    """Without a source any account will do. `refused` is None for a file that the gate lets through."""
    told: dict[str, Any] = {"file": str(file), "format": None, "refused": None}
    read_from = ReadFrom("check", "check") if source is None else reads_from(source)
    try:
        reader, found = opened(_blocks(file), read_from, file.name)
        told["format"] = reader.name
        for each in found:
            if isinstance(each, Control):
                told |= _summary(each)
    except Refusal as refusal:
        told["refused"] = {
            "code": refusal.code,
            "detail": refusal.detail,
            "line": refusal.line,
            "column": refusal.column,
            "excerpt": refusal.excerpt,
        }
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        told["refused"] = {
            "code": "binary",
            "detail": f"broken gzip: {error}",
            "line": None,
            "column": None,
            "excerpt": "",
        }
    return told


def _blocks(file: Path) -> Iterator[bytes]:
    """Unpacked, as the door does."""
    with file.open("rb") as plain:
        packed = plain.peek(len(_GZIP)).startswith(_GZIP)
        with gzip.GzipFile(fileobj=plain) if packed else plain as bytes_:
            while block := bytes_.read(BLOCK_BYTES):
                yield block


def _summary(control: Control) -> dict[str, Any]:
    return {
        "identity": control.identity,
        "version": control.version,
        "accounts": list(control.account_ids),
        "first_day": control.first_day,
        "last_day": control.last_day,
        "lines": control.lines,
        "settlements": [
            {
                "settlement": each.settlement,
                "currency": each.currency,
                "net": Money(each.net, each.currency).amount,
                "paid": Money(each.paid, each.currency).amount,
                "ties": each.ties,
            }
            for each in control.sums
        ],
        "totals": {currency: Money(minor, currency).amount for currency, minor in control.totals.items()},
        "notes": list(control.notes),
    }


def print_checked(told: dict[str, Any]) -> None:
    if told["refused"]:
        _print_refused(told["file"], told["refused"])
        return
    say(f"{told['file']}: {told['format']}, {told['identity']}")
    days = f" from {told['first_day']} to {told['last_day']}" if told["first_day"] else ""
    say(f"{told['lines']:,} lines{days}")
    if told["settlements"]:
        _print_settlements(told)
    else:
        say(*[f"they add up to {amount} {currency}" for currency, amount in told["totals"].items()])
    if told["notes"]:
        say(f"read past: {', '.join(told['notes'])}")


def _print_settlements(told: dict[str, Any]) -> None:
    table = titled("what its lines add up to", "settlement", "currency", "net", "paid out, or moved", "ties")
    for each in told["settlements"]:
        ties = "yes" if each["ties"] else "no: nothing of it would be booked"
        table.add_row(each["settlement"], each["currency"], each["net"], each["paid"], ties)
    table.show()


def _print_refused(file: str, refused: dict[str, Any]) -> None:
    places = [f"line {refused['line']}" if refused["line"] else "", refused["column"] or ""]
    place = ", ".join(each for each in places if each)
    say(f"{file}: refused: {refused['code']}{f' ({place})' if place else ''}: {refused['detail']}")
    if refused["excerpt"]:
        say(f"  {refused['excerpt']}")
