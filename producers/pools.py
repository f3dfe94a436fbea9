"""Threads for operators' acts, which block; the long ones apart, so that the others need not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from producers.problems import Problem

OPERATORS = 8
LONG = 4  # operators' acts that take up to PACED_S_MAX each

Result = TypeVar("Result")
BUSY = ((b"retry-after", b"5"),)


class Pools:
    """One process's. The event loop's own threads are left to name look-ups."""

    def __init__(self) -> None:
        self._operators = ThreadPoolExecutor(OPERATORS, "operators")
        self._long = ThreadPoolExecutor(LONG, "long")
        self._long_places = LONG

    async def for_operator(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._operators, work)

    async def for_long(self, work: Callable[[], Result]) -> Result:
        """Errors: Problem `busy` while LONG others are at it: better than an answer that comes after the caller has gone."""
        if not self._long_places:
            raise Problem("busy", f"{LONG} long acts are under way. Send the same request again later.", headers=BUSY)
        self._long_places -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._long, work)
        finally:
            self._long_places += 1

    def close(self) -> None:
        for pool in (self._operators, self._long):
            pool.shutdown(wait=False, cancel_futures=True)
