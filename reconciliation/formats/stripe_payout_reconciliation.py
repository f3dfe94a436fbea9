"""Stripe's payout reconciliation, itemized: CSV in whatever columns the report was asked for.

Columns: docs.stripe.com/reports/report-types/payout-reconciliation
Amounts are signed decimals of major units with a point, in the currency of the balance. Exports overlap at will: a row is
known by its balance transaction. Rows of no automatic payout (of manual and instant ones) are evidence, in no settlement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Context, Decimal
from typing import Literal

from reconciliation.formats.amounts import MajorUnits, decimals_of
from reconciliation.formats.blocks import first_line
from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.keys import Occurrences, digest, ours, theirs
from reconciliation.formats.records import Columns, Records, normal
from reconciliation.formats.refusing import Cell, Refusals, Unreadable
from reconciliation.formats.rows import chunked
from reconciliation.formats.shape import NO_KEY, Chunk, Control, ReadFrom, Refusal, SettlementSum
from reconciliation.formats.stripe_categories import kind_of
from reconciliation.formats.times import LocalTimes, When, iso_day
from schemas.currencies import DECIMALS
from schemas.masking import masked
from schemas.money import Money
from schemas.settlements import ClaimedTotal

ACTIVITY = (
    "balance transaction id",
    "currency",
    "net",
    "reporting category",
    "source id",
)  # what any itemized report has
_REQUIRED = (*ACTIVITY, "automatic payout id")
_TIMES = ("automatic payout effective at", "available on", "created")  # each of them in UTC, too: "created utc"
_OPTIONAL = frozenset(
    (
        *("gross", "fee", "customer facing amount", "customer facing currency", "connected account id"),
        *("charge id", "charge created", "charge created utc", "payment intent id", "invoice id", "customer id"),
        *("payment method type", "card brand", "card country", "card funding", "dispute reason", "description"),
        *("trace id", "trace id status", "statement descriptor", "regulatory tag"),
        *(name for time in _TIMES for name in (time, f"{time} utc")),
    )
)
_METADATA = re.compile(r"(payment|refund|transfer) metadata .+")
_MONEY = re.compile(r"\b(gross|fee|fees|net|amount|tax|total)\b")
_PAYOUT = re.compile(r"[A-Za-z0-9_-]{0,64}")
_CALL_IN = {"c": "payment", "r": "refund", "R": "refund"}  # kind → whose metadata hold our call id
_OF_CUSTOMERS = frozenset("crRbB")
_EXACT = Context(prec=40)
_RATE_UNIT = Decimal("1e-18")


class StripePayoutReconciliation:
    name = "stripe_payout_reconciliation"
    version = 1
    provider = "stripe"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "union"
    ties = "of each payout, the net of all other rows is what the payout row takes"

    def sniff(self, head: bytes, name: str) -> int:
        columns = {normal(column) for column in first_line(head).split(",")}
        return 95 if columns.issuperset(_REQUIRED) else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            records = Records(blocks)
            report = ItemizedReport(records.header(), source, _REQUIRED)
            yield from chunked(records, report.columns, report.chunks, refusals, report.line, report.cells)
            if not refusals:
                report.check(refusals)
            if not refusals:
                yield report.control()


class _Units(dict[str, tuple[str, MajorUnits]]):
    """ "eur" → EUR and how its amounts are read. Errors: Unreadable `currency_unknown`."""

    def __missing__(self, written: str) -> tuple[str, MajorUnits]:
        currency = written.upper() if written.isascii() else written
        units = self[written] = currency, MajorUnits(*decimals_of(currency), signed=True)
        return units


class ItemizedReport:
    """What is known while one file is read."""

    def __init__(self, header: Sequence[str], source: ReadFrom, required: Sequence[str]) -> None:
        self.chunks = Chunks()
        self._source, self._required = source, required
        self._units, self._seen = _Units(), Occurrences()
        self._local, self._utc = LocalTimes(source.timezone), LocalTimes("UTC")
        self._payouts: dict[tuple[str, str], str] = {}  # (payout, currency) whose payout row is here → its day
        self._accounts: set[str] = set()
        self._of_no_payout = 0
        self._open(header)

    # ── columns ──

    def _open(self, header: Sequence[str]) -> None:
        names = [normal(name) for name in header]
        metadata = [name for name in names if _METADATA.fullmatch(name)]
        self.columns = columns = Columns(
            header,
            required=self._required,
            optional=(*_OPTIONAL, "automatic payout id", *metadata),
            is_money=lambda name: _MONEY.search(name) is not None,
        )
        self._has_gross, self._has_fee = "gross" in names, "fee" in names
        if not (self._has_gross or self._has_fee):
            raise Refusal("schema_drift", "there is neither a column 'gross' nor 'fee'", 1)
        self._times = [self._time_column(name, names) for name in _TIMES]
        self._pick = columns.picker(
            *("balance transaction id", "automatic payout id", "reporting category", "source id", "currency"),
            *("gross", "fee", "net", "customer facing amount", "customer facing currency", "connected account id"),
            "trace id",
        )
        self._metadata = {
            owner: [columns.place(name) for name in metadata if name.startswith(owner)]
            for owner in ("payment", "refund")
        }
        self._orders = [columns.place(name) for name in metadata if "order" in name and name.startswith("payment")]

    def _time_column(self, name: str, names: Sequence[str]) -> tuple[str, int, Callable[[str], When]]:
        """The column in UTC if the report has it, else its twin in the zone of the source."""
        if f"{name} utc" in names:
            return f"{name} utc", self.columns.place(f"{name} utc"), self._utc.__getitem__
        return name, self.columns.place(name), self._local.__getitem__

    def cells(self, row: list[str]) -> Iterator[Cell]:
        """What reads each column by itself."""
        place, written = self.columns.place, row[self.columns.place("currency")]
        _, units = self._units.get(written) or ("", MajorUnits(9, 9, signed=True))
        yield "currency", place("currency"), self._units.__getitem__
        for name in ("gross", "fee", "net"):
            yield name, place(name), units.parse
        yield from (time for time in self._times if row[time[1]])

    # ── rows ──

    def line(self, row: list[str]) -> Line:
        """Errors: Unreadable."""
        transaction, payout, category, source_id, written, *amounts, facing, facing_currency, account, trace = (
            self._pick(row)
        )
        currency, units = self._units[written]
        gross, fee, net = self._amounts(units, *amounts)
        kind = kind_of(category, net)
        if kind is None:
            raise Unreadable("schema_drift", f"unknown reporting category {category[:40]!r}")
        gross_currency, rate = currency, ""
        if kind == "f":  # what Stripe charges is a fee on nothing
            gross, fee = 0, -net
        elif facing_currency and kind in _OF_CUSTOMERS:
            gross, gross_currency, rate = self._as_charged(gross, currency, facing, facing_currency)
        at, value_day = self._when(row)
        self._note(kind, payout, currency, value_day, account)
        return Line(
            kind,
            self._key(kind, row, source_id),
            source_id,
            next((masked(row[place]) for place in self._orders if row[place]), trace if kind == "p" else ""),
            payout,
            gross,
            gross_currency,
            net,
            currency,
            fee,
            commission=0 if category == "tax" else fee,
            tax=fee if category == "tax" else 0,
            rate=rate,
            at=at,
            value_day=value_day,
            digest=self._named(transaction),
        )

    def _amounts(self, units: MajorUnits, gross: str, fee: str, net: str) -> tuple[int, int, int]:
        if not net:
            raise Unreadable("bad_row", "there is no net amount")
        told = units[net]
        if not self._has_gross:
            return told + units[fee], units[fee], told
        if not self._has_fee:
            return units[gross], units[gross] - told, told
        if units[gross] - units[fee] != told:
            raise Unreadable("row_does_not_tie", "gross − fee is not net")
        return units[gross], units[fee], told

    def _as_charged(self, gross: int, currency: str, facing: str, facing_currency: str) -> tuple[int, str, str]:
        """The amount as the customer saw it, with the sign of what moved, its currency and the rate between both."""
        charged_in, units = self._units[facing_currency]
        charged = abs(units[facing])
        if charged_in == currency or not charged or not gross:
            return gross, currency, ""
        settled = Decimal(abs(gross)).scaleb(-DECIMALS[currency])
        rate = _EXACT.divide(settled, Decimal(charged).scaleb(-DECIMALS[charged_in])).quantize(
            _RATE_UNIT, context=_EXACT
        )
        return charged if gross > 0 else -charged, charged_in, f"{rate:f}".rstrip("0").rstrip(".")

    def _when(self, row: Sequence[str]) -> tuple[int, int]:
        """When it was made, and the day on which it is paid out, is available or was made."""
        found = [read(row[place]) for _, place, read in self._times if row[place]]
        if not found:
            raise Unreadable("bad_row", "there is no time")
        return found[-1].at, found[0].day

    def _note(self, kind: str, payout: str, currency: str, day: int, account: str) -> None:
        if account and account not in self._accounts:
            if self._source.accounts and account not in self._source.accounts:
                raise Unreadable("wrong_account", f"a row of account {masked(account)[:40]!r}")
            self._accounts.add(account)
        if _PAYOUT.fullmatch(payout) is None:
            raise Unreadable("bad_row", "not the id of a payout", self.columns.written("automatic payout id"))
        if not payout:
            self._of_no_payout += 1
        elif kind == "p":
            self._payouts[payout, currency] = iso_day(day)

    def _key(self, kind: str, row: Sequence[str], source_id: str) -> str:
        """Our call id from the metadata of the payment or refund, else the key of Stripe's own id."""
        if kind not in _OF_CUSTOMERS:
            return NO_KEY
        for place in self._metadata.get(_CALL_IN.get(kind, ""), ()):
            key = ours(row[place])
            if key is not None:
                return key
        return theirs(self._source.psp, source_id)

    def _named(self, transaction: str) -> int:
        name = digest(self._source.name, transaction)
        if not transaction or not self._seen.is_new(name):
            raise Unreadable("bad_row", "its balance transaction stands here twice" if transaction else "it has no id")
        return name

    # ── the end ──

    def check(self, refusals: Refusals) -> None:
        if not self.chunks.lines:
            raise Refusal("empty", "the report has no row")
        self.check_account()
        if not self._payouts:
            raise Refusal("truncated", "there is no payout row: nothing says what the rows come to")
        sums = self._sums()
        if len(sums) == 1 and not sums[0].ties:
            refusals.add(_bad_total(sums[0]))

    def check_account(self) -> None:
        """Errors: Refusal."""
        if self._source.accounts and not self._accounts:
            raise Refusal("wrong_account", "the report names no account (column connected_account_id)")

    @property
    def accounts(self) -> tuple[str, ...]:
        return tuple(sorted(self._accounts))

    def control(self) -> Control:
        chunks, sums = self.chunks, self._sums()
        first, last = chunks.days()
        notes = [f"{self._of_no_payout} rows of no automatic payout"] if self._of_no_payout else []
        return Control(
            identity=f"payouts {first} to {last}",
            version="",
            account_ids=self.accounts,
            first_day=first,
            last_day=last,
            lines=chunks.lines,
            claims=tuple(self._claim(each) for each in sums if (each.settlement, each.currency) in self._payouts),
            sums=sums,
            totals=chunks.totals(),
            notes=(*self.columns.notes, *notes),
        )

    def _sums(self) -> tuple[SettlementSum, ...]:
        return tuple(self._judged(each) for each in self.chunks.settlements() if each.settlement)

    def _judged(self, each: SettlementSum) -> SettlementSum:
        """A settlement without its payout row may be whole in another export."""
        return each._replace(ties=each.ties and (each.settlement, each.currency) in self._payouts)

    def _claim(self, each: SettlementSum) -> ClaimedTotal:
        day = self._payouts[each.settlement, each.currency]
        return ClaimedTotal(each.settlement, Money(each.paid, each.currency), day=day)


def _bad_total(each: SettlementSum) -> Refusal:
    net, paid = Money(each.net, each.currency), Money(each.paid, each.currency)
    return Refusal("bad_total", f"the rows of {each.settlement[:60]} come to {net}, its payout row takes {paid}")
