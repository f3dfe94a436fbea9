"""How tests are shared out → whole stacks never run at the same time, and one worker starts no servers."""

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
    assert {workers.group_of(f"{file}::test_it[a::b/c]") for file in found} == {"whole stacks"}


def test_tests_of_the_worker_without_servers_need_none() -> None:
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
