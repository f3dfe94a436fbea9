"""Millions of tallies beside those that a file is of: lines that fold a second, beside an empty table; and tallies that the
mover archives a second.

In two databases of its own, without Kafka, on the statements that the room itself runs; in turns, since machines change. The
tallies are made by COPY: payments that are settled, of the days for which such are kept.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from operations.bench import ledger
from operations.bench.ledger import Progress
from operations.bench.settlement_files import PSP, in_batches
from reconciliation import archive, facts, fold
from reconciliation.expected import Fact
from reconciliation.fold import FoldedLine
from reconciliation.tally import Reference
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.postgres import connect
from topics.runtime.shape.store import Store
from topics.settings import Settings

A_COPY = 50_000  # tallies
LINES_MAX = 200_000
TURNS = 4
MOVED_S = 20.0  # for which the mover runs


@dataclass(frozen=True, slots=True)
class YearPlan:
    tallies: int
    lines: int = LINES_MAX  # that are folded into each of the two tables
    seed: int = 1


def run(settings: Settings, plan: YearPlan, progress: Progress = lambda line: None) -> dict[str, Any]:
    """→ the figures, keys as `tally bench recon --tallies N --json` prints them."""
    with ExitStack() as stack:
        places = []
        for _ in range(2):
            own = stack.enter_context(ledger._own_settings(settings, ledger.LedgerPlan()))
            stack.enter_context(ledger._databases(own, ledger._admin_dsn(settings), progress))
            places.append(own)
        full, empty = places
        return _measure(full, empty, plan, progress)


def _measure(full: Settings, empty: Settings, plan: YearPlan, progress: Progress) -> dict[str, Any]:
    draw, now = random.Random(plan.seed), datetime.now(UTC)
    progress(f"{plan.tallies} tallies by COPY")
    began = time.monotonic()
    with _connected(full) as conn:
        _fill(conn, draw, plan.tallies, now)
    filled_s = time.monotonic() - began
    took = {place.database: Took() for place in (empty, full)}
    for turn in range(TURNS + 1):
        progress(f"folding into both tables, turn {turn}" if turn else "a first turn, which does not count")
        for place in (empty, full):
            spent = _fold(place, draw, plan.lines // TURNS, now)
            took[place.database] += spent if turn else Took()
    progress("moving to the archive")
    moved = _moved(full, now + timedelta(days=30))
    with _connected(full) as conn:
        [(table, keys)] = conn.execute(_SIZES).fetchall()
    beside, alone = took[full.database], took[empty.database]
    return {
        "ratio": round(alone.folding_s / beside.folding_s, 3),
        "fold_rows_per_s": round(plan.lines / beside.folding_s),
        "fold_rows_per_s_empty": round(plan.lines / alone.folding_s),
        "expectations_per_s": round(plan.lines / beside.expecting_s),
        "expectations_per_s_empty": round(plan.lines / alone.expecting_s),
        "moved_per_s": round(moved),
        "copied_per_s": round(plan.tallies / filled_s),
        "table_mb": round(table / 1e6),
        "key_mb": round(keys / 1e6),
        "tallies": plan.tallies,
        "lines": plan.lines,
        "seed": plan.seed,
    }


_SIZES = "SELECT pg_table_size('tallies'), pg_relation_size('tallies_pkey')"


def _connected(settings: Settings) -> psycopg.Connection[Any]:
    dsn = settings.dsn("tally_reconciliation")
    return connect(dsn, name="tally bench", schema="reconciliation", autocommit=True)


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds that expectations took, and the lines of them."""

    expecting_s: float = 0.0
    folding_s: float = 0.0

    def __add__(self, other: Took) -> Took:
        return Took(self.expecting_s + other.expecting_s, self.folding_s + other.folding_s)


def _fold(settings: Settings, draw: random.Random, rows: int, now: datetime) -> Took:
    """So many payments are expected, and then settled by a line each."""
    lines = [
        FoldedLine(f"{draw.getrandbits(128):032x}", "c", "EUR", PSP, draw.getrandbits(62), 100, 2, 2, 98, 0, 1)
        for _ in range(rows)
    ]
    took_facts = took_lines = 0.0
    with closing(Store(settings, "reconciliation")) as own:
        for batch in in_batches(iter(lines)):
            wanted = [Fact(Reference(*line[:2], PSP), "EUR", 100, line.digest, None) for line in batch]
            began = time.monotonic()
            with own.transaction() as conn:
                facts.save(conn, wanted, (), now)
            took_facts += time.monotonic() - began
        for batch in in_batches(iter(lines)):
            began = time.monotonic()
            with own.transaction() as conn:
                fold.fold(conn, batch, now)
            took_lines += time.monotonic() - began
    return Took(took_facts, took_lines)


_COPY = """
COPY tallies (key, kind, currency, psp, expected, facts, due, payment_order_id, seller, settled, fee, digests, lines, made_at)
FROM STDIN
"""


def _fill(conn: psycopg.Connection[Any], draw: random.Random, count: int, now: datetime) -> None:
    """Settled payments of the ten days before, the oldest first."""
    for first in range(0, count, A_COPY):
        rows = range(first, min(first + A_COPY, count))
        with conn.cursor().copy(_COPY) as copy:
            copy.write(
                "".join(_settled(draw, number, now - timedelta(days=9) * (1 - number / count)) for number in rows)
            )
    conn.execute("ANALYZE tallies")


def _settled(draw: random.Random, number: int, made_at: datetime) -> str:
    key, digest, line = f"{draw.getrandbits(128):032x}", draw.getrandbits(62), draw.getrandbits(62)
    amount, fee = 1000 + number % 9000, 20
    numbers = f"{amount}\t{fee}\t{{{line}}}\t{{{amount},{fee},{number % 500 + 1},1}}"
    named = (
        f"{key}\tc\tEUR\t{PSP}\t{amount}\t{{{digest}}}\t{made_at.date()}\torder-{number:010}\tseller-{number % 5000:05}"
    )
    return f"{named}\t{numbers}\t{made_at.isoformat()}\n"


def _moved(settings: Settings, now: datetime) -> float:
    """→ tallies a second, slice by slice as upkeep does it."""
    began = time.monotonic()
    with closing(Store(settings, "reconciliation")) as own:
        for _ in _until(began + MOVED_S):
            with own.transaction() as conn:
                if not archive.trim(conn, Retention(), now):
                    break
        took = time.monotonic() - began
        with own.transaction() as conn:
            [(moved,)] = conn.execute("SELECT count(*) FROM tallies_done")
    return int(moved) / took


def _until(end: float) -> Iterator[None]:
    while time.monotonic() < end:
        yield
