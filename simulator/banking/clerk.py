"""The bank's folders: files are taken out of `out` and put into `sent`, reports are put into `statuses`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from simulator.banking import reading, reports
from simulator.banking.books import BankBooks, Due, GivenFile
from simulator.banking.reading import AskedFile, FileRefused
from simulator.clock import Clock
from simulator.plans import Plans
from simulator.tokens import BankEnding, BankFault
from simulator.webhooks import LOOK_S
from simulator.wire import read_limit

NAME = "bank"  # the subject of a fault for whatever file comes next


class Clerk:
    """Looks after the folders, a file at a time. Killed at any point it goes on where it was; it may tell a report again."""

    def __init__(self, books: BankBooks, folder: Path, clock: Clock, plans: Plans) -> None:
        self._books = books
        self._clock = clock
        self._plans = plans
        self._out, self._sent, self._statuses = (folder / name for name in ("out", "sent", "statuses"))

    async def run(self) -> None:
        """Until cancelled."""
        for folder in (self._out, self._sent, self._statuses):
            folder.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                await self.look()
            except OSError as error:  # a folder that is away comes back
                print(f"bank: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Take what lies there, and tell and book what is due."""
        for file in sorted(self._out.glob("[!.]*.xml")):
            await self._take(file)
        for due in self._books.due(self._clock.now_us()):
            self._tell(due)
            await self._books.done(due)

    async def _take(self, file: Path) -> None:
        """Known first, moved after: who is killed between finds it in the books."""
        raw = await asyncio.to_thread(file.read_bytes)
        sha256 = hashlib.sha256(raw).hexdigest()
        given = self._books.unmoved(file.name, sha256) or await self._read(file.name, sha256, raw)
        os.replace(file, self._free(file.name))
        await self._books.moved(given)

    async def _read(self, name: str, sha256: str, raw: bytes) -> GivenFile:
        now_us = self._clock.now_us()
        try:
            asked = await asyncio.to_thread(reading.read, raw)
            if self._books.had(asked.message_id):
                raise FileRefused(reading.DUPLICATE, asked.message_id)
        except FileRefused as refused:
            return await self._books.refuse(name, sha256, refused.message_id, refused.code, now_us)
        fault = await self._plans.take("file", asked.message_id, NAME)
        known = fault if isinstance(fault, BankFault) else None
        return await self._books.take(name, sha256, asked, known, await self._planned(asked), now_us)

    async def _planned(self, asked: AskedFile) -> Mapping[int, BankEnding]:
        planned = {line.position: await self._plans.take("line", line.end_to_end, line.text) for line in asked.lines}
        return {position: ending for position, ending in planned.items() if isinstance(ending, BankEnding)}

    def _free(self, name: str) -> Path:
        """Where the file goes: nothing that was sent is written over."""
        place = self._sent / name
        for number in range(2, 1_000_000):
            if not place.exists():
                return place
            place = self._sent / f"{name.removesuffix('.xml')}-{number}.xml"
        return place

    def _tell(self, due: Due) -> None:
        report = self._books.report(due)
        if report is None:
            return
        raw = reports.write(report)
        for copy in range(1, due.copies + 1):
            name = f"{due.file.seq:06}-{due.stage}{'' if copy == 1 else f'-{copy}'}.xml"
            hidden = self._statuses / f".{name}.part"
            hidden.write_bytes(raw)
            os.replace(hidden, self._statuses / name)

    # ── for people ───────────────────────────────────────────────────────────────────────────────────────────────────

    def listed(self, query: Mapping[str, str]) -> dict[str, object]:
        """The newest files; with `reference`, a MsgId, one of our references there or a pay-out: that file's lines, or those."""
        subject = query.get("reference")
        if not subject:
            return {"files": [file.told() for file in self._books.newest(read_limit(query.get("limit"), 20))]}
        files = [file.told() for file in self._books.known_as(subject)]
        return {"files": files, "lines": self._books.lines(subject, self._clock.now_us())}
