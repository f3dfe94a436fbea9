"""A room's memory → kept between its batches."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from operations.stack.home import CHECKOUT

# A batch's worth of records, twice: what the second one costs in page faults.
TWO_BATCHES = """
import resource
from topics.runtime.process.host import _keep_freed_memory
{keep}
def batch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    records = [bytes(2000) for _ in range(20_000)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
batch()
print(batch())
"""


def faults(keep: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", TWO_BATCHES.format(keep=keep)], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="a C library without mallopt")
def test_the_next_batch_finds_the_memory_of_the_last() -> None:
    assert faults("") > 5_000
    assert faults("_keep_freed_memory()") < 500
