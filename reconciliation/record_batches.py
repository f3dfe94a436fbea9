"""The bytes of a fetch → records, also where a record of them is broken: aiokafka raises then, which ends the process, each time
it starts again.

As RoomLoop reads them: a record with a header's name that is not UTF-8 has no headers, and a batch that cannot be unpacked
is so many records without contents. Both become dead letters. The fetch has checked the batch's sum before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import UnsupportedCodecError
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

from topics.runtime.shape.consumer import OPAQUE

_LENGTH_AT, _AFTER_LENGTH = 8, 12


class RecordBatches:
    """In the place of aiokafka's `MemoryRecords`, which reads what is whole."""

    def __init__(self, raw: bytes) -> None:
        self._whole = MemoryRecords(raw)
        self._raw = raw
        self._at = 0

    def size_in_bytes(self) -> int:
        size: int = self._whole.size_in_bytes()
        return size

    def has_next(self) -> bool:
        return bool(self._whole.has_next())

    def next_batch(self) -> Any:
        batch = self._whole.next_batch()
        if batch is None:
            return None
        start = self._at
        self._at += _AFTER_LENGTH + struct.unpack_from(">i", self._raw, start + _LENGTH_AT)[0]
        return batch if batch.is_control_batch else RecordBatch(batch, memoryview(self._raw)[start : self._at])


class RecordBatch:
    """aiokafka's batch, whose records are read without an error.

    Errors: UnsupportedCodecError, where this installation cannot read what is whole.
    """

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        """After an error from the batch's begin again: the fetch drops what it has had."""
        for read in (lambda: self._batch, self._without_bad_headers, self._without_contents):
            try:
                yield from read()
                return
            except UnsupportedCodecError:
                raise
            except Exception:
                continue

    def _without_bad_headers(self) -> Iterator[Any]:
        batch = iter(_DefaultRecordBatchPy(self._raw))
        for _ in range(batch._num_records):
            try:
                record = batch._read_msg()
            except UnicodeDecodeError:
                record = _without_headers(batch)
            yield record

    def _without_contents(self) -> Iterator[Any]:
        batch = self._batch
        for offset in range(batch.base_offset, batch.next_offset):
            yield _DefaultRecordPy(offset, batch.max_timestamp, batch.timestamp_type, None, None, list(OPAQUE))


def _without_headers(batch: Any) -> Any:
    """The record at the batch's place; the place moves behind it."""
    length, at = decode_varint(batch._buffer, batch._pos)
    batch._pos = at + length
    _, at = decode_varint(batch._buffer, at)  # attributes
    later_ms, at = decode_varint(batch._buffer, at)
    further, at = decode_varint(batch._buffer, at)
    key, at = _bytes(batch._buffer, at)
    value, _ = _bytes(batch._buffer, at)
    stamp = batch.first_timestamp + later_ms
    return _DefaultRecordPy(batch.base_offset + further, stamp, batch.timestamp_type, key, value, [])


def _bytes(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    return (None, at) if length < 0 else (bytes(buffer[at : at + length]), at + length)


def read_broken_records() -> None:
    """Every consumer of aiokafka in this process reads by `RecordBatches`."""
    fetcher.MemoryRecords = RecordBatches
