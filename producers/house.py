"""What the API's requests share: who may ask, where to write, and the rooms' views."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request

from producers.doors import endpoints, operations, payments, reviews
from producers.doors.asked import Answer
from producers.doors.door import Door
from producers.doors.endpoints import Wish
from producers.doors.notifications import Notifications
from producers.doors.operations import OperationAsked
from producers.doors.payments import PaymentAsked
from producers.doors.reviews import ReviewAsked
from producers.key_ring import Caller, KeyRing
from producers.pools import Pools
from producers.reading import Reader
from topics.settings import Settings


@dataclass(frozen=True, slots=True)
class House:
    """One process's doors."""

    settings: Settings
    ring: KeyRing
    payment_door: Door[PaymentAsked, Answer]
    doors: Reader
    payments: Reader
    wallet: Reader
    ledger: Reader
    webhooks: Reader
    risk: Reader
    endpoint_door: Door[Wish[Any], Any]
    operation_door: Door[OperationAsked, Answer]
    review_door: Door[ReviewAsked, None]
    notifications: Notifications
    pools: Pools

    async def close(self) -> None:
        for reader in (self.doors, self.payments, self.wallet, self.ledger, self.webhooks, self.risk):
            await reader.close()
        for door in (self.payment_door, self.operation_door, self.endpoint_door, self.review_door, self.notifications):
            await asyncio.to_thread(door.close)
        self.pools.close()


def furnish(settings: Settings) -> House:
    """Nothing is opened before the first use."""
    doors = Reader(settings, "doors", "tally_doors")
    return House(
        settings=settings,
        ring=KeyRing(doors),
        payment_door=payments.door(settings),
        doors=doors,
        payments=Reader(settings, "payments"),
        wallet=Reader(settings, "wallet"),
        ledger=Reader(settings, "ledger"),
        webhooks=Reader(settings, "webhooks"),
        risk=Reader(settings, "risk"),
        endpoint_door=endpoints.door(settings),
        operation_door=operations.door(settings),
        review_door=reviews.door(settings),
        notifications=Notifications(settings),
        pools=Pools(),
    )


def house_of(request: Request) -> House:
    house = request.app.state.house
    assert isinstance(house, House)
    return house


SCOPES_NEEDED: dict[Any, str] = {}  # what `needs` made → the scope


def needs(scope: str) -> Any:
    """A route's dependency: the caller, who has this scope."""

    async def caller(request: Request) -> Caller:
        authorization = request.headers.get("authorization", "").encode("latin-1", "replace")
        return await house_of(request).ring.caller(authorization, scope)

    SCOPES_NEEDED[caller] = scope
    dependency: Callable[[Request], Awaitable[Caller]] = caller
    return Depends(dependency)
