"""Settings of one test → servers: what a test makes, no other test sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from tests.stack import memory
from topics.settings import Settings


def test_each_stack_has_a_database_and_topics_of_its_own(make_stack: Callable[..., Settings]) -> None:
    one, other = make_stack(), make_stack()
    topics = set(AdminClient({"bootstrap.servers": one.kafka}).list_topics(timeout=10).topics)
    ones, others = ({t for t in topics if t.startswith(s.topic_prefix)} for s in (one, other))
    assert ones
    assert len(ones) == len(others)
    assert not ones & others
    assert one.database != other.database


def test_a_room_logs_in_with_its_derived_password(stack: Settings) -> None:
    with psycopg.connect(stack.dsn("tally_ledger")) as connection:
        row = connection.execute("SELECT current_user, current_database()").fetchone()
    assert row == ("tally_ledger", stack.database)


def test_a_folder_of_servers_is_deleted_by_the_next_session_once_its_own_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MEMORY", tmp_path)
    monkeypatch.setattr(memory, "ROOM", 0)
    left, others = tmp_path / f"{memory.PREFIX}left", tmp_path / "of others"
    left.mkdir()
    others.mkdir()
    with memory.quick_folder() as in_use, memory.quick_folder() as next_one:
        assert {*tmp_path.iterdir()} == {others, in_use, next_one}
    assert {*tmp_path.iterdir()} == {others}
