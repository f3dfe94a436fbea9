"""A server's port → another port through which it is slow, cut off, half-closed or silent, as told."""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
CHUNK = 65_536
ANSWER_S = 10.0
PRODUCE = (0).to_bytes(2, "big")  # Kafka's key of that request
NOT_LEADER = 6
PIPELINED_S = 0.3


@dataclass(eq=False)
class Pair:
    """One client's connection and ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    ended: set[asyncio.StreamWriter] = field(default_factory=set)  # we have said goodbye to these

    def abort(self) -> None:
        for side in (self.client, self.server):
            side.transport.abort()

    def end(self, side: asyncio.StreamWriter) -> None:
        """Nothing more goes to that side; what it says still comes through."""
        if side not in self.ended and not side.is_closing():
            self.ended.add(side)
            with suppress(OSError):  # the side has just broken off
                side.write_eof()


class Proxy:
    """One port, in a thread of its own; each method returns when it has taken hold.

    Kafka tells clients under which address to reach it: with `kafka` its answers name this port in place of its own.
    """

    def __init__(self, target: str, *, kafka: bool = False) -> None:
        self.host, _, port = target.rpartition(":")
        self._target = int(port)
        self._kafka = kafka
        self._delay_s = 0.0
        self._away = False
        self._refusals = 0
        self._pairs: set[Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy of {target}", daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, self.host, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def delay(self, seconds: float) -> None:
        """Each chunk, either way, comes so much later."""
        self._now(lambda: setattr(self, "_delay_s", seconds))

    def stall(self) -> None:
        """Connections stand, and nothing comes through, until `flow`."""
        self._now(self._flowing.clear)

    def flow(self) -> None:
        """Fair weather: no delay, no stall, new connections welcome."""
        self._now(self._make_fair)

    def cut(self) -> int:
        """Reset every connection, in the middle of whatever it says. → how many there were"""
        return self._now(self._cut)

    def go_away(self) -> int:
        """The same, and whoever comes meanwhile is sent away, until `flow`."""
        self._now(lambda: setattr(self, "_away", True))
        return self.cut()

    def half_close(self, chance: random.Random) -> int:
        """Each connection ends in one direction only, drawn by lot. → how many"""
        return self._now(lambda: self._half_close(chance))

    def refuse(self) -> None:
        """The next record is refused, as by a broker that has started and does not lead its partition yet."""
        self._now(lambda: setattr(self, "_refusals", 1))

    @property
    def refused(self) -> bool:
        """It has come, and was told so."""
        return self._now(lambda: self._refusals == 0)

    def close(self) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_S)

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    def _now(self, work: Callable[[], T]) -> T:
        async def done() -> T:
            return work()

        return self._do(done())

    def _do(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_S)

    def _make_fair(self) -> None:
        self._delay_s, self._away = 0.0, False
        self._flowing.set()

    def _cut(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.abort()
        return len(pairs)

    def _half_close(self, chance: random.Random) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.end(chance.choice([pair.client, pair.server]))
        return len(pairs)

    async def _close(self) -> None:
        self._server.close()
        self._make_fair()
        self._cut()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if rest:
            await asyncio.wait(rest, timeout=ANSWER_S / 2)

    async def _serve(self, heard: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._away:
            client.transport.abort()
            return
        try:
            answers, server = await asyncio.open_connection(self.host, self._target)
        except OSError:
            client.transport.abort()  # as if the server were not listening
            return
        pair = Pair(client, server)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(pair, heard, server), self._pump(pair, answers, client))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            pair.abort()
            self._pairs.discard(pair)

    async def _pump(self, pair: Pair, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        """Until the source ends; what cannot be said any more is heard all the same, and thrown away."""
        read = self._frame if self._kafka else self._chunk
        while data := await read(source):
            if self._refusals and to is pair.server and data[4:6] == PRODUCE:
                self._refusals -= 1
                await asyncio.sleep(PIPELINED_S)  # whatever else is on its way may come, and is read after this
                pair.client.write(refusal(data))
                continue
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._flowing.wait()
            if to not in pair.ended:
                to.write(data)
                await to.drain()
        pair.end(to)

    async def _chunk(self, source: asyncio.StreamReader) -> bytes:
        return await source.read(CHUNK)

    async def _frame(self, source: asyncio.StreamReader) -> bytes:
        """A request or an answer, whole, so that no address in it is torn apart; as long with our port as with Kafka's."""
        try:
            size = await source.readexactly(4)
        except asyncio.IncompleteReadError:
            return b""
        answer = await source.readexactly(int.from_bytes(size, "big"))
        return size + answer.replace(_named(self.host, self._target), _named(self.host, self.port))


def _named(host: str, port: int) -> bytes:
    """An address as Kafka's protocol writes it: the host, then the port as INT32."""
    return host.encode() + struct.pack(">i", port)


def refusal(request: bytes) -> bytes:
    """A produce request (https://kafka.apache.org/protocol, version 9 to 12) of one partition → "not leader".

    Lengths of compact strings and arrays are one more than what they count, and below 128 here: a byte each.
    """
    correlation, client = request[8:12], 14 + int.from_bytes(request[12:14], "big")
    transaction = request[client + 1] or 1  # after the tags of the header; none is 0, as empty is 1
    topic = client + 1 + transaction + 2 + 4  # after acks and the time-out
    length = request[topic + 1]
    partition = topic + 1 + length
    assert request[topic] == request[partition] == 2, "one topic, one partition"
    index = request[partition + 1 : partition + 5]
    nowhere = struct.pack(">hqqq", NOT_LEADER, -1, -1, -1) + b"\x01\x00"  # no offset, time, start, errors, message
    answer = correlation + b"\x00" + request[topic : partition + 1] + index + nowhere + bytes(2 + 4 + 1)
    return struct.pack(">i", len(answer)) + answer


@contextmanager
def proxied(target: str, *, kafka: bool = False) -> Iterator[Proxy]:
    """Until the block ends."""
    proxy = Proxy(target, kafka=kafka)
    try:
        yield proxy
    finally:
        proxy.close()
