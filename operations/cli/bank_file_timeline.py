"""A bank file's id → all that the stores know of it, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from operations.auditor.engine.stores import Stores
from operations.cli.moment import Moment, in_order
from schemas.money import Money
from topics.settings import Settings


@dataclass(frozen=True, slots=True)
class BankFileTimeline:
    """`states`: how many of its lines are in which state."""

    file_id: str
    moments: tuple[Moment, ...]
    states: dict[str, int]


def bank_file_timeline(settings: Settings, file_id: str) -> BankFileTimeline | None:
    """None where no file has this id. Errors: psycopg.OperationalError while a store is away."""
    with Stores(settings) as stores:
        moments = [*_executor(stores, file_id)]
        if not moments:
            return None
        moments += _doors(stores, file_id)
        states = stores.rows(
            "executor",
            "SELECT state, count(*) FROM bank_file_line_view WHERE file_id = %s GROUP BY state ORDER BY state",
            [file_id],
        )
    return BankFileTimeline(file_id, tuple(in_order(moments)), dict(states))


def _executor(stores: Stores, file_id: str) -> Iterator[Moment]:
    for provider, currency, cut_off, lines, minor, state, code, size, closed, delivering, changed in stores.rows(
        "executor",
        "SELECT provider, currency, cut_off, transactions, total_minor, state, code, bytes, closed_at, delivering_at, changed_at"
        " FROM bank_file_view WHERE file_id = %s",
        [file_id],
    ):
        of = f"{lines} pay-outs, {Money(minor, currency)}, to {provider} for {cut_off:%m-%d %H:%M}"
        yield Moment(closed, "executor", "closed", file_id, of)
        if delivering is not None:
            yield Moment(delivering, "executor", "delivering", file_id, f"{size:,} bytes; nobody writes it again")
        if state not in ("closed", "delivering"):
            yield Moment(changed, "executor", state, file_id, code or "")


def _doors(stores: Stores, file_id: str) -> Iterator[Moment]:
    for status, lines, matched, by, at in stores.rows(
        "doors",
        "SELECT group_status, lines, matched, stored_by, received_at FROM bank_status_file_view WHERE file_id = %s",
        [file_id],
    ):
        told = f"from {by}: {lines} lines named, {matched} told on"
        yield Moment(at, "doors", f"report {status}" if status else "report", file_id, told)
