"""A settlement file of any length → read, folded, matched and booked by the real processes: lines a second, beside a floor.

Everything happens under a topic prefix and in databases of its own, on the servers of the installation; all of it goes at
the end. The simulator writes the files, one line in two hundred odd, and what our books know of them. The floor is the
statement that folds lines, alone, on the same table: half before and half after, since machines change.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psutil
import psycopg

from operations.bench import ledger
from operations.bench.ledger import Progress
from operations.bench.settlement_files import PSP, SOURCE, WRONG_BY, LargeFile, expect, in_batches, make, publish
from producers.doors.commands import claim
from producers.doors.commits import Commits
from producers.doors.settlement_files import store
from producers.doors.uploads import Upload
from producers.stored_files import PIECE
from reconciliation import facts, fold
from reconciliation.expected import Fact
from reconciliation.fold import FoldedLine
from reconciliation.tally import Reference
from topics import catalog
from topics.runtime.making.topics import apply_topics, delete_topics
from topics.runtime.shape.postgres import connect
from topics.runtime.shape.store import Store
from topics.settings import Settings

FLOOR = "floor"  # the PSP of its tallies
SILENCE_S_MAX = 120.0  # a worker that was left out of its group is taken in again meanwhile
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class ReconPlan:
    lines: int = 1_000_000  # of the large file, and of two files together
    workers: int = 2  # that fold, each with a partition of its own
    seed: int = 1

    @property
    def fewer(self) -> int:
        """Lines of the file whose memory is compared with that of the large one."""
        return max(500, self.lines // 10)


@dataclass(frozen=True, slots=True)
class Measured:
    """Files from stored to booked. Memory is that of each process at its largest, as seen ten times a second."""

    lines: int
    seconds: float
    reading_s: float  # from stored to past the gate, of the last file
    folding_s: float  # from there to the last line folded
    peak_mb: dict[str, float]
    cpu_us: dict[str, float]  # a line

    @property
    def lines_per_s(self) -> float:
        return self.lines / self.seconds


def run(settings: Settings, plan: ReconPlan | None = None, progress: Progress = lambda line: None) -> dict[str, Any]:
    """→ the figures, keys as `tally bench recon --json` prints them. Errors: RuntimeError where the end is not as planted."""
    plan = plan or ReconPlan()
    with own_place(settings, plan.workers, progress) as own:
        return _measure(own, plan, progress)


@contextmanager
def own_place(settings: Settings, partitions: int, progress: Progress) -> Iterator[Settings]:
    """Databases and topics of the benchmark's own, on the same servers."""
    with ExitStack() as stack:
        own = stack.enter_context(ledger._own_settings(settings, ledger.LedgerPlan()))
        own = own.model_copy(update={"settlement_sources": (SOURCE,)})
        stack.enter_context(ledger._databases(own, ledger._admin_dsn(settings), progress))
        stack.callback(delete_topics, own)
        apply_topics(own, partitions=partitions)
        yield own


def _measure(settings: Settings, plan: ReconPlan, progress: Progress) -> dict[str, Any]:
    progress("files")
    half = plan.lines // 2
    sizes = (plan.fewer // 10, plan.fewer, plan.lines, half, half)
    files = [make(settings.home, plan.seed, number, lines) for number, lines in enumerate(sizes, 1)]
    warm, small, large, *two = files
    for file in (warm, large, *two):
        progress(f"what is expected of {file.lines} lines")
        expect(settings, file)
    floors = [_measure_floor(settings, plan.fewer, "before", progress)]
    captures = publish(settings, small)
    with rooms(settings, plan.workers) as processes:
        heard = _measure_captures(settings, captures, processes, progress)
        whole(settings, [warm], processes, progress)
        fewer, one = (whole(settings, [file], processes, progress) for file in (small, large))
        both = whole(settings, two, processes, progress)
    floors.append(_measure_floor(settings, plan.fewer, "after", progress))
    check(settings, files)
    return _figures(plan, sum(floors) / len(floors), heard, fewer, one, both)


def _figures(
    plan: ReconPlan, floor: float, heard: float, fewer: Measured, one: Measured, both: Measured
) -> dict[str, Any]:
    """The ratio first: it is comparable between machines."""
    return {
        "ratio": round(one.lines_per_s / floor, 3),
        "whole_lines_per_s": round(one.lines_per_s),
        "two_files_lines_per_s": round(both.lines_per_s),
        "floor_rows_per_s": round(floor),
        "read_lines_per_s": round(one.lines / one.reading_s),
        "fold_lines_per_s": round(one.lines / one.folding_s),
        "settle_s": round(one.seconds - one.reading_s - one.folding_s, 2),
        "expectations_per_s": round(heard),
        "peak_mb": round(max(one.peak_mb.values())),
        "peak_mb_of_a_tenth": round(max(fewer.peak_mb.values())),
        "peak_growth": round(max(mb / fewer.peak_mb[name] for name, mb in one.peak_mb.items()), 3),
        "peak_mb_by_process": {name: round(mb) for name, mb in one.peak_mb.items()},
        "cpu_us_per_line": {name: round(us, 1) for name, us in one.cpu_us.items()},
        "lines": plan.lines,
        "workers": plan.workers,
        "seed": plan.seed,
    }


# ── expectations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _measure_captures(settings: Settings, count: int, processes: Processes, progress: Progress) -> float:
    """→ captures a second, from Kafka into the tallies; the clock starts when the first ones are there."""
    progress(f"{count} captures")
    with _connected(settings) as conn:
        waiting = Waiting(processes, "captures")
        heard, began = 0, time.monotonic()
        while heard < count:
            waiting.look(heard)
            began = began if heard else time.monotonic() - LOOK_S
            heard = conn.execute(_HEARD, [catalog.EXECUTIONS.name]).fetchone()[0]  # type: ignore[index]
        return count / (time.monotonic() - began)


_HEARD = "SELECT coalesce(sum(messages), 0)::bigint FROM positions WHERE topic = %s"


# ── the processes ────────────────────────────────────────────────────────────────────────────────────────────────────

Processes = dict[str, subprocess.Popen[bytes]]


@contextmanager
def rooms(settings: Settings, workers: int) -> Iterator[Processes]:
    """A process that reads files, and those that fold their lines."""
    environment = ledger._environment(settings) | {
        "TALLY_SETTLEMENT_SOURCES": json.dumps([SOURCE.model_dump(mode="json", exclude_defaults=True)])
    }
    names = {"reconciliation": "reconciliation"}
    names |= {f"settlements-{number}": "settlements" for number in range(1, workers + 1)}
    log = settings.home / "rooms.log"
    started: Processes = {}
    with log.open("ab") as out:
        try:
            for name, room in names.items():
                command = [*TALLY, "run", room]
                started[name] = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
                )
            yield started
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {log.read_text(encoding='utf-8')[-2000:]}") from None
        finally:
            for process in started.values():
                process.terminate()
            for process in started.values():
                ledger._end(process)


TALLY = [sys.executable, "-c", "from operations.cli.main import main; main()"]


class Waiting:
    """Looks that must show something new within SILENCE_S_MAX."""

    def __init__(self, processes: Processes, of: str) -> None:
        self._processes, self._of = processes, of
        self._last: object = None
        self._moved_at = time.monotonic()

    def look(self, seen: object) -> None:
        """Errors: RuntimeError if nothing moves, or a process has ended."""
        now = time.monotonic()
        if seen != self._last:
            self._last, self._moved_at = seen, now
        ended = [name for name, process in self._processes.items() if process.poll() is not None]
        if ended or now - self._moved_at > SILENCE_S_MAX:
            raise RuntimeError(f"{self._of} stand still at {seen}; ended: {ended}")
        time.sleep(LOOK_S)


# ── the whole way ────────────────────────────────────────────────────────────────────────────────────────────────────

_SEEN = """
SELECT count(*) FILTER (WHERE state NOT IN ('received', 'reading')), coalesce(sum(lines), 0)::bigint,
    (SELECT count(*) FROM line_chunks c WHERE c.file_no = ANY (array_agg(f.file_no))), coalesce(sum(chunks), 0)::bigint,
    count(*) FILTER (WHERE state = 'folded' AND EXISTS (
        SELECT FROM settlement_claims c JOIN settlements s USING (settlement_no)
        WHERE c.file_no = f.file_no AND s.revision > 0 AND NOT s.to_settle)),
    count(*) FILTER (WHERE state IN ('quarantined', 'held')), NOT EXISTS (SELECT FROM outbox),
    max(lease_until)
FROM files f WHERE file_id = ANY (%s::text[])
"""


class _Seen(NamedTuple):
    """How far files are."""

    gated: int
    lines: int
    folded_chunks: int
    chunks: int
    booked: int
    refused: int
    published: bool
    leased_until: datetime | None  # a reader that works moves it


def whole(settings: Settings, files: Sequence[LargeFile], processes: Processes, progress: Progress) -> Measured:
    """Store files one after the other, and wait until all are booked. The last one's bytes are stored when time begins."""
    progress(f"{sum(file.lines for file in files)} lines in {len(files)} files")
    usage = Usage(processes)
    ready = [upload(settings, file) for file in files]
    began = time.monotonic()
    ids = [stored() for stored in ready]
    gated_at = folded_at = 0.0
    with _connected(settings) as conn:
        waiting = Waiting(processes, f"{len(files)} files")
        while True:
            seen = _Seen(*conn.execute(_SEEN, [ids]).fetchone())  # type: ignore[misc]
            now = time.monotonic()
            usage.note()
            if seen.gated == len(files):
                gated_at = gated_at or now
                folded_at = folded_at or (now if seen.folded_chunks >= seen.chunks else 0.0)
            if seen.refused:
                raise RuntimeError(f"{seen.refused} files are refused or held")
            if seen.booked == len(files) and seen.published:
                break
            waiting.look(seen)
    cpu = {name: 1e6 * used / seen.lines for name, used in usage.cpu_s().items()}
    return Measured(seen.lines, now - began, gated_at - began, folded_at - gated_at, usage.peak_mb, cpu)


def upload(settings: Settings, file: LargeFile) -> Callable[[], str]:
    """Write a file's bytes as the door does. → what makes a file of them, and gives its id"""
    sent = Upload(settings, packed=False)
    with file.path.open("rb") as opened:
        while block := opened.read(PIECE):
            sent.feed(block)
    uploaded = sent.finish()

    def end() -> str:
        with closing(sent), closing(Commits(settings, claim)) as commits:
            commits.take_alone(store(PSP, file.path.name, uploaded, "bench"))
        return uploaded.file_id

    return end


class Usage:
    """CPU and memory of processes since this was made."""

    def __init__(self, processes: Processes) -> None:
        self._processes = {name: psutil.Process(process.pid) for name, process in processes.items()}
        self._before = self._cpu()
        self.peak_mb = dict.fromkeys(processes, 0.0)

    def note(self) -> None:
        for name, process in self._processes.items():
            self.peak_mb[name] = max(self.peak_mb[name], process.memory_info().rss / 1e6)

    def cpu_s(self) -> dict[str, float]:
        return {name: used - self._before[name] for name, used in self._cpu().items()}

    def _cpu(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: each.user + each.system for name, each in times.items()}


# ── the floor, and the end ───────────────────────────────────────────────────────────────────────────────────────────


def _measure_floor(settings: Settings, rows: int, when: str, progress: Progress) -> float:
    """→ tallies a second that the folding statement alone updates, 5,000 to a commit, in the table of the run."""
    progress(f"half of the floor, {when}")
    now, draw = datetime.now(UTC), random.Random(when)
    lines = [
        FoldedLine(f"{draw.getrandbits(128):032x}", "c", "EUR", FLOOR, number, 100, 2, 2, 98, 0, 0)
        for number in range(rows)
    ]
    with closing(Store(settings, "reconciliation")) as own:
        for batch in in_batches(iter(lines)):
            wanted = [Fact(Reference(*line[:2], FLOOR), "EUR", 100, line.digest, None) for line in batch]
            with own.transaction() as conn:
                facts.save(conn, wanted, (), now)
        ready = [fold._arrays(sorted(batch)) for batch in in_batches(iter(lines))]
        began = time.monotonic()
        for arrays in ready:
            with own.transaction() as conn:
                conn.execute(fold._MEET, [*arrays, False, now, "{}"])
        return rows / (time.monotonic() - began)


_BOOKED = """
SELECT sum((booked->>%s)::bigint)::bigint, sum((booked->>%s)::bigint)::bigint FROM settlements
"""
_BREAKS = """
SELECT b.code, count(*) FROM break_items i JOIN breaks b USING (break_id) WHERE i.closed_at IS NULL GROUP BY b.code
"""


def check(settings: Settings, files: Sequence[LargeFile]) -> None:
    """That what the files differ in is found, and nothing else; and all is booked. Errors: RuntimeError."""
    odd: Counter[str] = Counter()
    receivable = suspense = 0
    for known in (known for file in files for known in file.captures()):
        odd[known.odd] += 1
        if known.odd == "unknown":
            suspense -= known.amount
        elif known.odd != "missing":
            receivable -= known.amount + (WRONG_BY if known.odd == "amount" else 0)
    planted = {code: odd[name] for name, code in (("amount", "AMOUNT"), ("fee", "FEE_VARIANCE")) if odd[name]}
    with _connected(settings) as conn:
        booked = conn.execute(_BOOKED, ["receivable EUR", "suspense EUR"]).fetchone()
        found = dict(conn.execute(_BREAKS).fetchall())
    if (booked, found) != ((receivable, suspense or None), planted):
        raise RuntimeError(f"booked {booked} in place of {(receivable, suspense)}, breaks {found} of {planted}")


@contextmanager
def _connected(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    dsn = settings.dsn("tally_reconciliation")
    with connect(dsn, name="tally bench", schema="reconciliation", autocommit=True) as conn:
        yield conn
