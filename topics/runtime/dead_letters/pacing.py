"""Chosen letters → acts, a slice at a time, at a rate; an interrupted run leaves whole slices."""

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
    """The letters that a run has changed, or not, so far."""

    changed: list[str] = field(default_factory=list)  # letter ids
    unchanged: dict[str, str] = field(default_factory=dict)

    def add(self, acted: ActResult) -> None:
        self.changed += acted.changed
        self.unchanged |= acted.unchanged


def slices(letters: Sequence[str], rate: int | None) -> list[list[str]]:
    """Slices of at most a fifth of a second's letters at `rate`."""
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
    """A replayed letter failed again, or was not retried in time."""


def replay_one_by_one(
    settings: Settings, room: str, letters: Sequence[str], act: Act, rate: int | None, wait_s: float = WAIT_S
) -> Iterator[ActResult]:
    """Replay one letter at a time, and await its result before the next. Errors: ReplayFailed, naming the letter."""
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
    return "is dead again" if state == "dead" else "has failed again, and is retried automatically"


def untried_text(wait_s: float) -> str:
    return f"has not been retried for {wait_s:.0f} s: is the room running? is a letter of its key ahead of it dead?"


@dataclass(slots=True)
class ReplayResults:
    """The results of replayed letters."""

    ended: list[str] = field(default_factory=list)  # done, or discarded
    failed: dict[str, State] = field(default_factory=dict)
    untried: list[str] = field(default_factory=list)


def await_results(settings: Settings, room: str, before: Mapping[str, int], wait_s: float) -> ReplayResults:
    """Wait until each letter has ended or failed again, at most `wait_s` after the last one that did.

    `before` has each letter's number of failed attempts when it was made due.
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
