"""A page of the audit: the stores, topics and PSPs of one flow of money → findings. The interface that the engine calls."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from operations.auditor.engine.findings import Finding, Hop
from operations.auditor.engine.published import PublishedIds
from operations.auditor.engine.report import Check
from operations.auditor.engine.sums import Sum
from operations.auditor.engine.unfinished import Look


@dataclass(frozen=True, slots=True)
class PlannedCheck:
    """A check that findings name: the number of things examined, and whether there should be some."""

    name: str
    examined: int
    expected: bool
    unknown: str = ""  # why it cannot be compared; empty if it can
    aside: str = ""  # a remark beside the verdict


class Page(Protocol):
    """The engine calls these methods from top to bottom; `look_again` while there are suspects."""

    @property
    def hops(self) -> Sequence[Hop]:
        """The hops on which this page looks for missing effects."""

    @property
    def topics(self) -> Sequence[PublishedIds[Any]]:
        """The topics that the page compares. The engine reads them."""

    @property
    def kinds(self) -> Collection[str]:
        """The kinds of movements and templates of journals that this page compares with their causes."""

    @property
    def sums(self) -> Sequence[Sum]: ...

    @property
    def looks(self) -> Mapping[str, Look]:
        """Looks at unfinished work, by check."""

    @property
    def settled(self) -> bool:
        """Whether anything was finished when the audit began: then there must be something to examine."""

    def begin(self) -> None:
        """Called before anything else is read."""

    def read_stores(self) -> None:
        """Read the stores, effects before causes, so that the cause of each effect is there when it is read."""

    def read_psps(self) -> None:
        """Read the PSPs' listings. If one does not answer, `counted` marks the checks that depend on it."""

    def first_look(self) -> set[Finding]:
        """Compare all that was read."""

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        """Compare fresh rows of the suspects' subjects. Findings about others do not count."""

    def counted(self) -> Iterator[PlannedCheck]:
        """All checks that findings may name, in the order of the report."""

    def totals(self) -> Iterator[Check]:
        """The checks of totals."""


class PageDefaults:
    """What a page has where it says nothing else: no kinds, sums and looks of its own, and perhaps nothing to examine."""

    kinds: Collection[str] = ()
    sums: Sequence[Sum] = ()
    looks: Mapping[str, Look] = {}
    settled = False

    def begin(self) -> None:
        """Nothing is read before the stores."""

    def read_psps(self) -> None:
        """No PSP is asked."""

    def totals(self) -> Iterator[Check]:
        yield from ()
