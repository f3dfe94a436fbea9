"""The page of pay-outs: from the request to the release, and where each has ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from operations.auditor.engine.findings import Finding
from operations.auditor.engine.page import PageDefaults, PlannedCheck
from operations.auditor.engine.published import PublishedIds, Subject
from operations.auditor.engine.run import Run
from operations.auditor.engine.stores import slices
from operations.auditor.engine.upstreams import upstream_requests
from operations.auditor.payouts import compare
from operations.auditor.payouts.books import PayoutBooks
from operations.auditor.payouts.reading import add_payouts, read_all
from schemas.payouts import PayoutApproved


def _approvals(books: PayoutBooks) -> Iterable[tuple[str, str]]:
    """(event id, pay-out) of what persons said, as payouts has it."""
    for payout_id, found in books.approvals.items():
        yield from ((approval.event_id, payout_id) for approval in found)


SAID = Subject("approvals_said", (PayoutApproved,), _approvals)


class PayoutsPage(PageDefaults):
    hops = (*compare.HOPS, SAID.hop)

    def __init__(self, run: Run) -> None:
        self._run = run
        self._books = PayoutBooks()
        self.topics = [PublishedIds(SAID)]

    def read_stores(self) -> None:
        self._books = read_all(self._run.stores)

    def first_look(self) -> set[Finding]:
        return self._asked_of_upstreams(set(self._compare(self._books)), self._books)

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        now: set[Finding] = set()
        for topic in self.topics:
            topic.read_on(self._run.reading)
        for some in slices(sorted({finding.key for finding in suspects})):
            books = PayoutBooks()
            add_payouts(self._run.stores, books, some)
            now |= self._asked_of_upstreams(set(self._compare(books, set(some))), books)
        return now

    def counted(self) -> Iterator[PlannedCheck]:
        for name, count in compare.COUNTS.items():
            yield PlannedCheck(name, count(self._books), expected=False)

    def _compare(self, books: PayoutBooks, among: Collection[str] | None = None) -> Iterator[Finding]:
        yield from compare.compare_payouts(books)
        for topic in self.topics:
            yield from topic.compare(books, among)

    def _asked_of_upstreams(self, findings: set[Finding], books: PayoutBooks) -> set[Finding]:
        """Without those whose request is on their owner's own topic, or was."""
        unasked = {f for f in findings if f.check == compare.ASKED and f.detail.startswith(compare.UNASKED)}
        if not unasked:
            return findings
        owners = {books.payouts[finding.key].owner for finding in unasked}
        by_http = {request.owner for request in books.requests.values()}
        now_ms = int(self._run.clock.now().timestamp() * 1000)
        asked = upstream_requests(self._run.reading, compare.REQUESTED.topic, owners, by_http, now_ms)
        rows = {finding: books.payouts[finding.key] for finding in unasked}
        explained = {
            finding
            for finding, row in rows.items()
            if asked.explain(row.owner, row.event_id, int(row.received_at.timestamp() * 1000))
        }
        return findings - explained
