"""Outcomes that the caller may not know → signed webhooks: in any order, sometimes twice, repeated until accepted."""

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

from simulator.clock import Clock
from simulator.disputes import Dispute
from simulator.memory import Charge
from simulator.operations import Operation
from simulator.shape import Front, Kind, Shape

Entry = Charge | Operation | Dispute

DELAY_S_MAX = 1.0
TWICE = 0.2
TRIES_S = (1.0, 2.0, 5.0, 10.0, 30.0)
LOOK_S = 0.1
REPLY_S = 10.0
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where webhooks are sent: `<url>/<psp>`, each signed with its PSP's secret."""

    url: str
    secrets: Mapping[str, str]


class WebhookSender:
    """Sends webhooks. They are not stored: the caller must ask for outcomes whose webhooks a restart has lost."""

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
        """Send a webhook of the entry's state; if it is pending, another when it is decided."""
        if self._endpoint is None:
            return
        self._later(self._tell(entry, entry.created_at))
        decided_at = 0 if isinstance(entry, Dispute) or _waits_for_buyer(entry) else entry.decided_at
        if decided_at > self._clock.now_us():
            self._later(self._tell(entry, decided_at))

    async def tell_now(self, charge: Charge) -> None:
        """Send a webhook of the charge's state, and wait until it has arrived or is given up."""
        if self._endpoint is not None:
            await self._tell(charge, 0)

    def tell_decided(self, entry: Charge | Operation) -> None:
        """Send the webhook of an entry that was pending at a restart, when it is decided."""
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
        await self._until_taken_each(
            shape, orjson.dumps(shape.event(f"evt_{secrets.token_hex(8)}", kind, told, now_us))
        )

    def send(self, front: Front, body: bytes) -> None:
        """Send a webhook soon: several may arrive in another order."""
        if self._endpoint is not None and front.name in self._endpoint.secrets:
            self._later(self._send(front, body))

    async def _send(self, front: Front, body: bytes) -> None:
        await asyncio.sleep(self._rng.uniform(0, DELAY_S_MAX))
        await self._until_taken_each(front, body)

    async def _until_taken_each(self, shape: Front, body: bytes) -> None:
        for _ in range(2 if self._rng.random() < TWICE else 1):
            await self._until_taken(shape, body)

    async def _until_taken(self, shape: Front, body: bytes) -> None:
        for wait_s in (*TRIES_S, None):
            async with self._places:
                status = await self._post(shape, body)
            if status is not None and 200 <= status < 300:
                return
            if wait_s is None:
                print(f"simulator: {shape.name} gives up a webhook, answered {status}", file=sys.stderr, flush=True)
                return
            await asyncio.sleep(wait_s)

    async def _post(self, shape: Front, body: bytes) -> int | None:
        """The status of the answer; None without an answer in time."""
        assert self._endpoint is not None
        at = self._clock.now_us() // 1_000_000
        mac = hmac.new(self._endpoint.secrets[shape.name].encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", **shape.signed(at, mac)}
        try:
            return await asyncio.wait_for(_exchange(f"{self._endpoint.url}/{shape.name}", headers, body), REPLY_S)
        except (OSError, TimeoutError, ValueError, IndexError, asyncio.IncompleteReadError):
            return None


def _waits_for_buyer(entry: Charge | Operation) -> bool:
    """Whether it is paid on a page, whose end nobody knows beforehand."""
    return isinstance(entry, Charge) and entry.page_url != ""


def _told(shape: Shape, entry: Entry, now_us: int) -> tuple[Kind, dict[str, object]]:
    """The entry for a webhook: a charge in its state before any operation, since operations have webhooks of their own."""
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
