"""The files of tests → two workers, each with servers of its own, and a third without: most tests wait more than they compute.

A file stays together, as it shares what it has set up; what is longest comes first, so that both end together.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

WORKERS = 3  # with servers for each of three the load on two processors rose to 130, and connections timed out
WITHOUT_SERVERS = "gw2"  # takes nothing but these
LIGHT = ("tests/unit", "tests/tidy", "tests/simulator")
# Each takes all processors for a while, or kills what it runs on: one after another, on one worker.
WHOLE_STACKS = (
    "tests/chaos/test_whole_stack_failpoints.py",
    "tests/chaos/test_whole_stack_at_random.py",
    "tests/stack/test_up.py",
    "tests/stack/test_wheel.py",
    "tests/journey/test_verify_books.py",
    "tests/journey/test_pay_in.py",
    "tests/journey/test_money_back.py",
    "tests/journey/test_payouts.py",
    "tests/journey/test_settlements.py",
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


def group_of(nodeid: str) -> str:
    """What is run by one worker, in one piece."""
    file = nodeid.partition("::")[0]
    return "whole stacks" if file in WHOLE_STACKS else file


def rank(nodeid: str) -> int:
    """Its place in the queue."""
    file = nodeid.partition("::")[0]
    found = (number for number, start in enumerate((*WHOLE_STACKS, *LONG)) if file.startswith(start))
    return next(found, len(WHOLE_STACKS) + len(LONG))


class ByGroup(LoadScopeScheduling):
    """Hands out one group after another, in the order of the collection."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)  # type: ignore[arg-type]

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if node.gateway.id == WITHOUT_SERVERS:
            light = next((group for group in self.workqueue if group.startswith(LIGHT)), None)
            if light is None:
                node.shutdown()
                return
            self.workqueue.move_to_end(light, last=False)
        super()._assign_work_unit(node)


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Longest first; within a file as they stand there."""
    return sorted(items, key=lambda item: rank(item.nodeid))
