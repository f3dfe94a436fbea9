"""The load generators' HTTP client, against a server that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from operations.bench import client
from operations.bench.client import Client

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"
LAST = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"

Asked = list[tuple[int, bytes]]  # which connection, its request


def talk(answers: Sequence[bytes | None], caller: Callable[[Client], Awaitable[object]]) -> tuple[object, Asked]:
    """What the caller got, and what the server heard. None: the server hangs up instead."""

    async def both() -> tuple[object, Asked]:
        heard: Asked = []
        left = list(answers)
        connections = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            mine = connections
            while head := await reader.read(65_536):
                heard.append((mine, head))
                answer = left.pop(0)
                if answer is None:
                    break
                writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        calling = Client(f"http://127.0.0.1:{port}", {"Authorization": "Bearer k"})
        try:
            return await caller(calling), heard
        finally:
            calling.close()
            server.close()

    return asyncio.run(both())


def test_a_connection_is_used_again() -> None:
    async def twice(calling: Client) -> object:
        return [await calling.post("/v1/payments", b"{}"), await calling.get("/v1/payments/c")]

    got, heard = talk([OK, OK], twice)
    assert got == [(202, b"ok"), (202, b"ok")]
    assert [connection for connection, _ in heard] == [1, 1]
    assert heard[0][1].endswith(b"Authorization: Bearer k\r\nContent-Length: 2\r\n\r\n{}")
    assert heard[1][1].startswith(b"GET /v1/payments/c HTTP/1.1\r\n")


def test_requests_at_once_do_not_share_a_connection() -> None:
    async def at_once(calling: Client) -> object:
        return await asyncio.gather(calling.post("/a", b"1"), calling.post("/b", b"2"))

    got, heard = talk([OK, OK], at_once)
    assert got == [(202, b"ok"), (202, b"ok")]
    assert sorted(connection for connection, _ in heard) == [1, 2]


def test_a_connection_that_the_server_ends_is_not_used_again() -> None:
    async def twice(calling: Client) -> object:
        return [await calling.post("/a", b"1"), await calling.post("/b", b"2")]

    got, heard = talk([LAST, OK], twice)
    assert got == [(500, b"no"), (202, b"ok")]
    assert [connection for connection, _ in heard] == [1, 2]


@pytest.mark.parametrize("answer", [None, b"nonsense\r\n\r\n"])
def test_what_is_no_answer_is_an_error(answer: bytes | None) -> None:
    with pytest.raises(OSError, match=r"broken off|not an answer"):
        talk([answer], lambda calling: calling.post("/a", b"1"))


def test_an_answer_that_comes_too_late_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late_then_again(calling: Client) -> object:
        monkeypatch.setattr(client, "TIMEOUT_S", 0.05)
        with pytest.raises(TimeoutError):
            await calling.post("/a", b"1")
        monkeypatch.undo()
        return await calling.post("/b", b"2")

    got, heard = talk([b"HTTP/1.1 202 Acc", OK], late_then_again)
    assert got == (202, b"ok")
    assert [connection for connection, _ in heard] == [1, 2]


def test_an_answer_is_only_that_of_the_request_before_it() -> None:
    async def twice(calling: Client) -> object:
        return [await calling.post("/a", b"1"), await calling.post("/b", b"2")]

    hint = b"HTTP/1.1 103 EarlyNotification Hints\r\n\r\n"
    got, heard = talk([hint + OK, OK], twice)
    assert got == [(202, b"ok"), (202, b"ok")]
    got, heard = talk([OK + LAST, OK], twice)
    assert got == [(202, b"ok"), (202, b"ok")]
    assert [connection for connection, _ in heard] == [1, 2], "who says more than was asked is not asked again"


def test_an_answer_without_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_MAX", 100_000)
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000
    with pytest.raises(OSError, match="larger than 100000 bytes"):
        talk([endless], lambda calling: calling.post("/a", b"1"))


def test_the_bound_is_of_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_MAX", len(OK))

    async def twice(calling: Client) -> object:
        return [await calling.post("/a", b"1"), await calling.post("/b", b"2")]

    assert talk([OK, OK], twice)[0] == [(202, b"ok"), (202, b"ok")]


def test_nothing_is_sent_once_it_is_closed() -> None:
    async def after(calling: Client) -> object:
        await calling.post("/a", b"1")
        calling.close()
        with pytest.raises(ConnectionError):
            await calling.post("/b", b"2")
        return None

    _, heard = talk([OK], after)
    assert len(heard) == 1
