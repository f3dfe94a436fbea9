"""A seed → captures, and the files of their PSP and bank with what may be wrong in them; and the end that all must come to."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg

from reconciliation.reader import FileReader
from schemas.events import PaymentCaptured
from schemas.money import Money
from schemas.settlements import Settled, SettlementFileDiscarded
from tests.captures import capture
from tests.contract.files_running import Told, keep
from tests.reconciling import Room
from tests.settlement_files import adyen, call, detail, entry, paid_out, settled, statement
from tests.settlement_files import camt053 as document
from tests.store.hearing import NOW
from topics.settings import Settings
from topics.settlement_sources import SettlementSource

PSP, BANK = "adyen-main", "house-bank"
SOURCES = (
    SettlementSource(name=PSP, psp="northpay", bank_account="main", restate_limit="999999.99"),
    SettlementSource(
        name=BANK,
        kind="bank",
        bank_account="main",
        restate_limit="999999.99",
        references=frozenset({"batch ([0-9]+), TallyShop"}),
    ),
)
ODD = 0.01  # of a batch's lines, in each way
LATER = timedelta(days=60)


@dataclass(frozen=True)
class StatedFile:
    """A file as it comes. `discarded`: a person finds that nothing of it counts."""

    source: str
    name: str
    body: bytes
    discarded: bool = False


@dataclass(frozen=True)
class Day:
    """What the rooms hear, and get."""

    facts: list[PaymentCaptured] = field(default_factory=list)
    files: list[StatedFile] = field(default_factory=list)


def day(seed: int, batches: int, lines: int) -> Day:
    """Batches of a PSP, one of them refused and one discarded; and the statement of them all, after a first one that lacked
    half of them."""
    chance, found = random.Random(seed), Day()
    entries: list[str] = []
    for number in range(batches):
        numbers = range(number * lines, (number + 1) * lines)
        body, paid = _batch(number + 1, numbers, chance, found.facts)
        found.files.append(StatedFile(PSP, f"batch-{number + 1}.csv", body))
        entries.append(_entry(number + 1, paid))
    refused = adyen([settled(1), paid_out("98.79", batch_number="91")])
    discarded, _ = _batch(92, range(10**6, 10**6 + lines), chance, [])
    found.files.append(StatedFile(PSP, "refused.csv", refused))
    found.files.append(StatedFile(PSP, "discarded.csv", discarded, discarded=True))
    for hour, listed in (("06", entries[::2]), ("09", entries)):
        total = sum(_paid(each) for each in listed)
        stated = statement("100.00", _amount(10_000 + total), *listed)
        body = document(stated).replace(b"T06:00:00", f"T{hour}:00:00".encode())
        found.files.append(StatedFile(BANK, f"statement-{hour}.xml", body))
    chance.shuffle(found.files)
    chance.shuffle(found.facts)
    return found


def _batch(
    batch: int, numbers: Iterable[int], chance: random.Random, facts: list[PaymentCaptured]
) -> tuple[bytes, int]:
    """→ the file, and what it pays out. Some lines are unknown, some are missing, some are of another amount."""
    rows, paid = [], 0
    for number in numbers:
        cents = 500 + number * 7919 % 5_000  # together within what a newer statement may move without a person
        lot = chance.random() / ODD
        if lot >= 1:
            facts.append(_captured(number, cents))
        if 1 <= lot < 2:
            continue
        charged = cents + (2 <= lot < 3)
        fee = charged // 100
        rows.append(
            settled(
                number,
                batch_number=str(batch),
                gross_credit=_amount(charged),
                net_credit=_amount(charged - fee),
                markup=_amount(fee),
                scheme_fees="",
                interchange="",
            )
        )
        paid += charged - fee
    text = f"TX1XT batch {batch}, TallyShop"
    rows.append(paid_out(_amount(paid), batch_number=str(batch), modification_reference=text))
    return adyen(rows), paid


def _captured(number: int, cents: int) -> PaymentCaptured:
    gross, fee = Money(cents, "EUR"), Money(cents // 50, "EUR")
    return capture(f"order-{number}", call_id=call(number), gross=gross, fee=fee, net=gross - fee)


def _entry(batch: int, paid: int) -> str:
    return entry(_amount(paid), details=detail(text=f"TX1XT batch {batch}, TallyShop"), reference=f"R{batch}")


def _paid(entry_: str) -> int:
    return int(entry_.partition('<Amt Ccy="EUR">')[2].partition("<")[0].replace(".", ""))


def _amount(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


# ── undisturbed ──────────────────────────────────────────────────────────────────────────────────────────────────────


def undisturbed(settings: Settings, told: Day) -> dict[str, Any]:
    """One process, one thread, everything in order. → the end. `settings`: with a store of its own"""
    room = Room(settings, SOURCES)
    room.after = datetime.now(UTC) - NOW
    reader = FileReader(room.settings, "reconciliation", threading.Event())
    reader._publisher = Told(room.hear)  # type: ignore[assignment]
    for at in range(0, len(told.facts), 1000):
        room.hear(*told.facts[at : at + 1000])
    for file in told.files:
        stored = keep(settings, file.body, file.name, file.source)
        room.hear(stored)
        reader.read_one()
        if file.discarded:
            room.hear(discard(stored.file_id))
        room.settles()
    room.settles(LATER)
    room.heard_all()
    room.settles(timedelta(minutes=2))
    assert room.dead == 0
    booked = said_in_sum(event for event in room.said if isinstance(event, Settled))
    room.close()
    return end_of(settings) | {"said": booked}


def discard(file_id: str) -> SettlementFileDiscarded:
    return SettlementFileDiscarded(source=PSP, file_id=file_id, discarded_by="ann", reason="another shop's")


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# Without numbers and times: they are drawn in the order in which all came. And without what a file left behind that was
# discarded, before its lines were folded or after: nothing.
# What was booked and taken back is nothing: a file may be discarded before it is booked, or after.
_END: dict[str, LiteralString] = {
    "tallies": "SELECT psp, kind, key::text, currency, expected, settled, fee, outcome, payment_order_id, broken,"
    " (SELECT array_agg(f ORDER BY f) FROM unnest(facts) f), (SELECT array_agg(d ORDER BY d) FROM unnest(digests) d)"
    " FROM tallies WHERE (facts <> '{}' OR digests <> '{}') AND NOT (kind = 's' AND expected = 0 AND digests = '{}')"
    " ORDER BY psp, kind, key, currency",
    "lines": "SELECT file_id, count(*), sum(gross)::bigint, sum(l.fee)::bigint FROM tally_line_view l JOIN files USING (file_no)"
    " GROUP BY file_id ORDER BY file_id",
    "settlements": "SELECT source, settlement, currency, booked, ties, to_settle FROM settlements s"
    " WHERE EXISTS (SELECT FROM settlement_sums u WHERE u.settlement_no = s.settlement_no AND lines <> 0)"
    " ORDER BY source, settlement, currency",
    "sums": "SELECT settlement, kind, gross_currency, lines, gross, unknown, fee, net FROM settlement_sums"
    " JOIN settlements USING (settlement_no) WHERE lines <> 0 ORDER BY source, settlement, kind, gross_currency",
    "files": "SELECT source, file_id, state, why, CASE WHEN state <> 'discarded' THEN (identity, version, lines)::text END,"
    " refusal->>'code' FROM files ORDER BY source, file_id",
    "breaks": "SELECT b.code, i.item, i.amount, b.currency FROM breaks b JOIN break_items i USING (break_id)"
    " WHERE i.closed_at IS NULL ORDER BY 1, 2",
    "cases": "SELECT code, subject, amount, items FROM breaks WHERE state = 'open' ORDER BY code, subject",
}


def end_of(settings: Settings) -> dict[str, Any]:
    options = "-c search_path=reconciliation"
    with psycopg.connect(settings.dsn("tally_reconciliation"), options=options) as conn:
        return {name: conn.execute(statement).fetchall() for name, statement in _END.items()}


def said_in_sum(events: Iterable[Settled]) -> dict[str, dict[str, int]]:
    """What the ledger was told to book, by subject; a revision twice would show."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for event in events:
        for each in event.amounts:
            sums[event.subject][f"{each.role} {each.amount.currency}"] += each.amount.minor
    found = {
        subject: {side: minor for side, minor in sorted(sides.items()) if minor} for subject, sides in sums.items()
    }
    return {subject: sides for subject, sides in found.items() if sides}


def differing(wanted: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """A few lines of what is not equal."""
    for name, rows in wanted.items():
        if rows == found[name]:
            continue
        if isinstance(rows, dict):
            yield f"{name}: {rows} wanted, {found[name]} found"
            continue
        missing = [row for row in rows if row not in found[name]]
        more = [row for row in found[name] if row not in rows]
        yield f"{name}: {len(missing)} missing {missing[:3]}, {len(more)} too many {more[:3]}"
