"""HTTP request → the PSP or provider of its path → HTTP answer, with the faults that are set."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping, Sequence

from simulator.answering import made_answer, problem_answer
from simulator.charging import AUTHORISED_S, KEY_LIFE_S, SETTLING_S, Charging
from simulator.clock import Clock
from simulator.control import Control
from simulator.disputes import Disputes
from simulator.faults import Faults
from simulator.harbour import Harbour
from simulator.hosted import HostedPages
from simulator.http import Answer, Request, Reset
from simulator.memory import Charge, Memory, seq_of
from simulator.operations import Operation, OperationBooks
from simulator.shape import Creation, Kind, LookUp, Page, Shape, id_of
from simulator.tokens import SCHEMES, Fault
from simulator.wire import Problem, Refused, json_answer, read_limit, read_text

HOLD_S = 30.0
SLOW_S = 1.0


class Simulator:
    """Dispatches requests and applies faults to answers. Holds no state."""

    def __init__(
        self,
        memory: Memory,
        operations: OperationBooks,
        disputes: Disputes,
        charging: Charging,
        control: Control,
        shapes: Mapping[str, Shape],
        keys: Mapping[str, str],
        clock: Clock,
        harbour: Harbour,
        pages: HostedPages,
    ) -> None:
        self._memory = memory
        self._operations = operations
        self._disputes = disputes
        self._charging = charging
        self._control = control
        self._fronts: Mapping[str, Shape | Harbour] = {**shapes, harbour.name: harbour}
        self._keys = keys
        self._clock = clock
        self._pages = pages

    async def handle(self, request: Request) -> Answer | Reset:
        front = self._fronts.get(request.path.strip("/").partition("/")[0])
        if front is None:
            return await self._controlled(request)
        try:
            answer, fault = await self._behind_front(front, request)
        except Refused as refused:
            return problem_answer(front, refused.problem, str(refused))
        return await _play(answer, fault)

    async def _controlled(self, request: Request) -> Answer:
        try:
            answer = await self._control.answer(request)
        except Refused as refused:
            return json_answer(400, {"error": str(refused)})
        return answer or json_answer(404, {"error": f"no {request.method} {request.path} here"})

    async def _behind_front(self, front: Shape | Harbour, request: Request) -> tuple[Answer, Fault | None]:
        faults = self._control.faults[front.name]
        if not isinstance(front, Harbour) and request.path.startswith(f"/{front.name}/pay/"):
            return await self._pages.answer(front, request, faults), None
        if request.path == f"/{front.name}/capabilities" and request.method == "GET":
            return json_answer(200, front.capabilities() if isinstance(front, Harbour) else _capabilities(front)), None
        if faults.down:
            said = f"{front.name} is down; nothing was done"
            return problem_answer(front, Problem.UNAVAILABLE, said, retry_after_s=1), None
        key = self._keys.get(front.name)
        if key is None or not hmac.compare_digest(front.api_key(request.headers).encode(), key.encode()):
            raise Refused(Problem.UNAUTHORISED, "this API key is not known")
        if faults.latency_ms:
            await asyncio.sleep(faults.latency_ms / 1000)
        if isinstance(front, Harbour):
            return await front.answer(request, faults)
        return await self._authorised(front, request, faults)

    async def _authorised(self, shape: Shape, request: Request, faults: Faults) -> tuple[Answer, Fault | None]:
        match shape.route(request):
            case Creation(kind="charge"):
                return await self._charge(shape, request, faults)
            case Creation() as creation:
                return await self._operate(shape, creation, request, faults)
            case LookUp(kind, reference):
                return self._find(shape, kind, reference), None
            case Page() as page:
                return self._list(shape, page), None
        raise Refused(Problem.NOT_FOUND, f"no {request.method} {request.path} here")

    async def _charge(self, shape: Shape, request: Request, faults: Faults) -> tuple[Answer, Fault | None]:
        key = read_text(request.headers.get(shape.key_header), shape.key_header)
        asked = shape.read_charge(key, request.body)
        made = await self._charging.charge(shape.name, asked, faults)
        body = None if made.charge is None else self._shown_charges(shape, [made.charge])[0]
        return made_answer(shape, body, replayed=made.replayed, fault=made.fault), made.fault

    async def _operate(
        self, shape: Shape, creation: Creation, request: Request, faults: Faults
    ) -> tuple[Answer, Fault | None]:
        key = read_text(request.headers.get(shape.key_header), shape.key_header)
        asked = shape.read_operation(creation, key, request.body)
        made = await self._charging.operate(shape.name, asked, faults)
        body = None if made.operation is None else self._shown_operations(shape, [made.operation])[0]
        return made_answer(shape, body, replayed=made.replayed, fault=made.fault), made.fault

    def _find(self, shape: Shape, kind: Kind, reference: str) -> Answer:
        match kind:
            case "charge":
                entries = self._shown_charges(shape, self._memory.find(shape.name, reference))
            case "dispute":
                stages = self._disputes.of(shape.name, id_of(reference))
                entries = [shape.dispute(one) for one in stages if shape.shown_id("dispute", one.id) == reference]
            case _:
                entries = self._shown_operations(shape, self._operations.find(shape.name, kind, reference))
        return json_answer(200, shape.page(kind, entries, None))

    def _list(self, shape: Shape, page: Page) -> Answer:
        after = 0 if page.cursor is None else seq_of(id_of(page.cursor))
        if after is None:
            raise Refused(Problem.INVALID, f"{shape.cursor_parameter}: not one of ours")
        entries, last = self._page(shape, page.kind, after, read_limit(page.limit))
        return json_answer(200, shape.page(page.kind, entries, last))

    def _page(self, shape: Shape, kind: Kind, after: int, limit: int) -> tuple[list[dict[str, object]], str | None]:
        """The entries, and the last one's id if there are more."""
        match kind:
            case "charge":
                charges, more = self._memory.page(shape.name, after, limit)
                return self._shown_charges(shape, charges), charges[-1].id if more else None
            case "dispute":
                stages, more = self._disputes.page(shape.name, after, limit)
                return [shape.dispute(one) for one in stages], stages[-1].id if more else None
            case _:
                operations, more = self._operations.page(shape.name, kind, after, limit)
                return self._shown_operations(shape, operations), operations[-1].id if more else None

    def _shown_charges(self, shape: Shape, charges: Sequence[Charge]) -> list[dict[str, object]]:
        statuses = self._operations.statuses(charges, self._clock.now_us())
        return [shape.charge(charge, status) for charge, status in zip(charges, statuses, strict=True)]

    def _shown_operations(self, shape: Shape, operations: Sequence[Operation]) -> list[dict[str, object]]:
        now_us = self._clock.now_us()
        return [shape.operation(one, one.status(now_us)) for one in operations]


def _capabilities(shape: Shape) -> dict[str, object]:
    return {
        "psp": shape.name,
        "settling_s": SETTLING_S,
        "key_life_s": KEY_LIFE_S,
        "captures": "many" if shape.many_captures else "one",
        "authorised_s": AUTHORISED_S,
        "schemes": list(SCHEMES),
        "currencies": dict(shape.exponents),
    }


async def _play(answer: Answer, fault: Fault | None) -> Answer | Reset:
    """The answer with the fault applied."""
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
