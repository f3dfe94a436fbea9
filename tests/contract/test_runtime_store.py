"""A room's store: what a batch sends, and when."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest

from tests.contract.rooms import Books, Process
from tests.contract.running import wait
from topics.runtime.shape.store import error_kind, int_array, text_array
from topics.runtime.shape.table import Column, Table


def last_statement(books: Books, pid: int) -> str:
    ((query,),) = books.rows("SELECT query FROM pg_stat_activity WHERE pid = %s", pid)
    return str(query)


def test_the_server_hears_of_a_batch_when_an_answer_is_read(process: Process, books: Books) -> None:
    pid = process.store.connection().info.backend_pid
    before = last_statement(books, pid)
    with process.store.batch() as conn:
        asked = conn.execute("SELECT 'held back'")
        assert last_statement(books, pid) == before  # not even BEGIN
        assert asked.fetchone() == ("held back",)
        assert last_statement(books, pid) == "SELECT 'held back'"


def test_what_nobody_asks_the_answer_of_is_sent_with_the_commit(process: Process, books: Books) -> None:
    with process.store.batch() as conn:
        conn.execute("INSERT INTO broken VALUES ('a')")
        conn.execute("INSERT INTO broken VALUES ('b')")
        assert books.rows("SELECT what FROM broken") == []
    assert books.rows("SELECT what FROM broken ORDER BY 1") == [("a",), ("b",)]


def test_a_batch_that_stands_still_does_not_keep_its_locks(process: Process, books: Books) -> None:
    """In a pipeline a session is never idle in its transaction: another limit ends it, and the batch comes again."""
    with process.store.transaction() as conn:
        assert conn.execute("SHOW transaction_timeout").fetchone() == ("1min",)
    pid = process.store.connection().info.backend_pid
    with pytest.raises(psycopg.Error) as ended:
        stand_still(process, lambda: not books.rows("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid))
    assert error_kind(ended.value) == "away"
    assert books.rows("SELECT what FROM broken") == []


def stand_still(process: Process, ended: Callable[[], bool]) -> None:
    """In the middle of a batch, for longer than is let."""
    with process.store.batch() as conn:
        conn.execute("INSERT INTO broken VALUES ('a')")
        for limit in ("0", "100ms"):  # a limit that runs is not shortened: ended, and begun anew
            conn.execute("SELECT set_config('transaction_timeout', %s, true)", [limit]).fetchone()
        wait("the server ends it", ended)
        conn.execute("SELECT 1").fetchone()


def test_a_batch_begins_once_however_often_an_answer_is_read(process: Process) -> None:
    """Each reading was followed by another BEGIN, and by a warning in the server's log: 80,000 lines in 25 minutes."""
    warned: list[str | None] = []
    process.store.connection().add_notice_handler(lambda notice: warned.append(notice.message_primary))
    for _ in range(2):
        with process.store.batch() as conn:
            for number in range(3):
                assert conn.execute("SELECT %s::int", [number]).fetchone() == (number,)
    assert warned == []
    conn = process.store.connection()
    assert not conn.autocommit, "whoever takes the connection itself commits by hand"


def test_a_failed_batch_leaves_nothing_and_the_next_is_whole(process: Process, books: Books) -> None:
    for fault, error in (("SELECT 1 / 0", psycopg.errors.DivisionByZero), (None, KeyError)):
        with pytest.raises(error):
            spoil(process, fault)
    with process.store.batch() as conn:
        conn.execute("INSERT INTO broken VALUES ('b')")
    with process.store.transaction() as conn:
        conn.execute("INSERT INTO broken VALUES ('c')")
    assert books.rows("SELECT what FROM broken ORDER BY 1") == [("b",), ("c",)]


def spoil(process: Process, fault: LiteralString | None) -> None:
    """A batch in which a statement, or we, fail after the first row."""
    with process.store.batch() as conn:
        conn.execute("INSERT INTO broken VALUES ('a')")
        if fault is None:
            raise KeyError
        conn.execute(fault).fetchone()


TYPES = ("text", "json", "int2", "int8", "bool", "uuid", "timestamptz", "bytea", "int4[]", "text[]")
ROWS = [
    (
        "plain",
        "{}",
        1,
        -(2**63),
        True,
        "0" * 8 + "-0000-8000-8000-" + "0" * 12,
        datetime(1, 1, 1, tzinfo=UTC),
        b"\0",
        [1],
        ["a"],
    ),
    ('"\\, {NULL}', '{"a": "\\""}', 0, 2**63 - 1, False, None, None, b"", [-1, 2, 3], ['"', "\\", "}"]),
    (None, None, None, None, None, None, datetime(2026, 1, 1, tzinfo=UTC), b"x", [4, 5], []),
]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []])
def test_what_is_inserted_by_columns_is_what_was_given(process: Process, rows: list[tuple[object, ...]]) -> None:
    names = ", ".join(f"c{n}" for n in range(len(TYPES)))
    row_of: Any = namedtuple("row_of", [f"c{n}" for n in range(len(TYPES))])
    insert = Table("given", *(Column(f"c{n}", kind) for n, kind in enumerate(TYPES))).insert()
    table = ", ".join(f"c{n} {'text' if kind == 'json' else kind}" for n, kind in enumerate(TYPES))
    with process.store.transaction() as conn:
        conn.execute(f"CREATE TEMPORARY TABLE given ({table}) ON COMMIT DROP")
        insert.run(conn, [row_of(*row) for row in rows])
        if rows:
            insert.run_columns(conn, **dict(zip(row_of._fields, zip(*rows, strict=True), strict=True)))
        found = conn.execute(f"SELECT {names.replace('c5', 'c5::text')} FROM given", binary=True).fetchall()
    assert found == [*rows, *rows]


@pytest.mark.parametrize("numbers", [[], [0], [-(2**63), 2**63 - 1, 7]])
@pytest.mark.parametrize(
    "texts", [[], [""], ["a", "", "seller:b~1.c:payable"], ['"', "\\", '","', "}"], [None, "NULL", "é"]]
)
def test_arrays_of_texts_and_numbers_arrive_as_they_are(
    process: Process, numbers: list[int], texts: list[str | None]
) -> None:
    arrays = [int_array(number for number in numbers), text_array(text for text in texts)]
    with process.store.transaction() as conn:
        assert conn.execute("SELECT %s::bigint[], %s::text[]", arrays).fetchone() == (numbers, texts)
