"""HTTP in → the PSP whose path it is → HTTP out, or what is left of it."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping

from simulator.charging import KEY_LIFE_S, SETTLING_S, Charged, Charging
from simulator.clock import Clock
from simulator.control import Control
from simulator.faults import Faults
from simulator.http import Answer, Request, Reset
from simulator.memory import Memory, seq_of
from simulator.tokens import SCHEMES, Fault
from simulator.wire import Problem, Refused, Shape, json_answer, read_limit, read_text

HOLD_S = 30.0
SLOW_S = 1.0


class Simulator:
    """Dispatches each request and plays the faults; holds no state of its own."""

    def __init__(
        self,
        memory: Memory,
        charging: Charging,
        control: Control,
        shapes: Mapping[str, Shape],
        keys: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._memory = memory
        self._charging = charging
        self._control = control
        self._shapes = shapes
        self._keys = keys
        self._clock = clock

    async def handle(self, request: Request) -> Answer | Reset:
        shape = self._shapes.get(request.path.strip("/").partition("/")[0])
        if shape is None:
            return await self._controlled(request)
        try:
            answer, fault = await self._psp(shape, request)
        except Refused as refused:
            return _problem(shape, refused.problem, str(refused))
        return await _play(answer, fault)

    async def _controlled(self, request: Request) -> Answer:
        try:
            answer = await self._control.answer(request)
        except Refused as refused:
            return json_answer(400, {"error": str(refused)})
        return answer or json_answer(404, {"error": f"no {request.method} {request.path} here"})

    async def _psp(self, shape: Shape, request: Request) -> tuple[Answer, Fault | None]:
        faults = self._control.faults[shape.name]
        if request.path == f"/{shape.name}/capabilities" and request.method == "GET":
            return _capabilities(shape), None
        if faults.down:
            return _problem(
                shape, Problem.UNAVAILABLE, f"{shape.name} is down; nothing was done", retry_after_s=1
            ), None
        if not hmac.compare_digest(shape.api_key(request.headers).encode(), self._keys[shape.name].encode()):
            raise Refused(Problem.UNAUTHORISED, "this API key is not known")
        if faults.latency_ms:
            await asyncio.sleep(faults.latency_ms / 1000)
        return await self._authorised(shape, request, faults)

    async def _authorised(self, shape: Shape, request: Request, faults: Faults) -> tuple[Answer, Fault | None]:
        if request.path == shape.charges_path and request.method == "POST":
            return await self._charge(shape, request, faults)
        if (
            request.path == shape.charges_path
            and request.method == "GET"
            and shape.reference_parameter in request.query
        ):
            return self._find(shape, request.query[shape.reference_parameter]), None
        if request.path == shape.listing_path and request.method == "GET":
            return self._list(shape, request.query), None
        raise Refused(Problem.NOT_FOUND, f"no {request.method} {request.path} here")

    async def _charge(self, shape: Shape, request: Request, faults: Faults) -> tuple[Answer, Fault | None]:
        key = read_text(request.headers.get(shape.key_header), shape.key_header)
        asked = shape.read_charge(key, request.body)
        charged = await self._charging.charge(shape.name, asked, faults)
        return _charge_answer(shape, charged, self._clock.now_us()), charged.fault

    def _find(self, shape: Shape, reference: str) -> Answer:
        return json_answer(200, shape.found(self._memory.find(shape.name, reference), self._clock.now_us()))

    def _list(self, shape: Shape, query: Mapping[str, str]) -> Answer:
        cursor = query.get(shape.cursor_parameter)
        after = 0 if cursor is None else seq_of(cursor.removeprefix("ch_"))
        if after is None:
            raise Refused(Problem.INVALID, f"{shape.cursor_parameter}: not one of ours")
        charges, more = self._memory.page(shape.name, after, read_limit(query.get(shape.limit_parameter)))
        return json_answer(200, shape.page(charges, more, self._clock.now_us()))


def _capabilities(shape: Shape) -> Answer:
    declared = {
        "psp": shape.name,
        "settling_s": SETTLING_S,
        "key_life_s": KEY_LIFE_S,
        "schemes": list(SCHEMES),
        "currencies": dict(shape.exponents),
    }
    return json_answer(200, declared)


def _charge_answer(shape: Shape, charged: Charged, now_us: int) -> Answer:
    match charged.fault:
        case Fault.TOO_MANY:
            return _problem(shape, Problem.TOO_MANY, "slow down", retry_after_s=1)
        case Fault.UNAVAILABLE:
            return _problem(shape, Problem.UNAVAILABLE, "try again; nothing was done", retry_after_s=1)
        case Fault.ERROR_CHARGED | Fault.ERROR_UNCHARGED:
            return _problem(shape, Problem.INTERNAL, "something went wrong")
    if charged.charge is None:
        return _problem(shape, Problem.INTERNAL, "never sent")
    return json_answer(
        200, shape.charge(charged.charge, now_us), {"Idempotent-Replayed": "true"} if charged.replayed else None
    )


def _problem(shape: Shape, problem: Problem, message: str, retry_after_s: int | None = None) -> Answer:
    status, body = shape.problem(problem, message)
    return json_answer(status, body, None if retry_after_s is None else {"Retry-After": str(retry_after_s)})


async def _play(answer: Answer, fault: Fault | None) -> Answer | Reset:
    """The answer in the way that the fault says."""
    match fault:
        case Fault.SLOW:
            await asyncio.sleep(SLOW_S)
        case Fault.TIMEOUT_CHARGED | Fault.TIMEOUT_UNCHARGED:
            await asyncio.sleep(HOLD_S)  # a caller that hangs up cancels this
            return Reset()
        case Fault.RESET_CHARGED:
            return Reset(answer)
        case Fault.GARBAGE:
            return Answer(200, b'{"id": "ch_\xff\xfe<html>' + answer.body[:7])
    return answer
