"""What every reader takes and gives: a source and blocks of bytes → chunks of lines, and one control at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from schemas import settlements
from schemas.masking import masked
from schemas.settlements import ClaimedTotal, LineColumns

CHUNK_LINES = 500
NO_KEY = "0" * 32

# One letter for each kind of line.
KINDS = {
    "c": "capture",
    "r": "refund",
    "R": "refund_reversed",
    "b": "chargeback",
    "B": "chargeback_reversed",
    "2": "second_chargeback",
    "f": "fee",
    "p": "payout",
    "q": "payout_reversed",
    "h": "reserve_held",
    "H": "reserve_released",
    "t": "carried",  # to or from another settlement
    "x": "conversion",
    "j": "adjustment",
    "i": "invoice",
    "s": "bank_entry",
    "u": "unknown",  # declared by the format, and nothing we know
    "n": "noted",  # shown, counted nowhere: what a statement says again
    "e": "evidence",  # says how a payment stands, and moves nothing
}
NOTED, EVIDENCE = "n", "e"

RefusalCode = Literal[
    "empty",
    "binary",
    "bad_encoding",
    "wrong_format",
    "wrong_account",
    "schema_drift",
    "bad_row",
    "line_too_long",
    "row_does_not_tie",
    "truncated",
    "bad_count",
    "bad_total",
    "currency_unknown",
    "wrong_decimals",
    "sequence_gap",
    "balance_gap",
]  # in the order in which the gate refuses by them
RELEASABLE: frozenset[RefusalCode] = frozenset(settlements.RELEASABLE)  # by two persons


class Refusal(Exception):
    """The gate refuses the whole file. What it shows of the file is masked, and has at most 200 characters each."""

    def __init__(
        self, code: RefusalCode, detail: str, line: int | None = None, column: str | None = None, excerpt: str = ""
    ) -> None:
        self.code = code
        self.detail = masked(detail)
        self.line = line
        self.column = column and masked(column)
        self.excerpt = masked(excerpt)
        super().__init__(f"{code}: {self.detail}")


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """What a reader must know of the source that a file is from."""

    name: str
    psp: str  # the PSP's or bank account's name in our books
    format: str = ""  # a reader's name; empty: found out from each file
    accounts: frozenset[str] = frozenset()  # the account ids that the file must name; empty: any
    timezone: str = "UTC"  # of times without a zone
    references: frozenset[str] = frozenset()  # regular expressions that find a settlement in a bank's free text
    kind: Literal["psp", "bank", "any"] = "any"
    released: frozenset[RefusalCode] = frozenset()  # two persons have released the file from these

    def counts(self, reader: str) -> bool:
        """Whether lines of this reader count, although another report of the account says the same: if the source names it."""
        return self.format == reader or self.kind == "any"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Up to CHUNK_LINES lines and where they stand in the file.

    Its lines are consecutive records of the file, so line n of the chunk is record `first_line` + n. The header of a CSV
    is record 1; blank lines are none. In XML a record is an entry's detail, by its number, or an entry without any.
    """

    first_line: int
    first_byte: int
    last_byte: int  # of the last line's end, which belongs to it
    scale: int
    settlements: tuple[str, ...]
    currencies: tuple[str, ...]
    lines: LineColumns


class SettlementSum(NamedTuple):
    """One settlement in a file, in minor units: what its lines without pay-outs add up to, and what it pays out."""

    settlement: str
    currency: str
    net: int
    paid: int
    ties: bool


@dataclass(frozen=True, slots=True)
class Control:
    """What a file says of itself; made last. Files of one identity replace each other where the reader's mode is `replace`."""

    identity: str  # "batch 238 of MerchantAccount", without the source
    version: str  # greater is newer; "" where the format has none
    account_ids: tuple[str, ...]
    first_day: str  # ISO 8601; "": it stands in for the file of no day
    last_day: str
    lines: int
    sequence: int | None = None  # consecutive numbers: a gap is a missing file
    claims: tuple[ClaimedTotal, ...] = ()
    sums: tuple[SettlementSum, ...] = ()
    totals: dict[str, int] = field(default_factory=dict)  # currency → net of all lines, minor units
    notes: tuple[str, ...] = ()  # columns that were read past


class Reader(Protocol):
    """One format. Errors of `read`: Refusal, and nothing else, whatever the bytes are."""

    name: str  # "adyen_settlement_details"
    version: int
    provider: str  # "adyen"
    of: Literal["psp", "bank"]  # whose files they are
    mode: Literal["replace", "union"]
    ties: str  # what makes a file of it whole, in a sentence

    def sniff(self, head: bytes, name: str) -> int:
        """0 (no) to 100 (sure), from the first 64 KiB and the file's name."""

    def read(self, blocks: Iterator[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        """Blocks of any size → chunks, then one control."""
