"""`TALLY_FAILPOINTS` → a process that dies or stands still at a named place, and at no other time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from topics.runtime.shape import failpoints

IN_A_THREAD = """
import threading
thread = threading.Thread(target=lambda: exec({code!r}))
thread.start()
thread.join()
"""


def passing(plan: str, *names: str, in_a_thread: bool = False) -> subprocess.Popen[str]:
    """A process that passes these places, and says so."""
    code = "from topics.runtime.shape.failpoints import hit\n" + "".join(
        f"hit({name!r}); print({name!r}, flush=True)\n" for name in names
    )
    code = IN_A_THREAD.format(code=code) if in_a_thread else code
    environment = os.environ | {"TALLY_FAILPOINTS": plan}
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)


def test_the_nth_passing_kills() -> None:
    process = passing("after_commit=kill:2", "after_commit", "before_publish", "after_commit", "after_publish")
    said, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert said.split() == ["after_commit", "before_publish"]


def await_stop(process: subprocess.Popen[str]) -> None:
    status = Path(f"/proc/{process.pid}/status")
    end = time.monotonic() + 30
    while "T (stopped)" not in status.read_text():
        assert time.monotonic() < end, "it did not stop"
        time.sleep(0.001)


def test_a_stopped_process_goes_on_where_it_stood() -> None:
    process = passing("after_commit=stop", "after_commit")
    await_stop(process)
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said.split()) == (0, ["after_commit"])


def test_no_step_is_done_past_a_stop_by_a_thread_that_is_not_the_first() -> None:
    """A caller that got past it began its request, slept through that request's own limit, and sent nothing."""
    for _ in range(20):
        process = passing("after_commit=stop", "after_commit", in_a_thread=True)
        await_stop(process)
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 0.01) == ([], [], []), "something was said within 10 ms"
        process.kill()
        assert process.stdout.read() == ""
        process.wait()


def test_without_a_plan_nothing_happens() -> None:
    process = passing("", *failpoints.NAMES)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said.split()) == (0, list(failpoints.NAMES))


@pytest.mark.parametrize("plan", ["nowhere=kill", "after_commit=explode", "after_commit"])
def test_a_plan_that_means_nothing_is_refused(plan: str) -> None:
    with pytest.raises(ValueError, match="TALLY_FAILPOINTS"):
        failpoints._read(plan)


def test_every_place_is_passed_somewhere_and_no_other() -> None:
    """The names in the code are the names in the list."""
    root = Path(failpoints.__file__).parents[3]
    files = [*root.glob("topics/**/*.py"), *root.glob("consumers/**/*.py"), *root.glob("reconciliation/**/*.py")]
    text = "".join(file.read_text() for file in files)
    passed = {part.split('"')[0] for part in text.split('hit("')[1:]}
    assert passed == set(failpoints.NAMES)
