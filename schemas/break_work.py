"""What persons do about breaks: one event, the action inside. Doors say it, reconciliation decides and answers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.corrections import ENTRIES_MAX, REASON_MAX, CaseId
from schemas.events import Event
from schemas.ids import OperationId
from schemas.journals import LedgerEntry
from schemas.settlements import Sha256
from schemas.text import FreeText

BreakAction = Literal[
    "assign",
    "note",
    "write_off",  # what is open goes to platform:losses, or to another account
    "map",  # a line that nothing explains goes to an account
    "propose",  # a journal that the person has drawn up
    "match",  # a line is what another reference expects
    "undo",  # a former repair is taken back
    "resolve",  # nothing is to be booked
    "approve",  # by another person, with the hash of what is done
    "reject",
    "reopen",
]
REPAIRS: frozenset[BreakAction] = frozenset({"write_off", "map", "propose", "match", "undo", "resolve"})
ITEM_MAX = 200


class BreakWorked(Event):
    """A person wants this done about a break. Whether it is, and why not, the break's history says under `operation_id`."""

    keyed_by: ClassVar[str] = "subject"
    personal: ClassVar[frozenset[str]] = frozenset({"reason"})
    subject: CaseId  # the break
    operation_id: OperationId
    action: BreakAction
    actor: Annotated[str, Field(min_length=1, max_length=128)]
    reason: Annotated[str, FreeText(REASON_MAX)]
    assignee: Annotated[str, FreeText(64)] | None = None  # assign
    account: Annotated[str, Field(max_length=ITEM_MAX)] | None = None  # write_off, map
    items: tuple[str, ...] | None = None  # of the break; None: all that are open
    expectations: Annotated[tuple[str, ...], Field(max_length=12)] | None = None  # match: each "<psp>|<kind>|<key>"
    correction_id: CaseId | None = None  # undo
    entries: Annotated[tuple[LedgerEntry, ...], Field(min_length=2, max_length=ENTRIES_MAX)] | None = None  # propose
    sha256: Sha256 | None = None  # of the repair, as the person saw it
