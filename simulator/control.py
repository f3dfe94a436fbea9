"""Requests of people and tests → faults set, history loaded, books shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from simulator.banking.clerk import Clerk
from simulator.clock import Clock
from simulator.commands import ControlCommands
from simulator.faults import Faults, FaultsError, read_op
from simulator.harbour import Harbour
from simulator.http import Answer, Request
from simulator.kept_faults import KeptFaults
from simulator.memory import ChargeRequest, Memory
from simulator.settlements.asked import SettlementRequests
from simulator.shape import Shape
from simulator.tokens import SCHEMES
from simulator.wire import (
    Problem,
    Refused,
    iso_time,
    json_answer,
    read_amount,
    read_currency,
    read_limit,
    read_text,
)

_HISTORY_FIELDS = frozenset(
    {"psp", "reference", "order", "amount", "currency", "token", "scheme", "decline_code", "created_at"}
)
_Row = tuple[str, ChargeRequest, str | None, str | None, int]


class Control:
    """The control API. Errors: Refused(INVALID), answered as `{"error": …}` with 400."""

    def __init__(
        self,
        memory: Memory,
        clock: Clock,
        shapes: Mapping[str, Shape],
        commands: ControlCommands,
        faults: KeptFaults,
        harbour: Harbour,
        settlements: SettlementRequests,
        clerk: Clerk | None,
    ) -> None:
        self._clerk = clerk
        self._settlements = settlements
        self._commands = commands
        self._memory = memory
        self._clock = clock
        self._shapes = shapes
        self._faults = faults
        self._harbour = harbour

    @property
    def faults(self) -> Mapping[str, Faults]:
        """The faults of each PSP and provider."""
        return self._faults.by_psp

    async def answer(self, request: Request) -> Answer | None:
        """The answer; None for an unknown path."""
        match request.method, request.path:
            case "GET", "/healthz":
                return json_answer(200, {"status": "ok"})
            case "GET", "/control/faults":
                return self._faults_now()
            case "PUT", "/control/faults":
                return await self._set_faults(request.body)
            case "GET", "/control/status":
                return self._status()
            case "GET", "/control/charges":
                return self._charges(request.query)
            case "POST", "/control/preload":
                return await self._preload(request.body)
            case "GET", "/control/operations":
                return self._operations(request.query)
            case "POST", "/control/next":
                return json_answer(200, await self._commands.plan(_json(request.body)))
            case "POST", "/control/reverse":
                return json_answer(200, await self._commands.reverse(_json(request.body)))
            case "GET", "/control/transfers":
                return json_answer(200, self._harbour.books(request.query))
            case "GET", "/control/bank":
                return json_answer(200, self._at_bank().listed(request.query))
            case "POST", "/control/return":
                return json_answer(200, await self._harbour.bring_back(_json(request.body)))
            case "POST", "/control/settle":
                return await self._settlements.settle(_json(request.body))
            case "GET", "/control/settlements":
                return self._settlements.listed(request.query)
            case "GET", "/control/settlement-file":
                return self._settlements.file(request.query)
            case "POST", "/control/disputes":
                return json_answer(200, await self._commands.dispute(_json(request.body)))
            case _:
                return None

    def _at_bank(self) -> Clerk:
        if self._clerk is None:
            raise Refused(Problem.INVALID, "no bank here: the simulator was started without --bank")
        return self._clerk

    def _faults_now(self) -> Answer:
        return json_answer(200, {name: faults.to_json() for name, faults in self.faults.items()})

    async def _set_faults(self, body: bytes) -> Answer:
        changes = _json(body)
        if not isinstance(changes, dict):
            raise Refused(Problem.INVALID, "the body must be an object")
        asked_for = changes.pop("psp", "all")
        try:
            await self._faults.change(self._meant(asked_for, changes.get("op")), changes)
        except FaultsError as error:
            raise Refused(Problem.INVALID, str(error)) from None
        return self._faults_now()

    def _meant(self, asked_for: object, op: object) -> list[str]:
        """The PSPs and providers that are meant; of all, those that know the operation."""
        if asked_for == "all":
            return [name for name, faults in self.faults.items() if op is None or read_op(op) in faults.ops]
        if not isinstance(asked_for, str) or asked_for not in self.faults:
            raise Refused(Problem.INVALID, f"psp: must be one of {', '.join(self.faults)}")
        return [asked_for]

    def _status(self) -> Answer:
        counts = self._memory.counts()
        psps = {
            name: {**{"succeeded": 0, "declined": 0}, **counts.get(name, {}), "faults": self.faults[name].to_json()}
            for name in self._shapes
        }
        harbour = self._harbour.name
        providers = {harbour: {"transfers": self._harbour.count(), "faults": self.faults[harbour].to_json()}}
        return json_answer(200, {"now": iso_time(self._clock.now_us()), "psps": psps, "providers": providers})

    def _charges(self, query: Mapping[str, str]) -> Answer:
        wanted = query.get("reference")
        charges = self._memory.known_as(wanted) if wanted else self._memory.newest(read_limit(query.get("limit"), 20))
        return json_answer(200, {"charges": [self._commands.told_charge(charge) for charge in charges]})

    def _operations(self, query: Mapping[str, str]) -> Answer:
        return json_answer(200, self._commands.books(read_text(query.get("reference"), "reference")))

    async def _preload(self, body: bytes) -> Answer:
        """Load history from a JSON array or JSON lines; answers the PSP's ids in the same order."""
        rows = [self._history(row) for row in _rows(body)]
        return json_answer(200, {"ids": await self._memory.preload(rows)})

    def _history(self, row: object) -> _Row:
        if not isinstance(row, dict) or not row.keys() <= _HISTORY_FIELDS:
            raise Refused(Problem.INVALID, f"each row is an object of {', '.join(sorted(_HISTORY_FIELDS))}")
        psp = self._psp(row.get("psp"))
        reference = read_text(row.get("reference"), "reference")
        asked = ChargeRequest(
            key=reference,
            reference=reference,
            order_id=read_text(row.get("order"), "order"),
            amount=read_amount(row.get("amount"), "amount"),
            currency=read_currency(read_text(row.get("currency"), "currency"), self._shapes[psp].exponents),
            token=read_text(row.get("token", "tok_visa"), "token"),
        )
        decline = row.get("decline_code")
        return (
            psp,
            asked,
            _scheme(row),
            None if decline is None else read_text(decline, "decline_code"),
            self._created(row),
        )

    def _created(self, row: Mapping[str, object]) -> int:
        at = row.get("created_at")
        if at is None:
            return self._clock.now_us()
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < 2**40:
            raise Refused(Problem.INVALID, "created_at: must be seconds since 1970")
        return int(at * 1_000_000)

    def _psp(self, name: object) -> str:
        if not isinstance(name, str) or name not in self._shapes:
            raise Refused(Problem.INVALID, f"psp: must be one of {', '.join(self._shapes)}")
        return name


def _scheme(row: Mapping[str, object]) -> str:
    scheme = row.get("scheme", "visa")
    if scheme not in SCHEMES:
        raise Refused(Problem.INVALID, f"scheme: must be one of {', '.join(SCHEMES)}")
    return str(scheme)


def _rows(body: bytes) -> Iterator[object]:
    if body.lstrip()[:1] == b"[":
        rows = _json(body)
        assert isinstance(rows, list)
        yield from rows
    else:
        yield from (_json(line) for line in body.splitlines() if line.strip())


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(Problem.INVALID, "the body is not JSON") from None
