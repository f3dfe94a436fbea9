"""Pages → findings that persist over several looks → a verdict on each check.

While the system runs, much differs for a moment. A finding counts only if it is there at each of several looks at fresh rows,
and if the missing effect is not known to be in flight.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from operations.auditor.engine.findings import Finding
from operations.auditor.engine.flight import on_their_way
from operations.auditor.engine.page import Page
from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.run import Run


def compared(run: Run, pages: Sequence[Page]) -> Iterator[Check]:
    way = 0
    for page in pages:
        findings, on_way = confirmed(run, page)
        way += on_way
        yield from verdicts(page, findings)
    yield Check("on_their_way", True, way, f"{way} effects were under way" if way else "")


def confirmed(run: Run, page: Page) -> tuple[set[Finding], int]:
    """The findings of every look, and the number of effects that were in flight."""
    suspects, way = page.first_look(), 0
    for pause_s in run.patience.pauses_s:
        if not suspects:
            break
        known = on_their_way(run.stores, run.reading, list(suspects))
        way += len(known)
        suspects = _still(page, suspects - known)
        run.tell(f"{len(suspects)} to be looked at again" if suspects else "comparing")
        if suspects:
            time.sleep(pause_s)
    return suspects, way


def _still(page: Page, suspects: set[Finding]) -> set[Finding]:
    """The suspects that are there at a fresh look, too. Their details may differ."""
    before = {(f.check, f.key, f.hop) for f in suspects}
    return {f for f in page.look_again(suspects) if (f.check, f.key, f.hop) in before}


def verdicts(page: Page, findings: Iterable[Finding]) -> Iterator[Check]:
    wrong: dict[str, list[str]] = {}
    for finding in sorted(findings, key=lambda f: (f.check, f.key)):
        wrong.setdefault(finding.check, []).append(str(finding))
    for check in page.counted():
        if check.unknown:
            yield Check(check.name, False, 0, f"{check.unknown}, so it cannot be compared")
        else:
            yield judged(
                check.name, check.examined, wrong.get(check.name, []), expected=check.expected, aside=[check.aside]
            )
    for topic in page.topics:
        name, trimmed = topic.subject.check, topic.place.trimmed
        expected = page.settled and not trimmed
        yield judged(name, len(topic.keys), wrong.get(name, []), expected=expected, aside=[topic.place.note])
