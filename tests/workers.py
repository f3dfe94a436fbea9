"""The files of tests → three workers, each with servers of its own: many tests wait more than they compute.

A file stays together, as it shares what it has set up; what is longest comes first, so that all end together.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

WORKERS = 3  # where all of them took whatever came, the load on two processors rose to 130, and connections timed out
WITHOUT_PROCESSES = "gw2"  # takes LIGHT, for which it starts no servers, then ON_STORES, and nothing else
WITH_WHOLE_STACKS = "gw0"  # takes these first; another does so once nothing else is left
LIGHT = ("tests/unit", "tests/tidy", "tests/simulator")
ON_STORES = ("tests/store",)
# Each takes all processors for a while, or kills what it runs on: one after another, as long as there is something else.
WHOLE_STACKS = (
    "tests/chaos/test_whole_stack_failpoints.py",
    "tests/chaos/test_whole_stack_at_random.py",
    "tests/chaos/test_reconciliation_at_random.py",
    "tests/stack/test_up.py",
    "tests/stack/test_wheel.py",
    "tests/journey/test_verify_books.py",
    "tests/journey/test_pay_in.py",
    "tests/journey/test_money_back.py",
    "tests/journey/test_hosted.py",
    "tests/journey/test_payouts.py",
    "tests/journey/test_settlements.py",
    "tests/journey/test_inside_repaired.py",
)
LONG = (
    "tests/contract/test_runtime_loop.py",
    "tests/chaos",
    "tests/contract/test_process_starts.py",
    "tests/contract/test_runtime_topics.py",
    "tests/stack",
    "tests/contract",
    "tests/journey",
    "tests/store",
)


def workers(config: pytest.Config) -> int:
    """How many for `-n auto`: none where somebody looks on, brings the servers, or wants the long run."""
    options = config.option
    alone = options.capture == "no" or options.trace or options.stack != "local" or options.chaos_minutes
    return 0 if alone else WORKERS


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def rank(nodeid: str) -> int:
    """Its place in the queue."""
    file = file_of(nodeid)
    found = (number for number, start in enumerate((*WHOLE_STACKS, *LONG)) if file.startswith(start))
    return next(found, len(WHOLE_STACKS) + len(LONG))


def next_file(worker: str, queue: Sequence[str]) -> str | None:
    """Of those that wait the one for this worker; None where it has nothing more to do."""
    if worker == WITHOUT_PROCESSES:
        return next((file for kind in (LIGHT, ON_STORES) for file in queue if file.startswith(kind)), None)
    mine = worker == WITH_WHOLE_STACKS
    return next((file for file in queue if (file in WHOLE_STACKS) == mine), queue[0])


class ByFile(LoadScopeScheduling):
    """Hands out one file after another, in the order of the collection as far as workers differ in nothing."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)  # type: ignore[arg-type]

    def _split_scope(self, nodeid: str) -> str:
        return file_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        file = next_file(node.gateway.id, list(self.workqueue))
        if file is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Longest first; within a file as they stand there."""
    return sorted(items, key=lambda item: rank(item.nodeid))
