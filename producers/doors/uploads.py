"""The bytes of a file → pieces in the doors' store: hashed, unpacked and bounded on the way, never whole in memory.

Each piece is committed by itself. Until the file is stored its pieces belong to an upload, and are shown to no reader.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import structlog

from producers.problems import RETRY_SOON, Problem
from producers.stored_files import PIECE
from topics.runtime.shape.postgres import connect
from topics.settings import Settings

log = structlog.get_logger()


FILE_MAX = 2 << 30  # bytes, packed and unpacked
RATIO_MAX = 200  # a real report packs to a tenth
SLICE = 64  # pieces deleted in one transaction
_LEVEL = 1  # of zlib: level 6 packs reports 15 % smaller, and takes four times as long

_ARCHIVES = (
    b"\x1f\x8b",  # gzip
    b"\x1f\x9d",  # compress
    b"PK\x03\x04",  # zip, and with it xlsx
    b"PK\x05\x06",
    *(b"BZh%d1AY&SY" % level for level in range(1, 10)),  # bzip2
    b"\xfd7zXZ\x00",
    b"7z\xbc\xaf\x27\x1c",
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\x04\x22\x4d\x18",  # lz4
    b"Rar!\x1a\x07",
)
_TAR_AT, _TAR = 257, b"ustar"


@dataclass(frozen=True, slots=True)
class UploadedBytes:
    """All bytes of an upload, in the store."""

    upload_id: str
    file_id: str  # their SHA-256, unpacked
    size: int
    pieces: int


class Upload:
    """One upload, over a connection of its own. Used by one thread at a time. Errors of all methods: Problem, psycopg.Error."""

    def __init__(self, settings: Settings, *, packed: bool) -> None:
        """`packed`: the bytes come in gzip."""
        self._gzip = _Gzip() if packed else None
        self._waiting = bytearray()
        self._hash = hashlib.sha256()
        self._size = self._pieces = 0
        self._upload_id = f"up-{secrets.token_hex(16)}"
        self._conn = connect(settings.dsn("tally_doors"), name="tally upload", schema="doors", autocommit=True)
        self._conn.execute("INSERT INTO uploads (upload_id) VALUES (%s)", [self._upload_id])

    def feed(self, data: bytes) -> None:
        for block in self._gzip.blocks(data) if self._gzip else (data,):
            self._waiting += block
            while len(self._waiting) >= PIECE:
                self._store(bytes(self._waiting[:PIECE]))
                del self._waiting[:PIECE]

    def finish(self) -> UploadedBytes:
        """Store the last piece."""
        if self._gzip:
            self._gzip.check_ended()
        if self._waiting:
            self._store(bytes(self._waiting))
        if not self._size:
            raise Problem("empty_file")
        return UploadedBytes(self._upload_id, self._hash.hexdigest(), self._size, self._pieces)

    def _store(self, piece: bytes) -> None:
        if not self._pieces:
            refuse_archive(piece)
        self._size += len(piece)
        if self._size > FILE_MAX:
            raise Problem("file_too_large")
        self._hash.update(piece)
        stored = self._conn.execute(
            "INSERT INTO file_chunks (upload_id, piece, bytes) SELECT upload_id, %s, %s FROM uploads"
            " WHERE upload_id = %s AND NOT ended FOR SHARE",
            [self._pieces, zlib.compress(piece, _LEVEL), self._upload_id],
        )
        if not stored.rowcount:
            raise Problem("unavailable", "This upload took longer than a day.", headers=RETRY_SOON)
        self._pieces += 1

    def close(self) -> None:
        """Delete the pieces unless a file was stored of them. Raises nothing: what stays behind is trimmed."""
        try:
            self._conn.execute("UPDATE uploads SET ended = true WHERE upload_id = %s", [self._upload_id])
            while delete_ended(self._conn):
                pass
        except psycopg.Error as error:
            log.info("pieces left to be trimmed", action="upload", error=str(error).strip()[:200])
        finally:
            self._conn.close()


class _Gzip:
    """Packed bytes → blocks of at most PIECE bytes. Errors: Problem."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._packed = self._unpacked = 0

    def blocks(self, packed: bytes) -> Iterator[bytes]:
        self._packed += len(packed)
        more = bool(packed)
        while more:
            if self._member.eof:  # files of gzip may be strung together
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                block = self._member.decompress(packed, PIECE)
            except zlib.error:
                raise Problem("broken_gzip") from None
            self._unpacked += len(block)
            if self._unpacked > PIECE + RATIO_MAX * self._packed:
                raise Problem("file_too_large", f"It unpacks to more than {RATIO_MAX} times its packed size.")
            yield block
            packed = self._member.unused_data or self._member.unconsumed_tail
            more = bool(packed) or len(block) == PIECE  # zlib may hold back what did not fit into a full block

    def check_ended(self) -> None:
        if not self._member.eof:
            raise Problem("broken_gzip", "It ends early.")


def refuse_archive(head: bytes) -> None:
    """Errors: Problem `archive`."""
    if head.startswith(_ARCHIVES) or head[_TAR_AT:].startswith(_TAR):
        raise Problem("archive")


def delete_ended(conn: psycopg.Connection) -> int:
    """Delete one slice of the pieces of ended uploads, and the uploads that have none left. → how many rows."""
    pieces = conn.execute(
        "DELETE FROM file_chunks WHERE (upload_id, piece) IN (SELECT c.upload_id, c.piece FROM uploads u"
        " JOIN file_chunks c ON c.upload_id = u.upload_id WHERE u.ended LIMIT %s)",
        [SLICE],
    ).rowcount
    if pieces:
        return pieces
    return conn.execute(
        "DELETE FROM uploads u WHERE ended AND NOT EXISTS (SELECT FROM file_chunks c WHERE c.upload_id = u.upload_id)"
    ).rowcount


def end_old(conn: psycopg.Connection) -> int:
    """End uploads that began more than a day ago, by the database's clock. → how many."""
    return conn.execute(
        "UPDATE uploads SET ended = true WHERE NOT ended AND begun_at < clock_timestamp() - interval '1 day'"
    ).rowcount
