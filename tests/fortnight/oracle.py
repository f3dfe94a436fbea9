"""What the simulator has planted → the breaks that must be found: code and item, as reconciliation names them.

Two breaks follow from one fault where money of a settlement that is not booked arrives at the bank all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from reconciliation import gate
from reconciliation.formats import keys
from reconciliation.formats.shape import Chunk, ReadFrom
from schemas.events import PaymentCaptured
from simulator.settlements.model import Settlement
from simulator.settlements.names import first_name, report_name
from tests.fortnight.world import FIRST, FORMATS, GRACE, Day, file_day
from tests.unit.settlement_reading import lines_of

Found = set[tuple[str, str]]
THURSDAY, FRIDAY = 3, 4
EACH_CURRENCY = ("native", "checkoutcom")  # formats with a file of each


class Oracle:
    def __init__(self, days: Sequence[Day]) -> None:
        self._days = days
        said = [each.event for day in days for each in day.said]
        self._ours = {(each.call_id, each.gross.currency) for each in said if isinstance(each, PaymentCaptured)}
        self._contents = {(file.source, file.name): file.content for day in days for file in day.files}

    def lasting(self) -> Found:
        """What is open, or recorded for good, when all has come, in whatever order."""
        return {each for _, each, passes in self._all() if not passes}

    def ever(self) -> Found:
        """With what passes by itself, or by what persons decide, where files come as they are dated."""
        return {each for _, each, _ in self._all()}

    def by_fault(self) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for fault, each, _ in self._all():
            found.setdefault(fault, set()).add(each)
        return found

    def _all(self) -> Iterator[tuple[str, tuple[str, str], bool]]:
        for day in self._days:
            for planted in day.planted:
                for code, item, passes in self._of(day, planted):
                    yield planted["fault"], (code, item), passes

    def _of(self, day: Day, planted: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
        code, psp, currency = planted["code"], planted["psp"], planted["currency"]
        if planted["fault"] == "returned_payout":  # of no PSP
            yield code, f"main|s|{planted['our_ref']}", False
            return
        number = int(planted["settlement"].partition("/")[2])
        ref = _reference(psp, number, currency, day.day.isoformat())
        at_the_bank = _at_the_bank(psp, number, currency, day.day.isoformat())
        match planted["fault"]:
            case "late_row":
                waits = any((each["fault"], each["psp"]) == ("missing_file", psp) for each in day.planted)
                is_late = not waits and not GRACE[psp] and day.day.weekday() < FRIDAY  # else it comes before
                if is_late or self._waits_twice(day, psp, currency):
                    yield code, f"{psp}|c|{planted['our_ref']}", True
            case "missing_row" | "extra_row" | "declined_row" | "wrong_amount" | "wrong_fee" | "other_currency":
                yield code, f"{psp}|c|{planted['our_ref']}", False
            case "second_capture":
                yield code, f"{psp}|c|{planted['our_ref']}", False
            case "wrong_rate":
                settled_in = planted["net_currency"]
                yield (
                    code,
                    f"fx|{psp}/{_reference(psp, number, settled_in, day.day.isoformat())}/{settled_in}/{currency}",
                    False,
                )
            case "extra_refund":
                yield code, f"{psp}|r|{planted['our_ref']}", False
            case "missing_file":
                yield from ((code, item, True) for item in _missed(day.day, psp, number))
                yield from (("UNEXPLAINED", item, True) for item in _paid_before_read(day, psp, currency))
            case "truncated_file":
                yield code, self._file(day, psp, number, currency, first=True), True
            case "restated_file":
                for key in self._too_much_before(day, psp, number, currency):
                    yield "AMOUNT", f"{psp}|c|{key}", True
                yield code, f"restated|{psp}/{_identity(psp, number, currency, day.day.isoformat())}", False
            case "repeated_batch":
                for batch in day.batches:
                    if batch.psp == psp:
                        yield code, f"duplicate|{psp}/{number}/{batch.currency}", False
            case "wrong_total":
                if code == "FILE_REFUSED" and not self._is_of_two(day, psp):
                    yield code, self._file(day, psp, number, currency), True
                    others = _paid_before_read(day, psp, currency)
                    yield from (("UNEXPLAINED", item, True) for item in others if item != at_the_bank)
                yield "PAYOUT_TOTAL", f"settlement|{psp}/{ref}/{currency}", False
                yield "UNEXPLAINED", at_the_bank, False
            case "payout_missing" | "bank_amount":
                yield code, at_the_bank, False
            case "extra_entry":
                yield code, f"main|s|{keys.theirs('main', planted['subject'])}", False

    def _waits_twice(self, day: Day, psp: str, currency: str) -> bool:
        """Whether the file in which a late row comes is itself a day late, which nobody knows who has those of other
        currencies: on the third business day the grace is over."""
        following = self._days[self._days.index(day) + 1]
        missed = [(each["fault"], each["psp"], each["currency"]) for each in following.planted]
        return (
            FORMATS[psp] in EACH_CURRENCY and ("missing_file", psp, currency) in missed and day.day.weekday() < THURSDAY
        )

    def _is_of_two(self, day: Day, psp: str) -> bool:
        """Whether the day's file has the batch of the day before, too: then what does not tie is a settlement of several."""
        before = self._days[self._days.index(day) - 1]
        return any((each["fault"], each["psp"]) == ("repeated_batch", psp) for each in before.planted)

    def _too_much_before(self, day: Day, psp: str, number: int, currency: str) -> Iterator[str]:
        """The captures that the first version of a file has with more than the second one."""
        name = self._name(day, psp, number, currency)
        first, second = (_captures(psp, self._contents[psp, each]) for each in (first_name(name), name))
        for name, amounts in first.items():
            before, after = sum(amounts), sum(second[name])
            too_much = before > after or (before < after and len(amounts) > 1)  # of two captures one is too much
            if too_much and name in self._ours:
                yield name[0]

    def _file(self, day: Day, psp: str, number: int, currency: str, *, first: bool = False) -> str:
        name = self._name(day, psp, number, currency)
        content = self._contents[psp, first_name(name) if first else name]
        return f"file|{psp}/{hashlib.sha256(content).hexdigest()}"

    def _name(self, day: Day, psp: str, number: int, currency: str) -> str:
        return report_name(FORMATS[psp], psp, day.day.isoformat(), number, currency)


def _captures(psp: str, content: bytes) -> dict[tuple[str, str], list[int]]:
    """Key and currency → amounts."""
    chunks = [part for part in gate.read([content], ReadFrom(psp, psp)) if isinstance(part, Chunk)]
    lines = [line for chunk in chunks for line in lines_of(chunk)]
    found: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        if line.kind == "c":
            found.setdefault((line.key, line.gross_currency), []).append(line.gross)
    return found


def _missed(day: date, psp: str, number: int) -> Iterator[str]:
    """What a file that comes a day later is until then: a day, unless that is over before the grace; a number among others.
    Where each currency has a file those of others have come."""
    if FORMATS[psp] not in EACH_CURRENCY and not (GRACE[psp] and day.weekday() == FRIDAY):
        yield f"day|{psp}/{file_day(psp, day).isoformat()}"
    if FORMATS[psp] == "adyen" and day != FIRST:
        yield f"sequence|{psp}/{number}"


def _paid_before_read(day: Day, psp: str, currency: str) -> Iterator[str]:
    """What the bank shows of a file that comes a day later, or is read when persons have released it."""
    for batch in day.batches:
        of_file = batch.psp == psp and (FORMATS[psp] not in EACH_CURRENCY or batch.currency == currency)
        if of_file and not batch.left_over and batch.currency != "GBP":  # of which nothing is left to pay out
            yield _at_the_bank(psp, batch.number, batch.currency, day.day.isoformat())


def _at_the_bank(psp: str, number: int, currency: str, day: str) -> str:
    """What the bank is expected to show of a settlement. PayPal tells the bank's reference."""
    name = _trace(psp, number, currency, day) if FORMATS[psp] == "paypal" else _reference(psp, number, currency, day)
    return f"main|s|{keys.paid_out('main', name, currency)}"


def _reference(psp: str, number: int, currency: str, day: str) -> str:
    """How the PSP's format names the settlement."""
    match FORMATS[psp]:
        case "stripe":
            return Settlement(psp, f"{psp}-account", number, currency, day, 0, ()).payout_id
        case "paypal":
            return f"{psp}-account:{day}"
        case "checkoutcom":
            return _trace(psp, number, currency, day)
        case _:
            return str(number)


def _trace(psp: str, number: int, currency: str, day: str) -> str:
    return Settlement(psp, f"{psp}-account", number, currency, day, 0, ()).trace


def _identity(psp: str, number: int, currency: str, day: str) -> str:
    """What the versions of a file have in common."""
    match FORMATS[psp]:
        case "adyen":
            return f"batch {number} of {psp}-account"
        case "paypal":
            return f"{psp}-account {day} part 1"
        case "checkoutcom":
            return f"settlement breakdown of payout {_trace(psp, number, currency, day)} of ent_{psp}"
        case _:
            return f"settlement {number} of {psp}-account in {currency}"
