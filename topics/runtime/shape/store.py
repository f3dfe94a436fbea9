"""A room's store: one connection with the room's schema on its path, and what each database error means."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, LiteralString

import psycopg
from psycopg.abc import AdaptContext, PQGen
from psycopg.adapt import Dumper
from psycopg.pq import Format

from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.postgres import connect
from topics.settings import Settings


class Stopped(Exception):
    """The room has stopped, in all its processes, until an operator lifts the stop."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


ErrorKind = Literal["data", "away", "bug"]

# SQLSTATE classes. data: one message is at fault; bug: our statements or the server are; away (all else): retry.
_DATA = ("22", "23", "54", "P0")
_BUG = ("42", "XX")


def error_kind(error: BaseException) -> ErrorKind | None:
    """Whose fault a failed statement is; None if the error is not the database's."""
    if isinstance(error, UnicodeEncodeError):
        return "data"
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate
    if state is None:
        return "away" if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else "data"
    if state.startswith(_BUG):
        return "bug"
    return "data" if state.startswith(_DATA) else "away"


# Every statement of a room looks rows up by key. A cached plan from the time when a table was small would go on scanning
# it (an update of 500 rows in 50,000: 54 ms instead of 5).
_KEY_LOOKUPS = (
    "-c plan_cache_mode=force_generic_plan "
    "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"
)


class _BufferedPipeline(psycopg.Pipeline):
    """Statements wait in libpq's buffer (which flushes itself when large) until a result is read.

    psycopg's own pipeline sends each statement at once and so wakes the server for each: most of a small batch's cost.
    """

    def _communicate_gen(self) -> PQGen[None]:
        while self.command_queue:
            self.command_queue.popleft()()
        yield from ()


COUNT_SLOTS = 32  # rows over which a room's processes spread their message counts


class Store:
    """One room's store through one connection, opened on first use and again after a failure. Not thread-safe."""

    def __init__(self, settings: Settings, room: str) -> None:
        self.room = room
        self.upstreams = settings.upstreams
        self.digest_key = settings.digest_key()
        self.stop_share = settings.stop_share
        self.stop_at_least = settings.stop_at_least
        self.count_slot = random.randrange(COUNT_SLOTS)
        self._dsn = settings.dsn(f"tally_{room}")
        self._conn: Connection | None = None

    def connection(self) -> Connection:
        """The open connection. Errors: psycopg.OperationalError while the server is away or takes no writes."""
        if self._conn is None or self._conn.closed or self._conn.broken:
            self.close()
            self._conn = connect(self._dsn, name=f"tally {self.room}", schema=self.room, options=_KEY_LOOKUPS)
        elif self._conn.autocommit:  # as the last batch left it
            self._conn.autocommit = False
        return self._conn

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction. A commit whose answer was lost raises an `away` error; the stored positions show whether it held.

        After an `away` error the connection is closed even if it is open: after a failover it may be read-only for ever,
        while a new connection is not.
        """
        conn = self.connection()
        try:
            yield conn
            conn.commit()
        except BaseException as error:
            if error_kind(error) == "away":
                conn.close()
            if not conn.closed:
                try:
                    conn.rollback()
                except psycopg.Error:
                    conn.close()
            raise

    def check(self) -> None:
        """Errors: psycopg.Error while nothing can be written."""
        with self.transaction() as conn:
            conn.execute("SELECT 1")

    @contextmanager
    def batch(self) -> Iterator[Connection]:
        """As `transaction`, but pipelined: reading a result waits for all statements before it, and the COMMIT is sent with
        the last of them. After a failed statement nothing runs.

        No COPY and no `rowcount` in here: neither works in a pipeline.
        """
        with self.transaction() as conn:
            conn.autocommit = True  # we send BEGIN ourselves: psycopg would send one after each result that is read
            conn._pipeline = _BufferedPipeline(conn)  # used by the next line
            with conn.pipeline():
                conn.execute("BEGIN")
                yield conn
                conn.execute("COMMIT")

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None


@dataclass(frozen=True, slots=True)
class PackedArray:
    """An array in PostgreSQL's binary format. As text a UUID costs sixteen calls of strtoul there, and bytes twice the space."""

    data: bytes
    element: ClassVar[str] = "bytea"


class _PackedUuids(PackedArray):
    element: ClassVar[str] = "uuid"


class _PackedDumper(Dumper):
    format = Format.BINARY

    def __init__(self, cls: type[PackedArray], context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)
        self.oid = psycopg.adapters.types[cls.element].array_oid

    def dump(self, obj: PackedArray) -> bytes:
        return obj.data


for _kind in (PackedArray, _PackedUuids):
    psycopg.adapters.register_dumper(_kind, _PackedDumper)

# An array's header: dimensions, has nulls, element type, number of elements, index of the first.
_ARRAY = struct.Struct(">iiIii")
_LENGTH = struct.Struct(">i").pack
_NULL = b"\xff\xff\xff\xff"  # in place of a length
_UUID_LENGTH = _LENGTH(16).hex()


def _pack_array(kind: type[PackedArray], count: int, nulls: bool, elements: list[bytes]) -> PackedArray:
    dimensions = 1 if count else 0
    head = _ARRAY.pack(dimensions, nulls, psycopg.adapters.types[kind.element].oid, count, 1)
    return kind(b"".join([head[: 12 + 8 * dimensions], *elements]))


def uuid_array(ids: Sequence[Any]) -> PackedArray:
    """A uuid[] of texts and None. Errors: ValueError if a text has anything but hex digits and dashes."""
    nulls = None in ids
    known = (
        [_NULL.hex() if i is None else _UUID_LENGTH + i for i in ids]
        if nulls
        else [_UUID_LENGTH, _UUID_LENGTH.join(ids)]
    )
    return _pack_array(_PackedUuids, len(ids), nulls, [bytes.fromhex("".join(known).replace("-", "")) if ids else b""])


def bytes_array(values: Sequence[bytes | None]) -> PackedArray:
    """A bytea[]."""
    nulls = None in values
    parts = [b""] * (2 * len(values))
    parts[::2] = [_NULL if value is None else _LENGTH(len(value)) for value in values]
    parts[1::2] = [value or b"" for value in values] if nulls else values  # type: ignore[assignment]
    return _pack_array(PackedArray, len(values), nulls, parts)


def text_array(texts: Iterable[Any]) -> str:
    """A text[] literal of texts and None. Costs a fifth of a list if nothing is to be escaped."""
    listed = list(texts)
    try:
        plain = "".join(listed)
    except TypeError:  # None among them
        return _escaped_array(listed)
    if '"' in plain or "\\" in plain:
        return _escaped_array(listed)
    return '{"' + '","'.join(listed) + '"}' if listed else "{}"


def _escaped_array(texts: Sequence[Any]) -> str:
    quoted = ["NULL" if t is None else '"' + t.replace("\\", "\\\\").replace('"', '\\"') + '"' for t in texts]
    return "{" + ",".join(quoted) + "}"


def insert_text(into: str, types: Sequence[str], otherwise: str = "") -> LiteralString:
    """An INSERT of many rows in order, one array for each column. As fast as COPY, and works in a pipeline.

    `into` is "table (columns)", `types` their PostgreSQL types, all of `LITERALS`; `otherwise` an ON CONFLICT clause. unnest
    flattens an array of arrays, so inner arrays are sent as text.
    """
    inner = [kind.endswith("[]") for kind in types]
    columns = ", ".join(f"c{n}::{kind}" if inner[n] else f"c{n}" for n, kind in enumerate(types))
    arrays = ", ".join(f"%s::{'text' if inner[n] else kind}[]" for n, kind in enumerate(types))
    names = ", ".join(f"c{n}" for n in range(len(types)))
    return f"INSERT INTO {into} SELECT {columns} FROM unnest({arrays}) AS u ({names}) {otherwise}"


def _bool_array(truths: Sequence[Any]) -> str:
    return "{" + ",".join(["t" if truth else "NULL" if truth is None else "f" for truth in truths]) + "}"


def _int_array(numbers: Sequence[Any]) -> str:
    """Integers: str(list) is five times as fast as joining their texts."""
    written = str(list(numbers))[1:-1]
    return "{" + (written.replace("None", "NULL") if None in numbers else written) + "}"


def _time_array(times: Sequence[Any]) -> str:
    """Each distinct time is formatted once: a batch has few."""
    written = {time: f'"{time.isoformat()}"' for time in set(times) - {None}}
    return "{" + ",".join([written.get(time, "NULL") for time in times]) + "}"


def _array_of_int_arrays(arrays: Sequence[Any]) -> str:
    """Lists of integers, as str(list) writes them, with PostgreSQL's brackets."""
    return '{"{' + str(list(arrays))[2:-2].replace("], [", '}","{') + '}"}'


LITERALS: Mapping[str, Callable[[Sequence[Any]], str | PackedArray]] = {
    **dict.fromkeys(("text", "json"), text_array),
    **dict.fromkeys(("int2", "int4", "int8"), _int_array),
    "bool": _bool_array,
    "uuid": uuid_array,
    "timestamptz": _time_array,
    "bytea": bytes_array,
    "int4[]": _array_of_int_arrays,
    "text[]": lambda arrays: text_array(map(text_array, arrays)),
}


def int_array(numbers: Iterable[int | None]) -> str:
    """A bigint[] literal of integers and None."""
    return _int_array(list(numbers))
