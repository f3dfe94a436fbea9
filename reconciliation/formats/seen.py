"""64-bit numbers → whether each came before, in memory that does not grow with them: a file may have ten million rows."""

from __future__ import annotations

import os
import tempfile
from array import array
from bisect import bisect_right
from mmap import mmap

_RECENT = 1 << 15
_BLOCK = 128  # numbers of a run that are read at once
_BYTES = 8  # a number
_WORDS = 1 << 20  # of the filter, 64 bits each: 8 MiB
_TWO_BITS = [1 << one | 1 << other for one in range(64) for other in range(64)]


class SeenNumbers:
    """A set of numbers that are spread evenly, such as hashes.

    The latest are in memory. Older ones are in a temporary file, in sorted runs, and a filter knows of most numbers that they
    are not there: among a million older ones one new number in five hundred is looked up, among ten million one in twelve.
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._filter = memoryview(mmap(-1, _BYTES * _WORDS)).cast("Q")  # costs nothing before it is touched
        self._firsts: list[array[int]] = []  # of each run, the first number of each block
        self._file: int | None = None

    def add(self, value: int) -> bool:
        """Whether it was not there. `value` has 64 bits, signed."""
        recent = self._recent
        if value in recent:
            return False
        bits = _TWO_BITS[value >> 20 & 4095]
        if self._filter[value & _WORDS - 1] & bits == bits and self._is_older(value):
            return False
        recent.add(value)
        if len(recent) == _RECENT:
            self._move()
        return True

    def _is_older(self, value: int) -> bool:
        for run, firsts in enumerate(self._firsts):
            place = bisect_right(firsts, value) - 1
            if place >= 0 and value in self._block(run, place):
                return True
        return False

    def _block(self, run: int, place: int) -> array[int]:
        assert self._file is not None, "there is a run"
        return array("q", os.pread(self._file, _BLOCK * _BYTES, (run * _RECENT + place * _BLOCK) * _BYTES))

    def _move(self) -> None:
        """The latest numbers → a run."""
        if self._file is None:
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())
        run = array("q", sorted(self._recent))
        os.pwrite(self._file, run, len(self._firsts) * _RECENT * _BYTES)
        self._firsts.append(run[::_BLOCK])
        for value in run:
            self._filter[value & _WORDS - 1] |= _TWO_BITS[value >> 20 & 4095]
        self._recent.clear()

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)
