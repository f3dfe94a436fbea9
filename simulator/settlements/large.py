"""A seed → an Adyen batch of any length, a line at a time, and what its reader expects: `python -m simulator.settlements.large`.

One in two hundred rows is odd. The file and the expectations are made apart from each other, each from the same seed, so
that neither is ever held in memory.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from simulator.settlements import adyen
from simulator.settlements.model import Fee, Row, Settlement, with_payout
from simulator.settlements.terms import Terms

Odd = Literal["amount", "fee", "missing", "unknown"]
ODD_ONE_IN = 200
_ODD: tuple[Odd, ...] = ("amount", "fee", "missing", "unknown")
_NOON_US = 1_795_953_600_000_000  # 2026-11-29T12:00:00Z
_SCHEMES = ("visa", "mastercard", "amex")


class Expected(NamedTuple):
    """A capture as our books know it, in minor units, and how the file differs; one that is `unknown` is in no book."""

    our_ref: str  # 32 hex digits
    psp_ref: str
    order_ref: str
    amount: int
    currency: str
    fee: Fee
    scheme: str
    at: int  # microseconds since 1970
    odd: Odd | None


@dataclass(frozen=True, slots=True)
class Large:
    """A batch of that many captures."""

    rows: int
    seed: int = 0
    currency: str = "EUR"
    psp: str = "southpay"
    number: int = 1

    def expected(self) -> Iterator[Expected]:
        """One a capture. In the file those that are `missing` are not, and the others as `odd` says."""
        draw, terms = random.Random(f"{self.seed}/{self.number}"), Terms()
        fees: dict[tuple[int, str], Fee] = {}  # few: there are a thousand amounts
        odd_place = 0
        for place in range(self.rows):
            if place % ODD_ONE_IN == 0:
                odd_place = place + draw.randrange(ODD_ONE_IN)
            drawn = draw.getrandbits(224)
            amount, scheme = 500 + 17 * (drawn & 0x3FF), _SCHEMES[(drawn >> 14) % 3]
            odd = _ODD[(drawn >> 40) % 4] if place == odd_place else None
            fee = fees.get((amount, scheme))
            if fee is None:
                fee = fees[amount, scheme] = terms.of_capture(amount, self.currency, scheme)
            yield Expected(
                f"{drawn >> 96:032x}", f"{scheme[0].upper()}{place:015X}", f"order-{place}", amount, self.currency,
                fee, scheme, _NOON_US + place * 1000, odd,
            )  # fmt: skip

    def captures(self) -> Iterator[Row]:
        for each in self.expected():
            if each.odd == "missing":
                continue
            gross = each.amount + 77 if each.odd == "amount" else each.amount
            fee = replace(each.fee, commission=each.fee.commission + 55) if each.odd == "fee" else each.fee
            yield Row(
                "capture", each.at, self.currency, gross, self.currency, gross - fee.total, fee,
                each.our_ref, each.psp_ref, each.our_ref, each.psp_ref, each.order_ref, each.scheme,
            )  # fmt: skip

    def settlement(self) -> Settlement:
        """Its rows can be read again and again."""
        made = Settlement(
            self.psp, f"{self.psp}-account", self.number, self.currency, "2026-11-29", self._closed_at, ()
        )
        return replace(made, rows=_Rows(self, made.trace))

    @property
    def _closed_at(self) -> int:
        return _NOON_US + 12 * 3_600_000_000

    def file(self) -> Iterator[bytes]:
        return adyen.write([self.settlement()])


@dataclass(frozen=True, slots=True)
class _Rows:
    large: Large
    trace: str

    def __iter__(self) -> Iterator[Row]:
        at = _NOON_US + 12 * 3_600_000_000 - 1
        return with_payout(self.large.captures(), self.large.currency, at, self.trace)


def main() -> None:
    parser = argparse.ArgumentParser(description="A settlement report in Adyen's format, of any length.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, default=1, help="of the batch")
    parser.add_argument("--expected", type=Path, help="where to write its captures as our books know them, as CSV")
    arguments = parser.parse_args()
    large = Large(arguments.rows, arguments.seed, number=arguments.number)
    with arguments.file.open("wb", buffering=1 << 20) as written:
        written.writelines(large.file())
    if arguments.expected:
        with arguments.expected.open("w", encoding="utf-8", newline="", buffering=1 << 20) as expected:
            csv.writer(expected).writerows(
                (each.our_ref, each.order_ref, each.amount, each.currency, each.scheme, each.odd or "")
                for each in large.expected()
            )


if __name__ == "__main__":
    main()
