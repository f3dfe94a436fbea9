"""A source's schedule, and the days of the files that have come → the files that are missing, and what they may hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

from reconciliation.breaking import Finding, judged
from reconciliation.business_days import earlier, is_open, late_at, later
from reconciliation.expected import Sources, account_of
from reconciliation.state import Change, ItemOpened, LateJudged, Reconciliation, Span
from topics.settlement_sources import SettlementSource

LOOK_BACK = timedelta(days=400)
_DAY = timedelta(days=1)


def scheduled(source: SettlementSource, span: Span) -> Iterator[date]:
    """The days of a span of which the source must bring a file."""
    if source.files is None:
        return
    day = max(span.first, source.files.first_day)
    while day <= span.last:
        if source.files.days == "every" or is_open(source, day):
            yield day
        day += _DAY


class Expired(NamedTuple):
    """The newest day whose file is missing if it has not come, and since when it is."""

    day: date
    at: datetime


def expired(source: SettlementSource, now: datetime) -> Expired | None:
    """None where no file can be missing yet."""
    if source.files is None:
        return None
    last = now.date() + _DAY  # of any time zone
    for day in reversed(list(scheduled(source, Span(max(source.files.first_day, last - LOOK_BACK), last)))):
        at = late_at(source, later(source, day, source.files.lag_days))
        if at <= now:
            return Expired(day, at)
    return None


def missing_files(state: Reconciliation, source: SettlementSource, now: datetime) -> Iterator[Change]:
    """Open a break for each day whose file is late, close those of files that have come. What is missing in such a file is
    judged again: it may be there."""
    newest = expired(source, now)
    days = set(scheduled(source, Span(newest.day - LOOK_BACK, newest.day))) if newest else set[date]()
    missing = {day for day in days if not covers(state.came.get(source.name, ()), day)}
    for day in sorted(missing | _opened(state, source, now)):
        subject = f"{source.name}/{day}"
        finding = missing_file(source.name, subject, Span(day, day)) if day in missing else None
        yield from and_late(source, judged(f"day|{subject}", finding, state.items.get(f"day|{subject}"), now), now)


def _opened(state: Reconciliation, source: SettlementSource, now: datetime) -> set[date]:
    """The days of open breaks. One that is older than files are looked at for stays as it is."""
    prefix = f"day|{source.name}/"
    days = (date.fromisoformat(item.removeprefix(prefix)) for item in state.items if item.startswith(prefix))
    return {day for day in days if day > (now - LOOK_BACK).date() + 30 * _DAY}


def missing_file(source: str, subject: str, span: Span) -> Finding:
    """What the file would hold is of these days."""
    detail = {"first_day": span.first.isoformat(), "last_day": span.last.isoformat()}
    return Finding("FILE_MISSING", subject, source, "", None, 0, detail)


def and_late(source: SettlementSource | None, changes: Iterable[Change], now: datetime) -> Iterator[Change]:
    """With a break for a missing file, what is late of its days is judged again."""
    for change in changes:
        yield change
        if source and isinstance(change, ItemOpened):
            first, last = (date.fromisoformat(str(change.detail[name])) for name in ("first_day", "last_day"))
            yield LateJudged(account_of(source), first, later(source, last, source.lag_days), now)


def covers(spans: Iterable[Span], day: date) -> bool:
    return any(span.first <= day <= span.last for span in spans)


def waits_for_file(state: Reconciliation, account: str, due: date, sources: Sources) -> bool:
    """Whether what is due on a day at a PSP or bank account may be in a file that has not come, or is not folded: one of a day
    between the fact and its due day."""
    for source in sources.all_of.get(account, ()):
        span = Span(earlier(source, due, source.lag_days + 1) + _DAY, due)
        folded = state.folded.get(source.name, ())
        if any(not covers(folded, day) for day in scheduled(source, span)):
            return True
        if any(gap.first <= span.last and span.first <= gap.last for gap in state.missing.get(source.name, ())):
            return True
    return False
