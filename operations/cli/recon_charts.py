"""What is out by age, and open breaks by code → small charts, as SVG that stands in an HTML page.

A chart is of one currency: amounts of two cannot be compared. Bars are absolute values; what is not due is of another colour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from html import escape
from typing import NamedTuple

from operations.cli.csv_rows import cell
from producers.recon_reports import AGES, Answer

_WIDTH, _BAR, _GAP = 460, 16, 8
_LABELS, _VALUES = 150, 110  # widths left and right of the bars
_PLUS, _MINUS, _NOT_DUE = "#3566b8", "#c2571a", "#9aa5b6"


class Bar(NamedTuple):
    """One bar: its parts, by colour, and the text behind it."""

    label: str
    parts: tuple[tuple[str, Decimal], ...]
    text: str

    @property
    def length(self) -> Decimal:
        return sum((value for _, value in self.parts), Decimal(0))


def by_age(clearing: Sequence[Answer]) -> Iterator[str]:
    """Of each currency what is out, by how late it is: what they owe us, and what we owe them."""
    found: dict[str, dict[str, list[Decimal]]] = defaultdict(lambda: {age: [Decimal(0), Decimal(0)] for age in AGES})
    for row in clearing:
        sums = found[row["currency"]][row["days_late"]]
        sums[0] += Decimal(row["plus"])
        sums[1] -= Decimal(row["minus"])
    for currency, ages in sorted(found.items()):
        bars = [_of_age(age, plus, minus) for age, (plus, minus) in ages.items()]
        yield _figure(f"Still out, {currency}, by days late", bars)


def _of_age(age: str, plus: Decimal, minus: Decimal) -> Bar:
    colours = (_NOT_DUE, _MINUS) if age == "not due" else (_PLUS, _MINUS)
    return Bar(age, tuple(zip(colours, (plus, minus), strict=True)), str(plus + minus))


def by_code(breaks: Sequence[Answer]) -> Iterator[str]:
    """Of each currency its open breaks: the absolute value of each code."""
    found: dict[str, list[Bar]] = defaultdict(list)
    for row in breaks:
        if row["currency"] and row["amount"] is not None:
            value = abs(Decimal(row["amount"]))
            found[row["currency"]].append(Bar(row["code"], ((_PLUS, value),), f"{value} ({row['items']})"))
    for currency, bars in sorted(found.items()):
        yield _figure(f"Open breaks, {currency} (items)", sorted(bars, key=_longest_first))


def _longest_first(bar: Bar) -> tuple[Decimal, str]:
    return -bar.length, bar.label


def _figure(title: str, bars: Sequence[Bar]) -> str:
    longest = max((bar.length for bar in bars), default=Decimal(0)) or Decimal(1)
    height = len(bars) * (_BAR + _GAP) + _GAP
    drawn = "".join(_bar(bar, _GAP + place * (_BAR + _GAP), longest) for place, bar in enumerate(bars))
    label = escape(cell(title), quote=True)
    svg = f'<svg role="img" aria-label="{label}" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">'
    return f"<figure><figcaption>{label}</figcaption>{svg}{drawn}</svg></figure>"


def _bar(bar: Bar, top: int, longest: Decimal) -> str:
    """In units of a hundredth of a pixel, rounded down: a chart is no sum."""
    left, room, drawn = Decimal(_LABELS), Decimal(_WIDTH - _LABELS - _VALUES), ""
    for colour, value in bar.parts:
        width = (value / longest * room).quantize(Decimal("0.01"))
        if width > 0:
            drawn += f'<rect x="{left}" y="{top}" width="{width}" height="{_BAR}" fill="{colour}"/>'
        left += width
    base = top + _BAR - 4
    label, text = (escape(cell(each), quote=True) for each in (bar.label, bar.text))
    named = f'<text x="{_LABELS - 6}" y="{base}" text-anchor="end">{label}</text>'
    return f'{named}{drawn}<text x="{left + 6}" y="{base}">{text}</text>'
