"""A migrated database → one with the probe's schema too; messages for it; what came of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from operations.stack.servers import Servers
from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import PaymentCaptured
from schemas.money import Money
from tests.contract import probe
from topics import catalog
from topics.runtime.delivery.apply import Applied, apply
from topics.runtime.delivery.drain import drain
from topics.runtime.making import migrate as migrations
from topics.runtime.outbox.outbox import OutboxRecord, dump_records, hashed_key, records_of
from topics.runtime.shape.consumer import AnyConsumer, Message
from topics.runtime.shape.store import Store
from topics.settings import Settings

EXECUTIONS = catalog.EXECUTIONS.name
REQUESTS = catalog.PAYMENT_REQUESTS.name
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENTERED_MS = 1_767_268_800_000
EUR = Money(100, "EUR")


def add_probe(servers: Servers, settings: Settings) -> None:
    """The probe's schema, roles and tables, beside the real rooms'."""
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=settings.database)
    with psycopg.connect(dsn, autocommit=True) as conn:
        migrations._make_schema(conn, probe.ROOM, settings)
    migrations._upgrade(probe.ROOM, dsn)


def captured(key: str, n: int, told: str = "") -> PaymentCaptured:
    """The n-th message of its key, and what it tells the probe to do."""
    return PaymentCaptured(
        payment_order_id=key,
        checkout_id=key,
        owner="shop",
        seller_account="seller",
        buyer_account="buyer",
        gross=EUR,
        fee=Money(0, "EUR"),
        net=EUR,
        available_on=NOON,
        deadline=NOON,
        psp="northpay",
        call_id="0" * 32,
        psp_reference=str(n),
        scheme=told,
    )


def event_id(key: str, n: int) -> str:
    return derive_id(f"{key}/{n}", "test", 0, ENTERED_MS)


def headers_of(event: Any, id_: str, source: str = "/test") -> tuple[tuple[str, bytes], ...]:
    return record_headers(Envelope(id_, source, event_type(type(event)), NOON))  # type: ignore[arg-type]


def request_body(checkout_id: str, n: int = 1, **more: object) -> dict[str, Any]:
    body: dict[str, Any] = {
        "checkout_id": checkout_id,
        "buyer_info": {"buyer_account": "buyer"},
        "payment_method": {"token": "tok_visa"},
        "payment_orders": [
            {"payment_order_id": checkout_id, "seller_account": "seller", "amount": "1.00", "currency": "EUR"}
        ],
        "metadata": {"n": str(n)},
    }
    return body | more


def request_headers(id_: str, source: str = "shop") -> tuple[tuple[str, bytes], ...]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", id_.encode()),
        ("ce_source", source.encode()),
        ("ce_type", b"tallystick.PaymentRequested.v1"),
    )


@dataclass
class Log:
    """Partitions as Kafka would hand them out: each record gets the next offset of its partition."""

    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    def record(
        self,
        value: bytes | None,
        *,
        key: bytes | None,
        headers: Sequence[tuple[str, Any]],
        topic: str = EXECUTIONS,
        partition: int = 0,
    ) -> Message:
        offset = self.ends.get((topic, partition), 0)
        self.ends[(topic, partition)] = offset + 1
        return Message(topic, partition, offset, key, value, tuple(headers), ENTERED_MS)

    def capture(self, key: str, n: int, told: str = "", *, partition: int = 0, id_: str | None = None) -> Message:
        event = captured(key, n, told)
        value = event.model_dump_json().encode()
        return self.record(
            value, key=key.encode(), headers=headers_of(event, id_ or event_id(key, n)), partition=partition
        )

    def request(
        self, checkout_id: str, n: int = 1, *, id_: str | None = None, topic: str = REQUESTS, **more: object
    ) -> Message:
        return self.record(
            json.dumps(request_body(checkout_id, n, **more)).encode(),
            key=checkout_id.encode(),
            headers=request_headers(id_ or f"{checkout_id}-{n}"),
            topic=topic,
        )

    def again(self, message: Message, **changes: Any) -> Message:
        """The same record once more, as a redelivery with a new offset."""
        given = {"key": message.key, "headers": message.headers, "topic": message.topic, "partition": message.partition}
        given |= changes
        value = given.pop("value", message.value)
        return self.record(value, **given)


class Process:
    """One process's share of the probe, without Kafka: applies messages and remembers where its reading stands."""

    def __init__(self, settings: Settings, consumer: AnyConsumer | None = None) -> None:
        self.store = Store(settings, "probe")
        self.consumer = consumer or probe.build()
        self.placed: dict[tuple[str, int], int] = {}
        self.now = NOON
        self.said: list[OutboxRecord] = []

    def begin(self, *partitions: tuple[str, int]) -> None:
        """Read on from the stored positions."""
        with self.store.transaction() as conn:
            for topic, partition in partitions:
                conn.execute("INSERT INTO positions VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", [topic, partition])
                row = conn.execute(
                    "SELECT next_offset FROM positions WHERE topic = %s AND partition = %s", [topic, partition]
                ).fetchone()
                assert row
                self.placed[(topic, partition)] = row[0]

    def apply(self, *messages: Message) -> list[Applied]:
        new = {(m.topic, m.partition) for m in messages} - set(self.placed)
        if new:
            self.begin(*sorted(new))
        done = []
        for applied in apply(self.store, self.consumer, messages, self.placed, self.now):
            self.placed |= applied.ends
            self.said += records_of(applied.rows)
            done.append(applied)
        return done

    def drain(self, after_s: float = 0) -> int:
        """Let time pass, then try what is due, until nothing is. → how many transactions that took."""
        self.now += timedelta(seconds=after_s)
        turns = 0
        while (applied := drain(self.store, self.consumer, self.now)) is not None:
            self.said += records_of(applied.rows)
            turns += 1
            assert turns < 1000, "the drain does not end"
        return turns


class Books:
    """What the probe's store holds, read by nobody in particular."""

    def __init__(self, servers: Servers, settings: Settings) -> None:
        dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=settings.database)
        self._conn = psycopg.connect(dsn, autocommit=True, options="-c search_path=probe")

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        return self._conn.execute(query, arguments).fetchall()  # type: ignore[call-overload, no-any-return]

    def run(self, statement: str, *arguments: object) -> int:
        return self._conn.execute(statement, arguments).rowcount  # type: ignore[call-overload, no-any-return]

    def effects(self, key: str | None = None) -> list[int]:
        """The messages that took effect, as their numbers, in the order of their effects."""
        return [n for (n,) in self.rows("SELECT n FROM effects WHERE key = coalesce(%s, key) ORDER BY id", key)]

    def letters(self) -> list[tuple[str, str | None]]:
        """State and code of each letter, oldest first."""
        return [(state, code) for state, code in self.rows("SELECT state, code FROM parked ORDER BY seq")]

    def stops(self) -> list[str]:
        return [code for (code,) in self.rows("SELECT code FROM stops WHERE lifted_at IS NULL")]

    def lift(self) -> None:
        self.run("UPDATE stops SET lifted_at = now(), lifted_by = 'test' WHERE lifted_at IS NULL")

    def breaks(self, what: str) -> None:
        self.run("INSERT INTO broken VALUES (%s)", what)

    def mends(self, what: str) -> None:
        self.run("DELETE FROM broken WHERE what = %s", what)

    def replay(self) -> int:
        """All dead letters due again, as an operator does it."""
        return self.run(
            "UPDATE parked SET state = 'parked', rung = 0, replays = replays + 1, due_at = '-infinity' WHERE state = 'dead'"
        )

    def close(self) -> None:
        self._conn.close()


def said_movements(said: Sequence[OutboxRecord]) -> Mapping[str, list[int]]:
    """Outgoing records → per key the numbers of the messages that they speak of, repeats by event id dropped."""
    heard: set[bytes] = set()
    by_key: dict[str, list[int]] = {}
    for record in said:
        if record.topic != catalog.WALLET_MOVEMENTS.name:
            continue
        id_ = dict(record.headers)["ce_id"]
        if id_ not in heard:
            heard.add(id_)
            by_key.setdefault((record.key or b"").decode(), []).append(
                int(json.loads(record.value or b"")["movement_id"])
            )
    return by_key


def leave(books: Books, *unsaid: OutboxRecord) -> None:
    """A row of the outbox that nobody's process holds, a minute old."""
    books.run(
        "INSERT INTO outbox VALUES (nextval('outbox_id'), %s, %s, now() - interval '1 minute')",
        *([hashed_key(record.topic, record.key) for record in unsaid], dump_records(unsaid)),
    )
