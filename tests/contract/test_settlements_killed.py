"""A file through readers and Faust workers that are killed on its way → each line is folded once, to the cent."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.contract.files_running import ended, pass_a_minute, reader, row, run, started, store, worker
from tests.contract.running import wait
from tests.settlement_files import adyen_blocks
from topics.settings import Settings

LINES = 5000
WORKERS_DIE = ("before_commit=kill:3", "before_publish=kill:3")


def test_a_file_is_folded_once_whoever_is_killed_on_its_way(make_stack: Callable[..., Settings]) -> None:
    settings = make_stack(partitions=2)
    store(settings, b"".join(adyen_blocks(LINES)))
    assert ended(settings, reader, "file.between_chunks=kill:3") == -signal.SIGKILL
    pass_a_minute(settings)
    assert ended(settings, reader) == 0, "it has said all"
    for place in WORKERS_DIE:
        assert ended(settings, worker, place) == -signal.SIGKILL
    with started(settings, worker) as one, started(settings, worker) as other:
        wait("all of it is folded", lambda: row(settings, "ended")[0] and folded(settings) == row(settings, "chunks"))
        for each in (one, other):
            each.terminate()
            assert each.wait(60) == 0
    ((lines, settled, most),) = run(
        settings,
        "reconciliation",
        "SELECT count(*), sum(settled), max(cardinality(digests)) FROM reconciliation.tallies WHERE kind = 'c'",
    )
    gross = sum(500 + number * 7919 % 100_000 for number in range(LINES - 1))
    assert (lines, settled, most) == (LINES - 1, gross, 1)
    sums = run(
        settings, "reconciliation", "SELECT kind, lines, gross FROM reconciliation.settlement_sums WHERE kind = 'c'"
    )
    assert sums == [("c", LINES - 1, gross)]


def folded(settings: Settings) -> tuple[int]:
    (found,) = run(settings, "reconciliation", "SELECT count(*)::integer FROM reconciliation.line_chunks")
    return found  # type: ignore[return-value]
