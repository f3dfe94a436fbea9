"""Orders of this run → how many of them the servers alone could process: the floor of `tally bench pay-in`.

Rows that the rooms wrote are copied into databases of the floor's own by COPY and written again by bare SQL as often as
their rooms do; as many records go to Kafka and are read back once; as many charges go to a simulator of its own over the
cheapest client: 400 orders at a time, one thing after the other. Without HTTP door, claims, outbox, decisions, look-ups.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from psycopg import sql

from operations.bench import ledger
from operations.bench.client import Client
from operations.stack import layout, process
from operations.stack.home import Home
from operations.stack.ports import PREFERRED, PortClaims
from psp.northpay import Northpay
from psp.port import Charge, HttpRequest
from schemas.money import Money
from topics import catalog
from topics.runtime.making.topics import apply_topics, delete_topics
from topics.runtime.shape.kafka import kafka_config, partitions, watermarks
from topics.runtime.shape.postgres import connect
from topics.settings import Settings

CHECKOUTS = 133  # in a batch: 400 orders, less one
BATCHES = 30  # at most; the first warms up
BATCHES_MIN = 4
CONNECTIONS = 64
PATIENCE_S = 30.0
NO_ROWS = 21  # bytes of a binary COPY without any

_ORDERS: LiteralString = "payment_order_id = ANY(%(orders)s)"
_CHECKOUTS: LiteralString = "checkout_id = ANY(%(checkouts)s)"
_SUBJECTS: LiteralString = "subject_id = ANY(%(orders)s)"
_MOVED: LiteralString = "seller_account, currency FROM movements"
_JOURNALS: LiteralString = f"FROM journals WHERE {_SUBJECTS}"


@dataclass(frozen=True, slots=True)
class FloorTable:
    """A table with rows of orders. `column` is updated so often after the rows are inserted."""

    room: str
    name: str
    of: LiteralString  # the condition for the rows of given orders
    again: int = 0
    column: str = "version"
    kept: bool = False  # shared by many orders: the whole table is copied before the measurement


TABLES = (
    FloorTable("doors", "requests", _CHECKOUTS),
    FloorTable("doors", "order_ids", _ORDERS),
    FloorTable("payments", "payments", _CHECKOUTS, again=3),
    FloorTable("payments", "orders", _ORDERS, again=4),  # placed, captured, in the wallet, in the ledger
    FloorTable("payments", "history", _CHECKOUTS),
    FloorTable("risk", "screenings", _CHECKOUTS),
    FloorTable("executor", "attempts", _ORDERS, again=1, column="revision"),
    FloorTable("executor", "calls", f"id IN (SELECT call_id FROM attempts WHERE {_ORDERS})", again=3, column="act_no"),
    FloorTable("wallet", "movements", _SUBJECTS),
    FloorTable(
        "wallet", "wallets", f"(seller_account, currency) IN (SELECT {_MOVED} WHERE {_SUBJECTS})", again=1, kept=True
    ),
    FloorTable("ledger", "accounts", "false", kept=True),
    FloorTable("ledger", "journals", _SUBJECTS),
    FloorTable("ledger", "entries", f"journal_id IN (SELECT journal_id {_JOURNALS})"),
    FloorTable("ledger", "balances", f"account_id IN (SELECT unnest(account_ids) {_JOURNALS})", again=1, kept=True),
)
ROOMS = tuple(dict.fromkeys(table.room for table in TABLES))

# Records of three orders, a checkout. Balances are published by time and not by order.
RECORDS: Mapping[catalog.Topic, int] = {
    catalog.PAYMENT_REQUESTS: 1,
    catalog.SCREENINGS: 1,
    catalog.RISK_DECISIONS: 1,
    catalog.PAYMENT_ORDERS: 3,
    catalog.EXECUTIONS: 3,
    catalog.WALLET_MOVEMENTS: 3,
    catalog.LEDGER_ENTRIES: 3,
    catalog.PAYMENTS: 3,
}


@dataclass(frozen=True, slots=True)
class FloorBatch:
    """Orders of this run, ready to be written, published and charged once more."""

    keys: Mapping[str, Sequence[str]]  # `orders` and `checkouts`
    rows: Mapping[FloorTable, bytes]  # as COPY gave them, binary
    charges: Sequence[tuple[str, bytes, bytes]]  # path, header lines and body


class Floor:
    """Batches, and the connections to which they are written. A batch is used once: its rows cannot be inserted twice."""

    def __init__(
        self,
        rooms: Mapping[str, psycopg.Connection[Any]],
        statements: Mapping[FloorTable, Statements],
        kafka: FloorKafka,
        psp: Client,
        taken: Sequence[FloorBatch],
    ) -> None:
        self._kafka, self._psp = kafka, psp
        self._rooms = [(rooms[room], {t: made for t, made in statements.items() if t.room == room}) for room in ROOMS]
        self._batches = taken

    async def measure(self) -> float:
        """→ orders a second. Called once."""
        first, *others = self._batches
        await self._pass(first)
        began = time.monotonic()
        for batch in others:
            await self._pass(batch)
        return sum(len(batch.charges) for batch in others) / (time.monotonic() - began)

    async def _pass(self, batch: FloorBatch) -> None:
        for conn, tables in self._rooms:
            _write(conn, tables, batch)
        self._kafka.publish_and_read(len(batch.keys["checkouts"]))
        await _charge(self._psp, batch.charges)


@contextmanager
def opened_floor(settings: Settings, run_id: str) -> Iterator[Floor]:
    """A floor of the newest payments of this run, which must be done. What it creates is deleted at the end."""
    with ExitStack() as stack:
        own = stack.enter_context(ledger._own_settings(settings, ledger.LedgerPlan()))
        stack.enter_context(ledger._databases(own, ledger._admin_dsn(settings), lambda line: None))
        stack.callback(delete_topics, own)
        apply_topics(own, partitions=1)
        northpay = stack.enter_context(_simulator(own))
        source = {room: stack.enter_context(_connected(settings, room, autocommit=True)) for room in ROOMS}
        rooms = {room: stack.enter_context(_connected(own, room)) for room in ROOMS}
        statements = {table: _statements(source[table.room], table) for table in TABLES}
        for table in (table for table in TABLES if table.kept):
            _copy_in(
                rooms[table.room], statements[table].put, _copy_out(source[table.room], statements[table].take, {})
            )
            rooms[table.room].commit()
        kafka = stack.enter_context(closing(FloorKafka(settings, own)))
        psp = stack.enter_context(closing(Client(northpay.url, {})))
        yield Floor(rooms, statements, kafka, psp, _take(source, statements, run_id, northpay))


def _connected(settings: Settings, room: str, *, autocommit: bool = False) -> psycopg.Connection[Any]:
    return connect(settings.dsn(f"tally_{room}"), name="tally bench", schema=room, autocommit=autocommit)


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


_NEWEST = """
SELECT checkout_id FROM payments WHERE status = 'succeeded' AND starts_with(checkout_id, %s)
ORDER BY received_at DESC, checkout_id LIMIT %s
"""
_ORDERS_OF = "SELECT payment_order_id, gross, currency FROM orders WHERE checkout_id = ANY(%s)"


def _take(
    source: Mapping[str, psycopg.Connection[Any]],
    statements: Mapping[FloorTable, Statements],
    run_id: str,
    psp: Northpay,
) -> list[FloorBatch]:
    """The batches. A short history gives fewer of them, then fewer checkouts in each."""
    newest = [row[0] for row in source["payments"].execute(_NEWEST, [f"b{run_id}-", CHECKOUTS * BATCHES])]
    count = max(BATCHES_MIN, len(newest) // CHECKOUTS)
    size = min(CHECKOUTS, len(newest) // count)
    return [_batch(source, statements, newest[at : at + size], psp) for at in range(0, size * count, size)]


def _batch(
    source: Mapping[str, psycopg.Connection[Any]],
    statements: Mapping[FloorTable, Statements],
    checkouts: Sequence[str],
    psp: Northpay,
) -> FloorBatch:
    orders = source["payments"].execute(_ORDERS_OF, [checkouts]).fetchall()
    keys = {"orders": [order[0] for order in orders], "checkouts": checkouts}
    rows = {t: _copy_out(source[t.room], made.take, keys) for t, made in statements.items() if not t.kept}
    if empty := [table.name for table, copied in rows.items() if len(copied) <= NO_ROWS]:
        raise LookupError(f"orders of this run have no rows in {', '.join(empty)}")
    charges = [
        psp.request(Charge(secrets.token_hex(16), id_, Money(gross, currency), "tok_visa"))
        for id_, gross, currency in orders
    ]
    return FloorBatch(keys, rows, [_ready(request) for request in charges])


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of one table, built once."""

    take: sql.Composed
    put: sql.Composed
    again: sql.Composed


_COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""


def _statements(conn: psycopg.Connection[Any], table: FloorTable) -> Statements:
    columns = sql.SQL(", ").join(sql.Identifier(row[0]) for row in conn.execute(_COLUMNS, [table.name]))
    words = {"name": sql.Identifier(table.name), "column": sql.Identifier(table.column), "columns": columns}
    of = "true" if table.kept else table.of
    return Statements(
        sql.SQL("COPY (SELECT {columns} FROM {name} WHERE " + of + ") TO STDOUT (FORMAT BINARY)").format(**words),
        sql.SQL("COPY {name} ({columns}) FROM STDIN (FORMAT BINARY)").format(**words),
        sql.SQL("UPDATE {name} SET {column} = {column} WHERE " + table.of).format(**words),
    )


def _copy_out(conn: psycopg.Connection[Any], take: sql.Composed, keys: Mapping[str, Sequence[str]]) -> bytes:
    with conn.cursor().copy(take, keys) as copy:
        return b"".join(copy)


def _copy_in(conn: psycopg.Connection[Any], put: sql.Composed, rows: bytes) -> None:
    with conn.cursor().copy(put) as copy:
        copy.write(rows)


def _write(conn: psycopg.Connection[Any], tables: Mapping[FloorTable, Statements], batch: FloorBatch) -> None:
    """Write the batch's rows of one room, in one transaction."""
    for table, statements in tables.items():
        if not table.kept:
            _copy_in(conn, statements.put, batch.rows[table])
        for _ in range(table.again):
            conn.execute(statements.again, batch.keys)
    conn.commit()


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class FloorKafka:
    """The floor's own topics, each with the newest record of the real one, used for all records."""

    def __init__(self, settings: Settings, own: Settings) -> None:
        self._prefix = own.topic_prefix
        self._records = {topic: _newest(settings, topic) for topic in RECORDS}
        self._producer = Producer(
            {**kafka_config(own), "enable.idempotence": True, "max.in.flight": 1, "linger.ms": 0.2}
        )
        self._consumer = _consumer(own)
        names = [own.topic_prefix + topic.name for topic in RECORDS]
        self._consumer.assign([TopicPartition(p.topic, p.partition, 0) for p in partitions(self._consumer, names)])

    def publish_and_read(self, checkouts: int) -> None:
        """Errors: TimeoutError."""
        for topic, each in RECORDS.items():
            record, name = self._records[topic], self._prefix + topic.name
            for _ in range(checkouts * each):
                self._producer.produce(name, record.value(), secrets.token_bytes(8), headers=record.headers())
        self._producer.flush(PATIENCE_S)
        missing = checkouts * sum(RECORDS.values())
        until = time.monotonic() + PATIENCE_S
        while missing > 0:
            missing -= sum(record.error() is None for record in self._consumer.consume(missing, 0.05))
            if time.monotonic() > until:
                raise TimeoutError(f"Kafka did not give {missing} records back within {PATIENCE_S:g} s")

    def close(self) -> None:
        self._consumer.close()


def _consumer(settings: Settings) -> Consumer:
    own = {"group.id": f"bench-{secrets.token_hex(4)}", "enable.auto.commit": False, "fetch.queue.backoff.ms": 50}
    return Consumer({**kafka_config(settings), **own})


def _newest(settings: Settings, topic: catalog.Topic) -> Message:
    """Errors: LookupError where the topic has none."""
    with closing(_consumer(settings)) as consumer:
        for where in partitions(consumer, [settings.topic_prefix + topic.name]):
            low, high = watermarks(consumer, where, 10)
            if high > low:
                consumer.assign([TopicPartition(where.topic, where.partition, high - 1)])
                if (record := consumer.poll(PATIENCE_S)) is not None and record.error() is None:
                    return record
    raise LookupError(f"{topic.name} has no record")


# ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _simulator(own: Settings) -> Iterator[Northpay]:
    """The floor's own simulated PSP: the running one's books are not changed."""
    home = Home(own.home)
    claims = PortClaims()
    port = claims.choose(PREFERRED["simulator"])
    home.logs.mkdir(exist_ok=True)
    command = layout.simulator(home, own, port)
    child = process.start(command)
    try:
        _wait_for(port)
        yield Northpay("northpay", f"http://127.0.0.1:{port}/northpay", own.derive("psp:northpay"))
    finally:
        process.stop(command, child)
        claims.release()


def _wait_for(port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"the floor's simulator does not listen at port {port}")


def _ready(request: HttpRequest) -> tuple[str, bytes, bytes]:
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return urlsplit(request.url).path, lines.encode(), request.body


async def _charge(psp: Client, charges: Sequence[tuple[str, bytes, bytes]]) -> None:
    """Errors: RuntimeError if a charge is not answered by 200."""
    left = iter(charges)

    async def one_after_another() -> None:
        for path, lines, body in left:
            status, _ = await psp.post(path, body, lines)
            if status != 200:
                raise RuntimeError(f"the floor's simulator answered {status}")

    await asyncio.gather(*(one_after_another() for _ in range(CONNECTIONS)))
