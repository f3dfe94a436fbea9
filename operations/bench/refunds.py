"""HTTP requests for refunds → the running stack → done at the PSP, in wallet and ledger: how many a second, how late.

Before the phases of `bookings`: captures (payments made through the system itself, to be refunded, each twice).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import orjson
import uvloop

from operations.bench import bookings, pay_in
from operations.bench.bookings import Booking, Bookings, BookingsPlan, Request
from operations.bench.pay_in import BookedOrders, Load, Progress
from operations.stack.running import StackStatus
from schemas.envelope import event_type
from schemas.journals import JournalPosted
from schemas.money import Money
from schemas.money_back import PaymentRefunded, RefundFailed, WalletDebited
from topics import catalog
from topics.settings import Settings

TOPICS = (catalog.EXECUTIONS, catalog.WALLET_MOVEMENTS, catalog.LEDGER_ENTRIES)
PLACES = {
    event_type(PaymentRefunded): Booking("refund_id"),
    event_type(WalletDebited): Booking("part", {"reason": "refunded"}),
    event_type(JournalPosted): Booking("part", {"template": "refunded"}),
}
FAILURES = {event_type(RefundFailed): Booking("refund_id")}


class Captures(Load):
    """Checkouts whose orders are remembered, so that they can be refunded."""

    def __init__(self, status: StackStatus, seed: int) -> None:
        super().__init__(status, seed)
        self.orders: list[tuple[str, Money]] = []

    def checkout(self) -> tuple[list[str], bytes]:
        ids, body = super().checkout()
        for order in orjson.loads(body)["payment_orders"]:
            self.orders.append((order["payment_order_id"], Money.parse(order["amount"], order["currency"])))
        return ids, body

    def refunds(self) -> Iterator[Request]:
        """Half of each order, then the rest of each."""
        for order_id, gross in self.orders:
            yield _refund(order_id, 1, Money(gross.minor // 2, gross.currency))
        for order_id, gross in self.orders:
            yield _refund(order_id, 2, Money(gross.minor - gross.minor // 2, gross.currency))


def _refund(order_id: str, number: int, amount: Money) -> Request:
    refund_id = f"{order_id}-r{number}"
    asked = {"refund_id": refund_id, "payment_order_id": order_id, **amount.wire()}
    return Request(refund_id, "/v1/refunds", orjson.dumps(asked))


def _is_ended(shown: bytes) -> bool:
    return orjson.loads(shown)["status"] in ("succeeded", "failed")


async def capture(settings: Settings, load: Load, orders: int, progress: Progress) -> None:
    """So many orders put through the system itself. Errors: TimeoutError."""
    booked = BookedOrders(settings)
    booked.start()
    progress("captures", 0)
    captures = pay_in.PayInPlan(history_orders=orders, measure_s=0)
    await pay_in.flood(load, booked, captures, lambda: load.accepted >= orders)
    await pay_in.drain(load, booked, 0, 0)
    await pay_in.settle(load)
    booked.stop()


def run(
    settings: Settings, status: StackStatus, orders: int, plan: BookingsPlan, seed: int, progress: Progress
) -> dict[str, object]:
    """Measure the running stack. → the figures, keys as `tally bench refunds --json` prints them."""
    return uvloop.run(_run(settings, status, orders, plan, seed, progress))


async def _run(
    settings: Settings, status: StackStatus, orders: int, plan: BookingsPlan, seed: int, progress: Progress
) -> dict[str, object]:
    load = Captures(status, seed)
    await capture(settings, load, orders, progress)
    with closing(load.client()) as client:
        measured = await bookings.measure(
            settings,
            TOPICS,
            Bookings(PLACES, FAILURES),
            client,
            load.refunds(),
            _is_ended,
            status,
            plan,
            progress,
        )
    return measured.named("refunds") | {"seed": seed}
