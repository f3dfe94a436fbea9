"""The whole audit: read everything once, look again at what looks wrong, report.

In a moving system much looks wrong for a moment. A finding counts only if it is there at every one of several looks,
each at fresh rows of the orders in question, and if what is missing is not known to be on its way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from operations.auditor import webhooks
from operations.auditor.engine import psps as psp_books
from operations.auditor.engine import said, sums, unfinished
from operations.auditor.engine.flight import on_their_way
from operations.auditor.engine.records import Reader, reader, upstream_requests
from operations.auditor.engine.report import Check, Report, judged
from operations.auditor.pay_in import buyers
from operations.auditor.pay_in.books import Books, Payment, Request, Stores, read_all, read_checkouts, read_orders
from operations.auditor.pay_in.compare import (
    CHARGE_CHECKS,
    CHECKOUT_CHECKS,
    NO_PSP,
    ORDER_CHECKS,
    Finding,
    compare_charges,
    compare_checkouts,
    compare_orders,
)
from psp.port import ListingError, Psp
from psp.registry import make_psps
from topics.catalog import PAYMENT_REQUESTS
from topics.runtime.shape.clock import Clock
from topics.settings import Settings

PAUSES_S = (0.3, 0.7, 1.5, 3.0, 5.0)  # between the looks at what looks wrong
LATEST_S = 20.0  # for a balance to be said: a lease of a publisher that died ends after 10
STILL_S = 25.0  # for a room to read on: a partition of one that died is taken over after 6
AT_ONCE = 5000  # suspects of one look
LOOKS = unfinished.LOOKS | {"webhooks_sent": webhooks.sent}
Progress = Callable[[str], None]


@dataclass(slots=True)
class Audit:
    """What one run goes by."""

    settings: Settings
    stores: Stores
    reading: Reader
    psps: Mapping[str, Psp]
    tell: Progress
    clock: Clock
    books: Books = field(default_factory=Books)
    silent: str = ""  # why a PSP's listing could not be read
    topics: list[said.Said] = field(default_factory=lambda: [said.Said(subject) for subject in said.SUBJECTS])


def audit(settings: Settings, tell: Progress = lambda _: None) -> Report:
    """Errors: psycopg.OperationalError and KafkaException where a server is away. A silent PSP is a failed check."""
    with Stores(settings) as stores, reader(settings) as reading:
        run = Audit(settings, stores, reading, make_psps(settings.psps), tell, Clock(settings.clock_file))
        return Report(tuple(_checks(run)))


def _checks(run: Audit) -> Iterator[Check]:
    begun, settled = _anchor(run.stores)
    lag = unfinished.lag(run.stores, run.reading)
    lag_at = time.monotonic()
    tell, stores = run.tell, run.stores
    tell("the stores")
    read_all(stores, run.books)
    tell("the PSPs")
    _read_psps(run)
    tell("the topics")
    for topic in run.topics:
        topic.read_on(run.reading)
    tell("comparing")
    findings, on_way = _confirmed(run, _first_look(run))
    yield from _compared(run, findings, on_way, begun, settled)
    tell("sums and balances")
    yield from sums.check_sums(stores, expected=settled)
    yield buyers.check_totals(stores, PAUSES_S, expected=settled)
    yield _ended(run)
    for balances in said.BALANCES:
        yield _latest(run, said.Latest(*balances), settled)
    tell("what is not finished")
    yield from _unfinished(run)
    yield webhooks.check_made(stores, run.reading, _kept_since(run))
    yield _lag(run, lag, lag_at)
    yield unfinished.partitions_kept(stores, run.settings)
    yield unfinished.dead_letters(stores)


def _anchor(stores: Stores) -> tuple[bool, bool]:
    """Whether any payment had been decided on, and any order booked, before we began: then there is something to see."""
    begun = "SELECT EXISTS (SELECT 1 FROM payment_view WHERE status <> 'received')"
    settled = "SELECT EXISTS (SELECT 1 FROM order_view WHERE wallet_updated AND ledger_updated)"
    return stores.one("payments", begun)[0], stores.one("payments", settled)[0]


# ── everything once ──────────────────────────────────────────────────────────────────────────────────────────────────


def _read_psps(run: Audit) -> None:
    try:
        for psp in run.psps.values():
            for page in psp_books.listed(psp):
                run.books.add_charges(psp.name, page)
    except ListingError as error:
        run.silent = str(error)


def _first_look(run: Audit) -> set[Finding]:
    findings = {*compare_checkouts(run.books), *compare_orders(run.books)}
    if not run.silent:
        findings |= set(compare_charges(run.books))
    for topic in run.topics:
        findings |= set(topic.compare(run.books))
    return _without_silence(run, _without_upstreams(run, findings))


def _without_silence(run: Audit, findings: set[Finding]) -> set[Finding]:
    """Of a PSP that does not answer nothing can be said."""
    return {f for f in findings if f.check != "captures_charged"} if run.silent else findings


def _without_upstreams(run: Audit, findings: set[Finding]) -> set[Finding]:
    """Payments that came by an upstream's own topic, not by HTTP: their cause is a record there. An owner who asked for
    the same by both doors has one payment."""
    payments, requests = run.books.payments, run.books.requests
    unasked = {
        finding
        for finding in findings
        if finding.check == "payments_requested"
        or (finding.check == "requests_stored" and _owners_agree(payments.get(finding.key), requests[finding.key]))
    }
    if not unasked:
        return findings
    owners = {payments[finding.key].owner for finding in unasked}
    by_http = {request.owner for request in requests.values()}
    now_ms = int(run.clock.now().timestamp() * 1000)
    asked = upstream_requests(run.reading, PAYMENT_REQUESTS, owners, by_http, now_ms)
    return findings - {finding for finding in unasked if asked.explain(payments[finding.key])}


def _owners_agree(payment: Payment | None, request: Request) -> bool:
    return payment is not None and payment.owner == request.owner


# ── what looks wrong, again ──────────────────────────────────────────────────────────────────────────────────────────


def _confirmed(run: Audit, suspects: set[Finding]) -> tuple[set[Finding], int]:
    """What is wrong at every look, and how much was found to be on its way."""
    way = 0
    for pause_s in PAUSES_S:
        if not suspects:
            break
        known = on_their_way(run.stores, run.reading, list(suspects))
        way += len(known)
        suspects = _still(run, suspects - known)
        run.tell(f"{len(suspects)} to be looked at again" if suspects else "comparing")
        if suspects:
            time.sleep(pause_s)
    return suspects, way


def _still(run: Audit, suspects: set[Finding]) -> set[Finding]:
    """Those that are still there at a fresh look. Details may differ: it is the same thing that is wrong."""
    checkouts = sorted({f.key for f in suspects if f.check in CHECKOUT_CHECKS})
    orders = sorted({f.key for f in suspects if f.check not in CHECKOUT_CHECKS})
    now: set[Finding] = set()
    for some in _slices(checkouts):
        now |= set(compare_checkouts(read_checkouts(run.stores, some)))
    for topic in run.topics if orders else ():
        topic.read_on(run.reading)
    for some in _slices(orders):
        now |= set(_look_at_orders(run, some))
    before = {(f.check, f.key, f.hop) for f in suspects}
    return {f for f in _without_silence(run, now) if (f.check, f.key, f.hop) in before}


def _look_at_orders(run: Audit, order_ids: Sequence[str]) -> Iterator[Finding]:
    books = read_orders(run.stores, order_ids)
    among = set(order_ids)
    if not run.silent:
        _find_charges(run, books, among)
        yield from compare_charges(books)
    yield from compare_orders(books)
    for topic in run.topics:
        yield from topic.compare(books, among)


def _find_charges(run: Audit, books: Books, among: set[str]) -> None:
    """Ask the PSPs again for the references of these orders, ours and those that they listed."""
    wanted = {(attempt.psp, attempt.call_id) for attempt in books.attempts.values() if attempt.psp != NO_PSP}
    for reference, charges in run.books.charges.items():
        wanted |= {(charge.psp, reference) for charge in charges if charge.order_id in among}
    try:
        for psp, listed in psp_books.found(run.psps, sorted(wanted)):
            books.add_charges(psp, listed)
    except ListingError as error:
        run.silent = str(error)


def _slices(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE]


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _compared(run: Audit, findings: Iterable[Finding], on_way: int, begun: bool, settled: bool) -> Iterator[Check]:
    wrong: dict[str, list[str]] = {}
    for finding in sorted(findings, key=lambda f: (f.check, f.key)):
        wrong.setdefault(finding.check, []).append(str(finding))
    counts = _counts(run.books)
    for name in (*CHECKOUT_CHECKS, *ORDER_CHECKS, *CHARGE_CHECKS):
        if run.silent and name in ("captures_charged", *CHARGE_CHECKS):
            yield Check(name, False, 0, f"{run.silent}, so it cannot be compared")
            continue
        expected = begun if name in _FROM_THE_START else settled
        yield judged(name, counts[name], wrong.get(name, []), expected=expected)
    for topic in run.topics:
        note = "the topic's oldest records are gone" if topic.place.trimmed else ""
        check = topic.subject.check
        yield judged(
            check, len(topic.keys), wrong.get(check, []), expected=settled and not topic.place.trimmed, aside=[note]
        )
    yield Check("on_their_way", True, on_way, f"{on_way} effects were under way" if on_way else "")


# What every payment comes to that was decided on, a refused or declined one too.
_FROM_THE_START = ("payments_requested", "payments_screened", "screenings_asked", "risk_decisions_followed")


def _counts(books: Books) -> dict[str, int]:
    captured = sum(1 for attempt in books.attempts.values() if attempt.state == "captured")
    movements = sum(map(len, books.movements.values()))
    journals = sum(map(len, books.journals.values()))
    charges = sum(map(len, books.charges.values()))
    screenings, payments, attempts = len(books.screenings), len(books.payments), len(books.attempts)
    return {
        "requests_stored": len(books.requests) or payments,
        "payments_requested": payments,
        "payments_screened": payments,
        "screenings_asked": screenings,
        "risk_decisions_followed": screenings,
        "orders_attempted": len(books.placed_by),
        "attempts_placed": attempts,
        "attempts_called": sum(1 for attempt in books.attempts.values() if attempt.psp != NO_PSP),
        "captures_charged": captured,
        "outcomes_heard": sum(1 for a in books.attempts.values() if a.state in ("captured", "declined")),
        "states_caused": len(books.orders),
        "captures_in_wallet": captured,
        "movements_caused": movements,
        "captures_in_ledger": captured,
        "journals_caused": journals,
        "journals_balanced": journals,
        "effects_flagged": movements + journals,
        "flags_caused": sum(order.wallet_updated + order.ledger_updated for order in books.orders.values()),
        "wallet_equals_payable": len(books.movements.keys() & books.journals.keys()),
        "charges_captured": charges,
        "orders_charged_once": charges,
    }


def _ended(run: Audit) -> Check:
    """The store first: what it says by then was written with its event. There may be none: orders are booked before their
    payments end. That a payment is marked as done once all of its orders are is for `payments_done` to say."""
    ended, topic, until = said.endings(run.stores), said.Endings(), time.monotonic() + LATEST_S
    topic.read_on(run.reading)
    while not ended <= topic.said and not topic.place.trimmed and time.monotonic() < until:
        time.sleep(PAUSES_S[0])
        topic.read_on(run.reading)
    silent = [] if topic.place.trimmed else sorted(ended - topic.said)
    wrong = [f"{checkout_id}: {how}, and payments.v1 does not say so" for how, checkout_id in silent]
    note = "the topic's oldest records are gone" if topic.place.trimmed else ""
    return judged("payments_said", len(ended), wrong, expected=False, aside=[note])


def _latest(run: Audit, topic: said.Latest, expected: bool) -> Check:
    """A balance counts as said once the version of the first look, or a later one, is on the topic."""
    topic.read_on(run.reading)
    first = topic.compare(run.stores)
    owed, until = first.behind, time.monotonic() + LATEST_S
    while owed and time.monotonic() < until:
        time.sleep(PAUSES_S[0])
        topic.read_on(run.reading)
        owed = {key: version for key, version in owed.items() if topic.said(key) < version}
    wrong = [f"{key}: {why}" for key, why in sorted(first.wrong.items())]
    wrong += [
        f"{key}: version {version} is stored, {topic.said(key) or 'none'} was said" for key, version in owed.items()
    ]
    return judged(topic.check, first.examined, wrong, expected=expected)


def _unfinished(run: Audit) -> Iterator[Check]:
    first = {name: look(run.stores, run.clock.now()) for name, look in LOOKS.items()}
    if any(seen.wrong for seen in first.values()):
        time.sleep(PAUSES_S[3])
    for name, look in LOOKS.items():
        seen = first[name]
        if seen.wrong:
            again = look(run.stores, run.clock.now())
            seen.wrong = {key: why for key, why in again.wrong.items() if key in seen.wrong}
        wrong = [f"{key}: {why}" for key, why in seen.wrong.items()]
        yield judged(name, seen.examined, wrong, expected=False, aside=seen.aside)


def _lag(run: Audit, first: unfinished.Lag, at: float) -> Check:
    """Rooms that look as if they stood still are given the time that a takeover takes."""
    last = unfinished.lag(run.stores, run.reading)
    while unfinished.stuck_between(first, last) and time.monotonic() < at + STILL_S:
        time.sleep(0.5)
        last = unfinished.lag(run.stores, run.reading)
    return unfinished.check_lag(first, last)


def _kept_since(run: Audit) -> datetime:
    """Deliveries of events that were said before may have been deleted by now."""
    return run.clock.now() - timedelta(days=run.settings.retention.webhook_deliveries_days - 1)
