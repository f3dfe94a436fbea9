"""A file on disk → the doors' store, by the code of the HTTP door."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producers.doors.settlement_files import StoredFile
    from topics.settings import Settings

BLOCK = 1 << 20
GZIP = b"\x1f\x8b"

Moved = Callable[[int], None]  # told how many bytes of the file were read


def ingest(settings: Settings, source: str, file: Path, by: str, moved: Moved = lambda _: None) -> StoredFile:
    """Store the file for the source. A file of gzip is unpacked. Errors: Problem, OSError, psycopg.Error."""
    from operations.cli.door_commands import log_to_stderr, run_command
    from producers.doors.settlement_files import file_name, source_of, store
    from producers.doors.uploads import Upload

    source_of(settings, source)
    log_to_stderr()
    with file.open("rb") as opened:
        packed = opened.peek(len(GZIP)).startswith(GZIP)
        with closing(Upload(settings, packed=packed)) as upload:
            while block := opened.read(BLOCK):
                upload.feed(block)
                moved(len(block))
            name = file_name(file.name, packed=packed)
            return run_command(settings, store(source, name, upload.finish(), by))
