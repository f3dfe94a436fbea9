"""How tests are shared out → whole stacks never run at the same time."""

from __future__ import annotations

import re

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
