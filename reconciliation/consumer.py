"""files and their lines, executions, pay-out executions, persons' actions, timers → reconciliation → settlements, corrections"""

from __future__ import annotations

from functools import partial

from reconciliation import store
from reconciliation.archive import trim
from reconciliation.decide import Heard, decide
from reconciliation.expected import Sources
from reconciliation.reader import run_reader
from reconciliation.schedule_watch import run_schedule_watch
from reconciliation.state import Reconciliation
from reconciliation.stuck import stuck
from reconciliation.watermark import run_watermark
from topics.catalog import RECONCILIATION_ROOM
from topics.runtime.shape.consumer import Consumer
from topics.settings import Settings


def build(settings: Settings) -> Consumer[Reconciliation, Heard]:
    sources = Sources(settings.settlement_sources)
    return Consumer(
        RECONCILIATION_ROOM,
        load=partial(store.load, sources=sources.by_name),
        decide=partial(decide, sources=sources, rules=settings.breaks),
        save=store.save,
        find_stuck=stuck,
        trim=trim,
        side_tasks={"file reader": run_reader, "watermark": run_watermark, "schedule": run_schedule_watch},
    )
