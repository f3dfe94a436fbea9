"""Orders and pay-outs → how far their money is: expected, settled in a file, paid out, seen at the bank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString

from psycopg.rows import dict_row

from operations.auditor.engine.stores import Stores
from operations.cli.moment import Moment
from producers import recon_explained
from producers.recon_reports import Answer, Ask, Rows, bank_keys
from producers.recon_steps import Steps, steps_of, walk
from reconciliation.formats.shape import EVIDENCE, KINDS
from topics.settings import Settings

WHERE = "reconciliation"
BANK_ENTRY = "s"
_PLACES: LiteralString = """
SELECT s.source, s.settlement, s.revision, f.file_id, f.received_at, coalesce(c.day, f.last_day) AS day
FROM settlement_view s JOIN settlement_claim_view c ON c.settlement_no = s.settlement_no
JOIN file_view f ON f.file_no = c.file_no
WHERE (s.source, s.settlement) IN (SELECT * FROM unnest(%(sources)s::text[], %(settlements)s::text[]))
"""
_PAYOUTS: LiteralString = """
SELECT source, settlement, currency, paid FROM settlement_view
WHERE (source, settlement) IN (SELECT * FROM unnest(%(sources)s::text[], %(settlements)s::text[]))
"""
_PAIRS: LiteralString = """
SELECT replace(key, '-', '') AS key, replace(pair, '-', '') AS pair FROM unmatched_view
WHERE replace(key, '-', '') = ANY (%(keys)s) AND pair IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a file of a PSP or a bank."""

    amount: str
    fee: str
    settlement: str  # "<source>/<its reference>"; of a bank: its statement
    file: str  # its name
    file_id: str
    came_at: datetime | None
    day: date | None  # on which the settlement is paid out, or of the statement


@dataclass(frozen=True, slots=True)
class SettledPart:
    """A capture, refund, chargeback or transfer at one PSP or bank account, and how far its money is."""

    about: str  # the order, or the pay-out
    kind: str
    at: str  # the PSP, or the bank account
    currency: str
    expected: str
    due: date | None
    expected_since: datetime
    settled: str
    lines: tuple[Entry, ...]
    bank: tuple[Entry, ...]  # of the pay-out that its settlement is part of
    state: str


def settled(settings: Settings, stores: Stores, ids: Sequence[str]) -> list[SettledPart]:
    """None where no account's files are reconciled."""
    if not settings.settlement_sources:
        return []

    def ask(asked: Ask) -> Rows:
        cursor = stores.connection(asked.room).cursor(row_factory=dict_row)
        return cursor.execute(asked.statement, asked.values).fetchall()

    return walk(_parts(settings, ids), ask)


def _parts(settings: Settings, ids: Sequence[str]) -> Steps[list[SettledPart]]:
    keys: list[str] = []
    for id_ in ids:
        keys += yield from recon_explained.keys_of(id_, settings.settlement_sources)
    found = yield from _tallies(keys)
    banks = {source.name: source.bank_account for source in settings.settlement_sources if source.kind == "psp"}
    payouts = yield Ask(WHERE, _PAYOUTS, _named(_settlements(found)))
    at_bank: dict[tuple[str, str], dict[str, list[str]]] = {}  # settlement → currency → keys of its pay-outs
    for row in (each for each in payouts if each["source"] in banks):
        keys_there = bank_keys(banks[row["source"]], row["settlement"], row["currency"], row["paid"])
        at_bank.setdefault((row["source"], row["settlement"]), {})[row["currency"]] = keys_there
    arrived = yield from _tallies(sorted({key for of in at_bank.values() for each in of.values() for key in each}))
    places = yield Ask(WHERE, _PLACES, _named(_settlements([*found, *arrived])))
    place_of = {(row["source"], row["settlement"], row["file_id"]): row for row in places}
    parts = []
    for tally in found:
        wanted = {
            key for name in _settlements([tally]) for key in _of_currency(at_bank.get(name, {}), tally["currency"])
        }
        bank = [line for each in arrived if wanted & {each["key"], each["of"]} for line in each["lines"]]
        parts.append(_part(tally, bank, place_of))
    return parts


def _settlements(tallies: Sequence[Answer]) -> list[tuple[str, str]]:
    """Those that their lines are in: source and reference."""
    lines = [line for tally in tallies for line in tally["lines"] if line["settlement"]]
    return sorted({(line["source"], line["settlement"]) for line in lines})


def _of_currency(at_bank: dict[str, list[str]], currency: str) -> list[str]:
    """What is settled in another currency is in one of the pay-outs."""
    return at_bank[currency] if currency in at_bank else [key for each in at_bank.values() for key in each]


def _named(settlements: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {"sources": [source for source, _ in settlements], "settlements": [name for _, name in settlements]}


def _tallies(keys: list[str]) -> Steps[list[Answer]]:
    """With those at the bank that have been paired with them: `of` is the key of the other half."""
    if not keys:
        return []
    pairs = {row["pair"]: row["key"] for row in (yield Ask(WHERE, _PAIRS, {"keys": keys}))}
    told = yield from steps_of(recon_explained.tallies([*keys, *pairs]))
    return [tally | {"of": pairs.get(tally["key"], tally["key"])} for tally in told["tallies"]]


def _part(tally: Answer, bank: Sequence[Answer], places: dict[Any, Any]) -> SettledPart:
    lines = tuple(_entry(line, places) for line in tally["lines"])
    entries = tuple(_entry(line, places) for line in bank)
    return SettledPart(
        about=tally["subject"] or "",
        kind=str(KINDS.get(tally["kind"], tally["kind"])).replace("_", " "),
        at=tally["psp"],
        currency=tally["currency"],
        expected=tally["expected"],
        due=tally["due"],
        expected_since=tally["made_at"],
        settled=tally["settled"],
        lines=lines,
        bank=entries,
        state=_state(tally, lines, entries),
    )


def _entry(line: Answer, places: dict[Any, Any]) -> Entry:
    place = places.get((line["source"], line["settlement"], line["file_id"]), {})
    settlement = f"{line['source']}/{line['settlement']}" if line["settlement"] else ""
    named = (line["gross"], line["fee"], settlement, line["name"] or "", line["file_id"] or "")
    return Entry(*named, place.get("received_at"), place.get("day"))


def _state(tally: Answer, lines: Sequence[Entry], bank: Sequence[Entry]) -> str:
    if not lines:
        return f"expected by {tally['due']}" if tally["due"] else tally["outcome"] or "expected"
    if tally["kind"] == EVIDENCE:
        return f"told in file {lines[-1].file}"
    if tally["kind"] == BANK_ENTRY:
        return f"at the bank on {lines[0].day}, in {lines[0].settlement} of file {lines[0].file}"
    last = lines[-1]
    told = [f"settled in {last.settlement} of file {last.file}" if last.settlement else f"in file {last.file}"]
    if last.day:
        told.append(f"paid out on {last.day}")
    told.append(f"at the bank on {bank[-1].day}" if bank else "not at the bank yet")
    if tally["settled"] != tally["expected"]:
        told.insert(0, f"{tally['settled']} of {tally['expected']}")
    return ", ".join(told)


# ── for the timeline ─────────────────────────────────────────────────────────────────────────────────────────────────


def moments(parts: Sequence[SettledPart]) -> Iterator[Moment]:
    for part in parts:
        if part.kind == KINDS[EVIDENCE]:
            yield from (_told(part, line, "told by the PSP", "how it stands") for line in part.lines)
            continue
        by = f" by {part.due}" if part.due else ""
        yield Moment(
            part.expected_since, WHERE, f"{part.kind} expected", part.about,
            f"{part.expected} {part.currency} at {part.at}{by}",
        )  # fmt: skip
        for line in part.lines:
            fee = f", fee {line.fee}" if line.fee.strip("0.") else ""
            yield _told(part, line, f"{part.kind} settled", f"{line.amount} {part.currency}{fee}")
        for entry in part.bank:
            yield _told(part, entry, "pay-out at the bank", f"{entry.amount} on {entry.day}")


def _told(part: SettledPart, entry: Entry, what: str, detail: str) -> Moment:
    where = f" in {entry.settlement}" if entry.settlement else ""
    at = entry.came_at or part.expected_since
    return Moment(at, WHERE, what, part.about, f"{detail}{where} of file {entry.file} ({entry.file_id[:12]})")
