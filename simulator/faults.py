"""Settings of the control API → the share of charges and operations that fail, and how; whether a PSP answers at all."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from simulator.tokens import BankEnding, BankFault, Ending, Fault, PageEnding, TransferEnding

LATENCY_MS_MAX = 60_000
Op = Literal["charge", "capture", "void", "refund", "page", "transfer", "file", "line"]
OPS: tuple[Op, ...] = get_args(Op)
AT_PSPS: tuple[Op, ...] = ("charge", "capture", "void", "refund", "page")
AT_PROVIDERS: tuple[Op, ...] = ("transfer",)
Failure = Fault | Ending | PageEnding | TransferEnding | BankFault | BankEnding
_FAILURES: Mapping[
    Op,
    tuple[
        type[Fault] | type[Ending] | type[PageEnding] | type[TransferEnding] | type[BankFault] | type[BankEnding], ...
    ],
] = {
    "charge": (Fault,),  # declined or pending by its card
    "capture": (Fault, Ending),
    "void": (Fault, Ending),
    "refund": (Fault, Ending),
    "page": (PageEnding,),  # a payment on the PSP's page
    "transfer": (Fault, TransferEnding),
    "file": (BankFault,),  # this and the next: planned, never by rate
    "line": (BankEnding,),
}


class FaultsError(Exception):
    """Invalid faults; the message says which."""


def read_op(value: object) -> Op:
    """Errors: FaultsError."""
    for op in OPS:
        if value == op:
            return op
    raise FaultsError(f"op: must be one of {', '.join(OPS)}")


def read_failure(op: Op, name: object) -> Failure:
    """Errors: FaultsError."""
    for kind in _FAILURES[op]:
        for failure in kind:
            if failure.value == name:
                return failure
    raise FaultsError(f"{name}: no such fault" if op == "charge" else f"{name}: no such fault of a {op}")


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares (0 to 1, their sum at most 1) of one kind of operation at one PSP; and the share of answered ones with a webhook."""

    rates: Mapping[Failure, float] = field(default_factory=dict)
    told: float = 0.0

    def draw(self, rng: random.Random) -> Failure | None:
        """The fault of one operation, or None."""
        if not self.rates:
            return None
        point = rng.random()
        for fault, rate in self.rates.items():
            point -= rate
            if point < 0:
                return fault
        return None

    def with_rate(self, op: Op, name: str, value: object) -> Rates:
        if name == "told":
            return replace(self, told=_number(name, value, 1))
        fault = read_failure(op, name)
        rates = {kept: rate for kept, rate in self.rates.items() if kept is not fault}
        rate = _number(name, value, 1)
        changed = {**rates, fault: rate} if rate else rates
        return replace(self, rates=changed)

    def to_json(self) -> dict[str, object]:
        """The shares that are not zero."""
        told: dict[str, object] = {"told": self.told} if self.told else {}
        return {**{fault.value: rate for fault, rate in self.rates.items()}, **told}


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one PSP or provider. `down`: 503 for all requests. `latency_ms` is added to each answer. The rest is by
    kind, of which `ops` has the first where none is named.
    """

    by_op: Mapping[Op, Rates] = field(default_factory=dict)
    down: bool = False
    latency_ms: float = 0.0
    ops: tuple[Op, ...] = AT_PSPS

    def of(self, op: Op) -> Rates:
        return self.by_op.get(op, _NONE)

    def with_changes(self, changes: Mapping[str, object]) -> Faults:
        """These faults with the named fields replaced. Rates are those of the first kind unless `op` names another. `clear` first
        removes all but `down`, or all of the kind of `op`. `operations` has the format of `to_json`.
        """
        op = read_op(changes["op"]) if "op" in changes else None
        if op not in (None, *self.ops):
            raise FaultsError(f"op: must be one of {', '.join(self.ops)}")
        changed = self._cleared(op) if changes.get("clear") is True else self
        for name, value in changes.items():
            if name not in ("clear", "op"):
                changed = changed._with(op, name, value)
        if any(sum(rates.rates.values()) > 1 + 1e-9 for rates in changed.by_op.values()):
            raise FaultsError("the rates of one kind at one PSP add up to more than 1")
        return changed

    def _cleared(self, op: Op | None) -> Faults:
        if op is None:
            return Faults(down=self.down, ops=self.ops)
        return replace(self, by_op={kept: rates for kept, rates in self.by_op.items() if kept != op})

    def _with(self, op: Op | None, name: str, value: object) -> Faults:
        if name in ("down", "latency_ms", "operations") and op is not None:
            raise FaultsError(f"{name}: is of the whole PSP, not of one op")
        match name:
            case "down":
                if not isinstance(value, bool):
                    raise FaultsError("down: must be true or false")
                return replace(self, down=value)
            case "latency_ms":
                return replace(self, latency_ms=_number(name, value, LATENCY_MS_MAX))
            case "operations":
                return self._with_operations(value)
            case _:
                return self._with_rate(op or self.ops[0], name, value)

    def _with_operations(self, value: object) -> Faults:
        if not isinstance(value, Mapping) or not all(isinstance(rates, Mapping) for rates in value.values()):
            raise FaultsError("operations: must be an object of objects")
        changed = replace(self, by_op={op: rates for op, rates in self.by_op.items() if op == self.ops[0]})
        for op, rates in value.items():
            for name, rate in rates.items():
                changed = changed._with_rate(read_op(op), name, rate)
        return changed

    def _with_rate(self, op: Op, name: str, value: object) -> Faults:
        return replace(self, by_op={**self.by_op, op: self.of(op).with_rate(op, name, value)})

    def to_json(self) -> dict[str, object]:
        """All rates of the first kind's faults, and the rates of other operations that are not zero."""
        charges = self.of(self.ops[0])
        rates = {fault.value: charges.rates.get(fault, 0.0) for kind in _FAILURES[self.ops[0]] for fault in kind}
        others = {op: self.of(op).to_json() for op in self.ops[1:] if self.of(op) != _NONE}
        return {
            **rates,
            "down": self.down,
            "latency_ms": self.latency_ms,
            "told": charges.told,
            "operations": others,
        }


_NONE = Rates()


def _number(name: str, value: object, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        raise FaultsError(f"{name}: must be a number from 0 to {highest:g}")
    return float(value)
