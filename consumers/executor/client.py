"""A leased call → one HTTP exchange with its PSP or provider → the reply. A failure that may have taken effect is Unknown."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, assert_never

import aiohttp
import uvloop
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from prometheus_client import Counter, Histogram
from yarl import URL

from consumers.executor.counterparty import AnyReply, Counterparty
from consumers.executor.opening import Unsendable
from consumers.executor.pacing import Pace, Result
from psp.payout_port import Accepted, Failed, Paid, Rejected, Returned
from psp.port import (
    Authorised,
    Captured,
    Declined,
    DisputeState,
    HttpRequest,
    NothingHappened,
    NotThere,
    Pending,
    Refunded,
    Reversed,
    Unknown,
    Voided,
)
from topics.runtime.calls.bounded import BoundedReply
from topics.runtime.calls.rows import LEASED, CallReply, LeasedCall
from topics.runtime.shape.failpoints import hit

HARD_DEADLINE_S = 10.0
LEASE_MARGIN_S = 1.0  # for the time between the check of the lease and the first byte
CONNECT_S = 5.0
KEEP_ALIVE_S = 4.0  # shorter than the servers': a request on a connection that a server has just closed ends unknown
BODY_MAX = 1 << 20
WIRE_MAX = 2 * BODY_MAX  # bytes of an answer with its headers and transfer coding

REPLIES = Counter("tally_psp_replies_total", "What came of sends and questions to a PSP", ["psp", "act", "reply"])
SECONDS = Histogram("tally_psp_seconds", "From opening the connection to the end of the reply", ["psp", "act"])

Unsent = LeasedCall
Done = Callable[[CallReply | Unsent], None]


def given_back(call: LeasedCall) -> CallReply | LeasedCall:
    """A call that was leased too late to be sent. Of a pay-out that is an answer, since it may have been withdrawn meanwhile:
    then nothing is sent.
    """
    is_payout = call.kind == "payout" and call.act == "send"
    return answer_of(call, NothingHappened("lease_short")) if is_payout else call


def answer_of(call: LeasedCall, reply: AnyReply) -> CallReply:
    unknown = call.act == "send" and isinstance(reply, Unknown)
    told = reply.to_json()
    return CallReply(call.id, call.subject, call.cause_event_id, call.act, call.act_no, told, unknown, call.kind)


class PspClient:
    """A thread with an event loop and kept connections. It calls `done` once for each call."""

    def __init__(self, others: Mapping[str, Counterparty], paces: Mapping[str, Pace], done: Done) -> None:
        self._others = others
        self._paces = paces
        self._done = done
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._sends: aiohttp.ClientSession | None = None
        self._asks: aiohttp.ClientSession | None = None
        self._exchanges: set[asyncio.Task[None]] = set()
        self._urls: dict[str, URL] = {}
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="psp client")

    def start(self) -> None:
        self._thread.start()

    def submit(self, calls: Sequence[LeasedCall], leased_at: float) -> None:
        """Send leased calls; may be called by any thread. `leased_at` is the monotonic time before the lease was taken."""
        self._loop.call_soon_threadsafe(self._begin, calls, leased_at)

    def raise_if_dead(self) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("the client's thread died")

    def close(self) -> None:
        """Wait until the calls in flight have ended, HARD_DEADLINE_S at most."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with _session(keep_alive=True) as self._sends, _session(keep_alive=False) as self._asks:
            await self._closing.wait()
            while self._exchanges:
                await asyncio.wait(self._exchanges)

    def _begin(self, calls: Sequence[LeasedCall], leased_at: float) -> None:
        for call in calls:
            task = self._loop.create_task(self._exchange(call, leased_at))
            self._exchanges.add(task)
            task.add_done_callback(self._exchanges.discard)

    async def _exchange(self, call: LeasedCall, leased_at: float) -> None:
        pace = self._paces[call.psp]
        if not LEASED.lasts(leased_at, HARD_DEADLINE_S + LEASE_MARGIN_S):
            pace.ended("neither")
            self._done(given_back(call))
            return
        hit("call.before_send")
        started = time.perf_counter()
        reply = await self._reply(call)
        SECONDS.labels(call.psp, call.act).observe(time.perf_counter() - started)
        REPLIES.labels(call.psp, call.act, type(reply).__name__).inc()
        hit("call.after_reply")
        pace.ended(_result(reply))
        self._done(answer_of(call, reply))

    async def _reply(self, call: LeasedCall) -> AnyReply:
        """The reply. Raises nothing: any failure after the connection was made may be one after the charge, so Unknown."""
        try:
            return await self._talk(call)
        except Unsendable as unsendable:
            return NothingHappened(str(unsendable)) if call.act == "send" else Unknown(str(unsendable))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return NothingHappened("not_connected") if call.act == "send" else Unknown("not_connected")
        except TimeoutError:
            return Unknown("timeout")
        except (aiohttp.ClientError, OSError) as error:
            return Unknown(f"broken_off:{type(error).__name__}")
        except Exception as error:
            return Unknown(f"bug:{type(error).__name__}")

    async def _talk(self, call: LeasedCall) -> AnyReply:
        session = self._asks if call.act == "ask" else self._sends
        assert session is not None
        exchange = self._others[call.psp].exchange(call)
        return exchange.read(*await self._http(session, exchange.request))

    async def _http(self, session: aiohttp.ClientSession, request: HttpRequest) -> tuple[int, Mapping[str, str], bytes]:
        async with session.request(
            request.method,
            self._url(request),
            data=request.body or None,
            headers=request.headers,
            allow_redirects=False,
        ) as response:
            if (response.content_length or 0) > BODY_MAX:
                return response.status, response.headers, b""
            return response.status, response.headers, await response.read()

    def _url(self, request: HttpRequest) -> URL:
        """The request's address, parsed once if it is a charge's: all charges have one address, and parsing costs a tenth of a
        call.
        """
        if request.method == "GET":
            return URL(request.url, encoded=True)
        return self._urls.setdefault(request.url, URL(request.url, encoded=True))


class _OneAnswerEach(BoundedReply):
    """A connection that takes an answer only as the one answer to the request before it.

    A PSP or proxy that answers twice leaves an answer for the next user of the connection. Only 200s name the charge that
    they are about: after any other answer, or one without a request, the connection is not used again.
    """

    bytes_max = WIRE_MAX
    _asked = False

    def set_response_params(self, **params: Any) -> None:
        self._asked = True
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if data[0].code != 200:
            self.force_close()
        if not self._asked:
            self.close()
            return
        self._asked = data[0].code < 200  # "100 Continue" and other 1xx come before the answer
        super().feed_data(data, size)


def _session(*, keep_alive: bool) -> aiohttp.ClientSession:
    """A session without redirects, cookies or proxies, so that the adapter's request is sent once and unchanged.

    Each question has a connection of its own: the answer "no such charge" names no charge.
    """
    connector = (
        aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
        if keep_alive
        else aiohttp.TCPConnector(limit=0, force_close=True)
    )
    protocol: partial[Any] = partial(_OneAnswerEach, loop=asyncio.get_running_loop())
    connector._factory = protocol  # aiohttp has no public way to set it
    return aiohttp.ClientSession(
        connector=connector,
        # connect: for the DNS lookup and attempts at all addresses; sock_connect: for one address
        timeout=aiohttp.ClientTimeout(total=HARD_DEADLINE_S, connect=CONNECT_S, sock_connect=CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
    )


def _result(reply: AnyReply) -> Result:
    match reply:
        case Accepted() | Paid() | Rejected() | Failed() | Returned():
            return "success"
        case Captured() | Authorised() | Voided() | Refunded() | Reversed() | DisputeState():
            return "success"
        case Declined() | Pending() | NotThere():
            return "success"
        case NothingHappened(reason="rate_limited") | Unknown(reason="rate_limited"):
            return "neither"
        case NothingHappened() | Unknown():
            return "failure"
        case _:
            assert_never(reply)
