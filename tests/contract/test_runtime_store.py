"""A room's store: what a batch sends, and when."""

from __future__ import annotations

from tests.contract.rooms import Books, Process


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
