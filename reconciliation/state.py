"""The rows that a batch needs, and the changes that its events make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

from reconciliation.booking import Amounts, Claim, LineSum
from reconciliation.case import Case, CaseWorked, CorrectionMade, Done
from reconciliation.expected import Fact
from reconciliation.move import Heard, Move, MovesJudged
from reconciliation.tally import Reference, Tally
from reconciliation.twice import Named, Unexplained
from schemas.breaks import Code
from schemas.events import NotificationReceived
from schemas.money_back import DisputeNotified
from schemas.settlements import ClaimedTotal, SettlementFileStored, SettlementLines

ALWAYS = datetime.min.replace(tzinfo=UTC)
FileState = Literal[
    "received", "reading", "quarantined", "gated", "folding", "held", "folded", "superseded", "discarded"
]
# Whoever lags may be us: nothing is called unknown before all that was published by then is heard.
HEARING_TAKES = timedelta(minutes=10)
COUNTED: tuple[FileState, ...] = ("gated", "folding", "held", "folded")  # whose lines are tallied, or will be


@dataclass(frozen=True, slots=True)
class File:
    """One file of a source, and where it stands."""

    file_no: int
    source: str
    file_id: str
    state: FileState
    why: str | None  # it is held
    reader: str | None  # the reading whose events count
    mode: str | None
    identity: str | None
    version: str | None
    chunks: int | None
    lines: int | None
    ended: bool
    released_by: str | None
    released: Sequence[str]  # the codes of the holds that two persons have released it from
    received_at: datetime
    called: str  # by its sender

    @property
    def name(self) -> tuple[str, str]:
        return self.source, self.file_id


class Restatement(NamedTuple):
    """What a newer version of a file changes."""

    old: str  # file id
    new: str
    moved: tuple[tuple[str, int], ...]  # of each settlement: currency, by how much more or less is claimed


class OddLines(NamedTuple):
    """What the brake compares of a file."""

    known: int  # lines under judged kinds whose tally has a fact
    amounts: int  # of them: another amount than expected
    fees: int  # of them: another fee than expected


@dataclass(frozen=True, slots=True)
class Progress:
    """What is counted of a file's lines before it is settled."""

    is_whole: bool  # all its chunks are folded
    odd: OddLines | None  # None: not counted, since the brake is not asked
    older: tuple[int, ...]  # files of its identity that it replaces, and whose lines still count
    superseded: int | None  # the newest of those that it, or a newer one, has replaced
    unfolded: int  # older files of its identity whose lines are not all folded
    newest: int | None  # a newer file of its identity that is folded
    restated: Restatement | None  # by it, or of it


class FxSum(NamedTuple):
    """Converted lines of a settlement in one currency against the reference rates, in its minor units."""

    lines: int  # beyond the band
    beyond: int  # as much more than the reference they are worth
    within: int  # the same of all others


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a PSP totals in one currency, or a statement of a bank account."""

    settlement_no: int
    source: str
    settlement: str
    currency: str
    psp: str
    revision: int
    booked: Amounts
    paid: Mapping[str, int]  # what the bank is to show, by the reference that it has there
    sums: tuple[LineSum, ...] = ()
    claims: tuple[Claim, ...] = ()
    file_ids: tuple[str, ...] = ()
    came_at: datetime | None = None  # the newest of its files
    duplicates: int = 0  # lines of it that came in a second file of mode replace
    duplicates_gross: int = 0
    fx: Mapping[str, FxSum] = field(default_factory=dict)  # by the currency of the lines

    @property
    def subject(self) -> str:
        return f"{self.source}/{self.settlement}/{self.currency}"

    @property
    def rate_items(self) -> dict[str, str]:
        """By each other currency of its lines: what a break about their rates names."""
        others = {each.currency for each in self.sums if each.currency != self.currency}
        return {currency: f"fx|{self.subject}/{currency}" for currency in sorted(others)}


class OpenItem(NamedTuple):
    """What an open break holds of one item."""

    break_id: str
    amount: int


class Span(NamedTuple):
    """Days, the first and the last included."""

    first: date
    last: date


class Unmatched(NamedTuple):
    """A bank entry that no fact explains, or an expectation without an entry. `pair`: the key of the other one."""

    psp: str  # the bank account
    currency: str
    amount: int
    key: str
    is_line: bool
    counterparty: str  # of an expectation: the seller, or the source whose settlement it is
    day: date  # of the statement, or on which it is due
    pair: str | None  # of a line with several, one of them
    together: bool = False  # with others


class Statement(NamedTuple):
    """A bank statement's balances, in minor units."""

    settlement: str
    day: date
    opening: int
    closing: int


@dataclass
class Reconciliation:
    """The state of a batch."""

    files: dict[tuple[str, str], File] = field(default_factory=dict)
    progress: dict[int, Progress] = field(default_factory=dict)
    odd: dict[int, list[Reference]] = field(default_factory=dict)  # by file; 0: of none
    more_odd: set[int] = field(default_factory=set)  # files that have more than the slice that is loaded
    tallies: dict[Reference, tuple[Tally, ...]] = field(default_factory=dict)
    arrived: dict[int, datetime] = field(default_factory=dict)  # when the files of their lines came
    names: dict[int, str] = field(default_factory=dict)  # "<source>/<settlement>/<currency>" of their lines
    items: dict[str, OpenItem] = field(default_factory=dict)
    unmatched: dict[tuple[str, str, str], Unmatched] = field(default_factory=dict)  # by bank account, currency, key
    named: dict[int, Named] = field(default_factory=dict)  # by digest: lines whose words decide
    charged: set[str] = field(default_factory=set)  # orders that have their capture
    captured: set[str] = field(default_factory=set)  # the calls of those captures
    told: set[str] = field(default_factory=set)  # items of which the executor has been told
    unexplained: dict[Reference, Unexplained] = field(default_factory=dict)  # of the same orders
    statement_days: dict[int, date] = field(default_factory=dict)  # by settlement number
    statements: dict[tuple[str, str], list[Statement]] = field(default_factory=dict)  # by source and currency
    sequences: dict[str, dict[int, Span]] = field(default_factory=dict)  # numbers of a source's files, and their days
    came: dict[str, list[Span]] = field(default_factory=dict)  # by source: the days of the files that have come
    folded: dict[str, list[Span]] = field(default_factory=dict)  # of those whose lines are all judged
    missing: dict[str, list[Span]] = field(default_factory=dict)  # of open breaks FILE_MISSING
    settlements: dict[int, Settlement] = field(default_factory=dict)  # to be settled
    more_settlements: bool = False  # than those
    chunks: dict[str, Sequence[SettlementLines]] = field(default_factory=dict)  # of files, by the timer's key
    heard_until: datetime | None = None
    cases: dict[str, Case] = field(default_factory=dict)  # breaks that persons act on
    operations: set[str] = field(default_factory=set)  # that were answered before
    corrections: dict[str, Done] = field(default_factory=dict)  # that persons name
    moves_since: datetime = ALWAYS  # what was published before is not compared
    moves: list[Heard] = field(default_factory=list)  # to be judged
    moves_wait: bool = False  # some are to be judged later
    hears_moves: bool = False  # in this batch

    def has_heard(self, tallies: Sequence[Tally]) -> bool:
        """Whether all is heard that was published until some time after the files of these lines came."""
        came = [self.arrived[line.file_no] for tally in tallies for line in tally.lines if line.file_no in self.arrived]
        until = self.heard_until
        return until is not None and all(until >= at + HEARING_TAKES for at in came)

    def fold(self, change: Change) -> None:
        """Later events of the batch see files and items as changed; tallies and sums are changed by statements."""
        match change:
            case FileMoved() | FileBegun():
                self.files[change.file.name] = change.file
            case ItemOpened():
                self.items[change.item] = OpenItem(change.break_id, change.amount)
            case ItemClosed():
                self.items.pop(change.item, None)
            case Booked():
                self.settlements.pop(change.settlement_no, None)
            case Told():
                self.told.add(change.item)
            case Move():
                self.hears_moves = True
            case MovesJudged():
                self.moves = []
            case CaseWorked():
                self.cases[change.case.break_id] = change.case
                self.operations.add(change.operation_id)
            case CorrectionMade():
                self._fold_correction(change)
            case Judged():
                self.odd.pop(change.file_no, None)
            case _:
                pass

    def _fold_correction(self, made: CorrectionMade) -> None:
        """Later repairs of the batch see tallies as corrected."""
        for psp, kind, key, currency, amount in made.repair.changes:
            reference = Reference(key, kind, psp)
            self.tallies[reference] = tuple(
                replace(tally, expected=tally.expected + amount, facts=(*tally.facts, 0))
                if tally.currency == currency
                else tally
                for tally in self.tallies.get(reference, ())
            )
        self.corrections[made.correction_id] = Done(made.correction_id, made.break_id, made.repair, False)
        if made.repair.undoes in self.corrections:
            self.corrections[made.repair.undoes] = replace(self.corrections[made.repair.undoes], is_undone=True)


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class NewFile(NamedTuple):
    stored: SettlementFileStored
    at: datetime


class FileMoved(NamedTuple):
    """A file stands elsewhere."""

    file: File
    at: datetime
    reason: str | None = None  # a person's


class FileBegun(NamedTuple):
    """The first of its lines are here. Nothing else of the file is written: other lanes may do that now."""

    file: File
    at: datetime


class ChunkFolded(NamedTuple):
    file_no: int
    said: SettlementLines
    at: datetime


class ChunkWithdrawn(NamedTuple):
    file_no: int
    said: SettlementLines
    at: datetime


class ClaimsMade(NamedTuple):
    file_no: int
    source: str
    psp: str
    claims: tuple[ClaimedTotal, ...]
    at: datetime


class Withdrawn(NamedTuple):
    """All lines of a file are taken back: its settlements are settled without it."""

    file_no: int


class FactFound(NamedTuple):
    fact: Fact
    at: datetime
    is_new: bool = False  # no archived tally can be of it


class FactTakenBack(NamedTuple):
    """A pairing of a bank entry that holds no more."""

    fact: Fact
    at: datetime


class UnmatchedMoved(NamedTuple):
    """Bank entries and expectations that have found their other half by key, and those that wait or are paired."""

    gone: tuple[Unmatched, ...]
    saved: tuple[Unmatched, ...]


class ApartMoved(NamedTuple):
    """Of a tally that has a fact: these of its lines stand in suspense all the same."""

    tally: Tally
    apart: tuple[int, ...]


class UnexplainedMoved(NamedTuple):
    """What of orders no fact explains has changed; the others of `again` are judged anew."""

    gone: tuple[Unexplained, ...]
    saved: tuple[Unexplained, ...]
    again: tuple[Reference, ...]
    at: datetime


class Told(NamedTuple):
    """The executor is told of a break, once."""

    item: str
    event: NotificationReceived | DisputeNotified
    at: datetime


class LateJudged(NamedTuple):
    """What is due at a PSP or bank account on these days, and not settled, is to be judged."""

    psp: str
    first: date
    last: date
    at: datetime


class FileCame(NamedTuple):
    """What waits for a file of a PSP or bank account is to be judged."""

    psp: str
    at: datetime


class Swept(NamedTuple):
    """A sweep: what reports add up is merged."""


class Judged(NamedTuple):
    """References of a slice are judged; those that must wait are looked at again."""

    file_no: int
    references: tuple[Reference, ...]
    broken: tuple[Reference, ...]  # a break is open for them
    whole: tuple[Reference, ...]  # no break is open for them
    again: tuple[Reference, ...]  # we may not have heard all
    again_at: datetime
    waiting: tuple[Reference, ...]  # for a file that has not come
    waiting_until: datetime  # at least looked at then


class ItemOpened(NamedTuple):
    item: str
    break_id: str
    code: Code
    subject: str
    source: str
    psp: str
    currency: str | None
    amount: int
    detail: Mapping[str, object]
    group: str  # the subject of the break that takes it if there are too many
    at: datetime
    closed: bool = False  # at once: counted once, booked already


class ItemClosed(NamedTuple):
    item: str
    break_id: str
    at: datetime


class Booked(NamedTuple):
    """A settlement is settled: what is booked of it now."""

    settlement_no: int
    revision: int
    booked: Amounts
    paid: Mapping[str, int]
    ties: bool
    at: datetime


Change = (
    NewFile
    | FileMoved
    | FileBegun
    | ChunkFolded
    | ChunkWithdrawn
    | ClaimsMade
    | Withdrawn
    | FactFound
    | FactTakenBack
    | UnmatchedMoved
    | ApartMoved
    | UnexplainedMoved
    | Told
    | LateJudged
    | FileCame
    | Swept
    | Judged
    | Move
    | MovesJudged
    | ItemOpened
    | ItemClosed
    | Booked
    | CaseWorked
    | CorrectionMade
)
