"""Harbour, a provider of pay-outs: transfers by bearer key, ISO minor units, look-ups, a listing, signed webhooks."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import random
import secrets
from collections.abc import Mapping

import orjson

from simulator.answering import made_answer
from simulator.charging import HIDDEN_S_MAX, KEY_LIFE_S, SETTLING_S
from simulator.clock import Clock
from simulator.currencies import ISO
from simulator.faults import Faults
from simulator.http import Answer, Request
from simulator.memory import seq_of
from simulator.plans import Plans
from simulator.shape import id_of
from simulator.tokens import ANSWER_LOST, UNCHARGED, Fault, TransferEnding
from simulator.transfers import AskedTransfer, Transfer, Transfers
from simulator.webhooks import LOOK_S, WebhookSender
from simulator.wire import (
    Problem,
    Refused,
    iso_time,
    json_answer,
    read_amount,
    read_currency,
    read_limit,
    read_object,
    read_text,
    sub_object,
)

_PATH = "/harbour/v1/transfers"
_FIELDS = frozenset({"amount", "currency", "reference", "payout", "destination"})
_ACCOUNTS: Mapping[str, tuple[str, frozenset[str]]] = {
    "iban": ("iban", frozenset({"type", "iban", "holder"})),
    "us_account": (
        "account_number",
        frozenset({"type", "routing_number", "account_number", "holder", "account_type"}),
    ),
    "provider_account": ("account", frozenset({"type", "provider", "account", "holder"})),
}
_STATUSES: Mapping[Problem, tuple[int, str]] = {
    Problem.UNAUTHORISED: (401, "api_key_invalid"),
    Problem.INVALID: (422, "parameter_invalid"),
    Problem.KEY_CONFLICT: (409, "idempotency_key_in_use"),
    Problem.TOO_MANY: (429, "rate_limit"),
    Problem.UNAVAILABLE: (503, "not_processed"),
    Problem.INTERNAL: (500, "internal"),
    Problem.NOT_FOUND: (404, "not_found"),
}


class Harbour:
    """The provider's wire format and processing: nothing is done twice under a key that it still knows."""

    name = "harbour"

    def __init__(
        self, transfers: Transfers, clock: Clock, rng: random.Random, webhooks: WebhookSender, plans: Plans
    ) -> None:
        self._transfers = transfers
        self._clock = clock
        self._rng = rng
        self._webhooks = webhooks
        self._plans = plans
        self._changes: list[tuple[int, int]] = [
            (at, transfer.seq)
            for transfer in transfers.changing(clock.now_us())
            for at in transfer.changes_after(clock.now_us())
        ]
        heapq.heapify(self._changes)

    # ── as PSPs have it ──────────────────────────────────────────────────────────────────────────────────────────────

    def api_key(self, headers: Mapping[str, str]) -> str:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key if scheme.lower() == "bearer" else ""

    def signed(self, at: int, mac: str) -> dict[str, str]:
        return {"Harbour-Signature": f"t={at},v1={mac}"}

    def problem(self, problem: Problem, message: str) -> tuple[int, dict[str, object]]:
        status, code = _STATUSES[problem]
        return status, {"error": {"code": code, "message": message}}

    def capabilities(self) -> dict[str, object]:
        return {"provider": self.name, "settling_s": SETTLING_S, "key_life_s": KEY_LIFE_S, "currencies": dict(ISO)}

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def answer(self, request: Request, faults: Faults) -> tuple[Answer, Fault | None]:
        """Errors: Refused."""
        match request.method, request.path:
            case "POST", path if path == _PATH:
                return await self._transfer(request, faults)
            case "GET", path if path == _PATH:
                return self._listed(request.query), None
        raise Refused(Problem.NOT_FOUND, f"no {request.method} {request.path} here")

    async def _transfer(self, request: Request, faults: Faults) -> tuple[Answer, Fault | None]:
        asked = _asked(read_text(request.headers.get("idempotency-key"), "idempotency-key"), request.body)
        failure = await self._plans.take("transfer", asked.reference, asked.payout_id)
        failure = failure or faults.of("transfer").draw(self._rng)
        fault = failure if isinstance(failure, Fault) else None
        if fault in UNCHARGED:
            return made_answer(self, None, replayed=False, fault=fault), fault
        ending = failure if isinstance(failure, TransferEnding) else None
        hidden_us = int(self._rng.uniform(0, HIDDEN_S_MAX) * 1_000_000) if fault in ANSWER_LOST else 0
        now_us = self._clock.now_us()
        kept = await self._transfers.transfer(asked, ending, now_us, KEY_LIFE_S * 1_000_000, hidden_us)
        if not kept.transfer.answers(asked):
            raise Refused(Problem.KEY_CONFLICT, "this idempotency key was used for another transfer")
        if not kept.replayed:
            told = faults.of("transfer").told
            self._expect(kept.transfer, now_us, at_once=fault in ANSWER_LOST or self._rng.random() < told)
        return made_answer(self, self.shown(kept.transfer), replayed=kept.replayed, fault=fault), fault

    def _listed(self, query: Mapping[str, str]) -> Answer:
        reference = query.get("reference")
        if reference is not None:
            return _page(self, self._transfers.find(reference), more=False)
        after = seq_of(id_of(query["after"])) if "after" in query else 0
        if after is None:
            raise Refused(Problem.INVALID, "after: not one of ours")
        found, more = self._transfers.page(after, read_limit(query.get("limit")))
        return _page(self, found, more)

    def shown(self, transfer: Transfer) -> dict[str, object]:
        status = transfer.status(self._clock.now_us())
        return {
            "id": f"tr_{transfer.id}",
            "object": "transfer",
            "status": status,
            "code": transfer.code if status in ("rejected", "failed", "returned") else None,
            "amount": transfer.amount,
            "returned_amount": transfer.returned if status == "returned" else None,
            "currency": transfer.currency,
            "reference": transfer.reference,
            "payout": transfer.payout_id,
            "created": transfer.created_at // 1_000_000,
        }

    # ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Tell of each transfer whose status changes, until cancelled. One task: a transfer may wait for days."""
        while True:
            while self._changes and self._changes[0][0] <= self._clock.now_us():
                self._tell(self._transfers.of_seq(heapq.heappop(self._changes)[1]))
            await asyncio.sleep(LOOK_S)

    def _expect(self, transfer: Transfer, now_us: int, *, at_once: bool) -> None:
        if at_once:
            self._tell(transfer)
        for at in transfer.changes_after(now_us):
            heapq.heappush(self._changes, (at, transfer.seq))

    def _tell(self, transfer: Transfer) -> None:
        if transfer.is_silent:
            return
        told, now_s = self.shown(transfer), self._clock.now_us() // 1_000_000
        event = {
            "id": f"evt_{secrets.token_hex(8)}",
            "type": f"transfer.{told['status']}",
            "created": now_s,
            "data": told,
        }
        self._webhooks.send(self, orjson.dumps(event))

    # ── acts of persons and tests ────────────────────────────────────────────────────────────────────────────────────

    async def bring_back(self, body: object) -> dict[str, object]:
        """Return the paid transfer of `subject`, a pay-out or reference; with `again`, pay it after all."""
        asked = sub_object(body, "body", frozenset({"subject"}), frozenset({"amount", "code", "again"}))
        again, amount = asked.get("again", False), asked.get("amount")
        if not isinstance(again, bool):
            raise Refused(Problem.INVALID, "again: must be true or false")
        transfer, now_us = self._only(read_text(asked["subject"], "subject")), self._clock.now_us()
        if again:
            changed = await self._transfers.pay_again(transfer, now_us)
        else:
            back = None if amount is None else read_amount(amount, "amount")
            code = read_text(asked.get("code", "returned_by_bank"), "code")
            changed = await self._transfers.bring_back(transfer, back, code, now_us)
        self._tell(changed)
        return self.told(changed)

    def _only(self, subject: str) -> Transfer:
        found = self._transfers.known_as(subject)
        if not found:
            raise Refused(Problem.INVALID, f"no transfer of {subject} here")
        if len(found) > 1:
            references = ", ".join(one.reference for one in found)
            raise Refused(
                Problem.INVALID, f"{subject} has {len(found)} transfers: name one by its reference ({references})"
            )
        return found[0]

    def books(self, query: Mapping[str, str]) -> dict[str, object]:
        """The transfers of a pay-out or with a reference, hidden ones included; else the newest."""
        subject = query.get("reference")
        found = (
            self._transfers.known_as(subject) if subject else self._transfers.newest(read_limit(query.get("limit"), 20))
        )
        return {"transfers": [self.told(transfer) for transfer in found]}

    def told(self, transfer: Transfer) -> dict[str, object]:
        return {**self.shown(transfer), "created": iso_time(transfer.created_at)}

    def count(self) -> int:
        return self._transfers.count()


def _page(harbour: Harbour, found: list[Transfer], more: bool) -> Answer:
    return json_answer(200, {"object": "list", "data": [harbour.shown(one) for one in found], "has_more": more})


def _asked(key: str, body: bytes) -> AskedTransfer:
    asked = read_object(body, _FIELDS)
    destination = asked["destination"]
    kind = destination.get("type") if isinstance(destination, dict) else None
    if not isinstance(kind, str) or kind not in _ACCOUNTS:
        raise Refused(Problem.INVALID, f"destination.type: must be one of {', '.join(_ACCOUNTS)}")
    account, fields = _ACCOUNTS[kind]
    told = sub_object(destination, "destination", fields, optional=frozenset({"bic", "address"}))
    return AskedTransfer(
        key=key,
        reference=read_text(asked["reference"], "reference"),
        payout_id=read_text(asked["payout"], "payout"),
        amount=read_amount(asked["amount"], "amount"),
        currency=read_currency(read_text(asked["currency"], "currency"), ISO),
        destination=hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        account=read_text(told[account], f"destination.{account}"),
    )
