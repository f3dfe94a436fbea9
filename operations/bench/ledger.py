"""Captured payments on Kafka → the real ledger room → journals a second, beside a floor measured in the same run.

Everything happens under a topic prefix and in databases of its own, on the servers of the installation; both go at the
end. The floor is what PostgreSQL alone does with the same tables, indexes and triggers: binary COPY and bare SQL on one
connection, 1,000 journals to a commit. Half of it is measured before the room and half after, since machines change.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg
from confluent_kafka import Producer
from psycopg import sql

from schemas.envelope import Envelope, derive_id, event_type, record_headers
from schemas.events import PaymentCaptured
from schemas.money import Money
from topics import catalog
from topics.runtime.making.migrate import migrate
from topics.runtime.making.topics import apply_topics, delete_topics
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.postgres import connect
from topics.settings import Settings, SettingsError

Progress = Callable[[str], None]

SELLERS = 2000  # the first has twice the payments of the second, thrice those of the third, …
WARM_SHARE = 0.2  # of the journals; the rest is measured
FLOOR_BATCH = 1000
SILENCE_S_MAX = 30.0  # without a single journal: something is wrong
GROSS_MAX = 20_000  # minor units; a tenth is ours


@dataclass(frozen=True, slots=True)
class PostedCounts:
    """The number of journals that the books should hold, and their sum on either side."""

    journals: int
    total: int

    def __add__(self, other: PostedCounts) -> PostedCounts:
        return PostedCounts(self.journals + other.journals, self.total + other.total)


NOTHING = PostedCounts(0, 0)


@dataclass(frozen=True, slots=True)
class LedgerPlan:
    journals: int = 400_000  # of each of the two runs, and of the floor
    processes: int = 2
    batch_max: int = 2000


def run(settings: Settings, plan: LedgerPlan | None = None, progress: Progress = lambda line: None) -> dict[str, Any]:
    """→ journals_per_s, hot_journals_per_s, floor_journals_per_s, ratio, and the parameters of the run."""
    plan = plan or LedgerPlan()
    admin = _admin_dsn(settings)
    with ExitStack() as stack:
        own = stack.enter_context(_own_settings(settings, plan))
        stack.enter_context(_databases(own, admin, progress))
        stack.callback(delete_topics, own)
        apply_topics(own)
        ids = _open_floor(own)
        progress("half of the floor")
        floors = [_measure_floor(own, plan.journals // 2, ids)]
        rate = _measure_room(own, plan, skewed=True, before=NOTHING, progress=progress)
        progress("the other half of the floor")
        floors.append(_measure_floor(own, plan.journals // 2, ids))
        floor = sum(floors) / len(floors)
        hot_rate = _measure_room(own, plan, skewed=False, before=_posted(own), progress=progress)
    return {
        "journals_per_s": round(rate),
        "hot_journals_per_s": round(hot_rate),
        "floor_journals_per_s": round(floor),
        "ratio": round(rate / floor, 2),
        "journals": plan.journals,
        "processes": plan.processes,
        "batch_max": plan.batch_max,
    }


# ── a place of its own ───────────────────────────────────────────────────────────────────────────────────────────────


def _admin_dsn(settings: Settings) -> str:
    if not settings.postgres_admin:
        raise SettingsError("TALLY_POSTGRES_ADMIN is not set: the benchmark makes databases of its own")
    return settings.postgres_admin


@contextmanager
def _own_settings(settings: Settings, plan: LedgerPlan) -> Iterator[Settings]:
    """The same servers and secret; another prefix, database and home."""
    name = f"bench{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as home:
        yield settings.model_copy(
            update={
                "topic_prefix": f"{name}.",
                "database": f"tally_{name}",
                "dsns": {},
                "home": Path(home),
                "secret": settings.master_secret().decode(),
                "upstreams": frozenset(),
                "batch_max": plan.batch_max,
            }
        )


def _floor_database(settings: Settings) -> str:
    return f"{settings.database}_floor"


@contextmanager
def _databases(settings: Settings, admin: str, progress: Progress) -> Iterator[None]:
    """One for the room, and a copy of the empty tables for the floor."""
    progress("databases")
    names = (settings.database, _floor_database(settings))
    try:
        migrate(settings, admin)
        with connect(admin, name="tally bench", autocommit=True) as conn:
            template, copy = map(sql.Identifier, names)
            conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(copy, template))
        yield
    finally:
        with connect(admin, name="tally bench", autocommit=True) as conn:
            for name in names:
                conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _connected(settings: Settings, database: str | None = None) -> Iterator[psycopg.Connection[Any]]:
    dsn = psycopg.conninfo.make_conninfo(settings.dsn("tally_ledger"), dbname=database or settings.database)
    with connect(dsn, name="tally bench", schema="ledger") as conn:
        yield conn


# ── the room ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _measure_room(
    settings: Settings, plan: LedgerPlan, *, skewed: bool, before: PostedCounts, progress: Progress
) -> float:
    """Produce the payments, then start the room; time from when it is warm until all its records are published."""
    progress(f"{'skewed sellers' if skewed else 'one hot seller'}: payments onto Kafka")
    wanted = before + _produce(settings, plan.journals, SELLERS if skewed else 1)
    warm = before.journals + plan.journals * WARM_SHARE
    progress(f"{'skewed sellers' if skewed else 'one hot seller'}: the ledger room")
    with _rooms(settings, plan.processes) as rooms, _connected(settings) as conn:
        conn.autocommit = True
        begun_at, first = _wait_for(conn, rooms, lambda posted: posted >= warm)
        ended_at, last = _wait_for(conn, rooms, lambda posted: posted >= wanted.journals and _all_published(conn))
    _check_books(settings, wanted)
    return (last - first) / (ended_at - begun_at)


def _all_published(conn: psycopg.Connection[Any]) -> bool:
    """Whether the outbox is empty. Called at the end only: skipping all deleted rows took a fiftieth of the machine."""
    return conn.execute("SELECT FROM outbox LIMIT 1").fetchone() is None


def _wait_for(
    conn: psycopg.Connection[Any], rooms: Sequence[subprocess.Popen[bytes]], enough: Callable[[int], bool]
) -> tuple[float, int]:
    """Wait until enough payments are applied. → the time, and the number of payments applied by then."""
    last, moved_at = -1, time.monotonic()
    while True:
        row = conn.execute("SELECT coalesce(sum(messages), 0)::bigint FROM positions").fetchone()
        now = time.monotonic()
        assert row is not None
        if enough(row[0]):
            return now, row[0]
        if row[0] > last:
            last, moved_at = row[0], now
        if now - moved_at > SILENCE_S_MAX or any(room.poll() is not None for room in rooms):
            raise RuntimeError(f"the ledger room stands still at {last} payments")
        time.sleep(0.05)


def _produce(settings: Settings, count: int, sellers: int) -> PostedCounts:
    """Publish records as the executor's. → their sums in the books"""
    producer = Producer(
        {
            **kafka_config(settings),
            "enable.idempotence": True,
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 200_000,
        }
    )
    topic = settings.topic_prefix + catalog.EXECUTIONS.name
    total = 0
    for gross, key, value, headers in _records(count, sellers):
        total += gross
        while True:
            try:
                producer.produce(topic, value, key, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(60)
    return PostedCounts(count, total)


def _records(count: int, sellers: int) -> Iterator[tuple[int, bytes, bytes, list[tuple[str, str | bytes | None]]]]:
    now = datetime.now(UTC)
    now_ms = int(now.timestamp() * 1000)
    wire = orjson.loads(_captured(now).model_dump_json(exclude_none=True))
    names = [f"seller-{number:04d}" for number in range(sellers)]
    chance = random.Random(1)
    chosen = chance.choices(names, [1 / (place + 1) for place in range(sellers)], k=count)
    for number, seller in enumerate(chosen):
        order = secrets.token_hex(8)
        event_id = derive_id(order, "bench", number, now_ms + number // 10)
        trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        envelope = Envelope(event_id, "/tallystick/executor", event_type(PaymentCaptured), now, 1, trace)
        gross = chance.randint(10, GROSS_MAX)
        value = (
            wire | _amounts(gross) | {"payment_order_id": order, "checkout_id": f"c{order}", "seller_account": seller}
        )
        yield gross, order.encode(), orjson.dumps(value), list(record_headers(envelope))


def _amounts(gross: int) -> dict[str, dict[str, str]]:
    fee = gross // 10
    return {name: Money(minor, "EUR").wire() for name, minor in (("gross", gross), ("fee", fee), ("net", gross - fee))}


def _captured(now: datetime) -> PaymentCaptured:
    return PaymentCaptured(
        payment_order_id="order",
        checkout_id="checkout",
        owner="bench",
        seller_account="seller",
        buyer_account="buyer-1",
        gross=Money(100, "EUR"),
        fee=Money(10, "EUR"),
        net=Money(90, "EUR"),
        available_on=now,
        deadline=now,
        psp="northpay",
        call_id="0" * 32,
        psp_reference="ch_0123456789abcdef",
        scheme="visa",
    )


@contextmanager
def _rooms(settings: Settings, processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`tally run ledger` processes."""
    command = [sys.executable, "-c", "from operations.cli.main import main; main()", "run", "ledger"]
    log = settings.home / "rooms.log"
    with log.open("ab") as out:
        rooms = [
            subprocess.Popen(command, env=_environment(settings), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            for _ in range(processes)
        ]
        try:
            yield rooms
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {log.read_text(encoding='utf-8')[-2000:]}") from None
        finally:
            for room in rooms:
                room.terminate()
            for room in rooms:
                _end(room)


def _end(room: subprocess.Popen[bytes]) -> None:
    try:
        room.wait(20)
    except subprocess.TimeoutExpired:
        room.kill()
        room.wait()


def _environment(settings: Settings) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    return inherited | {
        "TALLY_HOME": str(settings.home),
        "TALLY_KAFKA": settings.kafka,
        "TALLY_KAFKA_OPTIONS": json.dumps(settings.kafka_options),
        "TALLY_TOPIC_PREFIX": settings.topic_prefix,
        "TALLY_POSTGRES": settings.postgres,
        "TALLY_DATABASE": settings.database,
        "TALLY_SECRET": settings.secret,
        "TALLY_BATCH_MAX": str(settings.batch_max),
        "TALLY_LOG_LEVEL": "warning",
    }


def _posted(settings: Settings) -> PostedCounts:
    with _connected(settings) as conn:
        row = conn.execute("SELECT (SELECT count(*) FROM journals), debits::bigint FROM trial_balance_view").fetchone()
    return PostedCounts(*row) if row else NOTHING


def _check_books(settings: Settings, wanted: PostedCounts) -> None:
    """Check the sums of the books. Errors: RuntimeError."""
    with _connected(settings) as conn:
        conn.execute("SET work_mem = '64MB'")
        totals = conn.execute("SELECT currency, debits, credits FROM trial_balance_view").fetchall()
        count = conn.execute("SELECT count(*) FROM journals").fetchone()
        wrong = conn.execute("SELECT count(*) FROM wrong_balance_view").fetchone()
        conn.execute("ANALYZE")
    if totals != [("EUR", wanted.total, wanted.total)] or count != (wanted.journals,) or wrong != (0,):
        raise RuntimeError(f"the books are wrong: {wanted}, but {totals}, {count} journals, {wrong} wrong balances")


# ── the floor ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _open_floor(settings: Settings) -> dict[str, int]:
    """→ account → its id."""
    names = ["psp:northpay:receivable", "platform:fees", *(f"seller:seller-{n:04d}:payable" for n in range(SELLERS))]
    with _connected(settings, _floor_database(settings)) as conn:
        now = datetime.now(UTC)
        conn.execute("INSERT INTO accounts (account, opened_at) SELECT unnest(%s::text[]), %s", [names, now])
        conn.execute("INSERT INTO balances (account_id, currency) SELECT account_id, 'EUR' FROM accounts")
        return dict(conn.execute("SELECT account, account_id FROM accounts").fetchall())


def _measure_floor(settings: Settings, journals: int, ids: dict[str, int]) -> float:
    """Journals a second without Kafka, inbox, outbox, decisions and look-ups."""
    now = datetime.now(UTC)
    batches = [_floor_rows(ids, now) for _ in range(max(2, journals // FLOOR_BATCH))]
    with _connected(settings, _floor_database(settings)) as conn:
        warm = max(1, int(len(batches) * WARM_SHARE))
        for batch in batches[:warm]:
            _post_bare_rows(conn, *batch)
        begun_at = time.monotonic()
        for batch in batches[warm:]:
            _post_bare_rows(conn, *batch)
        return (len(batches) - warm) * FLOOR_BATCH / (time.monotonic() - begun_at)


Rows = list[tuple[Any, ...]]


def _floor_rows(ids: dict[str, int], now: datetime) -> tuple[Rows, Rows, Rows]:
    """Journals, entries and moves of balances, ready to be sent."""
    receivable, fees = ids["psp:northpay:receivable"], ids["platform:fees"]
    sellers = [account_id for account, account_id in ids.items() if account.startswith("seller:")]
    chosen = random.choices(sellers, [1 / (place + 1) for place in range(len(sellers))], k=FLOOR_BATCH)
    journals, entries, moves = [], [], {receivable: [0, 0], fees: [0, 0]}
    now_ms = int(now.timestamp() * 1000)
    for number, seller in enumerate(chosen):
        journal_id = bytes.fromhex(derive_id(secrets.token_hex(8), "floor", number, now_ms).replace("-", ""))
        order, cause = secrets.token_hex(8), secrets.token_bytes(16)
        journals.append((journal_id, "captured", order, f"c{order}", cause, [receivable, seller, fees], now))
        for line, account, direction, amount in (
            (1, receivable, "debit", 100),
            (2, seller, "credit", 90),
            (3, fees, "credit", 10),
        ):
            entries.append((account, journal_id, line, "EUR", direction, amount))
            moves.setdefault(account, [0, 0])[direction == "credit"] += amount
    return journals, entries, [(account, *sums) for account, sums in sorted(moves.items())]


def _post_bare_rows(conn: psycopg.Connection[Any], journals: Rows, entries: Rows, moves: Rows) -> None:
    with conn.cursor() as cur:
        with cur.copy(
            "COPY journals (journal_id, template, subject_id, checkout_id, cause_event_id, account_ids, posted_at)"
            " FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(["bytea", "text", "text", "text", "bytea", "int4[]", "timestamptz"])
            for row in journals:
                copy.write_row(row)
        with cur.copy(
            "COPY entries (account_id, journal_id, line, currency, direction, amount) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(["int4", "bytea", "int2", "text", "text", "int8"])
            for row in entries:
                copy.write_row(row)
        cur.execute(
            "UPDATE balances b SET debits = b.debits + m.debits, credits = b.credits + m.credits, version = b.version + 1"
            " FROM unnest(%s::integer[], %s::bigint[], %s::bigint[]) AS m (account_id, debits, credits)"
            " WHERE b.account_id = m.account_id AND b.currency = 'EUR'",
            [list(column) for column in zip(*moves, strict=True)],
        )
    conn.commit()
