"""What a person wants done about tallies → what is booked and expected. Pure: doors show it, reconciliation does it.

Each repair changes what is expected of tallies by exactly as much as it books on the accounts that tallies explain, so that the
proof holds before and after: a line that comes later is compared with what is expected then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

from schemas.break_work import BreakWorked
from schemas.corrections import SellerMovement, fault_of, hash_of, is_allowed, movements_of
from schemas.journals import LedgerEntry
from schemas.money import Money

RepairKind = Literal["write_off", "map", "correct", "match", "undo", "resolve"]
ITEMS_MAX = 500  # that one repair is about
BANK_ENTRY = "s"
LOSSES = "platform:losses"
AT_PSP = frozenset("crRbB2")  # kinds of lines that a PSP's receivable is made of


class NotPossible(Exception):
    """What is asked cannot be done as things stand."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class TallyState:
    """What a repair reads of a tally; amounts in minor units, + is what the PSP or bank owes us more."""

    psp: str  # or the bank account
    kind: str
    key: str  # 32 hex digits
    currency: str
    expected: int
    settled: int
    known: bool  # whether a fact expects it

    @property
    def open(self) -> int:
        return self.settled - self.expected

    @property
    def item(self) -> str:
        return f"{self.psp}|{self.kind}|{self.key}"

    @property
    def account(self) -> str:
        """The account that it explains; of adjustments suspense, where their lines stay."""
        if self.kind == BANK_ENTRY:
            return f"bank:{self.psp}:clearing"
        return f"psp:{self.psp}:receivable" if self.kind in AT_PSP else "suspense"


class TallyChange(NamedTuple):
    """So much more is expected of a tally."""

    psp: str
    kind: str
    key: str
    currency: str
    amount: int


class Repair(NamedTuple):
    """What is done, whole: its hash is what a second person approves."""

    kind: RepairKind
    changes: tuple[TallyChange, ...] = ()
    entries: tuple[LedgerEntry, ...] = ()
    undoes: str | None = None  # a correction
    about: str = ""  # of what changes nothing: the break's items and amount

    @property
    def movements(self) -> tuple[SellerMovement, ...]:
        return movements_of(self.entries)

    @property
    def sha256(self) -> str:
        return hash_of(self.told())

    @property
    def largest(self) -> tuple[Money, ...]:
        """The amounts by which a repair is judged to need a second person: what it moves in each currency."""
        moved: dict[str, int] = defaultdict(int)
        for entry in self.entries:
            moved[entry.amount.currency] += entry.amount.minor if entry.direction == "debit" else 0
        expected: dict[str, int] = defaultdict(int)
        for change in self.changes:
            expected[change.currency] += max(change.amount, 0)
        for change in self.changes:
            moved[change.currency] = max(moved[change.currency], expected[change.currency])
        return tuple(Money(minor, currency) for currency, minor in sorted(moved.items()))

    def told(self) -> dict[str, Any]:
        """As it is shown and kept."""
        return {
            "kind": self.kind,
            "changes": [list(change) for change in self.changes],
            "entries": [[e.account, e.direction, e.amount.minor, e.amount.currency] for e in self.entries],
            "undoes": self.undoes,
            "about": self.about,
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From what `told` gave."""
        return cls(
            told["kind"],
            tuple(TallyChange(*change) for change in told["changes"]),
            tuple(LedgerEntry(a, d, Money(minor, currency)) for a, d, minor, currency in told["entries"]),
            told["undoes"],
            told["about"],
        )


@dataclass(frozen=True, slots=True)
class CaseState:
    """What a repair reads of a break: its amount in minor units, and its open items."""

    amount: int | None
    currency: str | None
    items: Sequence[str]


def repair_of(asked: BreakWorked, about: CaseState, tallies: Mapping[str, Sequence[TallyState]]) -> Repair:
    """What would be done now, as things stand. `tallies`: of the break's items, and of the expectation that is named.

    Errors: NotPossible.
    """
    if asked.action == "resolve":
        return resolved(about.amount, about.currency, about.items)
    unknown = sorted(set(asked.items or ()) - set(about.items))
    if unknown:
        raise NotPossible("unknown_item", f"{unknown[0]} is no open item of the break")
    items = asked.items or about.items
    if len(items) > ITEMS_MAX:
        raise NotPossible("too_many_items", f"one repair is about {ITEMS_MAX} items at most: name them")
    found = [tally for item in items for tally in tallies.get(item, ())]
    if asked.action == "propose":
        return corrected(asked.entries or (), found)
    if not found:
        raise NotPossible("no_tally", "the break is about no line or expectation: propose a journal, or resolve it")
    if asked.action == "match":
        return matched(found, [tallies.get(item, ()) for item in asked.expectations or ()])
    if asked.action == "write_off":
        return closed_to("write_off", asked.account or LOSSES, found)
    return closed_to("map", asked.account or "", found)


def weight(repair: Repair, amount: int | None, currency: str | None) -> Sequence[Money]:
    """What a repair is judged by; one that books nothing by its break's amount."""
    if repair.kind != "resolve":
        return repair.largest
    return () if currency is None or amount is None else (Money(amount, currency),)


def closed_to(kind: Literal["write_off", "map"], account: str, tallies: Sequence[TallyState]) -> Repair:
    """Take what is open of these tallies to another account: nothing more is expected of them, and nothing is unexplained.

    Errors: NotPossible.
    """
    if not is_allowed(account):
        raise NotPossible("account_not_allowed", f"{account!r} is no account that a correction may move")
    opened = [tally for tally in tallies if tally.open or not tally.known]
    if not any(tally.open for tally in opened):
        raise NotPossible("nothing_open", "nothing is open of it any more")
    if kind == "write_off" and not any(tally.known for tally in opened):
        raise NotPossible("nothing_expected", "nothing was expected of it: map it to an account")
    if any(tally.account == account for tally in opened):
        raise NotPossible("same_account", f"it is on {account} already")
    changes = tuple(TallyChange(t.psp, t.kind, t.key, t.currency, t.open) for t in sorted(opened, key=_place))
    lines: dict[tuple[str, str], int] = defaultdict(int)
    for tally in opened:
        lines[tally.account, tally.currency] += tally.open
        lines[account, tally.currency] -= tally.open
    return _checked(Repair(kind, changes, _entries(lines)))


def corrected(entries: Sequence[LedgerEntry], tallies: Sequence[TallyState]) -> Repair:
    """A journal that a person has drawn up. What it moves of a receivable or of clearing is of one of these tallies.

    Errors: NotPossible.
    """
    moved: dict[tuple[str, str], int] = defaultdict(int)
    for entry in entries:
        moved[entry.account, entry.amount.currency] += (
            entry.amount.minor if entry.direction == "debit" else -entry.amount.minor
        )
    changes = []
    for (account, currency), minor in sorted(moved.items()):
        if not minor or not account.endswith((":receivable", ":clearing")):
            continue
        of_it = [tally for tally in tallies if tally.account == account and tally.currency == currency]
        if len(of_it) != 1:
            raise NotPossible("item_needed", f"{account} is moved for one item of the break: name it")
        changes.append(TallyChange(of_it[0].psp, of_it[0].kind, of_it[0].key, currency, minor))
    return _checked(Repair("correct", tuple(changes), tuple(entries)))


def matched(lines: Sequence[TallyState], expectations: Sequence[Sequence[TallyState]]) -> Repair:
    """A line is what other references expect: as much as it has settled is expected of it, and of them no more. It may be a part
    of one, or exactly what several come to.

    Errors: NotPossible.
    """
    line = next((tally for tally in lines if tally.settled and not tally.known), None)
    if line is None:
        raise NotPossible("no_line", "it has no line that nothing explains")
    others = [_expected_like(line, expectation) for expectation in expectations]
    if not others or len({other.item for other in others}) < len(others):
        raise NotPossible("not_alike", "name what expects it, each once")
    left = [other.expected - other.settled for other in others]
    of_each = left if len(others) > 1 else [line.settled]
    if any(not minor or (minor > 0) != (line.settled > 0) for minor in left):
        raise NotPossible("nothing_open", "nothing is expected of it that this line could be")
    if sum(of_each) != line.settled or abs(of_each[0]) > abs(left[0]):
        raise NotPossible("not_equal", "it does not come to what is expected: map or write off the rest first")
    changes = [TallyChange(line.psp, line.kind, line.key, line.currency, line.settled)]
    changes += [TallyChange(o.psp, o.kind, o.key, o.currency, -minor) for o, minor in zip(others, of_each, strict=True)]
    return Repair("match", tuple(sorted(changes)))


def _expected_like(line: TallyState, expectation: Sequence[TallyState]) -> TallyState:
    like = (line.psp, line.kind, line.currency)
    for other in expectation:
        if other.known and other.key != line.key and (other.psp, other.kind, other.currency) == like:
            return other
    raise NotPossible(
        "not_alike", "both must be of one PSP or bank account, kind and currency, and one of them expected"
    )


def undone(correction_id: str, done: Repair) -> Repair:
    """What takes a former repair back: each entry on the other side. Errors: NotPossible."""
    if done.kind == "undo":
        raise NotPossible("is_undo", "it takes another one back itself: do that again instead")
    changes = tuple(change._replace(amount=-change.amount) for change in done.changes)
    other: dict[str, Literal["debit", "credit"]] = {"debit": "credit", "credit": "debit"}
    entries = tuple(LedgerEntry(e.account, other[e.direction], e.amount) for e in done.entries)
    return Repair("undo", changes, entries, correction_id)


def resolved(amount: int | None, currency: str | None, items: Iterable[str]) -> Repair:
    """Nothing is booked: a person says that nothing more is to be done of this amount and these items."""
    return Repair("resolve", about=f"{amount} {currency}: {hash_of(sorted(items))}")


def _checked(repair: Repair) -> Repair:
    """Errors: NotPossible, where wallet and ledger would refuse it."""
    if repair.entries or repair.kind == "correct":
        if len(repair.entries) < 2:
            raise NotPossible("unbalanced", "a journal has two entries at least")
        fault = fault_of(repair.movements, repair.entries)
        if fault is not None:
            raise NotPossible(*fault)
    return repair


def _place(tally: TallyState) -> tuple[str, str, str, str]:
    return tally.psp, tally.kind, tally.key, tally.currency


def _entries(lines: Mapping[tuple[str, str], int]) -> tuple[LedgerEntry, ...]:
    return tuple(
        LedgerEntry(account, "debit" if minor > 0 else "credit", Money(abs(minor), currency))
        for (account, currency), minor in sorted(lines.items())
        if minor
    )
