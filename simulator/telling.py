"""What a PSP's caller may not know of → signed webhooks: out of order, now and then twice, until taken."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from simulator.behind import Operation
from simulator.clock import Clock
from simulator.disputes import Dispute
from simulator.memory import Charge
from simulator.shape import Kind, Shape

Entry = Charge | Operation | Dispute

DELAY_S_MAX = 1.0
TWICE = 0.2
TRIES_S = (1.0, 2.0, 5.0, 10.0, 30.0)
LOOK_S = 0.1
REPLY_S = 10.0
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where PSPs tell; each signs with its own secret, at `<url>/<psp>`."""

    url: str
    secrets: Mapping[str, str]


class Teller:
    """Keeps nothing on disk but the charges themselves: what a restart forgets is found by asking."""

    def __init__(
        self, endpoint: Endpoint | None, shapes: Mapping[str, Shape], clock: Clock, rng: random.Random
    ) -> None:
        self._endpoint = endpoint
        self._shapes = shapes
        self._clock = clock
        self._rng = rng
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    def tell(self, entry: Entry) -> None:
        """Soon, as it is now; and where it is not decided yet, again when it is."""
        if self._endpoint is None:
            return
        self._later(self._tell(entry, entry.created_at))
        decided_at = 0 if isinstance(entry, Dispute) else entry.decided_at
        if decided_at > self._clock.now_us():
            self._later(self._tell(entry, decided_at))

    def tell_decided(self, entry: Charge | Operation) -> None:
        """After a restart: those that were pending then."""
        if self._endpoint is not None:
            self._later(self._tell(entry, entry.decided_at))

    def _later(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, entry: Entry, from_us: int) -> None:
        while self._clock.now_us() < from_us:  # noqa: ASYNC110 - the clock may be moved
            await asyncio.sleep(LOOK_S)
        await asyncio.sleep(self._rng.uniform(0, DELAY_S_MAX))
        shape, now_us = self._shapes[entry.psp], self._clock.now_us()
        kind, told = _told(shape, entry, now_us)
        body = orjson.dumps(shape.event(f"evt_{secrets.token_hex(8)}", kind, told, now_us))
        for _ in range(2 if self._rng.random() < TWICE else 1):
            await self._until_taken(shape, body)

    async def _until_taken(self, shape: Shape, body: bytes) -> None:
        for wait_s in (*TRIES_S, None):
            async with self._places:
                status = await self._post(shape, body)
            if status is not None and 200 <= status < 300:
                return
            if wait_s is None:
                print(f"simulator: {shape.name} gives up a webhook, answered {status}", file=sys.stderr, flush=True)
                return
            await asyncio.sleep(wait_s)

    async def _post(self, shape: Shape, body: bytes) -> int | None:
        """The status; None where nobody answered in time."""
        assert self._endpoint is not None
        at = self._clock.now_us() // 1_000_000
        mac = hmac.new(self._endpoint.secrets[shape.name].encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", **shape.signed(at, mac)}
        try:
            return await asyncio.wait_for(_exchange(f"{self._endpoint.url}/{shape.name}", headers, body), REPLY_S)
        except (OSError, TimeoutError, ValueError, IndexError, asyncio.IncompleteReadError):
            return None


def _told(shape: Shape, entry: Entry, now_us: int) -> tuple[Kind, dict[str, object]]:
    """A charge as it stood before anything was done behind it: of that others tell."""
    match entry:
        case Charge():
            return "charge", shape.charge(entry, entry.first_status(now_us))
        case Operation():
            return entry.kind, shape.operation(entry, entry.status(now_us))
        case Dispute():
            return "dispute", shape.dispute(entry)


async def _exchange(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """One POST over a connection of its own. Errors: OSError, ValueError, IndexError."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        lines = [f"POST {where.path} HTTP/1.1", f"Host: {where.netloc}", f"Content-Length: {len(body)}"]
        lines += ["Connection: close", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
