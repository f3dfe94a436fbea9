"""Lines of settlement files down to their bytes: which record of which file a line is, and what the file says there."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, LiteralString, NamedTuple

import orjson

from producers.recon_reports import Answer, Ask, Row, Rows, money
from producers.recon_steps import Steps
from producers.stored_files import PIECE
from schemas.masking import masked
from schemas.settlement_keys import of_line

is_line = re.compile(r"([0-9a-f]{6,64}):([0-9]{1,9})").fullmatch  # a file's id, or its beginning, and a record
SHOWN = 12  # characters of a file's id in a line's name
TEXT_MAX = 4_000  # characters of a record that are shown
PARTS = ("commission", "markup", "scheme_fee", "interchange", "tax")
_LISTS = ("commissions", "markups", "scheme_fees", "interchange", "taxes")
_FEE_LINES = frozenset("fi")
_AT_ONCE = 50  # chunks
_NOTED = "n"  # the kind of lines that count nowhere
_EPOCH = date(1970, 1, 1)
_DECLARED = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]{1,200}encoding=["']([A-Za-z0-9._-]{1,40})["']""")
_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

_CHUNK: LiteralString = """
SELECT c.file_no, c.chunk, c.psp, c.first_line, c.first_byte, c.settlements, c.currencies, c.columns
FROM line_chunk_view c JOIN file_view f ON f.file_no = c.file_no AND f.reader = c.reader
WHERE f.source = %(source)s AND f.file_id = %(file_id)s
"""  # those of an older reader count no more
_CHUNKS: LiteralString = _CHUNK + " AND c.chunk > %(after)s ORDER BY c.chunk LIMIT %(limit)s"
_OF_RECORD: LiteralString = _CHUNK + " AND c.first_line <= %(record)s ORDER BY c.chunk DESC LIMIT 1"
_FILES: LiteralString = """
SELECT file_no, source, file_id, name, state FROM file_view WHERE starts_with(file_id, %(beginning)s) ORDER BY file_no LIMIT 4
"""
_FILES_OF: LiteralString = """
SELECT DISTINCT f.file_no, f.source, f.file_id, f.name, f.state FROM settlement_view s
JOIN settlement_claim_view c ON c.settlement_no = s.settlement_no JOIN file_view f ON f.file_no = c.file_no
WHERE s.source = %(source)s AND s.settlement = %(settlement)s AND f.state IN ('folding', 'held', 'folded') ORDER BY f.file_no
"""
_REPEATED: LiteralString = """
SELECT digest FROM repeated_line_view WHERE file_no = %(file_no)s AND digest = ANY (%(digests)s::bigint[])
"""
_PIECES: LiteralString = """
SELECT b.piece, b.bytes FROM settlement_file_view f JOIN settlement_bytes b ON b.upload_id = f.upload_id
WHERE f.source = %(source)s AND f.file_id = %(file_id)s AND b.piece = ANY (%(pieces)s::integer[]) ORDER BY b.piece
"""


# ── chunks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Chunk(NamedTuple):
    """Up to 500 lines of a file, and their columns as LineColumns has them."""

    row: Row
    columns: Mapping[str, Any]

    def line(self, place: int) -> Answer:
        """Amounts in minor units."""
        row, columns = self
        settlement, at, day = (columns[name][place] for name in ("settlements", "at", "value_days"))
        digest = columns["digests"][place]
        return {
            "record": row["first_line"] + place,
            **self._bytes(place),
            "kind": columns["kinds"][place],
            "key": of_line(columns["keys"][32 * place : 32 * place + 32], digest),
            "psp": row["psp"],
            "psp_ref": columns["psp_refs"][place] or None,
            "order_ref": columns["order_refs"][place] or None,
            "settlement": row["settlements"][settlement] if settlement >= 0 else None,
            "at": datetime.fromtimestamp(at, UTC),
            "day": _EPOCH + timedelta(days=day),
            "gross": columns["gross"][place],
            "gross_currency": row["currencies"][columns["gross_currencies"][place]],
            "fee": columns["fees"][place],
            **{part: columns[name][place] for part, name in zip(PARTS, _LISTS, strict=True)},
            "net": columns["net"][place],
            "currency": row["currencies"][columns["net_currencies"][place]],
            "rate": columns["rates"][place] or None,
            "digest": digest,
        }

    def _bytes(self, place: int) -> Answer:
        """Unknown of files that were read before the bytes of each line were kept."""
        if not self.columns.get("sizes"):
            return {"first_byte": None, "last_byte": None}
        first = self.row["first_byte"] + self.columns["offsets"][place]
        return {"first_byte": first, "last_byte": first + self.columns["sizes"][place] - 1}

    def fee(self, place: int) -> tuple[tuple[str, str, str], date, int, int, str, int, tuple[int, ...]]:
        """The line's tally (key, kind, currency), day, digest, gross, currency of its fee, fee and the fee's parts.

        Of a line that is nothing but a fee the fee is what it takes.
        """
        columns, currencies = self.columns, self.row["currencies"]
        is_fee = columns["kinds"][place] in _FEE_LINES
        digest = columns["digests"][place]
        key = of_line(columns["keys"][32 * place : 32 * place + 32], digest)
        return (
            (key, columns["kinds"][place], currencies[columns["gross_currencies"][place]]),
            _EPOCH + timedelta(days=columns["value_days"][place]),
            digest,
            columns["gross"][place],
            currencies[columns["net_currencies"][place]],
            -columns["net"][place] if is_fee else columns["fees"][place],
            tuple(columns[name][place] for name in _LISTS),
        )


def unpacked(rows: Rows) -> Iterator[Chunk]:
    for row in rows:
        yield Chunk(row, orjson.loads(zlib.decompress(row["columns"])))


def chunks_after(file: Row, chunk: int) -> Ask:
    """`file`: with its source and id."""
    values = {"source": file["source"], "file_id": file["file_id"], "after": chunk, "limit": _AT_ONCE}
    return Ask("reconciliation", _CHUNKS, values)


def with_digests(file: Row, digests: Iterable[int]) -> Steps[dict[int, Answer]]:
    """Of a file's lines those of these digests: chunk by chunk, until all are found."""
    wanted = {digest: str(digest).encode() for digest in digests}
    found: dict[int, Answer] = {}
    after = -1
    while wanted and (rows := (yield chunks_after(file, after))):
        after = rows[-1]["chunk"]
        for row in rows:
            packed = zlib.decompress(row["columns"])
            if any(text in packed for text in wanted.values()):  # a tenth of what it takes to parse each
                chunk = Chunk(row, orjson.loads(packed))
                places = [place for place, digest in enumerate(chunk.columns["digests"]) if digest in wanted]
                found |= {line["digest"]: line for line in map(chunk.line, places)}
                wanted = {digest: text for digest, text in wanted.items() if digest not in found}
    return found


# ── what the file says there ─────────────────────────────────────────────────────────────────────────────────────────


def verbatim(source: str, file_id: str, line: Answer) -> Steps[str | None]:
    """The bytes of a line as text, masked. None where they are not known."""
    first, last = line["first_byte"], line["last_byte"]
    if first is None:
        return None
    wanted = sorted({0, *range(first // PIECE, last // PIECE + 1)})
    rows = yield Ask("doors", _PIECES, {"source": source, "file_id": file_id, "pieces": wanted})
    pieces = {row["piece"]: zlib.decompress(row["bytes"]) for row in rows}
    if pieces.keys() != set(wanted):
        return None
    held = b"".join(pieces[piece] for piece in wanted if piece >= first // PIECE)
    begins = first - first // PIECE * PIECE
    text = held[begins : begins + last - first + 1].decode(_codec(pieces[0]), "replace")
    return masked(text.strip("\r\n\ufeff"), TEXT_MAX)


def _codec(head: bytes) -> str:
    for mark, codec in _MARKS.items():
        if head.startswith(mark):
            return codec
    declared = _DECLARED.match(head)
    name = declared[1].decode() if declared else "utf-8"
    try:
        codecs.lookup(name)
    except LookupError:
        return "utf-8"
    return name


# ── lines for their readers ──────────────────────────────────────────────────────────────────────────────────────────


def name_of(file_id: str, record: int) -> str:
    return f"{file_id[:SHOWN]}:{record}"


def shown(line: Answer, file: Row, counts: bool) -> Answer:
    """A line with its file, amounts as decimals."""
    currency = line["currency"]
    amounts = {name: money(line[name], currency) for name in ("fee", *PARTS, "net")}
    told = line | amounts | {"gross": money(line["gross"], line["gross_currency"])}
    of_file = {name: file[name] for name in ("source", "file_id", "name", "state")}
    return (
        {"line": name_of(file["file_id"], line["record"])}
        | of_file
        | told
        | {"counts": counts and line["kind"] != _NOTED}
    )


_CURRENCY = re.compile(r"/([A-Z]{3})$")


class SettlementName(NamedTuple):
    source: str
    settlement: str
    currency: str | None


def settlement_named(name: str) -> SettlementName:
    """`name`: "<source>/<its reference>", and "/<currency>" where one of its currencies alone is meant."""
    source, _, rest = name.partition("/")
    currency = _CURRENCY.search(rest)
    return SettlementName(source, _CURRENCY.sub("", rest), currency and currency[1])


class LinesAsked(NamedTuple):
    """Lines of a settlement ("<source>/<reference>"), or of a file (its id, or its beginning), behind those shown before."""

    of: str
    limit: int
    file_no: int = 0
    chunk: int = 0
    record: int = 0


class LinePage(NamedTuple):
    lines: list[Answer]
    rest: tuple[int, int, int] | None  # LinesAsked's file, chunk and record of the last one shown
    known: bool  # whether there is such a settlement or file


def lines(asked: LinesAsked) -> Steps[LinePage]:
    of = None
    if "/" in asked.of:
        of = settlement_named(asked.of)
        files = yield Ask("reconciliation", _FILES_OF, {"source": of.source, "settlement": of.settlement})
    else:
        files = yield from files_of(asked.of)
    told: list[Answer] = []
    at = asked.file_no, asked.chunk, asked.record
    for file in (each for each in files if each["file_no"] >= at[0]):
        after, record = (at[1] - 1, at[2]) if file["file_no"] == at[0] else (-1, 0)
        while rows := (yield chunks_after(file, after)):
            after = rows[-1]["chunk"]
            found = list(islice(_lines_of(rows, of, record), asked.limit + 1 - len(told)))
            repeated = yield from _repeated(file["file_no"], [line["digest"] for _, line in found])
            for chunk, line in found:
                if len(told) == asked.limit:
                    return LinePage(told, at, True)
                told.append(shown(line, file, file["state"] == "folded" and line["digest"] not in repeated))
                at = file["file_no"], chunk, line["record"]
    return LinePage(told, None, bool(files))


def _lines_of(rows: Rows, of: SettlementName | None, after: int) -> Iterator[tuple[int, Answer]]:
    """With the numbers of their chunks; of one settlement, or all."""
    for chunk in unpacked(rows):
        if of is not None and of.settlement not in chunk.row["settlements"]:
            continue
        for place in range(max(0, after + 1 - chunk.row["first_line"]), len(chunk.columns["kinds"])):
            line = chunk.line(place)
            if of is None or (line["settlement"] == of.settlement and of.currency in (None, line["currency"])):
                yield chunk.row["chunk"], line


def _repeated(file_no: int, digests: list[int]) -> Steps[set[int]]:
    """Those that count in another file."""
    if not digests:
        return set()
    rows = yield Ask("reconciliation", _REPEATED, {"file_no": file_no, "digests": digests})
    return {row["digest"] for row in rows}


def files_of(beginning: str) -> Steps[Rows]:
    """Files whose id begins so; four at most."""
    return (yield Ask("reconciliation", _FILES, {"beginning": beginning}))


def one_line(name: str) -> Steps[list[Answer]]:
    """The line that this name means, with what its file says there: several where the file's id is cut too short."""
    asked = is_line(name)
    assert asked is not None
    record = int(asked[2])
    told = []
    for file in (yield from files_of(asked[1])):
        values = {"source": file["source"], "file_id": file["file_id"], "record": record}
        for chunk in unpacked((yield Ask("reconciliation", _OF_RECORD, values))):
            place = record - chunk.row["first_line"]
            if place < len(chunk.columns["kinds"]):
                line = chunk.line(place)
                repeated = yield from _repeated(file["file_no"], [line["digest"]])
                text = yield from verbatim(file["source"], file["file_id"], line)
                told.append(shown(line, file, file["state"] == "folded" and not repeated) | {"text": text})
    return told
