"""Banks' reports that are put into a folder → their door, as if they had come over HTTP."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path

import structlog

from producers.doors.bank_status_files import Taken
from producers.house import House
from producers.problems import Problem
from producers.routes.bank_files import TOO_LARGE, take
from producers.watched_folder import WatchedFolder
from psp.pain002 import BYTES_MAX

log = structlog.get_logger()

BY = "watched folder"  # who has brought a report
LOOK_S = 1.0
ENDS_WITHIN_S = 5.0


class BankFolders:
    """A thread for each bank that has `statuses`: a folder that hangs holds up no other. `start` is called in the event loop."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for bank in self._house.settings.bank_accounts.values():
            if bank.statuses is not None:
                thread = threading.Thread(target=self._watch, args=(bank.name, bank.statuses), daemon=True)
                self._threads.append(thread)
                thread.start()

    async def close(self) -> None:
        """Return when what is under way has ended, within five seconds."""
        self._stop.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, ENDS_WITHIN_S)

    def _watch(self, bank: str, folder: Path) -> None:
        watched = WatchedFolder(folder, partial(self._store, bank))
        trouble = ""
        while not self._stop.wait(LOOK_S):
            before, trouble = trouble, self._look(bank, watched)
            if trouble and trouble != before:
                log.warning("folder away", action="watch", provider=bank, folder=str(folder), error=trouble)

    def _look(self, bank: str, watched: WatchedFolder[Taken]) -> str:
        """→ why the folder could not be looked at; empty if it could."""
        try:
            for taken in watched.look():
                if taken.stored is None:
                    log.error(
                        "report not taken", action="watch", provider=bank, file=str(taken.file), why=taken.why_not
                    )
                else:
                    told = {"file_id": taken.stored.file_id, "matched": taken.stored.matched}
                    log.info("report taken", action="watch", provider=bank, file=str(taken.file), **told)
                if self._stop.is_set():
                    break
        except OSError as error:
            return f"{type(error).__name__}: {error}"[:200]
        return ""

    def _store(self, bank: str, file: Path) -> Taken:
        """Errors: Problem, OSError."""
        assert self._loop is not None
        with file.open("rb") as opened:
            body = opened.read(BYTES_MAX + 1)
        if len(body) > BYTES_MAX:
            raise Problem("file_too_large", TOO_LARGE)
        try:
            return asyncio.run_coroutine_threadsafe(take(self._house, bank, body, BY), self._loop).result()
        except Problem:
            raise
        except Exception:  # a bug of ours holds up no other file
            log.exception("report failed", action="watch", provider=bank, file=str(file))
            raise Problem("internal") from None
