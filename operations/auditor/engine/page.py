"""A page of the audit: one flow of money, as its stores, topics and PSPs tell it → findings. What the engine asks of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from operations.auditor.engine.findings import Finding, Hop
from operations.auditor.engine.report import Check
from operations.auditor.engine.said import Said
from operations.auditor.engine.sums import Sum
from operations.auditor.engine.unfinished import Look


@dataclass(frozen=True, slots=True)
class Counted:
    """A check that findings name: on how many things it was looked at, and whether there should be some."""

    name: str
    examined: int
    expected: bool
    unknown: str = ""  # why it cannot be compared
    aside: str = ""  # what is said beside the verdict


class Page(Protocol):
    """The engine calls from top to bottom; `look_again` as often as something still looks wrong."""

    @property
    def hops(self) -> Sequence[Hop]:
        """Who must have heard what: each way on which this page looks for what is missing."""

    @property
    def topics(self) -> Sequence[Said[Any]]:
        """What must have been said. The engine reads these topics; the page compares them."""

    @property
    def kinds(self) -> Collection[str]:
        """Kinds of movements, and templates of journals, that this page compares with their causes."""

    @property
    def sums(self) -> Sequence[Sum]: ...

    @property
    def looks(self) -> Mapping[str, Look]:
        """At what is not finished, by check."""

    @property
    def settled(self) -> bool:
        """Whether anything had gone all its way when we began: then there is something to examine."""

    def begin(self) -> None:
        """Before anything else is read."""

    def read_stores(self) -> None:
        """All of them, effects before causes, so that what is read later has had time to be there."""

    def read_psps(self) -> None:
        """What they list. A PSP that does not answer is remembered: `counted` then says of which checks."""

    def first_look(self) -> set[Finding]:
        """At all that was read."""

    def look_again(self, suspects: Collection[Finding]) -> set[Finding]:
        """At fresh rows of what these are about. What it finds besides does not count."""

    def counted(self) -> Iterator[Counted]:
        """Every check that a finding may name, in the order of the report."""

    def totals(self) -> Iterator[Check]:
        """What is compared as a whole."""
