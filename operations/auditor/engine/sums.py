"""Balances, versions and totals of one store → where they are not what their rows add up to.

Each is one statement, so one snapshot: exact however fast the room goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from operations.auditor.engine.report import Check, judged
from operations.auditor.engine.stores import Stores

FEW = 50  # rows of what is wrong


@dataclass(frozen=True, slots=True)
class Sum:
    """`wrong` gives (key, what is stored, what it adds up to)."""

    name: str
    room: str
    count: str
    wrong: str


def check_sums(stores: Stores, sums: Iterable[Sum], *, expected: bool) -> list[Check]:
    """`expected`: every table of these has rows."""
    return [_check(stores, each, expected) for each in sums]


def _check(stores: Stores, each: Sum, expected: bool) -> Check:
    rows = stores.rows(each.room, f"{each.wrong} LIMIT {FEW}")
    wrong = [f"{key}: {stored} stored, {added} by its rows" for key, stored, added in rows]
    return judged(each.name, stores.one(each.room, each.count)[0], wrong, expected=expected)
