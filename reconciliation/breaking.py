"""A verdict on an item, and the break that is open for it → what opens, changes and closes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from reconciliation.formats import keys
from reconciliation.matching import Code
from reconciliation.state import ItemClosed, ItemOpened, OpenItem


class Finding(NamedTuple):
    """What is wrong with an item, and the case that it belongs to."""

    code: Code
    subject: str  # a case is one code and subject
    source: str
    psp: str
    currency: str | None
    amount: int
    detail: Mapping[str, object]
    group: str = ""  # of what findings of one code may be worked as one case, if they are too many


def break_id(code: Code, subject: str) -> str:
    """32 hex digits."""
    return keys.named("break", code, subject)


def judged(
    item: str, finding: Finding | None, opened: OpenItem | None, now: datetime, closed: bool = False
) -> Iterator[ItemOpened | ItemClosed]:
    """An item has one open break at most. `closed`: the break needs nobody, it is only recorded."""
    wanted = break_id(finding.code, finding.subject) if finding else None
    if finding and opened and finding.group and opened.break_id == break_id(finding.code, finding.group):
        wanted = opened.break_id
    if opened and opened.break_id != wanted:
        yield ItemClosed(item, opened.break_id, now)
    if finding and wanted and (opened is None or opened != (wanted, finding.amount)):
        yield ItemOpened(item, wanted, *finding, now, closed)
