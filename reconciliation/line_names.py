"""Lines of a tally → what the PSP calls their charge and order, as the chunks of their files have it."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable

import orjson

from reconciliation.tally import TallyLine
from reconciliation.twice import Named
from topics.runtime.shape.consumer import Connection

CHUNKS_A_LOOK = 40
_COLUMNS = ("digests", "psp_refs", "order_refs", "gross", "fees")
_CHUNKS = "SELECT chunk, columns FROM line_chunks WHERE file_no = %s AND chunk > %s ORDER BY chunk LIMIT %s"


def load(conn: Connection, lines: Iterable[TallyLine]) -> dict[int, Named]:
    """By digest. A file is read chunk by chunk until all are found; a chunk is parsed only where it has one of them."""
    wanted: dict[int, dict[int, bytes]] = defaultdict(dict)
    for line in lines:
        wanted[line.file_no][line.digest] = b"%d" % line.digest
    found: dict[int, Named] = {}
    for file_no, digests in sorted(wanted.items()):
        _load_file(conn, file_no, digests, found)
    return found


def _load_file(conn: Connection, file_no: int, wanted: dict[int, bytes], found: dict[int, Named]) -> None:
    after = -1
    while wanted and (rows := conn.execute(_CHUNKS, [file_no, after, CHUNKS_A_LOOK], binary=True).fetchall()):
        after = rows[-1][0]
        for _, packed in rows:
            text = zlib.decompress(packed)
            if any(digest in text for digest in wanted.values()):
                columns = orjson.loads(text)
                named = zip(*(columns[name] for name in _COLUMNS), strict=True)
                here = {digest: Named(*words) for digest, *words in named if digest in wanted}
                found |= here
                for digest in here:
                    del wanted[digest]
