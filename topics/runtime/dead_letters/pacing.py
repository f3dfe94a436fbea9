"""Chosen letters → the store, a slice at a time: at a rate, and so that whatever ends it leaves whole slices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from topics.runtime.dead_letters.acts import ActResult
from topics.runtime.dead_letters.listing import State, letter_states
from topics.settings import Settings

SLICE = 500  # letters of one transaction, and of one row in ops_audit
SLICES_PER_S = 5
WAIT_S = 60.0
LOOK_S = 0.1

Act = Callable[[Sequence[str]], ActResult]


@dataclass(slots=True)
class ActTotals:
    """What a run has done so far."""

    changed: list[str] = field(default_factory=list)  # letter ids
    unchanged: dict[str, str] = field(default_factory=dict)

    def add(self, acted: ActResult) -> None:
        self.changed += acted.changed
        self.unchanged |= acted.unchanged


def slices(letters: Sequence[str], rate: int | None) -> list[list[str]]:
    """No larger than what a fifth of a second may have."""
    size = SLICE if rate is None else max(1, min(SLICE, rate // SLICES_PER_S))
    return [list(letters[at : at + size]) for at in range(0, len(letters), size)]


def paced(letters: Sequence[str], act: Act, rate: int | None) -> Iterator[ActResult]:
    """Act on slice after slice, no faster than `rate` letters a second; each is committed before it is yielded."""
    began, done = time.monotonic(), 0
    for piece in slices(letters, rate):
        yield act(piece)
        done += len(piece)
        if rate is not None and done < len(letters):
            time.sleep(max(0.0, began + done / rate - time.monotonic()))


class ReplayFailed(Exception):
    """A letter that was replayed did not take effect."""


def replay_one_by_one(
    settings: Settings, room: str, letters: Sequence[str], act: Act, rate: int | None, wait_s: float = WAIT_S
) -> Iterator[ActResult]:
    """One letter at a time, each seen through before the next is touched. Errors: Failed, naming the letter."""
    for letter_id in letters:
        began = time.monotonic()
        before = letter_states(settings, room, [letter_id])[letter_id][1]
        acted = act([letter_id])
        if acted.changed:
            _await_one(settings, room, letter_id, before, wait_s)
        yield acted
        if rate is not None:
            time.sleep(max(0.0, began + 1 / rate - time.monotonic()))


def _await_one(settings: Settings, room: str, letter_id: str, attempts: int, wait_s: float) -> None:
    seen = await_results(settings, room, {letter_id: attempts}, wait_s)
    if seen.failed:
        raise ReplayFailed(f"{room}/{letter_id} {failed_text(seen.failed[letter_id])}")
    if seen.untried:
        raise ReplayFailed(f"{room}/{letter_id} {untried_text(wait_s)}")


def failed_text(state: State) -> str:
    return "is dead again" if state == "dead" else "has failed again, and is tried on by itself"


def untried_text(wait_s: float) -> str:
    return f"has not been tried for {wait_s:.0f} s: does the room run? is one ahead of it dead?"


@dataclass(slots=True)
class ReplayResults:
    """What became of letters that were made due."""

    ended: list[str] = field(default_factory=list)  # they took effect, or somebody let them go
    failed: dict[str, State] = field(default_factory=dict)
    untried: list[str] = field(default_factory=list)


def await_results(settings: Settings, room: str, before: Mapping[str, int], wait_s: float) -> ReplayResults:
    """Wait until each has ended or failed again, at most `wait_s` after the last that did.

    `before` is how many attempts of each had failed when it was made due.
    """
    waiting, seen, deadline = dict(before), ReplayResults(), time.monotonic() + wait_s
    while waiting and time.monotonic() < deadline:
        for letter_id, (state, now_failed) in letter_states(settings, room, list(waiting)).items():
            if now_failed > waiting[letter_id]:
                seen.failed[letter_id] = state
            elif state in {"done", "discarded"}:
                seen.ended.append(letter_id)
            else:
                continue
            del waiting[letter_id]
            deadline = time.monotonic() + wait_s
        time.sleep(LOOK_S if len(waiting) < SLICE else 1.0)
    seen.untried = list(waiting)
    return seen
