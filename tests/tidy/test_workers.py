"""How tests are shared out → whole stacks run one after another, and one worker starts no rooms."""

from __future__ import annotations

import re
from pathlib import Path

from tests import workers
from tests.tidy.reading import python, text

STARTS_ONE = re.compile(
    r'^from tests\.journey\.whole import .*\brunning\b|^from tests\.chaos\.arena import|\b(?:tally|typed)\((?:home, )?"up"',
    re.M,
)


def test_whoever_starts_a_whole_stack_waits_for_the_others_that_do() -> None:
    files = [path for path in python("tests") if path.name.startswith("test_")]
    found = {str(path) for path in files if STARTS_ONE.search(text(path))}
    assert found == set(workers.WHOLE_STACKS)
    assert {workers.file_of(f"{file}::test_it[a::b/c]") for file in found} == found


def test_one_worker_takes_the_whole_stacks_and_another_only_at_the_end() -> None:
    stack, other, light = workers.WHOLE_STACKS[0], "tests/contract/test_failover.py", "tests/unit/test_ids.py"
    store = "tests/store/test_doors.py"
    taken = {worker: workers.next_file(worker, [stack, other, store, light]) for worker in ("gw0", "gw1", "gw2")}
    assert taken == {"gw0": stack, "gw1": other, "gw2": light}
    assert [workers.next_file("gw2", queue) for queue in ([stack, other, store], [stack, other])] == [store, None]
    left = {worker: workers.next_file(worker, [stack]) for worker in ("gw0", "gw1", "gw2")}
    assert left == {"gw0": stack, "gw1": stack, "gw2": None}
    assert workers.next_file("gw0", [other, light]) == other


def test_tests_that_begin_on_the_worker_without_processes_need_no_servers() -> None:
    files = [path for path in python("tests") if str(path).startswith(workers.LIGHT) and path.name.startswith("test_")]
    assert len(files) > 50
    needy = [
        str(path)
        for path in files
        if re.search(r"\b(servers|make_stack|make_store|(stored|stack): \w*Settings)", fixtures(path))
    ]
    assert needy == []


def fixtures(path: Path) -> str:
    """The parameters of its functions."""
    return "\n".join(re.findall(r"^def \w+\(([^)]*)\)", text(path), re.MULTILINE))
