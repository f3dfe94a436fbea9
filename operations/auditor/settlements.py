"""The page of settlements: files and their lines in reconciliation, against the doors, the ledger and the orders it booked.

Receivables: what the ledger has booked of an order at a PSP whose files come is what reconciliation expects of it; and what it
has booked of a settlement is what reconciliation says that should be. So a receivable is explained, order by order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from operations.auditor.engine.findings import Finding, heard
from operations.auditor.engine.page import PageDefaults, PlannedCheck
from operations.auditor.engine.published import PublishedIds
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import Sum
from schemas.events import PaymentCaptured
from schemas.payouts import PayoutSubmitted
from schemas.settlements import SettlementFileStored, SettlementLines, SettlementMatched
from topics.settings import Settings

FILES, FOLDED = "settlement_files_heard", "settlement_lines_folded"
EXPECTED, AT_BANK = "receivables_expected", "payouts_expected_at_bank"
BOOKED, STATEMENTS = "settlements_booked", "statements_booked"
CHECKS = (FILES, FOLDED, EXPECTED, AT_BANK, BOOKED, STATEMENTS)
STORED = heard(SettlementFileStored, "reconciliation")
SAID = heard(SettlementLines, "reconciliation")
CAPTURED, CAPTURED_HERE = heard(PaymentCaptured, "ledger"), heard(PaymentCaptured, "reconciliation")
SUBMITTED = heard(PayoutSubmitted, "reconciliation")
MATCHED = heard(SettlementMatched, "ledger")
TEMPLATES = ("settled", "reclassified", "statement")
IN_TRANSIT = "payouts:in-transit"
PAYMENTS = "crRbB2"  # kinds of lines that move what a PSP owes us
ROLES = {
    "receivable": "psp:{psp}:receivable",
    "suspense": "suspense",
    "fees": "psp:{psp}:fees",
    "reserve": "psp:{psp}:reserve",
    "balance": "psp:{psp}:balance",
    "bank_clearing": "bank:{bank}:clearing",
    "bank": "bank:{bank}",
    "bank_fees": "bank:fees",
    "losses": "platform:losses",
    "fx": "psp:{psp}:fx",
    "fx_spread": "platform:fx-spread",
}
Sides = dict[tuple[str, str], int]  # account and currency → debits less credits

# With what the partitions of the archive held that were dropped.
_ALL_LINES = (
    "(SELECT settlement_no, kind, currency, 1 AS lines, gross FROM tally_line_view"
    " UNION ALL SELECT settlement_no, kind, currency, lines, gross FROM line_dropped_view)"
)
_UNKNOWN_LINES = (
    "(SELECT settlement_no, kind, currency, gross FROM tally_line_view WHERE NOT known"
    " UNION ALL SELECT settlement_no, kind, currency, unknown FROM line_dropped_view WHERE unknown <> 0)"
)
_ALL_TALLIES = (
    "(SELECT psp, kind, currency, facts > 0 AS known, CASE WHEN open <> 0 THEN coalesce(due, 'infinity') ELSE 'infinity' END"
    " AS due, (open <> 0)::integer AS tallies, greatest(open, 0) AS plus, least(open, 0) AS minus, expected FROM tally_view"
    " UNION ALL SELECT psp, kind, currency, known, 'infinity', tallies, plus, minus, expected FROM tally_dropped_view)"
)
SUMS = (
    Sum(
        "settlement_lines_add_up",
        "reconciliation",
        "SELECT count(*) FROM settlement_sum_view",
        "SELECT coalesce(s.settlement_no, l.settlement_no) || ' ' || coalesce(s.kind, l.kind), s.lines || ' lines, ' || s.gross,"
        " l.lines || ' lines, ' || l.gross FROM settlement_sum_view s FULL JOIN (SELECT settlement_no, kind, currency,"
        f" sum(lines) AS lines, sum(gross) AS gross FROM {_ALL_LINES} x GROUP BY 1, 2, 3) l ON l.settlement_no = s.settlement_no"
        " AND l.kind = s.kind AND l.currency = s.gross_currency"
        " WHERE (coalesce(s.lines, 0), coalesce(s.gross, 0)) <> (coalesce(l.lines, 0), coalesce(l.gross, 0))",
    ),
    Sum(
        "suspense_explained",
        "reconciliation",
        "SELECT count(*) FROM settlement_sum_view",
        "SELECT coalesce(s.settlement_no, l.settlement_no) || ' ' || coalesce(s.kind, l.kind), s.unknown || ' unknown',"
        " l.gross::text FROM settlement_sum_view s FULL JOIN (SELECT settlement_no, kind, currency, sum(gross) AS gross"
        f" FROM {_UNKNOWN_LINES} x GROUP BY 1, 2, 3) l ON l.settlement_no = s.settlement_no"
        " AND l.kind = s.kind AND l.currency = s.gross_currency"
        " WHERE coalesce(s.unknown, 0) <> coalesce(l.gross, 0)",
    ),
    Sum(
        "settlement_lines_once",
        "reconciliation",
        "SELECT coalesce(sum(lines), 0)::bigint FROM tally_view",
        "SELECT psp || ' ' || kind || ' ' || key || ' ' || currency, 'a line', count(*) || ' times' FROM tally_line_view"
        " WHERE (psp, kind, key, currency) IN (SELECT psp, kind, key, currency FROM tally_view WHERE lines > 1)"
        " GROUP BY psp, kind, key, currency, digest HAVING count(*) > 1",
    ),
    Sum(
        "receivables_settled",
        "reconciliation",
        "SELECT count(*) FROM settlement_view WHERE ties",
        "SELECT coalesce(b.settlement_no, l.settlement_no) || ' ' || coalesce(b.side, l.side), b.amount::text, l.amount::text"
        " FROM (SELECT settlement_no, side, amount::bigint FROM settlement_view, jsonb_each_text(booked) AS e (side, amount)"
        " WHERE NOT to_settle AND starts_with(side, 'receivable ')) b"
        " FULL JOIN (SELECT settlement_no, 'receivable ' || gross_currency AS side, sum(unknown - gross)::bigint AS amount"
        " FROM settlement_sum_view JOIN settlement_view USING (settlement_no) WHERE ties AND NOT to_settle"
        " AND position(kind IN 'crRbB2') > 0 GROUP BY 1, 2) l ON l.settlement_no = b.settlement_no AND l.side = b.side"
        " WHERE coalesce(b.amount, 0) <> coalesce(l.amount, 0)",
    ),
    Sum(
        "open_amounts_add_up",
        "reconciliation",
        "SELECT count(*) FROM (SELECT DISTINCT psp, kind, currency, known, due FROM tally_sum_view) s",
        "SELECT concat_ws(' ', psp, kind, currency, known, due), concat_ws(' ', s.tallies, s.plus, s.minus, s.expected),"
        " concat_ws(' ', t.tallies, t.plus, t.minus, t.expected) FROM (SELECT psp, kind, currency, known,"
        " coalesce(due, 'infinity') AS due, sum(tallies) AS tallies, sum(plus) AS plus, sum(minus) AS minus,"
        " sum(expected) AS expected FROM tally_sum_view GROUP BY 1, 2, 3, 4, 5) s FULL JOIN (SELECT psp, kind, currency,"
        " known, due, sum(tallies) AS tallies, sum(plus) AS plus, sum(minus) AS minus, sum(expected) AS expected"
        f" FROM {_ALL_TALLIES} x GROUP BY 1, 2, 3, 4, 5) t USING (psp, kind, currency, known, due)"
        " WHERE (coalesce(s.tallies, 0), coalesce(s.plus, 0), coalesce(s.minus, 0), coalesce(s.expected, 0))"
        " <> (coalesce(t.tallies, 0), coalesce(t.plus, 0), coalesce(t.minus, 0), coalesce(t.expected, 0))",
    ),
)


def _sides() -> dict[str, Sides]:
    return defaultdict(lambda: defaultdict(int))


@dataclass(slots=True)
class SettlementBooks:
    """What is compared, by file, order, pay-out and settlement."""

    files: dict[tuple[str, str], bool] = field(default_factory=dict)  # source, file → whether reconciliation has it
    chunks: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)  # source, file → all, and those folded
    owed: dict[str, Sides] = field(default_factory=_sides)  # order → booked at PSPs whose files come
    older: set[str] = field(default_factory=set)  # orders that are older than the source
    expected: dict[str, Sides] = field(default_factory=_sides)
    sent: dict[str, Sides] = field(default_factory=_sides)  # pay-out → what its bank account must show, + what it gets
    shown: dict[str, Sides] = field(default_factory=_sides)  # pay-out → what is expected there
    wanted: dict[str, Sides] = field(default_factory=_sides)  # settlement → as reconciliation has booked it
    booked: dict[str, Sides] = field(default_factory=_sides)  # settlement → as the ledger has
    closing: dict[str, Sides] = field(
        default_factory=_sides
    )  # statement → closing less opening balance, where it is booked


class Settlements(PageDefaults):
    hops = (STORED, SAID, CAPTURED_HERE, SUBMITTED, MATCHED)
    kinds = TEMPLATES
    sums = SUMS
    topics: tuple[PublishedIds[SettlementBooks], ...] = ()

    def __init__(self, run: Run) -> None:
        self._run = run
        self._books = SettlementBooks()

    def read_stores(self) -> None:
        """The ledger before reconciliation: what either has, the executor has said before."""
        self._books = read_all(self._run.stores, self._run.settings)

    def first_look(self) -> set[Finding]:
        return set(compare(self._books))

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        return set(compare(read_all(self._run.stores, self._run.settings, {finding.key for finding in suspects})))

    def counted(self) -> Iterator[PlannedCheck]:
        books = self._books
        counts = {
            FILES: len(books.files),
            FOLDED: len(books.chunks),
            EXPECTED: len(books.owed),
            AT_BANK: len(books.sent),
            BOOKED: len(books.wanted),
            STATEMENTS: len(books.closing),
        }
        for name in CHECKS:
            yield PlannedCheck(name, counts[name], expected=False)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_all(stores: Stores, settings: Settings, keys: Collection[str] | None = None) -> SettlementBooks:
    """With `keys` only orders of these keys; files and settlements are few, and are all read."""
    books = SettlementBooks()
    psps = sorted({source.psp for source in settings.settlement_sources if source.psp})
    if psps:
        since = dict(stores.rows("reconciliation", _SINCE, [psps]))
        _read_owed(stores, books, since, [f"psp:{psp}:receivable" for psp in psps], keys)
        _read_expected(stores, books, psps, keys)
    if stated := sorted({source.bank_account for source in settings.settlement_sources if source.kind == "bank"}):
        _read_payouts(stores, books, stated, keys)
    _read_settlements(stores, books, {source.name: source.bank_account for source in settings.settlement_sources})
    _read_files(stores, books)
    return books


_OWED = (
    "SELECT payment_order_id, account, currency, sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END)::bigint,"
    " min(posted_at) FROM entry_view WHERE account = ANY(%(accounts)s) AND checkout_id IS NOT NULL{among} GROUP BY 1, 2, 3"
)
# What was made before the end of a month whose archive is dropped may be dropped with it.
_KEPT_SINCE = "coalesce((SELECT max(month) + interval '1 month' FROM tally_dropped_view), '-infinity')"
_SINCE = (
    f"SELECT 'psp:' || psp || ':receivable', greatest(min(made_at), {_KEPT_SINCE}) FROM tally_view"
    " WHERE facts > 0 AND psp = ANY(%s) GROUP BY psp"
)
_EXPECTED = (
    "SELECT coalesce(payment_order_id, ''), psp, currency, sum(expected)::bigint FROM tally_view"
    " WHERE psp = ANY(%(psps)s) AND facts > 0 AND kind = ANY(%(kinds)s){among} GROUP BY 1, 2, 3"
)
_CORRECTED = (
    "SELECT coalesce(payment_order_id, ''), psp, currency, sum(f.amount)::bigint FROM correction_fact_view f"
    " JOIN tally_by_key_view t USING (key, kind, currency, psp)"
    " WHERE psp = ANY(%(psps)s) AND kind = ANY(%(kinds)s){among} GROUP BY 1, 2, 3"
)
_AMONG = " AND payment_order_id = ANY(%(keys)s)"
_OR_NONE = " AND coalesce(payment_order_id, '') = ANY(%(keys)s)"  # of a line that a person has explained


def _read_owed(
    stores: Stores,
    books: SettlementBooks,
    since: Mapping[str, datetime],
    accounts: list[str],
    keys: Collection[str] | None,
) -> None:
    """Of orders that were booked before the first expectation of their PSP nothing is expected: its source came later."""
    statement = _OWED.format(among="" if keys is None else _AMONG)
    for order, account, currency, amount, posted_at in stores.rows(
        "ledger", statement, _given(keys, accounts=accounts)
    ):
        if account not in since or posted_at < since[account]:
            books.older.add(order)
        books.owed[order][account, currency] = amount


def _read_expected(stores: Stores, books: SettlementBooks, psps: list[str], keys: Collection[str] | None) -> None:
    statement = _EXPECTED.format(among="" if keys is None else _OR_NONE)
    given = _given(keys, psps=psps, kinds=list(PAYMENTS))
    for order, psp, currency, amount in stores.rows("reconciliation", statement, given):
        books.expected[order][f"psp:{psp}:receivable", currency] = amount
    for order, psp, currency, amount in stores.rows("reconciliation", _corrected(keys), given):
        books.expected[order][f"psp:{psp}:receivable", currency] -= amount


def _corrected(keys: Collection[str] | None) -> str:
    """What persons have changed of that: it is in corrections, and not in what orders have booked."""
    return _CORRECTED.format(among="" if keys is None else _OR_NONE)


_SHOWN = (
    f"SELECT payment_order_id, psp, currency, sum(expected)::bigint, greatest(min(made_at), {_KEPT_SINCE}) FROM tally_view"
    " WHERE psp = ANY(%(banks)s) AND facts > 0 AND kind = 's' AND payment_order_id NOT LIKE '%%/%%' GROUP BY 1, 2, 3"
)
_SENT = "SELECT payout_id, bank_account, created_at FROM payout_view WHERE bank_account = ANY(%(banks)s)"
# What has left for the bank: in all turns of a pay-out, of which the executor keeps the last.
_OUT = (
    "SELECT payment_order_id, currency, sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END)::bigint FROM entry_view"
    " WHERE account = ANY(%(accounts)s) AND template LIKE 'payout%%'{among} GROUP BY 1, 2"
)


def _read_payouts(stores: Stores, books: SettlementBooks, banks: list[str], keys: Collection[str] | None) -> None:
    """Pay-outs that were released before anything was expected of their bank account are older than its source."""
    accounts = [IN_TRANSIT, *(f"bank:{bank}:clearing" for bank in banks)]
    out: dict[str, dict[str, int]] = defaultdict(dict)
    statement = _OUT.format(among="" if keys is None else _AMONG)
    for payout, currency, amount in stores.rows("ledger", statement, _given(keys, accounts=accounts)):
        out[payout][currency] = amount
    since: dict[str, datetime] = {}
    for payout, bank, currency, amount, made_at in stores.rows("reconciliation", _SHOWN, {"banks": banks}):
        since[bank] = min(made_at, since.get(bank, made_at))
        if keys is None or payout in keys:
            books.shown[payout][bank, currency] = amount
    corrected = _CORRECTED.format(among="")
    for payout, bank, currency, amount in stores.rows("reconciliation", corrected, {"psps": banks, "kinds": ["s"]}):
        if payout in books.shown:
            books.shown[payout][bank, currency] -= amount
    for payout, bank, created_at in stores.rows("executor", _SENT, {"banks": banks}):
        if bank not in since or created_at < since[bank]:
            books.shown.pop(payout, None)
        elif keys is None or payout in keys:
            books.sent[payout] = {(bank, currency): amount for currency, amount in out[payout].items()}


def _given(keys: Collection[str] | None, **more: object) -> dict[str, object]:
    return {**more, "keys": sorted(keys or ())}


def _read_settlements(stores: Stores, books: SettlementBooks, banks: Mapping[str, str]) -> None:
    """The ledger first: what it has booked, reconciliation has said."""
    booked = stores.rows(
        "ledger",
        "SELECT payment_order_id, account, currency, sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END)::bigint"
        " FROM entry_view WHERE template = ANY(%s) GROUP BY 1, 2, 3",
        [list(TEMPLATES)],
    )
    for subject, account, currency, amount in booked:
        books.booked[subject][account, currency] = amount
    said = stores.rows(
        "reconciliation",
        "SELECT source, source || '/' || settlement || '/' || currency, psp, booked, ties FROM settlement_view",
    )
    for source, subject, psp, amounts, _ in said:
        for side, amount in amounts.items():
            role, currency = side.rsplit(" ", 1)
            account = ROLES[role].format(psp=psp, bank=banks.get(source))
            books.wanted[subject][account, currency] += amount
    closing = stores.rows(
        "reconciliation",
        "SELECT DISTINCT s.source, s.source || '/' || settlement || '/' || currency, currency, c.paid - c.opening"
        " FROM settlement_claim_view c JOIN settlement_view s USING (settlement_no) JOIN file_view f USING (file_no)"
        " WHERE c.opening IS NOT NULL AND ties AND f.state = 'folded'",
    )
    for source, subject, currency, moved in closing:
        books.closing[subject][f"bank:{banks.get(source)}", currency] = moved


def _read_files(stores: Stores, books: SettlementBooks) -> None:
    stored = stores.rows("doors", "SELECT source, file_id FROM settlement_file_view")
    rows = stores.rows(
        "reconciliation",
        "SELECT source, file_id, state, chunks, "
        " (SELECT count(*) FROM line_chunk_view c WHERE c.file_no = f.file_no AND c.reader = f.reader) FROM file_view f",
    )
    known = {(source, file_id) for source, file_id, *_ in rows}
    books.files = {file: file in known for file in map(tuple, stored)}
    books.chunks = {
        (source, file_id): (chunks, folded) for source, file_id, state, chunks, folded in rows if state == "folded"
    }


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def compare(books: SettlementBooks) -> Iterator[Finding]:
    for (source, file_id), known in books.files.items():
        if not known:
            yield Finding(
                FILES, source, f"file {file_id[:12]} is stored, and reconciliation has not heard of it", STORED
            )
    for (source, file_id), (chunks, folded) in books.chunks.items():
        if chunks != folded:
            yield Finding(FOLDED, source, f"file {file_id[:12]} is folded, with {folded} of its {chunks} chunks")
    yield from _orders(books)
    for payout in books.sent.keys() | books.shown.keys():
        sent, shown = _moved(books.sent.get(payout)), _moved(books.shown.get(payout))
        if sent != shown:
            yield Finding(AT_BANK, payout, f"the ledger has {sent} out, and {shown} is expected", SUBMITTED)
    for subject in books.wanted.keys() | books.booked.keys():
        wanted, booked = _moved(books.wanted.get(subject)), _moved(books.booked.get(subject))
        if wanted != booked:
            yield Finding(BOOKED, subject, f"the ledger has {booked}, and reconciliation wants {wanted}", MATCHED)
    for subject, moved in books.closing.items():
        there = {side: amount for side, amount in books.booked.get(subject, {}).items() if side in moved}
        if _moved(there) != _moved(moved):
            detail = f"the bank moved {_moved(moved)}, and the ledger {_moved(there)}"
            yield Finding(STATEMENTS, subject, detail, MATCHED)


def _orders(books: SettlementBooks) -> Iterator[Finding]:
    for order in (books.owed.keys() | books.expected.keys()) - books.older:
        owed, expected = _moved(books.owed.get(order)), _moved(books.expected.get(order))
        if owed != expected:
            hop = CAPTURED_HERE if owed else CAPTURED
            yield Finding(EXPECTED, order, f"PSPs owe {owed} by the ledger, and {expected} is expected", hop)


def _moved(sides: Sides | None) -> dict[str, int]:
    return {f"{account} {currency}": amount for (account, currency), amount in (sides or {}).items() if amount}
