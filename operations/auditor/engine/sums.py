"""Balances, versions and totals of one store → those that differ from the sums of their rows.

Each check is one statement, so one snapshot, exact while the room goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.stores import Stores

FEW = 50  # rows at most that differ


@dataclass(frozen=True, slots=True)
class Sum:
    """A statement `wrong` that gives (key, stored value, sum of rows) of each difference."""

    name: str
    room: str
    count: str
    wrong: str


def check_sums(stores: Stores, sums: Iterable[Sum], *, expected: bool) -> list[Check]:
    """`expected`: each of these tables must have rows."""
    return [_check(stores, each, expected) for each in sums]


def _check(stores: Stores, each: Sum, expected: bool) -> Check:
    rows = stores.rows(each.room, f"{each.wrong} LIMIT {FEW}")
    wrong = [f"{key}: {stored} stored, {added} by its rows" for key, stored, added in rows]
    return judged(each.name, stores.one(each.room, each.count)[0], wrong, expected=expected)
