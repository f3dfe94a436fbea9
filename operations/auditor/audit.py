"""Stores, topics and PSPs → all checks, read once; findings checked again; the report, in the order of this file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from operations.auditor import balances, holdings, resolutions, sellers, statements, webhooks
from operations.auditor.corrections import Corrections
from operations.auditor.engine.compare import compared
from operations.auditor.engine.lag import check_reading, lag
from operations.auditor.engine.latest import check_latest
from operations.auditor.engine.page import Page
from operations.auditor.engine.records import reader
from operations.auditor.engine.report import Check, Report
from operations.auditor.engine.run import Patience, Progress, Run
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.engine.unfinished import OUTBOXES, ROOMS_LOOKS, Look, check_looks, dead_letters, partitions_kept
from operations.auditor.money_back.page import MoneyBack
from operations.auditor.pay_in.page import PayIn
from operations.auditor.payouts.page import PayoutsPage
from operations.auditor.reservations.page import Reservations
from operations.auditor.settlements import Settlements
from operations.auditor.transfers.page import Transfers
from psp.registry import make_psps
from topics.runtime.shape.clock import Clock
from topics.settings import Settings

PAGES: tuple[Callable[[Run], Page], ...] = (
    PayIn,
    MoneyBack,
    PayoutsPage,
    Reservations,
    Transfers,
    Settlements,
    Corrections,
)  # one for each flow of money
PATIENCE = Patience()


def audit(settings: Settings, tell: Progress = lambda _: None) -> Report:
    """The report. Errors: psycopg.OperationalError and KafkaException if a server is away. A PSP without answer fails a check."""
    with Stores(settings) as stores, reader(settings) as reading:
        psps, clock = make_psps(settings.psps), Clock(settings.clock_file)
        run = Run(settings, stores, reading, psps, tell, clock, PATIENCE)
        return Report(tuple(_checks(run, [page(run) for page in PAGES])))


def _checks(run: Run, pages: Sequence[Page]) -> Iterator[Check]:
    for page in pages:
        page.begin()
    settled = any(page.settled for page in pages)
    read_at_first, at = lag(run.stores, run.reading), time.monotonic()
    _read(run, pages)
    run.tell("comparing")
    yield from compared(run, pages)
    run.tell("sums and balances")
    yield from _added_up(run, pages, settled)
    run.tell("what is not finished")
    yield from check_looks(_looks(pages), run.stores, run.clock, run.patience.again_s)
    yield webhooks.check_made(run.stores, run.reading, webhooks.kept_since(run))
    yield resolutions.check_resolutions(run.stores, run.reading, run.clock.now())
    yield check_reading(run, read_at_first, at)
    yield partitions_kept(run.stores, run.settings)
    yield dead_letters(run.stores)


def _read(run: Run, pages: Sequence[Page]) -> None:
    run.tell("the stores")
    for page in pages:
        page.read_stores()
    run.tell("the PSPs")
    for page in pages:
        page.read_psps()
    run.tell("the topics")
    for page in pages:
        for topic in page.topics:
            topic.read_on(run.reading)


def _added_up(run: Run, pages: Sequence[Page], settled: bool) -> Iterator[Check]:
    yield from check_sums(run.stores, balances.SUMS, expected=settled)
    yield from check_sums(run.stores, holdings.SUMS, expected=settled)
    yield from check_sums(run.stores, (holdings.RELEASES, statements.TIE), expected=False)
    kinds = {kind for page in pages for kind in page.kinds} | {*holdings.KINDS}
    yield balances.check_kinds(run.stores, kinds, expected=settled)
    yield balances.check_debts(run.stores)
    for page in pages:
        yield from check_sums(run.stores, page.sums, expected=page.settled)
    for page in pages:
        yield from page.totals()
    for balance in balances.BALANCES:
        yield check_latest(run, balance, expected=settled)


def _looks(pages: Sequence[Page]) -> Mapping[str, Look]:
    own = {name: look for page in pages for name, look in page.looks.items()}
    return OUTBOXES | own | ROOMS_LOOKS | sellers.LOOKS | holdings.LOOKS | webhooks.LOOKS
