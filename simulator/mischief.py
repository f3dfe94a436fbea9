"""Faults that a person or test asks for → rows, files and bank entries that are wrong, and what a reader must find of each.

Who reconciles shares no code with this: what is told here is the oracle that findings are held against.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Literal, NamedTuple, get_args

from simulator.currencies import ISO
from simulator.settlements.bank import bank_reference
from simulator.settlements.facts import Draft
from simulator.settlements.model import Fee, Row, converted
from simulator.settlements.terms import Format
from simulator.wire import Problem, Refused

RowFault = Literal[
    "missing_row",  # never reported
    "late_row",  # reported with the next settlement
    "extra_row",  # a capture that nobody asked for
    "extra_refund",  # a refund that nobody asked for
    "declined_row",  # a capture of what was declined
    "wrong_amount",
    "wrong_fee",
    "other_currency",
    "second_capture",  # the order is captured twice, under one reference of ours
    "wrong_rate",  # converted at another rate than all others
]
FileFault = Literal[
    "missing_file",  # comes with the next day's
    "truncated_file",  # and then the whole one
    "restated_file",  # two amounts were wrong, their sum was right
    "repeated_batch",  # the next batch's file has this one's rows, too
    "wrong_total",  # the payout is not what the rows come to
]
BankFault = Literal[
    "payout_missing",
    "bank_amount",
    "extra_entry",  # money from somebody unknown
]
TransferFault = Literal["returned_payout"]  # a transfer of ours is back on the next day, and nobody has said so
Fault = RowFault | FileFault | BankFault | TransferFault
ROW_FAULTS: tuple[RowFault, ...] = get_args(RowFault)
FILE_FAULTS: tuple[FileFault, ...] = get_args(FileFault)
BANK_FAULTS: tuple[BankFault, ...] = get_args(BankFault)
FAULTS: tuple[Fault, ...] = (*ROW_FAULTS, *FILE_FAULTS, *BANK_FAULTS, *get_args(TransferFault))

_CODES: Mapping[Fault, str] = {
    "missing_row": "MISSING_AT_PSP",
    "late_row": "MISSING_AT_PSP",
    "extra_row": "MISSING_INTERNAL",
    "extra_refund": "UNEXPECTED_REVERSAL",
    "declined_row": "STATUS_MISMATCH",
    "wrong_amount": "AMOUNT",
    "wrong_fee": "FEE_VARIANCE",
    "other_currency": "CURRENCY",
    "second_capture": "DUPLICATE_CHARGE",
    "wrong_rate": "FX_DIFFERENCE",
    "missing_file": "FILE_MISSING",
    "truncated_file": "FILE_REFUSED",
    "restated_file": "FILE_RESTATED",
    "repeated_batch": "DUPLICATE_ROW",
    "wrong_total": "PAYOUT_TOTAL",
    "payout_missing": "PAYOUT_MISSING",
    "bank_amount": "BANK_AMOUNT",
    "extra_entry": "UNEXPLAINED",
    "returned_payout": "PAYOUT_RETURNED",
}
_PASSING: frozenset[Fault] = frozenset({"late_row", "missing_file", "truncated_file"})
"""Over by itself once the rest has come."""


@dataclass(frozen=True, slots=True)
class Planted:
    """What is wrong, and the break that a reader must find: its code and subject. Amounts are in minor units."""

    fault: Fault
    code: str
    subject: str  # our reference, else the PSP's; the order; the settlement as PSP/NUMBER; the file's name; the bank's reference
    psp: str
    currency: str
    settlement: str
    passes: bool  # over by itself once the rest has come
    kind: str = ""
    our_ref: str = ""
    psp_ref: str = ""
    order_ref: str = ""
    scheme: str = ""
    delta: int = 0  # by how much more the PSP or bank says
    net_currency: str = ""  # in which it is settled

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(slots=True)
class Reported:
    """What a PSP is about to settle of a day: rows of all its currencies, which faults change."""

    psp: str
    number: int
    format: Format
    rows: dict[str, Row]  # by the facts behind them
    brought: Mapping[str, int]  # from the settlement before, by currency
    declined: Callable[[], Sequence[Draft]]  # captures that never were, to choose from
    file_name: Callable[[int, str], str]  # of a number and currency
    invented: list[Row] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)  # facts that are never reported
    file_faults: list[tuple[FileFault, str, int]] = field(default_factory=list)  # … of a currency, by an amount
    bank_faults: list[tuple[BankFault, str, int]] = field(default_factory=list)

    def total(self, currency: str) -> int:
        """What there is to pay out."""
        rows = (*self.rows.values(), *self.invented)
        return self.brought.get(currency, 0) + sum(row.net for row in rows if row.net_currency == currency)

    def claimed_too_much(self, currency: str) -> int:
        return sum(delta for fault, of, delta in self.file_faults if (fault, of) == ("wrong_total", currency))

    def at_the_bank(self, currency: str, paid: int) -> int:
        """What arrives of a payout."""
        for fault, of, delta in self.bank_faults:
            if of == currency and fault != "extra_entry":
                return 0 if fault == "payout_missing" else paid - delta
        return paid

    def unknown_credits(self) -> dict[str, tuple[str, int]]:
        """Fact → currency and amount of what somebody unknown pays."""
        unknown = [(of, amount) for fault, of, amount in self.bank_faults if fault == "extra_entry"]
        return {self.unknown_credit(currency): (currency, amount) for currency, amount in unknown}

    def unknown_credit(self, currency: str) -> str:
        return f"unknown:{self.psp}:{self.number}:{currency}"


class SentOut(NamedTuple):
    """A transfer of ours that a bank is about to state."""

    fact: str
    currency: str
    amount: int  # less than 0
    reference: str


_Place = tuple[Reported, str, Row]  # of a PSP's day the row of a fact


class Mischief:
    """Plants faults, each on an order or file that no other is planted on. The same seed and books: the same faults."""

    def __init__(self, seed: str, reported: Sequence[Reported], sent: Sequence[SentOut] = ()) -> None:
        self._draw = random.Random(seed)
        self._reported = reported
        self._sent = list(sent)
        self.returned: list[SentOut] = []  # of these each is back on the next day
        self._used: set[str] = set()
        self._captures = self._chosen([(at, fact, row) for at in reported for fact, row in at.rows.items()])
        self._declined: list[_Place] | None = None

    def _chosen(self, places: Sequence[_Place]) -> list[_Place]:
        """Captures with nothing else of their order, so that what is found is of the fault alone; in the order of faults."""
        rows_of = Counter(row.order_ref for at in self._reported for row in at.rows.values())
        alone = [
            (at, fact, row)
            for at, fact, row in places
            if row.kind == "capture" and row.gross > 100 and rows_of[row.order_ref] <= 1
        ]
        self._draw.shuffle(alone)
        return alone

    def plant(self, fault: Fault) -> Planted:
        """Errors: Refused INVALID if nothing is left to plant it on."""
        of_row = next((each for each in ROW_FAULTS if each == fault), None)
        if of_row is not None:
            return self._plant_row(of_row)
        if fault == "returned_payout":
            return self._plant_return()
        return self._plant_file(next(each for each in (*FILE_FAULTS, *BANK_FAULTS) if each == fault))

    # ── rows ──

    def _plant_row(self, fault: RowFault) -> Planted:
        at, fact, row = self._next(fault)
        self._used.add(row.order_ref)
        match fault:
            case "missing_row":
                at.hidden.append(fact)
                del at.rows[fact]
                return _told(fault, at, row)
            case "late_row":
                del at.rows[fact]
                return _told(fault, at, row)
            case "extra_row" | "extra_refund" | "second_capture":
                added = self._added(fault, row)
                at.invented.append(added)
                return _told(fault, at, added)
            case "declined_row":
                at.rows[fact] = row
                return _told(fault, at, row)
            case "wrong_amount" | "wrong_fee" | "other_currency" | "wrong_rate":
                changed, delta = self._changed(fault, row)
                at.rows[fact] = changed
                return replace(_told(fault, at, changed), delta=delta)

    def _next(self, fault: RowFault) -> _Place:
        """A capture of an order that no fault is planted on."""
        places = self._captures if fault != "declined_row" else self._never_captured()
        for place in places:
            if (
                place[2].order_ref not in self._used
                and _fits(fault, place[2])
                and not self._leaves_nothing(fault, place)
            ):
                return place
        raise Refused(Problem.INVALID, f"plant: no capture is left for {fault}")

    def _leaves_nothing(self, fault: RowFault, place: _Place) -> bool:
        """Whether it takes the only row of a settlement whose pay-out another fault is planted on."""
        at, _, row = place
        of_currency = sum(each.net_currency == row.net_currency for each in at.rows.values())
        takes = fault in ("missing_row", "late_row", "other_currency")
        return takes and of_currency <= 1 and f"{at.psp}/{row.net_currency}" in self._used

    def _never_captured(self) -> Sequence[_Place]:
        if self._declined is None:
            self._declined = self._chosen([(at, *draft) for at in self._reported for draft in at.declined()])
        return self._declined

    def _added(self, fault: RowFault, row: Row) -> Row:
        drawn = f"{self._draw.getrandbits(96):024x}"
        if fault == "second_capture":
            psp_ref = _as_drawn(row.psp_ref, drawn)
            return replace(row, psp_ref=psp_ref, charge_psp_ref=psp_ref)
        our_ref = f"{self._draw.getrandbits(128):032x}"
        if fault == "extra_refund":
            psp_ref = _as_drawn(row.charge_psp_ref, drawn)
            return replace(
                row,
                kind="refund",
                gross=-row.gross,
                net=-(row.net + row.fee.total),
                fee=Fee(),
                our_ref=our_ref,
                psp_ref=psp_ref,
            )
        psp_ref, order = _as_drawn(row.psp_ref, drawn), f"unknown-{drawn[:12]}"
        return replace(
            row, our_ref=our_ref, psp_ref=psp_ref, charge_our_ref=our_ref, charge_psp_ref=psp_ref, order_ref=order
        )

    def _changed(self, fault: RowFault, row: Row) -> tuple[Row, int]:
        if fault == "other_currency":
            other = "USD" if row.currency != "USD" else "EUR"
            return replace(row, currency=other, net_currency=other), 0
        if fault == "wrong_rate":
            rate = str(Decimal(row.rate) * self._draw.choice((Decimal("0.95"), Decimal("1.05"))))
            worth = converted(row.gross, row.currency, rate, row.net_currency)
            return replace(row, rate=rate, net=worth - row.fee.total), worth - row.fee.total - row.net
        delta = self._draw.randint(50, 99)
        if fault == "wrong_fee":
            fee = replace(row.fee, commission=row.fee.commission + delta)
            return replace(row, fee=fee, net=row.net - delta), delta
        delta = delta if self._draw.random() < 0.5 else -delta
        return replace(row, gross=row.gross + delta, net=row.net + delta), delta

    # ── files and the bank ──

    def _plant_return(self) -> Planted:
        if not self._sent:
            raise Refused(Problem.INVALID, "plant: no transfer is left for returned_payout")
        sent = self._sent.pop(self._draw.randrange(len(self._sent)))
        self.returned.append(sent)
        told = Planted(
            "returned_payout", _CODES["returned_payout"], sent.reference, "", sent.currency, "", passes=False
        )
        return replace(told, our_ref=sent.reference, delta=-sent.amount)

    def _plant_file(self, fault: FileFault | BankFault) -> Planted:
        found = [
            (at, currency)
            for at in self._reported
            for currency in sorted({row.net_currency for row in at.rows.values()})
            if self._may_have(fault, at, currency)
        ]
        if not found:
            raise Refused(Problem.INVALID, f"plant: no settlement is left for {fault}")
        at, currency = self._draw.choice(found)
        self._used |= {f"{at.psp}/{currency}"} if fault in BANK_FAULTS else {at.psp}
        delta = self._draw.randint(101, 999)
        told = self._told_of_file(fault, at, currency)
        match fault:
            case "payout_missing" | "bank_amount" | "extra_entry":
                at.bank_faults.append((fault, currency, delta))
                by = {"payout_missing": 0, "bank_amount": -delta, "extra_entry": delta}
                return replace(told, delta=by[fault])
            case "missing_file" | "truncated_file" | "restated_file" | "repeated_batch" | "wrong_total":
                at.file_faults.append((fault, currency, delta))
                return replace(told, delta=delta if fault == "wrong_total" else 0)

    def _may_have(self, fault: FileFault | BankFault, at: Reported, currency: str) -> bool:
        """One fault of a file in a day of a PSP, one of the bank in a settlement that pays out, and not both in one."""
        if at.psp in self._used or f"{at.psp}/{currency}" in self._used:
            return False
        match fault:
            case "repeated_batch":
                return at.format == "adyen"
            case "wrong_total":
                return at.format != "paypal" and at.total(currency) > 0
            case "restated_file":
                return at.format != "stripe" and len(_restatable(at.rows.values(), currency)) >= 2
            case "payout_missing" | "bank_amount":
                return at.total(currency) > 1_000
        return True

    def _told_of_file(self, fault: FileFault | BankFault, at: Reported, currency: str) -> Planted:
        settlement, code = f"{at.psp}/{at.number}", _CODES[fault]
        subject = settlement
        if fault == "missing_file":
            subject = at.psp
        elif fault == "extra_entry":
            subject = bank_reference(at.unknown_credit(currency))
        elif fault in ("truncated_file", "restated_file", "repeated_batch"):
            subject = at.file_name(at.number + (fault == "repeated_batch"), currency)
        elif fault == "wrong_total" and at.format == "adyen":
            code, subject = "FILE_REFUSED", at.file_name(at.number, currency)  # the whole file must come to zero
        return Planted(fault, code, subject, at.psp, currency, settlement, fault in _PASSING)


def read_faults(value: object) -> list[Fault]:
    """["wrong_amount", "missing_row=3"] → each as often as is asked. Errors: Refused INVALID."""
    if not isinstance(value, list):
        raise Refused(Problem.INVALID, f"plant: a list of {', '.join(FAULTS)}, each with =COUNT if wanted")
    return [fault for text in value for fault in _read_fault(text)]


def _read_fault(text: object) -> list[Fault]:
    name, _, count = str(text).partition("=")
    fault = next((each for each in FAULTS if each == name), None)
    if fault is None:
        raise Refused(Problem.INVALID, f"plant: {name} is none of {', '.join(FAULTS)}")
    if not (count or "1").isdecimal() or len(count) > 4:
        raise Refused(Problem.INVALID, f"plant: {text}: the count is no number")
    return [fault] * int(count or 1)


def restated(rows: Sequence[Row], delta: int) -> list[Row]:
    """The rows as they were before the file was restated: two captures wrong, their sum right."""
    first, second = _restatable(rows, rows[0].net_currency)[:2]
    wrong = {id(first): delta, id(second): -delta}
    return [
        replace(row, gross=row.gross + wrong[id(row)], net=row.net + wrong[id(row)]) if id(row) in wrong else row
        for row in rows
    ]


def _restatable(rows: Iterable[Row], currency: str) -> list[Row]:
    fitting = (row for row in rows if row.kind == "capture" and row.gross > 1_000 and not row.rate)
    return [row for row in fitting if row.net_currency == currency]


def _told(fault: RowFault, at: Reported, row: Row) -> Planted:
    subject = row.order_ref if fault == "second_capture" else row.our_ref or row.psp_ref
    return Planted(
        fault, _CODES[fault], subject, at.psp, row.currency, f"{at.psp}/{at.number}", fault in _PASSING,
        row.kind, row.our_ref, row.psp_ref, row.order_ref, row.scheme, net_currency=row.net_currency,
    )  # fmt: skip


def _fits(fault: RowFault, row: Row) -> bool:
    """What is exchanged keeps its amount and currency; a currency is taken for another with as many digits."""
    if fault == "wrong_rate":
        return bool(row.rate)
    if fault == "other_currency":
        return not row.rate and ISO[row.currency] == 2
    if fault == "wrong_fee":  # of a larger one it could be within what a schedule allows
        return not row.rate and row.gross <= 15_000
    return fault != "wrong_amount" or not row.rate


def _as_drawn(reference: str, drawn: str) -> str:
    """An id that looks like the PSP's: its prefix, and its own letters' case."""
    prefix, mark, own = reference.rpartition("_")
    return f"{prefix}{mark}{drawn.upper() if own.isupper() else drawn}"
