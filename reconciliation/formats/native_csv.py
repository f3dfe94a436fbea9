"""A settlement as CSV of our own (docs/settlement-csv.md): a header, the columns' names, rows, a trailer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Literal

from reconciliation.formats.amounts import MajorUnits, Rates, Units, decimals_of, distance_at_rate
from reconciliation.formats.blocks import first_line
from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.keys import Occurrences, ours, theirs
from reconciliation.formats.records import Columns, Records
from reconciliation.formats.refusing import Cell, Refusals, Unreadable, excerpt, refusal_of
from reconciliation.formats.rows import chunked
from reconciliation.formats.shape import KINDS, NO_KEY, Chunk, Control, ReadFrom, Refusal
from reconciliation.formats.times import Times, When, day_of
from schemas.masking import masked
from schemas.money import Money

MAGIC = "tallystick-settlement"
_LETTERS = {word: letter for letter, word in KINDS.items() if letter not in "sune"}
_OF_PAYMENTS = frozenset("crRbB2")
_PARTS = ("commission", "markup", "scheme", "interchange", "tax")
_COLUMNS = (
    "kind", "our_ref", "psp_ref", "order_ref", "at", "currency", "gross", "fee", "net", *_PARTS,
    "fx_rate", "net_currency", "payout_ref",
)  # fmt: skip
_AT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?)(Z|[+-]\d\d:\d\d)", re.ASCII)
_REFERENCE = re.compile(r"[!-~](?:[ -~]{0,98}[!-~])?")
_COUNT = re.compile(r"[0-9]{1,12}", re.ASCII)


class NativeCsv:
    name = "native_csv"
    version = 1
    provider = "tallystick"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "replace"
    ties = "in each row gross at its rate - fee = net; the trailer counts the rows and adds up their nets"

    def sniff(self, head: bytes, name: str) -> int:
        return 100 if first_line(head).split(",")[0].strip('"') == MAGIC else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            records = Records(blocks)
            settlement = _Settlement(records, source, refusals)
            yield from chunked(
                records,
                settlement.columns,
                settlement.chunks,
                refusals,
                settlement.line,
                settlement.cells,
                settlement.rows_before_the_trailer(),
            )
            settlement.check()
            if not refusals:
                yield settlement.control()


class _Settlement:
    """What is known while one file is read."""

    def __init__(self, records: Records, source: ReadFrom, refusals: Refusals) -> None:
        self._records, self._source, self._refusals = records, source, refusals
        self._read_header(records.header())
        self.columns = Columns(
            next(iter(records), []), required=(name.replace("_", " ") for name in _COLUMNS), line=records.line
        )
        self.chunks = Chunks()
        self._pick = self.columns.picker(*(name.replace("_", " ") for name in _COLUMNS))
        self._units = Units(signed=True)
        self._rates, self._times, self._occurrences = Rates(), Times(), Occurrences()
        self._trailer: list[str] | None = None
        self._rows = 0

    def _read_header(self, header: list[str]) -> None:
        """Errors: Refusal."""
        if len(header) != 7 or header[:2] != [MAGIC, "1"]:
            raise Refusal(
                "schema_drift", f"the header is not {MAGIC},1 and five cells more", 1, excerpt=excerpt(header)
            )
        _, _, self.account, self.reference, self.currency, self.first_day, self.last_day = header
        cells: list[Cell] = [
            ("account", 2, self._is_ours),
            ("reference", 3, _reference),
            ("currency", 4, decimals_of),
            ("period from", 5, day_of),
            ("period to", 6, day_of),
        ]
        for _, place, read in cells:
            try:
                read(header[place])
            except Unreadable as error:
                self._refusals.add(refusal_of(error, header, 1, cells))

    def _is_ours(self, account: str) -> None:
        if not account or (self._source.accounts and account not in self._source.accounts):
            raise Unreadable("wrong_account", f"account {masked(account)[:80]!r} is not the source's")

    def rows_before_the_trailer(self) -> Iterator[list[str]]:
        for row in self._records:
            if self._trailer is not None:
                self._refusals.add(
                    Refusal("bad_row", "a line behind the trailer", self._records.line, excerpt=excerpt(row))
                )
            elif row[0] == "trailer":
                self._trailer = row
                self._trailer_line = self._records.line
            else:
                self._rows += 1
                yield row

    def line(self, row: list[str]) -> Line:
        """Errors: Unreadable."""
        (word, our_ref, psp_ref, order_ref, at, currency, gross_text, fee_text, net_text, commission, markup, scheme,
         interchange, tax, rate, net_currency, payout_ref) = self._pick(row)  # fmt: skip
        kind, when = _kind(word), self._when(at)
        self._is_currency(net_currency)
        units = self._units[net_currency]
        gross, fee, net = self._units[currency][gross_text], units[fee_text], units[net_text]
        parts = [units[text] for text in (commission, markup, scheme, interchange, tax)]
        if any(parts) and sum(parts) != fee:
            raise Unreadable("row_does_not_tie", "the parts of the fee do not add up to it")
        if not any(parts):
            parts[0] = fee
        self._check_row(gross, currency, net + fee, net_currency, rate)
        key = ours(our_ref) or (theirs(self._source.psp, psp_ref) if kind in _OF_PAYMENTS else NO_KEY)
        names = (self._source.name, self.reference, word, our_ref, psp_ref, str(when.at), currency, net_currency)
        text = "\x1f".join((*names, str(gross), str(net), str(fee), rate))
        commission_, markup_, scheme_, interchange_, tax_ = parts
        return Line(
            kind, key, psp_ref or payout_ref, masked(order_ref), self.reference, gross, currency, net, net_currency,
            fee, commission_, markup_, scheme_, interchange_, tax_, rate, *when, self._occurrences.digest(text),
        )  # fmt: skip

    def _check_row(self, gross: int, currency: str, worth: int, net_currency: str, rate: str) -> None:
        if (currency == net_currency) != (rate == ""):
            raise Unreadable("bad_row", "a rate where the currencies are one, or none where they differ", "fx_rate")
        exact = self._rates[rate] if rate else Fraction(1)
        if distance_at_rate(gross, currency, worth, net_currency, exact) > Fraction(1, 2):
            raise Unreadable("row_does_not_tie", "gross at the row's rate, less its fee, is not its net")

    def _when(self, at: str) -> When:
        match = _AT.fullmatch(at)
        if match is None:
            raise Unreadable("bad_row", "not a time such as 2026-01-31T23:59:59+00:00")
        return self._times[match[1], match[2]]

    def _is_currency(self, currency: str) -> None:
        if currency != self.currency:
            raise Unreadable("bad_row", "not the settlement's currency, as the header has it")

    def cells(self, row: list[str]) -> Iterator[Cell]:
        """In the order in which a row's columns are read."""
        any_units = MajorUnits(9, 9, signed=True)
        gross = self._units.get(row[self.columns.place("currency")], any_units)
        readers: dict[str, Callable[[str], object]] = {
            "kind": _kind,
            "at": self._when,
            "net_currency": self._is_currency,
            "currency": decimals_of,
            "gross": gross.parse,
            **dict.fromkeys(("fee", "net", *_PARTS), self._units.get(self.currency, any_units).parse),
            "fx_rate": lambda text: text and self._rates[text],
        }
        return ((name, self.columns.place(name.replace("_", " ")), read) for name, read in readers.items())

    def check(self) -> None:
        """The trailer against the rows."""
        trailer, refusals = self._trailer, self._refusals
        if trailer is None:
            refusals.add(Refusal("truncated", "the file has no trailer: its end is missing"))
            return
        line, shown = self._trailer_line, excerpt(trailer)
        if len(trailer) != 3 or _COUNT.fullmatch(trailer[1]) is None:
            refusals.add(Refusal("bad_row", "the trailer is not trailer,<rows>,<sum of net>", line, excerpt=shown))
        elif int(trailer[1]) != self._rows:
            refusals.add(
                Refusal("bad_count", f"{self._rows} rows, and the trailer counts {trailer[1]}", line, None, shown)
            )
        if not refusals:
            self._check_total(trailer[2], line)

    def _check_total(self, text: str, line: int) -> None:
        total = self.chunks.totals().get(self.currency, 0)
        self.chunks.settlements()  # fit 64 bits
        try:
            said = self._units[self.currency].parse(text)
        except Unreadable as error:
            self._refusals.add(Refusal(error.code, error.detail, line, "sum of net", masked(text)))
            return
        if said != total:
            detail = f"the rows' nets add up to {Money(total, self.currency)}, and the trailer says {Money(said, self.currency)}"
            self._refusals.add(Refusal("bad_total", detail, line))

    def control(self) -> Control:
        chunks = self.chunks
        return Control(
            f"settlement {self.reference} of {self.account} in {self.currency}", "", (self.account,),
            self.first_day, self.last_day, chunks.lines,
            claims=chunks.claims(), sums=chunks.settlements(), totals=chunks.totals(), notes=self.columns.notes,
        )  # fmt: skip


def _kind(word: str) -> str:
    if word not in _LETTERS:
        raise Unreadable("schema_drift", f"an unknown kind {masked(word)[:60]!r}")
    return _LETTERS[word]


def _reference(text: str) -> None:
    if _REFERENCE.fullmatch(text) is None:
        raise Unreadable("bad_row", "a settlement's reference is 1 to 100 printable ASCII characters")
