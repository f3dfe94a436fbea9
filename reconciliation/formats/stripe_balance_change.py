"""Stripe's balance change from activity, itemized (CSV): what has moved the balance in a period, but for pay-outs.

Columns: docs.stripe.com/reports/report-types/balance. It names no pay-out rows, so nothing says what its rows come to, and
the payout reconciliation says each of them again once it is paid out. Its rows are evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from reconciliation.formats.blocks import first_line
from reconciliation.formats.chunks import Line, as_evidence
from reconciliation.formats.records import Records, normal
from reconciliation.formats.refusing import Refusals, Unreadable
from reconciliation.formats.rows import chunked
from reconciliation.formats.shape import Chunk, Control, ReadFrom, Refusal
from reconciliation.formats.stripe_payout_reconciliation import ACTIVITY, ItemizedReport

_PAYOUT = "automatic payout id"  # of what is paid out already, where the report was asked for it


class StripeBalanceChange:
    name = "stripe_balance_change"
    version = 1
    provider = "stripe"
    of: Literal["psp", "bank"] = "psp"
    mode: Literal["replace", "union"] = "union"
    ties = "in each row gross - fee = net; its rows are evidence, beside the payout reconciliation, which settles them"

    def sniff(self, head: bytes, name: str) -> int:
        columns = {normal(column) for column in first_line(head).split(",")}
        if not columns.issuperset(ACTIVITY):
            return 0
        return 97 if "balance_change" in name else 80 if _PAYOUT in columns else 94

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            records = Records(blocks)
            activity = _Activity(records.header(), source, ACTIVITY)
            yield from chunked(records, activity.columns, activity.chunks, refusals, activity.line, activity.cells)
            if not refusals:
                activity.check(refusals)
            if not refusals:
                yield activity.control()


class _Activity(ItemizedReport):
    """What is known while one file is read."""

    def line(self, row: list[str]) -> Line:
        """Errors: Unreadable."""
        told = super().line(row)
        if told.kind in "pq":
            raise Unreadable("schema_drift", "a pay-out, which this report has none of: is it another one?")
        return as_evidence(told)

    def check(self, refusals: Refusals) -> None:
        if not self.chunks.lines:
            raise Refusal("empty", "the report has no row")
        self.check_account()

    def control(self) -> Control:
        chunks = self.chunks
        first, last = chunks.days()
        return Control(
            identity=f"activity {first} to {last}",
            version="",
            account_ids=self.accounts,
            first_day="",  # it stands in for the file of no day
            last_day="",
            lines=chunks.lines,
            totals=chunks.totals(),
            notes=self.columns.notes,
        )
