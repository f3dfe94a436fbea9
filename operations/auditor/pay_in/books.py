"""The checkouts and orders of the pay-in as each store and PSP has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from operations.auditor.rows import Attempt, Journal, Movement
from psp.port import ListedCharge


class Request(NamedTuple):
    """A request that the HTTP door has accepted. `claim` is its id in the inbox of payments."""

    owner: str
    claim: str


class Payment(NamedTuple):
    owner: str
    status: str
    event_id: str
    received_ms: int


class Order(NamedTuple):
    checkout_id: str
    position: int
    seller: str
    currency: str
    gross: int
    fee: int
    net: int
    status: str
    detail: str
    wallet_updated: bool
    ledger_updated: bool
    psp: str | None
    psp_reference: str | None


class Call(NamedTuple):
    order_id: str
    state: str
    outcome: str | None


TOOK = ("succeeded", "reversed")  # statuses of a listed charge that has taken the money, reversed or not


class Charge(NamedTuple):
    """A listed charge that has taken the money."""

    psp: str
    psp_reference: str
    order_id: str
    amount: int
    currency: str
    reversed: bool = False  # and reversed


@dataclass(slots=True)
class Books:
    """All rows by checkout, order or call id. With `of` only those of these keys."""

    requests: dict[str, Request] = field(default_factory=dict)  # by checkout
    payments: dict[str, Payment] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)  # ids of the requests that payments refused
    screenings: dict[str, str] = field(default_factory=dict)  # checkout → outcome
    orders: dict[str, Order] = field(default_factory=dict)
    placed_by: dict[str, str] = field(default_factory=dict)  # order → id of the event that had it placed
    attempts: dict[str, Attempt] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)  # call id → call
    movements: dict[str, list[Movement]] = field(default_factory=dict)
    journals: dict[str, list[Journal]] = field(default_factory=dict)
    charges: dict[str, list[Charge]] = field(default_factory=dict)  # reference → charges
    outcomes: dict[str, str] = field(default_factory=dict)  # id of an event about what lies behind a charge → order

    def add_charges(self, psp: str, listed: Sequence[ListedCharge]) -> None:
        for charge in listed:
            if charge.status in TOOK:
                amount, back = charge.amount, charge.status != "succeeded"
                row = Charge(psp, charge.psp_reference, charge.payment_order_id, amount.minor, amount.currency, back)
                self.charges.setdefault(charge.reference, []).append(row)
