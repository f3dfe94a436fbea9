"""Machine time plus an offset from a file → the simulated time."""

from __future__ import annotations

import time
from decimal import Decimal, InvalidOperation
from pathlib import Path

_LOOK_AGAIN_S = 0.05


class Clock:
    """Reads the offset (decimal seconds; a missing or unreadable file is 0) at most every 50 ms."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._offset_us = 0
        self._looked_at = float("-inf")

    def now_us(self) -> int:
        """Microseconds since 1970 in simulated time."""
        if time.monotonic() - self._looked_at > _LOOK_AGAIN_S:
            self._offset_us = self._read_offset_us()
            self._looked_at = time.monotonic()
        return machine_us() + self._offset_us

    def _read_offset_us(self) -> int:
        if self._file is None:
            return 0
        try:
            return int(Decimal(self._file.read_text(encoding="utf-8").strip() or "0") * 1_000_000)
        except (OSError, UnicodeDecodeError, InvalidOperation, ValueError, OverflowError):
            return 0


def machine_us() -> int:
    """Microseconds since 1970 by the machine's clock, on which settling runs."""
    return time.time_ns() // 1000
