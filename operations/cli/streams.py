"""A command's stdout and stderr → streams that encode every character, and that keep the meaning of exit codes when closed."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys

UNWRITABLE = 4  # docs/cli.md explains it

_PLAIN = {"→": "->", "…": "...", "·": "-", "✓": "+", "✗": "x", "—": "-", "–": "-"}


def _transliterate(error: UnicodeError) -> tuple[str, int]:
    """Characters that the terminal's encoding lacks: our own marks in ASCII, others as \\u20ac."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or ascii(letter)[1:-1] for letter in lost), error.end


codecs.register_error("in_other_letters", _transliterate)


def replace_streams() -> None:
    """Replace both streams of this process, before any output."""
    _open_closed_descriptors()
    sys.stdout = DataStream(*_same_file(sys.stdout, 1), errors="in_other_letters")
    sys.stderr = MessageStream(*_same_file(sys.stderr, 2), errors="in_other_letters", line_buffering=True)


def _open_closed_descriptors() -> None:
    """Open closed descriptors: the next file or socket would get their number, and our output would go there."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one


def _same_file(stream: object, number: int) -> tuple[io.BufferedWriter, str]:
    """Bytes to the same file, and the encoding. `stream` is None where it was closed."""
    encoding = stream.encoding if isinstance(stream, io.TextIOWrapper) else "utf-8"
    return open(number, "wb", closefd=False), encoding


class DataStream(io.TextIOWrapper):
    """Stdout. On a write error the command ends at once: silently if its reader is gone, else with a line."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise self._ended(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._ended(error) from None

    def _ended(self, error: OSError) -> SystemExit:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # for the buffered rest
        if error.errno != errno.EPIPE:
            print(f"tally: stdout cannot be written: {error.strerror}", file=sys.stderr)
        return SystemExit(UNWRITABLE)


class MessageStream(io.TextIOWrapper):
    """Stderr. Write errors are ignored."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            pass
