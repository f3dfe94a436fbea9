"""HTTP requests → doors → 202s; the rooms' views → answers to GETs. Started by `tally run api`."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException

from producers.bank_folders import BankFolders
from producers.connections import Connection
from producers.description import describe, methods, nothing_undocumented
from producers.hot import BLANKS, HotRoute, Receive, Reply, Scope, Send, described, each_once
from producers.house import House, furnish
from producers.problems import Problem
from producers.routes import (
    bank_files,
    break_work,
    money,
    money_back,
    notifications,
    operators,
    pages,
    payments,
    payout_approvals,
    payouts,
    recon,
    recon_closes,
    reports,
    resolutions,
    reviews,
    seller_money,
    sellers,
    service,
    settlement_files,
    webhook_endpoints,
)
from schemas.requests import FieldError
from topics.settings import Settings, SettingsError

log = structlog.get_logger()

REQUESTS = Counter("tally_http_requests_total", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram(
    "tally_http_seconds",
    "From the first byte to the answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
HOT = {route.path: route for route in (payments.ASK, payments.OPEN_SESSION, payouts.ASK)}
ROUTERS = (
    described(HOT.values()),
    payments.router,
    money_back.router,
    money.router,
    sellers.router,
    seller_money.router,
    payouts.router,
    reports.router,
    webhook_endpoints.router,
    notifications.router,
    operators.router,
    reviews.router,
    payout_approvals.router,
    resolutions.router,
    break_work.router,
    bank_files.router,
    settlement_files.router,
    recon_closes.router,
    recon.router,
    service.router,
    pages.router,
)


def serve(settings: Settings, stop: threading.Event, listening: socket.socket | None = None) -> None:
    """Answer until `stop` is set; before the end, accepted requests are answered and published."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, stop, listening or listen(settings)))


async def _serve(settings: Settings, stop: threading.Event, listening: socket.socket) -> None:
    config = uvicorn.Config(
        make_app(settings),
        http=Connection,
        ws="none",
        proxy_headers=False,
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        backlog=2048,
    )
    server = uvicorn.Server(config)
    watch = asyncio.create_task(_watch(server, stop))
    try:
        await server.serve(sockets=[listening])
    finally:
        watch.cancel()


def listen(settings: Settings) -> socket.socket:
    """A listening socket. Errors: SettingsError if the address cannot be bound."""
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.api_host, settings.api_port))
    except OSError as error:
        listening.close()
        where = f"{settings.api_host}:{settings.api_port}"
        raise SettingsError(f"TALLY_API_HOST, TALLY_API_PORT: cannot listen on {where}: {error.strerror}") from None
    return listening


async def _watch(server: uvicorn.Server, stop: threading.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(0.1)
        for connection in list(server.server_state.connections):
            if isinstance(connection, Connection):
                connection.hang_up_if_late()
    server.should_exit = True


def make_app(settings: Settings) -> Api:
    """The ASGI application. Its lifespan opens and closes doors and connections."""
    house = furnish(settings)
    folders = BankFolders(house)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        house.door.start(asyncio.get_running_loop())
        folders.start()
        yield
        await folders.close()
        await house.close()

    app = _documented(lifespan)
    app.state.house = house
    return Api(app, house)


class Api:
    """All requests pass here and are counted. Hot routes are answered directly, all others by FastAPI."""

    def __init__(self, app: FastAPI, house: House) -> None:
        self.app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] == "POST" and (hot := HOT.get(scope["path"])):
            await self._hot(hot, scope, receive, send)
        else:
            await self._other(scope, receive, send)

    async def _hot(self, route: HotRoute[Any], scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        try:
            reply = await route.take(self._house, scope, receive)
        except Problem as problem:
            reply = problem.status, problem.all_headers(), problem.body()
        except Exception:
            log.exception("request failed", action="answer", path=route.path)
            reply = _internal()
        _count("POST", route.path, reply[0], started)
        await _send(send, reply)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 0

        async def counting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            each_once(scope["headers"])
            scope["headers"] = [(name, value.strip(BLANKS)) for name, value in scope["headers"]]
            await self.app(scope, receive, counting)
        except Problem as problem:
            await _send(counting, (problem.status, problem.all_headers(), problem.body()))
        except Exception:
            log.exception("request failed", action="answer", path=scope["path"])
            if not status:
                await _send(counting, _internal())
        route = scope.get("route")
        _count(scope["method"], getattr(route, "path", "none"), status, started)


def _internal() -> Reply:
    problem = Problem("internal")
    return problem.status, problem.all_headers(), problem.body()


async def _send(send: Send, reply: Reply) -> None:
    status, headers, body = reply
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@cache
def _meters(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, status), SECONDS.labels(route)


def _count(method: str, route: str, status: int, started: float) -> None:
    requests, seconds = _meters(method, route, status)
    requests.inc()
    seconds.observe(time.perf_counter() - started)


# ── the FastAPI side ─────────────────────────────────────────────────────────────────────────────────────────────────


def _documented(lifespan: Any) -> FastAPI:
    app = FastAPI(
        title="Tallystick",
        version="1",
        description="Payments in: accepted with a 202, then followed by reading. Every error is a problem document "
        "(RFC 9457); [the codes](/errors).",
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(nothing_undocumented)],
        responses={"4XX": _PROBLEM, "5XX": _PROBLEM},
    )
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(Exception, _on_fault)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.openapi = describe(app, ROUTERS)  # type: ignore[method-assign]
    return app


_PROBLEM = {
    "description": "Problem document",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
}


async def _on_problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    headers = {name.decode(): value.decode() for name, value in problem.all_headers()}
    return Response(problem.body(), problem.status, headers)


async def _on_fault(request: Request, _: Exception) -> Response:
    """A bug of ours, which `Api` logs."""
    return await _on_problem(request, Problem("internal"))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """FastAPI's own errors: no such path, no such method."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:  # FastAPI names the methods of one route alone
        headers["allow"] = ", ".join(methods(ROUTERS, request.url.path))
    allow = [(name.lower().encode(), value.encode()) for name, value in headers.items() if name != "Allow"]
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "internal")
    return await _on_problem(request, Problem(code, headers=allow))


async def _on_invalid(request: Request, error: Exception) -> Response:
    """A query parameter that is unknown or malformed."""
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(".".join(str(part) for part in line["loc"][1:])[:64], "invalid_parameter", line["msg"])
        for line in error.errors()
    ]
    detail = f"{errors[0].field}: {errors[0].detail}"
    return await _on_problem(request, Problem("invalid_parameter", detail, errors))
