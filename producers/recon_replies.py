"""The models that describe answers about reconciliation."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FileStateName = Literal[
    "received", "reading", "quarantined", "gated", "folding", "held", "folded", "superseded", "discarded"
]


Day = date


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Links(_Shape):
    self: str


class FileRefusal(_Shape):
    """Why the gate refuses the whole file: at the first line that does not hold. `excerpt` is masked."""

    code: str
    detail: str
    line: int | None
    column: str | None
    excerpt: str


class SettlementFile(_Shape):
    """A file and how far it is. `file_id` is the SHA-256 of its bytes, `size` their number, both unpacked.

    `why` is the code by which it is quarantined or held; `reader` and `lines` are known once it is read.
    """

    source: str
    file_id: str
    name: str
    size: int
    stored_by: str
    received_at: datetime
    state: FileStateName
    why: str | None
    refusal: FileRefusal | None
    reader: str | None
    lines: int | None
    links: _Links


class SettlementFilePage(_Shape):
    """Newest first. `next_cursor` leads to older ones."""

    files: list[SettlementFile]
    next_cursor: str | None


class FileDecision(_Shape):
    """What a person has decided about a file. What is proposed waits for another person."""

    source: str
    file_id: str
    decision: Literal["release_proposed", "discard_proposed", "released", "discarded"]
    decided_by: str
    reason: str
    decided_at: datetime


class SettlementFileShown(SettlementFile):
    """With all decisions about it, oldest first."""

    decisions: list[FileDecision]


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class SourceFiles(_Shape):
    """`came` and `counted` on the day asked for; `under_way` and `held` whenever they came."""

    source: str
    came: int
    counted: int
    under_way: int
    held: int
    newest_at: datetime | None


class HeldFile(_Shape):
    source: str
    file_id: str
    name: str
    state: FileStateName
    why: str | None
    refusal: FileRefusal | None
    received_at: datetime
    links: _Links


class Settlement(_Shape):
    """What a PSP totals in one currency, or a bank statement. Booked only where it ties: where exactly one total is claimed,
    and its lines add up to it. `net` is what they add up to, pay-outs left out; `unknown`, as much of it as no
    fact explains, fees not taken off; `payouts`, what is paid out of it, by the bank's references
    ("": by its own). It is withdrawn where no file of it counts any more.
    """

    settlement_no: int
    source: str
    settlement: str
    currency: str
    psp: str
    state: Literal["waiting", "untied", "tied", "booked", "withdrawn"]
    lines: int
    unknown: str
    net: str
    fee: str
    claimed: str | None
    claims: int
    day: Day | None
    payouts: dict[str, str]
    revision: int
    changed_at: datetime


class SettlementAtBank(Settlement):
    """`at_the_bank`: what has arrived of it; null where no statement can say so."""

    at_the_bank: str | None


class SettlementPage(_Shape):
    """Newest first. `next_cursor` leads to older ones."""

    settlements: list[SettlementAtBank]
    next_cursor: str | None


class ClearingLine(_Shape):
    """Open amounts of one station and age; a line without a fact is unknown, and stands in suspense."""

    psp: str
    station: Literal["receivable", "bank clearing", "unknown"]
    currency: str
    days_late: Literal["not due", "0-1", "2-3", "4-7", "8-30", "over 30"]
    tallies: int
    plus: str
    minus: str


class ClearingReport(_Shape):
    clearing: list[ClearingLine]


class ProofLine(_Shape):
    equation: Literal["receivable", "suspense", "bank clearing", "bank"]
    account: str
    currency: str
    ledger: str
    explained: str
    difference: str


class ProofReport(_Shape):
    proof: list[ProofLine]
    holds: bool


class Break(_Shape):
    """A case: what is wrong, and with what. `amount` adds up its open items, each without its sign. `state` says whether the
    condition holds, `work` how far persons are; `decide_by` when an open one is overdue.
    """

    break_id: str
    code: str
    subject: str
    class_: Annotated[Literal["A", "B", "C"], Field(alias="class")]
    state: Literal["open", "closed"]
    source: str
    psp: str
    currency: str | None
    amount: str | None
    items: int
    detail: dict[str, Any]
    opened_at: datetime
    changed_at: datetime
    work: Literal["open", "assigned", "proposed", "approved", "resolved", "auto_closed"]
    assignee: str | None
    decide_by: datetime | None


class BreakPage(_Shape):
    """Newest first. `next_cursor` leads to older ones."""

    breaks: list[Break]
    next_cursor: str | None


class BreakItem(_Shape):
    item: str
    amount: str | None
    currency: str | None
    detail: dict[str, Any]
    opened_at: datetime
    closed_at: datetime | None


class BreakAction(_Shape):
    revision: int
    action: str
    actor: str
    at: datetime
    detail: dict[str, Any]
    operation_id: str | None


class Suggestion(_Shape):
    """What a person may do: an action and its fields. Nothing of it is done by itself."""

    action: str
    fields: dict[str, Any]
    because: str


class BreakShown(Break):
    """With up to 500 items, open ones first, all that was done, what is proposed, and what may be done."""

    its_items: list[BreakItem]
    actions: list[BreakAction]
    proposal: dict[str, Any] | None
    suggestions: list[Suggestion]


class BreakWork(_Shape):
    """What a person has asked for about a break, and what became of it. `detail`: of what is done the `correction_id` and what
    was booked and expected; of what is proposed its `sha256`, too.
    """

    operation_id: str
    break_id: str
    action: str
    asked_by: str
    asked_at: datetime
    outcome: Literal["waiting", "done", "proposed", "refused"]
    code: str | None
    why: str | None
    detail: dict[str, Any]


class BreakWorkPreview(_Shape):
    """What an action would do now. `sha256`: of exactly that; `second_person`: whether another person must approve it."""

    action: str
    sha256: str | None
    second_person: bool
    does: list[str]


class HeldSeller(_Shape):
    """A seller who is paid nothing until a break is closed. `about`: the payment order or pay-out."""

    seller: str
    amount: str | None
    currency: str | None
    break_id: str
    code: Literal["LEDGER_MISSING", "WALLET_MISSING", "LEDGER_WALLET_DIFFER"]
    about: str | None
    opened_at: datetime


class HeldSellers(_Shape):
    sellers: list[HeldSeller]


class BreaksOfCode(_Shape):
    code: str
    class_: Annotated[Literal["A", "B", "C"], Field(alias="class")]
    currency: str | None
    breaks: int
    items: int
    amount: str | None
    oldest_at: datetime


class ReconDay(_Shape):
    """All of it on one screen; `settlements` are those that do not tie."""

    date: Day
    sources: list[SourceFiles]
    held: list[HeldFile]
    settlements: list[Settlement]
    clearing: list[ClearingLine]
    proof: list[ProofLine]
    holds: bool
    breaks: list[BreaksOfCode]


class KindSum(_Shape):
    """The lines of one kind (c capture, r refund, R refund reversed, b chargeback, B chargeback reversed, f fee, p pay-out, …).
    `unknown` is as much of gross as no fact explains; fee and net are in the settlement's currency.
    """

    kind: str
    lines: int
    gross: str
    unknown: str
    gross_currency: str
    fee: str
    net: str


class ClaimOfFile(_Shape):
    """What a file says that the settlement pays out, or the statement ends with; null where it only has lines of it."""

    file_id: str
    name: str
    state: FileStateName
    day: Day | None
    paid: str | None
    opening: str | None


class BookedOn(_Shape):
    """What is booked of it on the account of a role: + is a debit."""

    role: str
    currency: str
    amount: str


class SettlementExplained(Settlement):
    sums: list[KindSum]
    files: list[ClaimOfFile]
    booked: list[BookedOn]


class TallyLine(_Shape):
    """One line of a file. `digest` names it wherever it comes, `line` in its file; `text` is the record itself, masked."""

    line: str | None
    record: int | None
    first_byte: int | None
    last_byte: int | None
    text: str | None
    day: Day | None
    source: str | None
    file_id: str | None
    name: str | None
    settlement: str | None
    digest: int
    gross: str
    fee: str


class TallyExplained(_Shape):
    """What we expect under a key, and the lines that have come. `subject`: the payment order or pay-out."""

    key: str
    kind: str
    psp: str
    currency: str
    facts: int
    due: Day | None
    outcome: str | None
    seller: str | None
    made_at: datetime
    expected: str
    settled: str
    fee: str
    fee_expected: str | None
    subject: str | None
    lines: list[TallyLine]


class FileLine(_Shape):
    """One record of a file that was read. `line` is its name, and `first_byte` to `last_byte` are its bytes, where they are
    known. `fee` is the sum of its parts; `counts` says whether this file's line is the one that counts.
    """

    line: str
    source: str
    file_id: str
    name: str
    state: FileStateName
    record: int
    first_byte: int | None
    last_byte: int | None
    kind: str
    key: str
    psp: str
    psp_ref: str | None
    order_ref: str | None
    settlement: str | None
    at: datetime
    day: Day
    gross: str
    gross_currency: str
    fee: str
    commission: str
    markup: str
    scheme_fee: str
    interchange: str
    tax: str
    net: str
    currency: str
    rate: str | None
    digest: int
    counts: bool


class FileLinePage(_Shape):
    """In the order of files and records. `next_cursor` leads on."""

    lines: list[FileLine]
    next_cursor: str | None


class FileLineExplained(FileLine):
    """`text`: what the file says there, with card numbers and e-mail addresses masked."""

    text: str | None


class Explained(_Shape):
    settlements: list[SettlementExplained]
    tallies: list[TallyExplained]
    lines: list[FileLineExplained]


# ── fees ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class FeesOfKind(_Shape):
    """The fees of the lines of one kind, scheme, currency and version of the schedule.

    The parts and `charged` are in `currency`, that in which the PSP charges; all that is expected is in
    `payment_currency`. Of the payments that are settled whole `compared` is what they were charged, `least` and `most` what the
    schedule allows; `over` and `under` add up by how much each of them is beyond that. `agreed_since` is the first day of
    the schedule's row; null where nothing is agreed.
    """

    kind: str
    scheme: str | None
    currency: str
    payment_currency: str
    agreed_since: Day | None
    lines: int
    gross: str
    commission: str
    markup: str
    scheme_fee: str
    interchange: str
    tax: str
    other: str
    charged: str
    payments: int
    compared: str
    least: str
    most: str
    over: str
    under: str


class FeeReport(_Shape):
    psp: str
    month: str
    fees: list[FeesOfKind]
