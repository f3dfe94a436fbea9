"""What the operators' routes answer, for the API's description."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from producers.doors.reviews import About
from topics.runtime.dead_letters.listing import Group, Letter, PlannedLetter, Stop


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LetterList(_Shape):
    """Oldest first; `truncated` where there are more than `limit`."""

    letters: list[Letter]
    truncated: bool


class GroupList(_Shape):
    groups: list[Group]


class Tried(_Shape):
    """One failed attempt."""

    at: datetime
    code: str
    error: str
    replays: int


class _Contents(_Shape):
    """`value` and `edit` are text; bytes that are no UTF-8 come as `value_base64`, `edit_base64` instead."""

    partition: int
    offset: int
    headers: list[tuple[str, str]]
    value: str | None = None
    value_base64: str | None = None
    stack: str | None
    tried: list[Tried]
    edit: str | None = None
    edit_base64: str | None = None
    edited_by: str | None
    edited_at: datetime | None
    approved_by: str | None
    waiting: list[dict[str, Any]]
    ahead: str | None
    effect_stands: bool
    acts: list[dict[str, Any]]


_HINTS = get_type_hints(Letter)
_LINE: dict[str, Any] = {field.name: (_HINTS[field.name], ...) for field in fields(Letter)}
LetterShown = create_model("LetterShown", __base__=_Contents, __doc__="One letter in full.", **_LINE)


class RoomState(_Shape):
    """`stopped` is null where it goes on."""

    room: str
    stopped: Stop | None


class RoomList(_Shape):
    rooms: list[RoomState]


class Act(_Shape):
    id: int
    at: datetime
    actor: str
    action: str
    reason: str | None
    filter: Any
    counts: Any


class ActList(_Shape):
    """Newest first."""

    acts: list[Act]


class Acted(_Shape):
    """Letters that were changed, why others were not, and how many more the filter finds. `stopped` says what failed again."""

    changed: list[str]
    unchanged: dict[str, str]
    left: int
    stopped: str | None = None


class Plan(_Shape):
    """Of a dry run."""

    planned: list[PlannedLetter]


class Proposed(_Shape):
    sha256: str
    edited_by: str
    state: Literal["proposed"]


class Approved(_Shape):
    sha256: str
    approved_by: str
    state: Literal["approved"]


class NearEntry(_Shape):
    """An entry of a sanctions list that the buyer's name is near, by the entry's name that is nearest."""

    list_name: str
    entry_id: str
    listed_name: str
    score: int
    content: str


class HeldScreening(_Shape):
    """One screening that a person must decide, or has. `subject` is a checkout, a pay-out or an account (buyer, seller)."""

    status: Literal["open", "decided"]
    about: About
    subject: str
    screen_no: int
    rule: str
    score: int
    list_version: str
    buyer_account: str | None
    seller_account: str | None
    held_at: datetime
    decision: Literal["clear", "refuse"] | None
    actor: str | None
    reason: str | None
    reviewed_at: datetime | None
    hits: list[NearEntry]


class ReviewPage(_Shape):
    reviews: list[HeldScreening]
    next_cursor: str | None


class Reviewed(_Shape):
    """The review as it was taken. It counts unless another one of the same screening came before it."""

    about: About
    subject: str
    screen_no: int
    decision: Literal["clear", "refuse"]
    reason: str
    actor: str


class Resolution(_Shape):
    """What one person says has become of a call, or of the bank file that `call_id` names. Approved by another, the executor
    hears it: `event_id` is that event's.
    """

    proposal_id: str
    call_id: str
    kind: str
    subject: str
    psp: str
    outcome: Literal[
        "succeeded", "failed", "submitted", "delivered", "not_delivered", "declare_captured", "declare_failed"
    ]
    amount: str
    currency: str
    psp_reference: str | None
    evidence: str
    reason: str
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    state: Literal["waiting", "approved", "rejected", "expired"]
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None
    event_id: str | None
    # Of what persons say has failed: the PSP or provider is asked before they are believed, and its yes goes before theirs.
    answer: Literal["asked", "believed", "refused"] | None
    answer_code: str | None  # why it was refused: the state that the word of the PSP or provider stands for


class ResolutionPage(_Shape):
    """Newest first. `next_cursor` leads on."""

    resolutions: list[Resolution]
    next_cursor: str | None
