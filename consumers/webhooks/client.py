"""A leased delivery → one signed POST → its outcome. Addresses are checked at each connection."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from consumers.webhooks.queue import LeasedDelivery, Outcome
from topics.runtime.calls.bounded import BoundedReply
from topics.settings import Settings
from topics.webhooks.addresses import Network, address_fault, parse_address, url_fault
from topics.webhooks.signing import sign

REPLY_MAX = 500  # characters of a reply that are stored
REPLY_WAIT_S = 1.0  # to read them, after the status
USER_AGENT = "Tallystick-Webhooks/1"


class ForbiddenAddress(OSError):
    """An address that must not be connected to."""


class GuardedResolver(AbstractResolver):
    """Resolves a name to those of its addresses that may be connected to, anew for each connection."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._names = ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        fit = [one for one in found if self._fault(one["host"]) is None]
        if not fit:
            raise ForbiddenAddress(self._fault(found[0]["host"]) if found else "no address")
        return fit

    def _fault(self, host: str) -> str | None:
        to = parse_address(host)
        return address_fault(to, self._allowed) if to else f"{host} is no address"

    async def close(self) -> None:
        await self._names.close()


class _Reply(BoundedReply):
    bytes_max = 1 << 18


class WebhookClient:
    """Keeps connections to all endpoints. Used within one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.webhooks
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        """No redirects, cookies or proxies; as many connections as there are deliveries in flight."""
        if self._session is None:
            resolver = GuardedResolver(self._limits.allowed_networks)
            connector = aiohttp.TCPConnector(resolver=resolver, limit=0, use_dns_cache=False, keepalive_timeout=4)
            protocol: partial[Any] = partial(_Reply, loop=asyncio.get_running_loop())
            connector._factory = protocol  # aiohttp has no public API for it
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._limits.timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding"),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, leased: LeasedDelivery) -> Outcome:
        """Never raises: a failure is logged as an attempt, and retried."""
        started = time.perf_counter()
        status, error, reply = await self._attempt(leased)
        return Outcome(int((time.perf_counter() - started) * 1000), status, error, reply)

    async def _attempt(self, leased: LeasedDelivery) -> tuple[int | None, str | None, str]:
        fault = url_fault(leased.url, self._limits.http_allowed, self._limits.allowed_networks)
        if fault:  # settings may be stricter than at its registration
            return None, f"refused: {fault}", ""
        try:
            return await self._post(leased)
        except TimeoutError:
            return None, f"no reply within {self._limits.timeout_s:g} s", ""
        except aiohttp.ClientConnectorError as error:
            inner = error.os_error
            why = f"refused: {inner}" if isinstance(inner, ForbiddenAddress) else f"not connected: {inner}"
            return None, _printable(why), ""
        except (aiohttp.ClientError, OSError) as error:
            return None, _printable(f"broken off: {type(error).__name__}: {error}"), ""
        except Exception as error:
            return None, _printable(f"not sent: {type(error).__name__}: {error}"), ""

    async def _post(self, leased: LeasedDelivery) -> tuple[int, str | None, str]:
        async with self._open().post(
            URL(leased.url, encoded=True), data=leased.body, headers=self._headers(leased), allow_redirects=False
        ) as response:
            status = response.status
            reply = await _reply_start(response)
        if 200 <= status < 300:
            return status, None, reply
        return status, f"HTTP {status}" + (", and redirects are not followed" if 300 <= status < 400 else ""), reply

    def _headers(self, leased: LeasedDelivery) -> dict[str, str]:
        """Signed with the machine's time: receivers refuse a timestamp minutes away from theirs."""
        now = int(time.time())
        keys = [self._settings.webhook_key(leased.owner, leased.endpoint_id, v) for v in leased.secret_versions]
        return {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "webhook-id": leased.event_id,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(keys, leased.event_id, now, leased.body),
        }


async def _reply_start(response: aiohttp.ClientResponse) -> str:
    """The first characters of a reply, if they come within REPLY_WAIT_S. The status is decided already."""
    try:
        async with asyncio.timeout(REPLY_WAIT_S):
            return _printable((await response.content.read(REPLY_MAX)).decode("utf-8", "replace"))
    except (TimeoutError, aiohttp.ClientError, OSError):
        return ""


def _printable(text: str) -> str:
    """A receiver's text, safe to store and to show on a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:REPLY_MAX]
