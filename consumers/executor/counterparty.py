"""A leased call → the request to its PSP or provider, and the reader of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, assert_never

import orjson

from consumers.executor.opening import Opener, amount_of, make_opener
from psp.payout_port import PayoutProvider, Transfer, TransferReference, TransferReply
from psp.port import Capture, Charge, Declared, HttpRequest, Operation, Psp, Reference, Refund, Reply, Void
from psp.registry import make_providers, make_psps
from topics.runtime.calls.rows import LeasedCall
from topics.settings import Settings

AnyReply = Reply | TransferReply


class Exchange(NamedTuple):
    """One HTTP exchange. `read` raises nothing, whatever the answer is."""

    request: HttpRequest
    read: Callable[[int, Mapping[str, str], bytes], AnyReply]


class Counterparty(Protocol):
    """A PSP or provider, as the sender sees it."""

    def exchange(self, call: LeasedCall) -> Exchange:
        """Errors: Unsendable."""
        ...

    def key_life_s(self, call: LeasedCall) -> float: ...


class PspCounterparty:
    """Charges, captures, voids, refunds and checks."""

    def __init__(self, psp: Psp) -> None:
        self._psp = psp

    def exchange(self, call: LeasedCall) -> Exchange:
        psp, operation = self._psp, operation_of(call)
        if call.act == "ask":
            return Exchange(psp.find(operation), lambda *answer: psp.read_find(operation, *answer))
        assert not isinstance(operation, Reference), "a check never sends"
        return Exchange(psp.request(operation), lambda *answer: psp.read(operation, *answer))

    def key_life_s(self, call: LeasedCall) -> float:
        declared: Declared = self._psp.declared[operation_of(call).kind]
        return declared.key_life_s


class ProviderCounterparty:
    """Pay-outs. Nobody else opens a destination, and here only the request to send holds it."""

    def __init__(self, provider: PayoutProvider, opener: Opener) -> None:
        self._provider = provider
        self._opener = opener

    def exchange(self, call: LeasedCall) -> Exchange:
        provider, asked = self._provider, orjson.loads(call.request)
        named = TransferReference(asked.get("call_id", call.id), amount_of(asked))
        if call.act == "ask":
            return Exchange(provider.find(named), lambda *answer: provider.read_find(named, *answer))
        transfer = Transfer(call.id, call.subject, named.amount, self._opener.open(asked, self._provider.name))
        return Exchange(provider.transfer(transfer), lambda *answer: provider.read_transfer(named, *answer))

    def key_life_s(self, call: LeasedCall) -> float:
        return self._provider.declared.key_life_s


def make_counterparties(settings: Settings) -> dict[str, Counterparty]:
    """All PSPs and providers of the settings, by their names."""
    found: dict[str, Counterparty] = {name: PspCounterparty(psp) for name, psp in make_psps(settings.psps).items()}
    if settings.http_providers:
        opener, providers = make_opener(settings), make_providers(settings.http_providers)
        found |= {name: ProviderCounterparty(provider, opener) for name, provider in providers.items()}
    return found


def operation_of(call: LeasedCall) -> Operation | Reference:
    """The operation that the decision stored with the call, by the call's kind."""
    asked = orjson.loads(call.request)
    match call.kind:
        case "charge":  # written by `charging.charge_json`
            how = asked.get("token"), asked.get("capture", True), asked.get("return_url")
            return Charge(call.id, call.subject, amount_of(asked), *how)
        case "capture":  # this and the next two: written by `operating`
            return Capture(call.id, call.subject, amount_of(asked), asked["psp_reference"], asked["final"])
        case "void":
            return Void(call.id, call.subject, asked["psp_reference"])
        case "refund":
            return Refund(call.id, call.subject, amount_of(asked), asked["psp_reference"])
        case "check":  # written by `checking`
            return Reference(asked["kind"], asked["call_id"], asked.get("stage"))
        case "payout" | "payout_check":
            raise AssertionError("pay-outs are no operations at a PSP")
        case _:
            assert_never(call.kind)
