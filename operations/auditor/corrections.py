"""The page of corrections: what persons have asked for and agreed on, against reconciliation, the ledger and the wallets.

A correction moves both or neither: each is compared with what was agreed, and both with each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from operations.auditor.engine.findings import Finding, heard
from operations.auditor.engine.page import PageDefaults, PlannedCheck
from operations.auditor.engine.published import PublishedIds, Subject
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import Stores
from schemas.break_work import BreakWorked
from schemas.corrections import CorrectionApproved
from schemas.envelope import derive_id, time_ms_of
from schemas.money_back import WalletCorrected

KIND = "corrected"
IN_LEDGER, IN_WALLET = "corrections_in_ledger", "corrections_in_wallet"
AGREE, TIED, ANSWERED = "corrections_agree", "corrections_of_tallies", "break_work_answered"
CHECKS = (IN_LEDGER, IN_WALLET, AGREE, TIED, ANSWERED)
ASKED = heard(BreakWorked, "reconciliation")
TO_LEDGER, TO_WALLET = heard(CorrectionApproved, "ledger"), heard(CorrectionApproved, "wallet")
Sides = dict[tuple[str, str], int]  # account or seller, and currency → debits less credits, or what the wallet got


def _sides() -> dict[str, Sides]:
    return defaultdict(lambda: defaultdict(int))


@dataclass(slots=True)
class CorrectionBooks:
    """By correction, as each room has it."""

    agreed: dict[str, Sides] = field(default_factory=_sides)
    promised: dict[str, Sides] = field(default_factory=_sides)  # to sellers
    known: set[str] = field(default_factory=set)
    posted: dict[str, Sides] = field(default_factory=_sides)
    moved: dict[str, Sides] = field(default_factory=_sides)
    said: dict[str, str] = field(default_factory=dict)  # what the wallet must have said: event id → its key
    asked: dict[str, str] = field(default_factory=dict)  # what persons have asked for: operation → break
    answered: set[str] = field(default_factory=set)  # operations
    untied: dict[str, str] = field(default_factory=dict)  # the receivable or clearing that no tally was corrected by


class Corrections(PageDefaults):
    hops = (ASKED, TO_LEDGER, TO_WALLET)
    kinds = (KIND,)

    def __init__(self, run: Run) -> None:
        self._run = run
        self._books = CorrectionBooks()
        self.topics = [PublishedIds(SAID)]

    def read_stores(self) -> None:
        self._books = read_all(self._run.stores)

    def first_look(self) -> set[Finding]:
        return set(self._compare(self._books))

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        """They are few: all are read again."""
        for topic in self.topics:
            topic.read_on(self._run.reading)
        return set(self._compare(read_all(self._run.stores)))

    def counted(self) -> Iterator[PlannedCheck]:
        books = self._books
        counts = {
            IN_LEDGER: len(books.agreed),
            IN_WALLET: len(books.promised),
            AGREE: len(books.posted.keys() | books.moved.keys()),
            TIED: len(books.known),
            ANSWERED: len(books.asked),
        }
        for name in CHECKS:
            yield PlannedCheck(name, counts[name], expected=False)

    def _compare(self, books: CorrectionBooks) -> Iterator[Finding]:
        yield from compare(books)
        for topic in self.topics:
            yield from topic.compare(books)


def _said(books: CorrectionBooks) -> Iterable[tuple[str, str]]:
    return books.said.items()


SAID: Subject[CorrectionBooks] = Subject("corrections_said", (WalletCorrected,), _said)

_POSTED = (
    "SELECT payment_order_id, account, currency, sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END)::bigint"
    " FROM entry_view WHERE template = 'corrected' GROUP BY 1, 2, 3"
)
_MOVED = (
    "SELECT payment_order_id, seller_account, currency, amount, cause_event_id::text, part,"
    " row_number() OVER (PARTITION BY cause_event_id ORDER BY seller_account, currency) - 1"
    " FROM movement_view WHERE kind = 'corrected'"
)
_AGREED = (
    "SELECT replace(correction_id::text, '-', ''), entries, movements FROM correction_view WHERE event_id IS NOT NULL"
)
_ASKED = "SELECT operation_id, break_id FROM break_work_view"
_ANSWERED = "SELECT operation_id FROM break_action_view WHERE operation_id IS NOT NULL"
_KNOWN = "SELECT replace(correction_id::text, '-', '') FROM correction_view"
# What a correction moves of a receivable or of clearing, it expects more or less of tallies: else the proof would not hold.
_UNTIED = """
SELECT replace(coalesce(e.correction_id, f.correction_id)::text, '-', ''), coalesce(e.account, f.account) || ' ' ||
    coalesce(e.currency, f.currency) || ': ' || coalesce(e.amount, 0) || ' booked, ' || coalesce(f.amount, 0) || ' expected'
FROM (SELECT correction_id, l->>0 AS account, l->>3 AS currency,
             sum(CASE l->>1 WHEN 'debit' THEN (l->>2)::bigint ELSE -(l->>2)::bigint END) AS amount
      FROM correction_view CROSS JOIN LATERAL jsonb_array_elements(entries) AS l
      WHERE l->>0 LIKE '%%:receivable' OR l->>0 LIKE '%%:clearing' GROUP BY 1, 2, 3) e
FULL JOIN (SELECT correction_id, CASE kind WHEN 's' THEN 'bank:' || psp || ':clearing' ELSE 'psp:' || psp || ':receivable' END
             AS account, currency, sum(amount) AS amount FROM correction_fact_view
           WHERE kind NOT IN ('j', 'u') GROUP BY 1, 2, 3) f
    ON f.correction_id = e.correction_id AND f.account = e.account AND f.currency = e.currency
WHERE coalesce(e.amount, 0) <> coalesce(f.amount, 0)
"""


def read_all(stores: Stores) -> CorrectionBooks:
    """Effects before causes."""
    books = CorrectionBooks()
    for correction, account, currency, amount in stores.rows("ledger", _POSTED):
        books.posted[correction][account, currency] += amount
    for correction, seller, currency, amount, cause, key, place in stores.rows("wallet", _MOVED):
        books.moved[correction][seller, currency] += amount
        books.said[derive_id(cause, SAID.hop.speaker, place, time_ms_of(cause))] = key
    for correction, entries, movements in stores.rows("reconciliation", _AGREED):
        for account, direction, minor, currency in entries:
            books.agreed[correction][account, currency] += minor if direction == "debit" else -minor
        for seller, minor, currency in movements:
            books.promised[correction][seller, currency] += minor
    books.known = {row[0] for row in stores.rows("reconciliation", _KNOWN)}
    books.answered = {row[0] for row in stores.rows("reconciliation", _ANSWERED)}
    books.asked = dict(stores.rows("doors", _ASKED))
    books.untied = dict(stores.rows("reconciliation", _UNTIED))
    return books


def compare(books: CorrectionBooks) -> Iterator[Finding]:
    for name, hop, wanted, there in (
        (IN_LEDGER, TO_LEDGER, books.agreed, books.posted),
        (IN_WALLET, TO_WALLET, books.promised, books.moved),
    ):
        for correction in wanted.keys() | there.keys():
            agreed, found = _shown(wanted.get(correction)), _shown(there.get(correction))
            if agreed != found:
                yield Finding(name, correction, f"agreed is {agreed}, and {hop.hearer} has {found}", hop)
    for correction in books.posted.keys() & books.moved.keys() | _half(books):
        payable = {
            (account.split(":")[1], currency): -amount
            for (account, currency), amount in books.posted.get(correction, {}).items()
            if account.startswith("seller:")
        }
        if _shown(payable) != (got := _shown(books.moved.get(correction))):
            yield Finding(
                AGREE, correction, f"the ledger moves {_shown(payable)} of sellers, their wallets {got}", TO_WALLET
            )
    for operation, break_id in books.asked.items():
        if operation not in books.answered:
            yield Finding(ANSWERED, break_id, f"{operation} was asked for, and reconciliation has not answered", ASKED)
    for correction, detail in books.untied.items():
        yield Finding(TIED, correction, detail)


def _half(books: CorrectionBooks) -> set[str]:
    """Those that one of the two has, with a seller's money in it."""
    of_sellers = {each for each, sides in books.posted.items() if any(a.startswith("seller:") for a, _ in sides)}
    return of_sellers ^ books.moved.keys()


def _shown(sides: Mapping[tuple[str, str], int] | None) -> dict[str, int]:
    return {f"{name} {currency}": amount for (name, currency), amount in sorted((sides or {}).items()) if amount}
