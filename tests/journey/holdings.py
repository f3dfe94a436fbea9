"""All that an installation holds, as bytes: rows of every table, records of every topic, files of its home."""

from __future__ import annotations

import secrets
from pathlib import Path

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from psycopg import sql

from topics.catalog import ROOMS
from topics.settings import Settings

Held = tuple[str, bytes]


def everything_held(settings: Settings, home: Path) -> list[Held]:
    """(where, what) of all stores, topics and files, the simulator's books among them."""
    return [*_rows(settings), *_records(settings), *_files(home)]


def _rows(settings: Settings) -> list[Held]:
    held: list[Held] = []
    for schema in (*(room.name for room in ROOMS), "doors"):
        with psycopg.connect(settings.dsn(f"tally_{schema}"), autocommit=True) as conn:
            tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
            for (table,) in tables:
                rows = conn.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table)))
                held += [(f"{schema}.{table}", b"\n".join(map(_as_bytes, row))) for row in rows]
    return held


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _records(settings: Settings) -> list[Held]:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": secrets.token_hex(8),
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        topics = [name for name in consumer.list_topics(timeout=15).topics if name.startswith(settings.topic_prefix)]
        found = consumer.list_topics(timeout=15).topics
        partitions = [
            TopicPartition(name, each, OFFSET_BEGINNING) for name in topics for each in found[name].partitions
        ]
        left = sum(high - low for low, high in (consumer.get_watermark_offsets(each, 15) for each in partitions))
        consumer.assign(partitions)
        held: list[Held] = []
        while len(held) < left and (batch := consumer.consume(1000, 2)):
            held += [
                (str(m.topic()), b"%b\n%b\n%b" % (m.key() or b"", m.value() or b"", repr(m.headers()).encode()))
                for m in batch
            ]
        return held
    finally:
        consumer.close()


def _files(home: Path) -> list[Held]:
    return [(str(path), path.read_bytes()) for path in home.rglob("*") if path.is_file()]
