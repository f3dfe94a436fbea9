"""What all requests of one API process share: API keys, doors, readers of the rooms' views."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request

from producers.doors import commands, notifications, operation_ids, payments, payouts, reviews
from producers.doors.commands import Command
from producers.doors.commits import Claim, by_kind
from producers.doors.destinations import Sealing
from producers.doors.door import Door
from producers.doors.notifications import Notifications, ReceivedNotification
from producers.doors.operations import OperationSubmission
from producers.doors.payments import PaymentSubmission
from producers.doors.payouts import ApprovalSubmission, PayoutCancelSubmission, PayoutSubmission
from producers.doors.reviews import ReviewSubmission
from producers.key_ring import Caller, KeyRing
from producers.pools import Pools
from producers.reading import Reader
from topics.settings import Settings


@dataclass(frozen=True, slots=True)
class House:
    """The doors and readers of one API process."""

    settings: Settings
    ring: KeyRing
    door: Door[Any, Any]  # of all requests but commands: one commit for those that come together
    doors: Reader
    payments: Reader
    wallet: Reader
    ledger: Reader
    webhooks: Reader
    risk: Reader
    payouts: Reader
    sealing: Sealing
    executor: Reader
    reconciliation: Reader
    command_door: Door[Command[Any], Any]
    notifications: Notifications
    pools: Pools

    async def close(self) -> None:
        readers = (self.doors, self.payments, self.wallet, self.ledger, self.webhooks, self.risk, self.payouts)
        for reader in (*readers, self.executor, self.reconciliation):
            await reader.close()
        for door in (self.door, self.command_door):
            await asyncio.to_thread(door.close)
        self.pools.close()


def furnish(settings: Settings) -> House:
    """The doors and readers. Connections are opened on first use."""
    doors = Reader(settings, "doors", "tally_doors")
    door = request_door(settings)
    return House(
        settings=settings,
        ring=KeyRing(doors),
        door=door,
        doors=doors,
        payments=Reader(settings, "payments"),
        wallet=Reader(settings, "wallet"),
        ledger=Reader(settings, "ledger"),
        webhooks=Reader(settings, "webhooks"),
        risk=Reader(settings, "risk"),
        payouts=Reader(settings, "payouts"),
        sealing=Sealing(settings),
        executor=Reader(settings, "executor"),
        reconciliation=Reader(settings, "reconciliation"),
        command_door=commands.door(settings),
        notifications=Notifications(settings, door),
        pools=Pools(),
    )


def request_door(settings: Settings) -> Door[Any, Any]:
    """The door of payments, operations, pay-outs, PSPs' webhooks and reviews."""
    claims: dict[type[Any], Claim[Any, Any]] = {
        PaymentSubmission: payments.claim_with_terms(settings),
        OperationSubmission: operation_ids.claim,
        PayoutSubmission: operation_ids.claim,
        PayoutCancelSubmission: operation_ids.claim,
        ReceivedNotification: notifications.claim,
        ReviewSubmission: reviews.claim,
        ApprovalSubmission: payouts.claim_approvals,
    }
    return Door(settings, "request", by_kind(claims))


def house_of(request: Request) -> House:
    house = request.app.state.house
    assert isinstance(house, House)
    return house


SCOPES_NEEDED: dict[Any, str] = {}  # a dependency that `needs` made → its scope


def needs(scope: str) -> Any:
    """A route's dependency: the caller, if the caller's key has this scope."""

    async def caller(request: Request) -> Caller:
        authorization = request.headers.get("authorization", "").encode("latin-1", "replace")
        return await house_of(request).ring.caller(authorization, scope)

    SCOPES_NEEDED[caller] = scope
    dependency: Callable[[Request], Awaitable[Caller]] = caller
    return Depends(dependency)
