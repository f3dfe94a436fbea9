"""Blocks of bytes of any size → lines of text with their line ends, and the byte at which each one ends."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

from reconciliation.formats.shape import Refusal

BLOCK_BYTES = 65_536
LINE_BYTES_MAX = 1 << 20

_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_CONTAINERS = {
    b"PK\x03\x04": "a zip archive, or a workbook (.xlsx)",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
    b"%PDF": "PDF",
}


def refuse_binary(head: bytes) -> None:
    """Errors: Refusal `binary` where a file begins as an archive or the like does, or holds a NUL."""
    for magic, name in _CONTAINERS.items():
        if head.startswith(magic):
            raise Refusal("binary", f"the file is {name}, not text")
    if b"\0" in head and not head.startswith(tuple(_UTF_16)):
        raise Refusal("binary", f"a NUL at byte {head.index(0)}")


def beginning(head: bytes) -> str:
    """For `sniff`: the text that a file begins with, whatever its bytes are, without its byte order mark and blank lines."""
    codec = next((codec for mark, codec in _UTF_16.items() if head.startswith(mark)), "utf-8")
    return head.decode(codec, "replace").lstrip("\ufeff \t\r\n")


def first_line(head: bytes) -> str:
    return re.split("[\r\n]", beginning(head), maxsplit=1)[0]


def sized(blocks: Iterable[bytes], size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The same bytes in blocks of `size`; the last one may be smaller."""
    held = bytearray()
    for block in blocks:
        held += block
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


class Lines:
    """UTF-8 with or without a byte order mark, or UTF-16 with one → lines that end with \\n, \\r\\n or \\r.

    `offset`: the byte behind the last line that was given. `record_from`: where the record begins of which the reader
    has read only a part; such a record, and a line, has at most 1 MiB.
    Errors: Refusal `binary` (a NUL), `bad_encoding`, `line_too_long`.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.offset = 0
        self.record_from = 0
        self._blocks = sized(blocks)
        self._wide = ""  # the codec of UTF-16

    def __iter__(self) -> Iterator[str]:
        first = next(self._blocks, b"")
        for mark, codec in _UTF_16.items():
            if first.startswith(mark):
                self._wide = codec
                self.offset = len(mark)
                return self._lines(self._narrowed(first[len(mark) :]))
        if first.startswith(codecs.BOM_UTF8):
            self.offset = len(codecs.BOM_UTF8)
        return self._lines(self._with(first[self.offset :]))

    def _with(self, first: bytes) -> Iterator[bytes]:
        yield first
        yield from self._blocks

    def _narrowed(self, first: bytes) -> Iterator[bytes]:
        """UTF-16 → UTF-8."""
        decoder = codecs.getincrementaldecoder(self._wide)()
        begins = self.offset
        for block in self._with(first):
            try:
                yield decoder.decode(block).encode()
            except UnicodeError:
                raise Refusal("bad_encoding", f"not UTF-16 behind byte {begins}") from None
            begins += len(block)
        if decoder.getstate()[0]:
            raise Refusal("bad_encoding", "UTF-16 that ends inside a character")

    def _lines(self, blocks: Iterator[bytes]) -> Iterator[str]:
        carried = b""
        for block in blocks:
            held = carried + block
            cut = held.rfind(b"\n") + 1 or held.rfind(b"\r", 0, -1) + 1  # \n may follow the last \r
            carried = held[cut:]
            if len(carried) > LINE_BYTES_MAX:
                raise self._too_long()
            yield from self._decoded(held[:cut])
        yield from self._decoded(carried)

    def _decoded(self, whole: bytes) -> Iterator[str]:
        if b"\0" in whole:
            raise Refusal("binary", f"a NUL behind byte {self.offset}")
        for raw in whole.splitlines(keepends=True):
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                raise Refusal("bad_encoding", f"not UTF-8 at byte {self.offset + error.start}") from None
            self.offset += len(line.encode(self._wide)) if self._wide else len(raw)
            if self.offset - self.record_from > LINE_BYTES_MAX:
                raise self._too_long()
            yield line

    def _too_long(self) -> Refusal:
        return Refusal("line_too_long", f"over 1 MiB from byte {self.record_from} on: is a quote never closed?")
