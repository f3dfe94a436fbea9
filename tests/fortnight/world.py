"""A fortnight at five simulated PSPs and a bank: what our rooms have said of it, the files of each day, and what is planted.

The simulator's own books run in this process, on a clock that stands where it is put.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from schemas.events import AnyEvent, PaymentDeclined
from schemas.money import Money
from schemas.payouts import PayoutSubmitted
from simulator.clock import Clock
from simulator.disputes import DisputeChange, Disputes
from simulator.memory import ChargeRequest, Memory
from simulator.mischief import Fault
from simulator.northpay import Northpay
from simulator.operations import OperationBooks, OperationRequest, Plan
from simulator.settlements.bank import Bank, Entry
from simulator.settlements.books import Asked, Batch, SettlementBooks
from simulator.settlements.files import Files
from simulator.settlements.names import report_name
from simulator.settlements.terms import Format, Terms
from simulator.transfers import Transfers
from tests.captures import capture
from tests.money_back import opened, refunded, share, won
from tests.payouts import paid, returned, submitted
from topics.settlement_sources import FeeScheduleRow, FileSchedule, ReferenceRate, SettlementSource

FIRST = date(2026, 1, 26)  # a Monday; what is disputed in January may be won in February
DAYS = 14
FORMATS: dict[str, Format] = {
    "northpay": "stripe",
    "southpay": "adyen",
    "eastpay": "paypal",
    "westpay": "native",
    "centralpay": "checkoutcom",
}
CURRENCIES = ("EUR", "EUR", "EUR", "USD", "USD", "JPY", "CLP")
CONVERTING = ("southpay", "westpay")  # they settle francs in euro
RATES = (  # theirs is a ninth of a percent off: a near miss
    ReferenceRate(valid_from=date(2026, 1, 1), currency="CHF", settled_in="EUR", rate="1.06", band_bps=50),
)
SCHEMES = ("visa", "mastercard", "amex")
# What mischief may plant it does on an order or file of its own; the order is that in which places become scarce.
ROWS: tuple[Fault, ...] = (
    "wrong_rate",
    *("missing_row", "late_row", "extra_row", "extra_refund", "declined_row"),
    *("wrong_amount", "wrong_fee", "other_currency", "second_capture"),
)
BANK: tuple[Fault, ...] = ("payout_missing", "bank_amount", "extra_entry")
EVEN: tuple[Fault, ...] = ("wrong_total", "truncated_file", "missing_file", "missing_file")
ODD: tuple[Fault, ...] = (
    "repeated_batch",
    "restated_file",
    *BANK,
    *BANK,
    "returned_payout",
)  # two repeated batches running would be one file
NEVER = -1
# Near misses: day → PSPs, amount, currency, the day on which so much is given back.
EVERYWHERE = tuple(FORMATS)
SPECIAL: dict[int, tuple[tuple[str, ...], int, str, int, int]] = {
    1: (EVERYWHERE, 5, "EUR", NEVER, 0),  # less than its fee
    2: (EVERYWHERE, 5_000, "SEK", 7, 5_000),  # given back on a day without another payment of it: they take money
    6: (
        ("southpay", "eastpay", "westpay", "centralpay"),
        10_000,
        "GBP",
        6,
        9_845,
    ),  # nothing is left; Stripe makes no such payout
}
FEE = 1_500  # of a dispute
DISPUTED, WON = 3, 9  # in January, in February
SWIFT_FROM = 6  # the day from which the bank sends MT940 in place of camt.053, and tells all of it twice besides
PLANTED_DAYS = 11  # so that what passes by itself has passed in the end

FEES = (FeeScheduleRow(valid_from=date(2026, 1, 1), percent="1.2", fixed="0.10", band_percent="0.5"),)
GRACE = {
    "northpay": 0,
    "southpay": 0,
    "eastpay": 1,
    "westpay": 1,
    "centralpay": 1,
}  # days: at the first two what is a day late is late


def file_day(psp: str, day: date) -> date:
    """The day that a file says it is of: of its payments, or of its pay-out after midnight."""
    return day + timedelta(days=1) if FORMATS[psp] in ("stripe", "adyen", "checkoutcom") else day


SOURCES = (
    *(
        SettlementSource(
            name=psp,
            psp=psp,
            bank_account="main",
            lag_days=1,
            grace_days=GRACE[psp],
            fees=FEES,
            rates=RATES,
            files=FileSchedule(first_day=file_day(psp, FIRST), days="every", lag_days=0),
        )
        for psp in FORMATS
    ),
    SettlementSource(
        name="main",
        kind="bank",
        bank_account="main",
        grace_days=1,
        references=frozenset(
            {
                r"northpay-account, (po_[0-9a-f]+)",
                r"batch ([0-9]+), southpay-account",
                r"(TX[0-9]{10}XT) batch [0-9]+, eastpay-account",
                r"batch ([0-9]+), westpay-account",
                r"(TX[0-9]{10}XT) batch [0-9]+, centralpay-account",
            }
        ),
    ),
)


class Said(NamedTuple):
    """An event, and when its room said it."""

    event: AnyEvent
    at: datetime


class Bytes(NamedTuple):
    """A file as it comes."""

    source: str
    name: str
    content: bytes


@dataclass
class Day:
    """What happened on it, and what comes of it on the next morning; the bank's statement last."""

    day: date
    said: list[Said] = field(default_factory=list)
    files: list[Bytes] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    planted: list[dict[str, Any]] = field(default_factory=list)


def moment(day: date, hour: int = 12) -> datetime:
    return datetime.combine(day, time(hour), UTC)


def fortnight(folder: Path, orders: int, seed: int) -> list[Day]:
    """The days, and one more whose payments no file has yet. The same seed: the same amounts and faults."""
    return asyncio.run(_made(_World(folder, seed), orders))


async def _made(world: _World, orders: int) -> list[Day]:
    books = asyncio.create_task(world.memory.run())
    a_day = orders // (DAYS + 1)
    days = [await world.live(number, a_day) for number in range(DAYS)]
    days.append(await world.trade(DAYS, orders - DAYS * a_day))
    books.cancel()
    with suppress(asyncio.CancelledError):
        await books
    world.memory.close()
    return days


class _Standing(Clock):
    """Stands where it is put."""

    def __init__(self) -> None:
        super().__init__(None)
        self.at = moment(FIRST)

    def now_us(self) -> int:
        return int(self.at.timestamp()) * 1_000_000


class _Psp(Northpay):
    def __init__(self, name: str) -> None:
        self.name = name


class _Order(NamedTuple):
    psp: str
    call_id: str
    payment_order_id: str
    amount: Money
    scheme: str
    declined: bool
    special: int | None = None  # the day on which it is refunded; -1: never
    refund: int = 0  # minor units

    def terms(self) -> dict[str, object]:
        nothing = Money(0, self.amount.currency)
        return {"gross": self.amount, "fee": nothing, "net": self.amount}


class _World:
    def __init__(self, folder: Path, seed: int) -> None:
        self._draw = random.Random(f"fortnight {seed}")
        self._seed = seed
        self._clock = _Standing()
        self.memory = Memory(folder / "psps.sqlite")
        self._operations = OperationBooks(self.memory)
        self._disputes = Disputes(self.memory, self._operations)
        Transfers(self.memory)
        bank = self._bank = Bank(self.memory)
        self._sent: list[PayoutSubmitted] = []
        self._books = SettlementBooks(self.memory, bank, self._clock, {name: _Psp(name) for name in FORMATS})
        self._files = Files(self._books, bank)
        self._late: set[str] = set()  # names of files that come a day later
        self._orders = 0
        self._taken: list[tuple[_Order, str]] = []  # with the id of its charge
        # Each PSP numbers its settlements in its own way; two with one number would share a key at the bank.
        self.memory.writing.execute("INSERT INTO batches VALUES ('westpay', 70000, 'EUR', '2025-12-31', 0, 0)")

    async def live(self, number: int, orders: int) -> Day:
        """A day of payments, settled in the night."""
        day = await self.trade(number, orders)
        self._clock.at = moment(day.day + timedelta(days=1), 1)
        closed = await self._books.close(day.day.isoformat(), self._asked(number))
        day.planted, day.batches = closed.planted, self._books.batches(closed.day)
        found = [Bytes(file.source, file.name, b"".join(file.write())) for file in self._files.of(closed)]
        day.files = sorted(found, key=lambda file: (file.source == "main", file.name in self._late))
        if number == DAYS - 1:
            day.files += [_made_later(file) for file in day.files if file.source == "eastpay"]
        self._late = {
            report_name(
                FORMATS[each["psp"]], each["psp"], closed.day, int(each["settlement"].split("/")[1]), each["currency"]
            )
            for each in closed.planted
            if each["fault"] == "missing_file"
        }
        return day

    def _asked(self, number: int) -> Asked:
        faults = (*(ODD if number % 2 else EVEN), *ROWS) if number < PLANTED_DAYS else ()
        usual = Terms(formats=FORMATS, settles_in={"CHF": "EUR"}, rates={"CHF/EUR": "1.0612"})
        terms = {0: usual, SWIFT_FROM: replace(usual, bank_formats=("camt.054", "mt942", "mt940"))}
        return Asked(terms.get(number), faults, seed=self._seed)

    async def trade(self, number: int, orders: int) -> Day:
        """Payments of a day at every PSP, and what follows from those of the days before."""
        day = Day(FIRST + timedelta(days=number))
        self._clock.at = moment(day.day, 10)
        placed = [self._order(psp) for psp in FORMATS for _ in range(orders // len(FORMATS))]
        placed += [self._in_francs(psp) for psp in CONVERTING]
        psps, minor, currency, refunded_on, refund = SPECIAL.get(number, ((), 0, "EUR", NEVER, 0))
        placed += [self._special(psp, Money(minor, currency), refunded_on, refund) for psp in psps]
        at_us = self._clock.now_us()
        history = [
            (each.psp, _asked_of(each), each.scheme, "do_not_honor" if each.declined else None, at_us + place)
            for place, each in enumerate(placed)
        ]
        charges = await self.memory.preload(history)
        day.said += [Said(_outcome(each), self._clock.at) for each in placed]
        self._taken += [(each, id_) for each, id_ in zip(placed, charges, strict=True) if not each.declined]
        self._clock.at = moment(day.day, 11)
        day.said += [Said(event, self._clock.at) for event in await self._behind(number)]
        await self._pay_out(number, day)
        return day

    async def _pay_out(self, number: int, day: Day) -> None:
        """Two sellers are paid at the bank, which shows it at night; a pay-out of the day before may have come back, as its
        provider has said."""
        if number >= DAYS:
            return
        for place, minor in enumerate((41_000 + number, 52_000 + number)):
            sent = submitted(
                payout_id=f"payout-{number}-{place}",
                seller_account=f"seller-{place}",
                amount=Money(minor, "EUR"),
                call_id=f"{self._draw.getrandbits(128) | 1:032x}",
                bank_account="main",
            )
            arrived = paid(**sent.terms(), call_id=sent.call_id, bank_account="main")
            day.said += [Said(sent, self._clock.at), Said(arrived, self._clock.at)]
            await self._at_the_bank(day.day, -minor, sent.call_id)
            self._sent.append(sent)
        if number % 4 == 1:  # of an even day: mischief sends back those of odd ones
            before = self._sent[2 * number - 1]
            back = returned(returned=before.sent, **before.terms(), call_id=before.call_id, bank_account="main")
            day.said.append(Said(back, self._clock.at))
            await self._at_the_bank(day.day, before.sent.minor, before.call_id)

    async def _at_the_bank(self, day: date, minor: int, reference: str) -> None:
        at_us, fact = self._clock.now_us(), f"sent:{reference}:{minor}"
        entry = Entry(fact, at_us, minor, reference, f"pay-out {reference}", "beneficiary")
        await self.memory.commit(lambda: self._bank.expect("main", "EUR", day.isoformat(), entry))

    async def _behind(self, number: int) -> list[AnyEvent]:
        """Of each PSP a payment of today is refunded whole, an older one in part; disputes are opened, and won a month later."""
        said: list[AnyEvent] = []
        for psp in FORMATS:
            mine = [(order, id_) for order, id_ in self._taken if order.psp == psp]
            usual = [each for each in mine if each[0].special is None and each[0].amount.currency != "CHF"]
            said.append(await self._refund(*usual[-1], usual[-1][0].amount.minor))
            self._taken.remove(usual[-1])
            if number:
                said.append(await self._refund(*usual[number], 700 + number))
            for order, id_ in mine:
                if order.special == number:
                    said.append(await self._refund(order, id_, order.refund))
            if number in (DISPUTED, WON):
                said.append(await self._dispute(*usual[0], opens=number == DISPUTED))
        return said

    async def _refund(self, order: _Order, charge_id: str, minor: int) -> AnyEvent:
        reference, currency = f"{self._draw.getrandbits(128) | 1:032x}", order.amount.currency
        asked = OperationRequest(
            "refund", reference, reference, order.payment_order_id, charge_id, minor, currency, final=False
        )
        kept = await self._operations.operate(order.psp, asked, Plan(), self._clock.now_us(), 1)
        assert kept.operation.decline_code is None
        made = refunded(f"rf_{reference[:24]}", share(minor, 0, currency), order.payment_order_id)
        return made.model_copy(update={**order.terms(), "psp": order.psp, "call_id": reference})

    async def _dispute(self, order: _Order, charge_id: str, *, opens: bool) -> AnyEvent:
        charge = self.memory.charge_of_id(order.psp, charge_id)
        assert charge is not None
        back = 0 if FORMATS[order.psp] == "adyen" else FEE  # of which Adyen makes a row that names no dispute
        change = DisputeChange("opened", fee=FEE) if opens else DisputeChange("won", fee_returned=back)
        told = await self._disputes.dispute(charge, change, self._clock.now_us())
        currency, reference = order.amount.currency, _Psp(order.psp).shown_id("dispute", told.id)
        part, fee = share(order.amount.minor, 0, currency), Money(FEE if opens else back, currency)
        said = (opened if opens else won)(part, fee, order.payment_order_id)
        return said.model_copy(update={**order.terms(), "psp": order.psp, "dispute_reference": reference})

    def _special(self, psp: str, amount: Money, refunded_on: int, refund: int) -> _Order:
        order = self._order(psp)
        return order._replace(amount=amount, scheme="visa", declined=False, special=refunded_on, refund=refund)

    def _in_francs(self, psp: str) -> _Order:
        order = self._order(psp)
        return order._replace(amount=Money(order.amount.minor + 1_500, "CHF"), declined=False)

    def _order(self, psp: str) -> _Order:
        self._orders += 1
        currency = self._draw.choice(CURRENCIES)
        amount = Money(self._draw.randint(1_500, 30_000), currency)
        declined = self._draw.random() < 0.06
        call_id = f"{self._draw.getrandbits(128) | 1:032x}"
        return _Order(psp, call_id, f"order-{self._orders}", amount, self._draw.choice(SCHEMES), declined)


def _made_later(file: Bytes) -> Bytes:
    """The same once more, but for the hour at which it was made."""
    head, _, rest = file.content.partition(b"\r\n")
    later = head.replace(b" 01:00:00 ", b" 02:00:00 ")
    assert later != head
    return file._replace(content=later + b"\r\n" + rest)


def _asked_of(order: _Order) -> ChargeRequest:
    return ChargeRequest(
        order.call_id, order.call_id, order.payment_order_id, order.amount.minor, order.amount.currency, "tok_visa"
    )


def _outcome(order: _Order) -> AnyEvent:
    named = {"psp": order.psp, "call_id": order.call_id, "scheme": order.scheme}
    captured = capture(order.payment_order_id, **named, **order.terms())
    if not order.declined:
        return captured
    return PaymentDeclined(**captured.terms(), psp=order.psp, call_id=order.call_id, code="do_not_honor")  # type: ignore[arg-type]
