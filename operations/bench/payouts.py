"""HTTP requests for pay-outs → the running stack → submitted, in wallet and ledger: how many a second, how late.

Before the phases of `bookings`: sellers are registered, and captures fill their wallets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing

import orjson
import uvloop

from consumers.payouts.policy import Policy
from operations.bench import bookings, payout_rooms
from operations.bench.bookings import Booking, Bookings, BookingsPlan, Request
from operations.bench.client import Client
from operations.bench.pay_in import Load, Progress
from operations.bench.refunds import capture
from operations.stack.home import StackError
from operations.stack.host import build
from operations.stack.running import StackStatus
from schemas.envelope import event_type
from schemas.journals import JournalPosted
from schemas.money import Money
from schemas.payouts import PayoutFailed, PayoutRefused, PayoutStatusChanged, PayoutSubmitted, ReservationSettled
from topics import catalog
from topics.settings import Settings

TOPICS = (catalog.PAYOUTS, catalog.PAYOUT_EXECUTIONS, catalog.PAYOUT_MOVEMENTS, catalog.LEDGER_ENTRIES)
PLACES = {
    event_type(PayoutSubmitted): Booking("payout_id"),
    event_type(ReservationSettled): Booking("payout_id"),
    event_type(JournalPosted): Booking("payout_id", {"template": "payout_submitted"}),
}
FAILURES = {
    event_type(PayoutRefused): Booking("payout_id"),
    event_type(PayoutFailed): Booking("payout_id"),
    event_type(PayoutStatusChanged): Booking("payout_id", {"status": "refused"}),
}
AMOUNT = "0.25"  # EUR, of each pay-out: above the least that a bank takes, below what a second person approves
ORDERS = 1200  # captured before: about 300,000.00 EUR, enough for a million pay-outs
ALONE = 2000  # pay-outs through the rooms alone
NOBODY_APPROVES = '{"approvals": [{"currency": "EUR", "above": "1.00", "persons": 1}], "destination_cooling_s": 0}'


def check_rules(settings: Settings) -> None:
    """Errors: StackError if pay-outs of this size, to destinations that were set just now, wait for persons."""
    amount, rules = Money.parse(AMOUNT, "EUR"), settings.payouts
    if Policy(rules, settings.payout_providers, b"").persons(amount) or rules.destination_cooling_s:
        raise StackError(
            f"a pay-out of {amount} waits for somebody's approval here: start with"
            f" TALLY_PAYOUTS='{NOBODY_APPROVES}' tally up, for a measurement without persons"
        )


class Sales(Load):
    """Checkouts of so many sellers in one currency."""

    sellers: int = 1

    def checkout(self) -> tuple[list[str], bytes]:
        ids, body = super().checkout()
        asked = orjson.loads(body)
        for place, order in enumerate(asked["payment_orders"]):
            order |= {"seller_account": self.seller(self._number * 3 + place), "currency": "EUR"}
        return ids, orjson.dumps(asked)

    def seller(self, number: int) -> str:
        return f"bench-payee-{self.run_id}-{number % self.sellers}"

    def payouts(self) -> Iterator[Request]:
        """One after the other for each seller in turn."""
        for number in itertools.count():
            payout_id = f"p{self.run_id}-{number}"
            asked = {"payout_id": payout_id, "seller_account": self.seller(number), "amount": AMOUNT, "currency": "EUR"}
            yield Request(payout_id, "/v1/payouts", orjson.dumps(asked))


def iban(account: str) -> str:
    """A German bank code and account of 18 digits, with check digits (ISO 7064, as in ISO 13616)."""
    return f"DE{98 - int(f'{account}131400') % 97:02d}{account}"


async def register(client: Client, load: Sales) -> None:
    """Errors: StackError where a seller is refused."""
    for number in range(load.sellers):
        destination = {"type": "iban", "iban": iban(f"37040044{number:08d}50"), "holder": f"Bench Payee {number}"}
        body = orjson.dumps({"name": f"Bench Payee {number}", "country": "DE", "destination": destination})
        status, answer = await client.put(f"/v1/sellers/{load.seller(number)}", body)
        if status not in (200, 201):
            raise StackError(f"the API refuses a seller: {status} {answer[:200].decode(errors='replace')}")


def _is_ended(shown: bytes) -> bool:
    return orjson.loads(shown)["status"] in ("submitted", "paid", "failed", "refused")


def run(
    settings: Settings, status: StackStatus, sellers: int, plan: BookingsPlan, seed: int, progress: Progress
) -> dict[str, object]:
    """Measure the running stack. → the figures, keys as `tally bench payouts --json` prints them."""
    return uvloop.run(_run(settings, status, sellers, plan, seed, progress))


async def _run(
    settings: Settings, status: StackStatus, sellers: int, plan: BookingsPlan, seed: int, progress: Progress
) -> dict[str, object]:
    check_rules(settings)
    load = Sales(status, seed)
    load.sellers = sellers
    with closing(load.client()) as client:
        progress("sellers", 0)
        await register(client, load)
        await capture(settings, load, ORDERS, progress)
        measured = await bookings.measure(
            settings,
            TOPICS,
            Bookings(PLACES, FAILURES),
            client,
            load.payouts(),
            _is_ended,
            status,
            plan,
            progress,
        )
    progress("rooms alone", 0)
    alone = payout_rooms.run(settings, build, ALONE)
    ratio = {"rooms_payouts_per_s": round(alone), "ratio": round(measured.per_s / alone, 3)}
    return measured.named("payouts") | ratio | {"seed": seed}
