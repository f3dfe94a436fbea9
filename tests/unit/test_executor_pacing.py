"""Concurrency, rate and breaker of one PSP, on a clock moved by hand."""

from __future__ import annotations

from dataclasses import dataclass

from consumers.executor.pacing import COOL_S, COOL_S_MAX, OPEN_AFTER, PROBE_S, Pace


@dataclass
class HandClock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def pace(clock: HandClock, concurrency: int = 100, rate_per_s: float = 1_000_000) -> Pace:
    return Pace(concurrency, rate_per_s, clock)


def fail(pace: Pace, times: int) -> None:
    for _ in range(times):
        pace.sent(1)
        pace.ended("failure")


def test_no_more_calls_leave_than_there_are_places() -> None:
    north = pace(HandClock(), concurrency=10)
    north.sent(7)
    assert north.permits() == 3
    north.ended("success")
    assert north.permits() == 4


def test_calls_leave_at_the_rate() -> None:
    clock = HandClock()
    north = pace(clock, rate_per_s=100)
    north.sent(north.permits())
    assert north.permits() == 0
    clock.now += 0.055
    assert north.permits() == 5


def test_a_psp_that_keeps_failing_is_left_alone() -> None:
    north = pace(HandClock())
    fail(north, OPEN_AFTER - 1)
    assert not north.open
    fail(north, 1)
    assert north.open
    assert north.permits() == 0


def test_after_a_while_one_call_probes_at_a_time() -> None:
    clock = HandClock()
    north = pace(clock)
    fail(north, OPEN_AFTER)
    clock.now += COOL_S
    assert north.permits() == 1
    north.sent(1)
    assert north.permits() == 0


def test_a_probe_that_goes_well_opens_the_door() -> None:
    clock = HandClock()
    north = pace(clock)
    fail(north, OPEN_AFTER)
    clock.now += COOL_S
    north.sent(1)
    north.ended("success")
    assert not north.open
    assert north.permits() == 100


def test_a_probe_that_fails_doubles_the_wait() -> None:
    clock = HandClock()
    north = pace(clock)
    fail(north, OPEN_AFTER)
    clock.now += COOL_S
    fail(north, 1)
    clock.now += COOL_S
    assert north.permits() == 0
    clock.now += COOL_S
    assert north.permits() == 1


def test_a_psp_that_says_slow_down_is_not_failing() -> None:
    north = pace(HandClock())
    for _ in range(OPEN_AFTER * 2):
        north.sent(1)
        north.ended("neither")
    assert not north.open


def test_a_success_forgets_the_failures_before_it() -> None:
    north = pace(HandClock())
    fail(north, OPEN_AFTER - 1)
    north.sent(1)
    north.ended("success")
    fail(north, OPEN_AFTER - 1)
    assert not north.open


def test_a_probe_that_hangs_does_not_keep_the_next_one_back() -> None:
    clock = HandClock()
    north = pace(clock)
    fail(north, OPEN_AFTER)
    clock.now += COOL_S
    north.sent(1)
    clock.now += PROBE_S / 2
    assert north.permits() == 0
    clock.now += PROBE_S / 2
    assert north.permits() == 1
    north.sent(1)
    north.ended("success")
    assert not north.open
    north.ended("failure")  # the one that hung
    assert not north.open


def test_a_psp_that_is_back_after_minutes_is_probed_soon() -> None:
    clock = HandClock()
    north = pace(clock)
    fail(north, OPEN_AFTER)
    for _ in range(40):
        while not north.permits():
            clock.now += 0.25
        north.sent(1)
        north.ended("failure")
    clock.now += COOL_S_MAX
    assert north.permits() == 1
