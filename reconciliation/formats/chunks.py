"""Lines, one by one → chunks of columns, and the sums that a file's gate and its settlements are checked by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from reconciliation.formats.shape import CHUNK_LINES, EVIDENCE, Chunk, Refusal, SettlementSum
from reconciliation.formats.times import iso_day
from schemas.money import MINOR_MAX, Money
from schemas.settlements import ClaimedTotal, LineColumns

REFERENCE_MAX = 200  # characters of their references that are kept; longer ones stand in the file's bytes


class Line(NamedTuple):
    """One line, as LineColumns has it column by column. Amounts in minor units; signs: + the PSP owes us more."""

    kind: str
    key: str
    psp_ref: str
    order_ref: str
    settlement: str  # "": none
    gross: int
    gross_currency: str
    net: int
    net_currency: str
    fee: int
    commission: int = 0
    markup: int = 0
    scheme_fee: int = 0
    interchange: int = 0
    tax: int = 0
    rate: str = ""
    at: int = 0
    value_day: int = 0
    digest: int = 0


line_of = tuple.__new__  # line_of(Line, (kind, …, digest)): a third of the cost of Line(…)


def as_evidence(line: Line) -> Line:
    """The line of a report that another one settles: it says how a payment stands, moves nothing, and is in no settlement."""
    named, cur = (line.key, line.psp_ref, line.order_ref), line.net_currency
    return Line(EVIDENCE, *named, "", 0, cur, 0, cur, 0, at=line.at, value_day=line.value_day, digest=~line.digest)


class Chunks:
    """Takes lines; gives a chunk for each CHUNK_LINES consecutive records.

    `sums`: (settlement, net currency) → [net of all lines but pay-outs, what is paid out]. Reader's loop:

        if (chunk := chunks.add(line, records.number, records.first_byte, records.last_byte)) is not None: yield chunk
        yield from chunks.rest()
    """

    def __init__(self, scale: int = 0) -> None:
        self.lines = 0
        self.first_day = self.last_day = 0
        self.sums: dict[tuple[str, str], list[int]] = {}
        self._paid_on: dict[tuple[str, str], int] = {}  # the value day of a settlement's last pay-out
        self._scale = scale
        self._held: list[Line] = []
        self._first = self._next = 0  # record numbers
        self._first_byte = self._last_byte = 0
        self._spans: list[tuple[int, int]] = []  # the first and last byte of each line

    def add(self, line: Line, record: int, first_byte: int = 0, last_byte: int = 0) -> Chunk | None:
        """The chunk that is full, or whose records are not followed by this one."""
        done = None
        held = self._held
        if record != self._next or len(held) == CHUNK_LINES:
            done = self._made() if held else None
            self._first, self._first_byte = record, first_byte
        self._held.append(line)
        self._spans.append((first_byte, last_byte))
        self._next = record + 1
        self._last_byte = last_byte
        sums = self.sums.get((line.settlement, line.net_currency))
        if sums is None:
            sums = self.sums[line.settlement, line.net_currency] = [0, 0]
        if line.kind == "p":
            sums[1] -= line.net
            named = line.settlement, line.net_currency
            self._paid_on[named] = max(line.value_day, self._paid_on.get(named, 0))
        else:
            sums[0] += line.net
        return done

    def rest(self) -> Iterator[Chunk]:
        if self._held:
            yield self._made()

    def totals(self) -> dict[str, int]:
        """Net currency → net of all lines, pay-outs too."""
        found: dict[str, int] = {}
        for (_, currency), (net, paid) in self.sums.items():
            found[currency] = found.get(currency, 0) + net - paid
        return found

    def settlements(self) -> tuple[SettlementSum, ...]:
        """Errors: Refusal `bad_row` where a sum does not fit 64 bits."""
        parts = (amount for sums in self.sums.values() for amount in sums)
        if any(abs(amount) > MINOR_MAX for amount in (*parts, *self.totals().values())):
            raise Refusal("bad_row", "a sum has more than 64 bits")
        found = sorted(self.sums.items())
        return tuple(SettlementSum(ref, cur, net, paid, net == paid) for (ref, cur), (net, paid) in found)

    def claims(self) -> tuple[ClaimedTotal, ...]:
        """What the file's own pay-out lines say that each settlement pays out, and when: zero where it has none."""
        told = ((each, self._paid_on.get((each.settlement, each.currency))) for each in self.settlements())
        return tuple(
            ClaimedTotal(each.settlement, Money(each.paid, each.currency), day=None if day is None else iso_day(day))
            for each, day in told
        )

    def days(self) -> tuple[str, str]:
        """ISO 8601, the first and the last value day."""
        return iso_day(self.first_day), iso_day(self.last_day)

    def _made(self) -> Chunk:
        held, self._held = self._held, []
        spans, self._spans = self._spans, []
        offsets, sizes = zip(*((first - self._first_byte, last - first + 1) for first, last in spans), strict=True)
        columns = tuple(zip(*held, strict=True))
        settlements, settlement_places = _places(columns[4])
        currencies, places = _places((*columns[6], *columns[8]))
        self._note(columns[17], len(held))
        return Chunk(
            self._first,
            self._first_byte,
            self._last_byte,
            self._scale,
            settlements,
            currencies,
            LineColumns(
                "".join(columns[0]),
                "".join(columns[1]),
                [text[:REFERENCE_MAX] for text in columns[2]],
                [text[:REFERENCE_MAX] for text in columns[3]],
                settlement_places,
                list(columns[5]),
                places[: len(held)],
                list(columns[7]),
                places[len(held) :],
                *(list(column) for column in (*columns[9:], offsets, sizes)),
            ),
        )

    def _note(self, days: tuple[int, ...], lines: int) -> None:
        first, last = min(days), max(days)
        self.first_day = min(first, self.first_day) if self.lines else first
        self.last_day = max(last, self.last_day) if self.lines else last
        self.lines += lines


def _places(texts: tuple[str, ...]) -> tuple[tuple[str, ...], list[int]]:
    """The distinct ones, and for each text its place among them; -1 for an empty one."""
    distinct = tuple(text for text in dict.fromkeys(texts) if text)
    places = {text: place for place, text in enumerate(distinct)} | {"": -1}
    return distinct, [places[text] for text in texts]
