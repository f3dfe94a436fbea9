"""Threads for operators' acts, which block. Long acts have threads of their own, so that others do not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from producers.problems import Problem

OPERATORS = 8
LONG = 4  # operators' acts that take up to PACED_S_MAX each
UPLOADS = 4  # files that are taken at once

Result = TypeVar("Result")
BUSY = ((b"retry-after", b"5"),)


class Pools:
    """The threads of one API process. The event loop's own threads are left for DNS look-ups."""

    def __init__(self) -> None:
        self._operators = ThreadPoolExecutor(OPERATORS, "operators")
        self._long = ThreadPoolExecutor(LONG, "long")
        self._long_places = LONG
        self._uploads = ThreadPoolExecutor(UPLOADS, "uploads")
        self._upload_places = UPLOADS

    async def for_operator(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._operators, work)

    async def for_long(self, work: Callable[[], Result]) -> Result:
        """Run a long act. Errors: Problem `busy` while LONG others run: waiting for them could outlast the caller."""
        if not self._long_places:
            raise Problem("busy", f"{LONG} long acts are under way. Send the same request again later.", headers=BUSY)
        self._long_places -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._long, work)
        finally:
            self._long_places += 1

    @contextmanager
    def upload_place(self) -> Iterator[None]:
        """Held while a file comes. Errors: Problem `busy` while UPLOADS others come."""
        if not self._upload_places:
            raise Problem("busy", f"{UPLOADS} files are being sent. Send this one again later.", headers=BUSY)
        self._upload_places -= 1
        try:
            yield
        finally:
            self._upload_places += 1

    async def for_upload(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._uploads, work)

    def close(self) -> None:
        for pool in (self._operators, self._long, self._uploads):
            pool.shutdown(wait=False, cancel_futures=True)
