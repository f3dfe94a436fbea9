"""One clock for business time: the system's, moved forward by the offset in a file that all local processes share."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path


class Clock:
    """Read once per batch; `decide` gets the time. The file holds seconds as a decimal number; no file means 0."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._offset = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset()

    def offset(self) -> timedelta:
        """How far business time is ahead of the machine's."""
        if self._file is None:
            return self._offset
        try:
            stat = os.stat(self._file)
        except FileNotFoundError:
            return timedelta()
        if (stat.st_mtime_ns, stat.st_ino) != self._seen:
            self._offset = timedelta(seconds=float(self._file.read_text(encoding="utf-8").strip() or 0))
            self._seen = (stat.st_mtime_ns, stat.st_ino)
        return self._offset
