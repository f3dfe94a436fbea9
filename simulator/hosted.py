"""A buyer's visits to a PSP's page → the charge is paid, declined or expired, and its webhook."""

from __future__ import annotations

import asyncio
import heapq
import json
import random
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from simulator.cards import PageCard, read_card
from simulator.clock import Clock
from simulator.faults import Faults
from simulator.http import Answer, Request
from simulator.memory import Charge, Memory
from simulator.page_html import PageView, Step, page_answer
from simulator.plans import Plans
from simulator.shape import Shape
from simulator.tokens import PageEnding
from simulator.webhooks import WebhookSender

LOOK_S = 0.1
TRIES_MAX = 10
CANCELLED = "cancelled_by_buyer"
NOT_AUTHENTICATED = "authentication_failed"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS page_visits (
    charge INTEGER PRIMARY KEY,
    form TEXT NOT NULL,             -- the last one that was sent: the same sent again does nothing
    tries INTEGER NOT NULL,         -- cards that were refused
    refused TEXT NOT NULL,          -- why the last one was
    scheme TEXT NOT NULL,           -- of the card that waits for 3-D Secure; '': none does
    decline_code TEXT,              -- of that card, once its owner is known
    wrong TEXT NOT NULL             -- JSON: fields of the last form that must be filled in again, and why
)
"""
_COLUMNS = "form, tries, refused, scheme, decline_code, wrong"


@dataclass(frozen=True, slots=True)
class Visit:
    """What has happened on a page so far."""

    form: str = ""
    tries: int = 0
    refused: str = ""
    scheme: str = ""
    decline_code: str | None = None
    wrong: str = "{}"


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form has done."""

    charge: Charge
    is_decided: bool = False  # by this form, now
    is_same_again: bool = False


class HostedPages:
    """Each form does what it does in one commit: a charge is decided once, whichever tab is first."""

    def __init__(
        self,
        memory: Memory,
        clock: Clock,
        rng: random.Random,
        webhooks: WebhookSender,
        plans: Plans,
        shapes: Mapping[str, Shape],
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._rng = rng
        self._webhooks = webhooks
        self._plans = plans
        self._shapes = shapes
        memory.writing.executescript(_SCHEMA)
        self._expiring = [(charge.decided_at, charge.psp, charge.id) for charge in memory.on_pages(clock.now_us())]
        heapq.heapify(self._expiring)

    # ── expiry ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def expect(self, charge: Charge) -> None:
        """Tell of it when it expires, if nobody has paid by then."""
        heapq.heappush(self._expiring, (charge.decided_at, charge.psp, charge.id))

    async def run(self) -> None:
        """Tell of each page that expires, until cancelled."""
        while True:
            while self._expiring and self._expiring[0][0] <= self._clock.now_us():
                expires_at, psp, charge_id = heapq.heappop(self._expiring)
                charge = self._memory.charge_of_id(psp, charge_id, self._memory.reading)
                if charge is not None and charge.decided_at == expires_at:
                    self._webhooks.tell(charge)
            await asyncio.sleep(LOOK_S)

    # ── visits ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def answer(self, shape: Shape, request: Request, faults: Faults) -> Answer:
        """The answer to a buyer's browser at `/<psp>/pay/<charge>`."""
        charge = self._memory.charge_of_id(shape.name, request.path.rpartition("/")[2], self._memory.reading)
        if charge is None or not charge.page_url or request.method not in ("GET", "POST"):
            return page_answer(PageView("unknown", shape.name))
        if faults.down:
            return page_answer(PageView("down", shape.name))
        if request.method == "GET":
            return self._show(shape, charge)
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        sent = await self._memory.commit(lambda: self._send(charge, form))
        if sent.is_decided:
            await self._tell(sent.charge, faults)
        if sent.charge.pending(self._clock.now_us()) or not (sent.is_decided or sent.is_same_again):
            return _see(charge.page_url)  # a reload repeats nothing
        return _see(charge.return_url)

    def _show(self, shape: Shape, charge: Charge) -> Answer:
        visit, status = self._visit(charge.seq, self._memory.reading), charge.first_status(self._clock.now_us())
        ended: Step = "declined" if status == "declined" else "paid"
        step: Step = ended if status != "pending" else "3ds" if visit.scheme else "card"
        form, exponent, wrong = secrets.token_hex(8), shape.exponents[charge.currency], json.loads(visit.wrong)
        return page_answer(PageView(step, shape.name, charge, exponent, form, visit.refused, visit.scheme, wrong))

    def _send(self, charge: Charge, form: Mapping[str, str]) -> Sent:
        """In the open transaction: do what the form asks for, unless it has been sent before or comes too late."""
        now_us = self._clock.now_us()
        current = self._memory.charge_of_id(charge.psp, charge.id)
        assert current is not None, "charges are never deleted"
        visit = self._visit(charge.seq, self._memory.writing)
        if form.get("form") and form.get("form") == visit.form:
            return Sent(current, is_same_again=True)
        if not current.pending(now_us):
            return Sent(current)
        done = replace(visit, form=form.get("form", ""), wrong="{}")
        match form.get("act"):
            case "pay":
                card = read_card(form, datetime.fromtimestamp(now_us / 1_000_000, UTC))
                if not isinstance(card, PageCard):
                    return self._keep(current, replace(done, wrong=json.dumps(card)))
                if card.needs_3ds:
                    waiting = replace(done, scheme=card.scheme, decline_code=card.decline_code, refused="")
                    return self._keep(current, waiting)
                return self._decide(current, done, card.scheme, card.decline_code, now_us)
            case "confirm" if visit.scheme:
                return self._decide(current, done, visit.scheme, visit.decline_code, now_us)
            case "reject" if visit.scheme:
                return self._decide(current, done, visit.scheme, NOT_AUTHENTICATED, now_us)
            case "cancel":
                return self._end(current, done, None, CANCELLED, now_us)
        return Sent(current)

    def _decide(self, charge: Charge, visit: Visit, scheme: str, decline_code: str | None, now_us: int) -> Sent:
        """Paid; or refused, and another card may be tried."""
        after = replace(visit, scheme="", decline_code=None)
        if decline_code is None:
            return self._end(charge, after, scheme, None, now_us)
        refused = replace(after, tries=visit.tries + 1, refused=decline_code)
        if refused.tries >= TRIES_MAX:
            return self._end(charge, refused, scheme, decline_code, now_us)
        return self._keep(charge, refused)

    def _end(self, charge: Charge, visit: Visit, scheme: str | None, decline_code: str | None, now_us: int) -> Sent:
        self._keep(charge, visit)
        return Sent(self._memory.put_paid(charge, scheme, decline_code, now_us), is_decided=True)

    def _keep(self, charge: Charge, visit: Visit) -> Sent:
        values = (charge.seq, visit.form, visit.tries, visit.refused, visit.scheme, visit.decline_code, visit.wrong)
        self._memory.writing.execute(
            f"INSERT OR REPLACE INTO page_visits (charge, {_COLUMNS}) VALUES (?,?,?,?,?,?,?)", values
        )
        return Sent(charge)

    def _visit(self, seq: int, books: sqlite3.Connection) -> Visit:
        row = books.execute(f"SELECT {_COLUMNS} FROM page_visits WHERE charge=?", (seq,)).fetchone()
        return Visit(*row) if row else Visit()

    async def _tell(self, charge: Charge, faults: Faults) -> None:
        ending = await self._plans.take("page", charge.reference, charge.order_id) or faults.of("page").draw(self._rng)
        if ending is PageEnding.TOLD_FIRST:
            await self._webhooks.tell_now(charge)
        elif ending is not PageEnding.SILENT:
            self._webhooks.tell(charge)


def _see(url: str) -> Answer:
    return Answer(303, b"", {"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
