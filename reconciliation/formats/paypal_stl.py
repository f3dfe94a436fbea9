"""PayPal's settlement report (STL): CSV whose records say by their first field what they are.

Records: developer.paypal.com/docs/reports/sftp-reports/settlement-report (RH header of the report, FH of the file, SH of a
section; CH column names; SB a transaction; SF footer of a section and currency, SC a section's count; RF footer of the
report and a currency, RC its count; FF the file's end). Amounts are unsigned hundredths, of yen, too; DR or CR is the sign.

A report of more than a million transactions comes in parts, each a file. A footer speaks of all of its section or report:
it is held against the transactions where all of them are in this file, else it is a claim.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from reconciliation.formats.amounts import ImpliedUnits, decimals_of
from reconciliation.formats.blocks import first_line
from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.keys import Occurrences, ours, theirs
from reconciliation.formats.paypal_codes import kind_of
from reconciliation.formats.paypal_footers import Sums, Units, count_of, differences, footer, joined, money, number
from reconciliation.formats.records import Columns, Records
from reconciliation.formats.refusing import Cell, Refusals, Unreadable, refusal_of
from reconciliation.formats.shape import NO_KEY, Chunk, Control, ReadFrom, Refusal, RefusalCode
from reconciliation.formats.times import Times, When, iso_day
from schemas.masking import masked
from schemas.settlements import ClaimedTotal, NamedPayout

_FOLLOWS: Mapping[str, frozenset[str]] = {
    "": frozenset({"RH", "FH"}),  # a later part may have no header of the report
    "RH": frozenset({"FH"}),
    "FH": frozenset({"SH"}),
    "SH": frozenset({"CH", "SF", "SC"}),
    "CH": frozenset({"SB", "SF", "SC", "FF"}),
    "SB": frozenset({"SB", "SF", "SC", "FF"}),  # FF: the section goes on in the next part
    "SF": frozenset({"SF", "SC"}),
    "SC": frozenset({"SH", "RF", "RC", "FF"}),
    "RF": frozenset({"RF", "RC"}),
    "RC": frozenset({"FF"}),
    "FF": frozenset(),
}
REQUIRED = (
    *("transaction id", "invoice id", "custom field", "transaction event code"),
    *("transaction initiation date", "transaction completion date"),
    *("transaction debit or credit", "gross transaction amount", "gross transaction currency"),
    *("fee debit or credit", "fee amount", "fee currency"),
)
_BANK_REFERENCE = "bank reference id"  # of a pay-out
_OPTIONAL = (
    *("paypal reference id", "paypal reference id type", "consumer id", "payment tracking id", "store id"),
    *(_BANK_REFERENCE, "credit transactional fee", "credit promotional fee", "credit term"),
)
_MONEY = re.compile(r"\b(gross|fee|fees|net|amount|tax|total)\b")
_ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REFERENCE_MAX = 100  # characters, as many as a bank's reader takes
_YEARS = range(253_402_300_800)  # 1970 to 9999, in seconds
_CARRY_CALLS = frozenset("crR")
_DISPUTES = frozenset("bB2")


@dataclass(slots=True)
class _Section:
    """An account's transactions of a day."""

    account: str
    first_day: int
    last_day: int
    is_whole: bool  # begins in this file
    sums: dict[str, Sums] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)  # currency → net of what footers count, and has not moved
    footed: set[str] = field(default_factory=set)  # currencies

    @property
    def settlement(self) -> str:
        return f"{self.account}:{iso_day(self.first_day)}"


class PayPalStl:
    name = "paypal_stl"
    version = 1
    provider = "paypal"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "replace"
    ties = "gross, fees and counts in the footers of section, report and file are those of the transactions"

    def sniff(self, head: bytes, name: str) -> int:
        """0 for the transaction detail report (TRR), which has the same records and a column for a status."""
        is_ours = re.match(r'"?(RH|FH)"?,', first_line(head)) is not None
        return 95 if is_ours and b"transactionalstatus" not in re.sub(rb"[\0\s]", b"", head.lower()) else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            records = Records(blocks)
            file = PayPalFile(records, source, refusals)
            yield from file.chunks()
            if not refusals:
                yield file.control()


class PayPalFile:
    """What is known while one file is read."""

    called = ""  # the report, in its identity
    optional: tuple[str, ...] = _OPTIONAL  # columns beside those that are required
    required: tuple[str, ...] = REQUIRED

    def __init__(self, records: Records, source: ReadFrom, refusals: Refusals) -> None:
        self._records, self._source, self._refusals = records, source, refusals
        self._chunks = Chunks()
        self._times, self._units, self._seen = Times(), Units(), Occurrences()
        self._before = ""  # the record before
        self._account = self._version = self._made_at = ""
        self._part = 0
        self._sections: list[_Section] = []
        self._columns: Columns | None = None
        self._claims: dict[tuple[str, str], int] = {}  # (settlement, currency) → net, of pay-outs, too
        self._payouts: dict[tuple[str, str], dict[str, int]] = {}  # the same → the bank's reference → amount
        self._footed: set[str] = set()  # currencies of the report
        self._takes: Mapping[str, Callable[[list[str]], None]] = {
            "RH": self._take_report,
            "FH": self._take_file,
            "SH": self._take_section,
            "CH": self._take_columns,
            "SF": self._take_section_footer,
            "SC": self._take_section_count,
            "RF": self._take_report_footer,
            "RC": self._take_report_count,
            "FF": self._take_end,
        }

    def chunks(self) -> Iterator[Chunk]:
        records, refusals = self._records, self._refusals
        for row in records:
            try:
                chunk = self._take(row)
            except Unreadable as error:
                refusals.add(refusal_of(error, self.shown(row), records.line, self._cells(row)))
                if row[0] != "SB":  # what follows would be read in the wrong place
                    return
                continue
            if chunk is not None and not refusals:
                yield chunk
        self._check_end()
        if not refusals:
            yield from self._chunks.rest()

    def _take(self, row: list[str]) -> Chunk | None:
        kind = row[0]
        if kind not in _FOLLOWS[self._before]:
            known: RefusalCode = "bad_row" if self._before else "truncated"
            unknown: RefusalCode = "schema_drift" if self._before else "wrong_format"
            code = known if kind in _FOLLOWS and kind else unknown
            raise Unreadable(code, f"a record {masked(kind)[:12]!r} behind {self._before or 'nothing'}")
        self._before = kind
        if kind != "SB":
            self._takes[kind](row)
            return None
        records = self._records
        return self._chunks.add(self.line(row[1:]), records.number, records.first_byte, records.last_byte)

    def shown(self, row: list[str]) -> list[str]:
        """What a refusal may show of a record."""
        return row

    def _check_end(self) -> None:
        if not self._before and not self._refusals:
            self._refuse(Refusal("empty", "the file has no line"))
        elif self._before != "FF":
            self._refuse(Refusal("truncated", f"the file ends with {self._before} and without FF"))

    def _refuse(self, *found: Refusal) -> None:
        for refusal in found:
            refusal.line = self._records.line
            self._refusals.add(refusal)

    # ── headers ──

    def _take_report(self, row: list[str]) -> None:
        """RH, made at, window, account, version."""
        _, made_at, _, self._account, self._version = _fields(row, 5)
        at = self._when(made_at).at
        if at not in _YEARS:
            raise Unreadable("bad_row", "no report is of that time")
        self._made_at = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def _take_file(self, row: list[str]) -> None:
        self._part = number(_fields(row, 2)[1])

    def _take_section(self, row: list[str]) -> None:
        """SH, from, to, account."""
        _, begins, ends, account = _fields(row, 4)
        allowed = self._source.accounts
        if _ACCOUNT.fullmatch(account) is None or (allowed and account not in allowed):
            raise Unreadable("wrong_account", f"a section of account {masked(account)[:40]!r}")
        first, last = self._when(begins).day, self._when(ends).day
        is_whole = self._part <= 1 or bool(self._sections)
        self._account = self._account or account
        self._sections.append(_Section(account, first, last, is_whole))

    def _take_columns(self, row: list[str]) -> None:
        self._columns = Columns(
            row[1:],
            required=self.required,
            optional=self.optional,
            is_money=lambda name: _MONEY.search(name) is not None,
            line=self._records.line,
        )
        self._pick = self._columns.picker(*REQUIRED, _BANK_REFERENCE)

    # ── transactions ──

    def line(self, told: list[str]) -> Line:
        """Errors: Unreadable."""
        if self._columns is None or not self._columns.has_width(told):
            raise Unreadable("bad_row", "a transaction has not as many fields as there are columns")
        (transaction, invoice, custom, code, initiated, completed,
         direction, amount, currency, fee_direction, fee_amount, fee_currency, bank_reference) = self._pick(told)  # fmt: skip
        if not amount:
            raise Unreadable("bad_row", "there is no amount")
        if fee_amount and fee_currency != currency:
            raise Unreadable("bad_row", "a fee is in the currency of its transaction")
        units, section = self._units[currency], self._sections[-1]
        gross = _signed(direction, units[amount])
        moved = _signed(fee_direction, units[fee_amount]) if fee_amount else 0
        kind = _kind(code, direction)
        if currency not in section.sums:
            section.sums[currency] = Sums()
        section.sums[currency].add(gross, moved)
        fee = -moved
        if kind == "p" and bank_reference:
            shown = self._payouts.setdefault((section.settlement, currency), {})
            shown[bank_reference] = shown.get(bank_reference, 0) - gross - moved
        if kind == "f":  # what PayPal charges is a fee on nothing
            gross, fee = 0, -gross - moved
        begun = self._when(initiated)
        done = begun if completed in ("", initiated) else self._when(completed)
        name = transaction or "\x1f".join(told)
        named = f"{self._source.name}\x1f{section.settlement}\x1f{name}\x1f{code}\x1f{direction}"
        return Line(
            kind,
            self._key(kind, transaction, custom, invoice),
            transaction,
            next((masked(text) for text in (invoice, custom, bank_reference) if text and ours(text) is None), ""),
            section.settlement,
            gross,
            currency,
            gross - fee,
            currency,
            fee,
            commission=fee,
            at=begun.at,
            value_day=done.day,
            digest=self._seen.digest(named),
        )

    def waits(self, line: Line) -> None:
        """The line's transaction, which footers count, has moved nothing yet, or never will."""
        waiting = self._sections[-1].waiting
        waiting[line.net_currency] = waiting.get(line.net_currency, 0) + line.net

    @property
    def has_columns(self) -> bool:
        return self._columns is not None

    def place(self, name: str) -> int:
        """Of a column among the fields of a transaction."""
        assert self._columns is not None, "CH comes before SB"
        return self._columns.place(name)

    def _key(self, kind: str, transaction: str, custom: str, invoice: str) -> str:
        if kind in _CARRY_CALLS:
            return ours(custom) or ours(invoice) or theirs(self._source.psp, transaction)
        return theirs(self._source.psp, transaction) if kind in _DISPUTES else NO_KEY

    def _when(self, text: str) -> When:
        """ "2026/01/31 23:59:59 -0800"."""
        local, _, offset = text.rpartition(" ")
        return self._times[local, offset]

    def _cells(self, row: Sequence[str]) -> list[Cell]:
        """What reads each column of a transaction by itself."""
        columns = self._columns
        if columns is None or row[0] != "SB" or len(row) != columns.width + 1:
            return []
        reads: Mapping[str, Callable[[str], object]] = {
            "transaction event code": lambda text: _kind(text, "CR"),
            "transaction initiation date": self._when,
            "transaction completion date": lambda text: text and self._when(text),
            "transaction debit or credit": lambda text: _signed(text, 0),
            "gross transaction amount": ImpliedUnits(0, 0).parse,
            "gross transaction currency": decimals_of,
            "fee amount": ImpliedUnits(0, 0).parse,
        }
        return [(name, columns.place(name) + 1, read) for name, read in reads.items()]

    # ── footers ──

    def _take_section_footer(self, row: list[str]) -> None:
        section = self._sections[-1]
        currency, told = footer(row, self._units)
        section.footed.add(currency)
        where = section.settlement, currency
        self._claims[where] = self._claims.get(where, 0) + told.net() - section.waiting.get(currency, 0)
        if section.is_whole:
            self._refuse(*differences("section footer", currency, told, section.sums))

    def _take_section_count(self, row: list[str]) -> None:
        section = self._sections[-1]
        if section.is_whole:
            self._check_count("section", row, section.sums)
        self._check_footed("section", section.sums.keys() - section.footed)

    def _take_report_footer(self, row: list[str]) -> None:
        currency, told = footer(row, self._units)
        self._footed.add(currency)
        if self._is_whole():
            self._refuse(*differences("report footer", currency, told, self._of_file()))

    def _take_report_count(self, row: list[str]) -> None:
        found = self._of_file()
        if self._is_whole():
            self._check_count("report", row, found)
        self._check_footed("report", found.keys() - self._footed)

    def _take_end(self, row: list[str]) -> None:
        if len(row) > 1 and row[1]:
            self._check_count("file", row, self._of_file())

    def _check_count(self, name: str, row: list[str], found: Mapping[str, Sums]) -> None:
        told, count = number(_fields(row, 2)[1]), count_of(found)
        if told != count:
            self._refuse(Refusal("bad_count", f"the {name} counts {told} transactions, there are {count}"))

    def _check_footed(self, name: str, missing: Iterable[str]) -> None:
        for currency in sorted(missing):
            self._refuse(Refusal("truncated", f"the {name} has transactions in {currency} and no footer of them"))

    def _of_file(self) -> dict[str, Sums]:
        return joined(section.sums for section in self._sections)

    def _is_whole(self) -> bool:
        return all(section.is_whole for section in self._sections)

    # ── the end ──

    def control(self) -> Control:
        chunks, days = self._chunks, [section.first_day for section in self._sections]
        first, last = iso_day(min(days)), iso_day(max(section.last_day for section in self._sections))
        found = {(each.settlement, each.currency): each for each in chunks.settlements()}
        paid = {where: each.paid for where, each in found.items()}
        claims = {where: net + paid.get(where, 0) for where, net in self._claims.items()}
        return Control(
            identity=f"{self.called}{self._account} {first} part {self._part}",
            version=f"{self._version} {self._made_at}".strip(),
            account_ids=tuple(sorted({section.account for section in self._sections})),
            first_day=first,
            last_day=last,
            lines=chunks.lines,
            claims=tuple(self._claim(*where, amount) for where, amount in sorted(claims.items())),
            sums=tuple(each._replace(ties=claims.get(at) == each.net) for at, each in found.items() if each.settlement),
            totals=chunks.totals(),
            notes=self._columns.notes if self._columns else (),
        )

    def _claim(self, settlement: str, currency: str, amount: int) -> ClaimedTotal:
        """What the day has come to; as much of it as the footer does not show as paid out stays with PayPal."""
        kept = money(self._claims[settlement, currency], currency)
        named = self._payouts.get((settlement, currency), {})
        payouts = tuple(NamedPayout(ref[:_REFERENCE_MAX], money(paid, currency)) for ref, paid in sorted(named.items()))
        day = settlement.rpartition(":")[2]
        return ClaimedTotal(settlement, money(amount, currency), day=day, kept=kept, payouts=payouts or None)


def _fields(row: Sequence[str], count: int) -> Sequence[str]:
    if len(row) < count:
        raise Unreadable("bad_row", f"a record {row[0]} has {count} fields")
    return row[:count]


def _signed(direction: str, amount: int) -> int:
    if direction not in ("CR", "DR"):
        raise Unreadable("bad_row", "neither CR nor DR")
    return amount if direction == "CR" else -amount


def _kind(code: str, direction: str) -> str:
    kind = kind_of(code, direction == "CR")
    if kind is None:
        raise Unreadable("schema_drift", f"an unknown event code {masked(code)[:12]!r}")
    return kind
