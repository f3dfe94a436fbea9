"""Letters → tables and pages for people."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from datetime import datetime

from operations.cli.tables import Table
from topics.runtime.dead_letters.acts import Edit
from topics.runtime.dead_letters.listing import SHORT, Group, Letter, LetterDetails, PlannedLetter


def groups(found: Sequence[Group]) -> None:
    table = Table("room", "code", "age", "dead", "retried", "behind", "newest", "at", "why")
    table.columns[6].no_wrap = True  # an id cut short is none
    table.columns[6].min_width = SHORT
    for group in found:
        at = f"{group.newest_at:%Y-%m-%d %H:%M:%S}"
        counts = (str(group.dead), str(group.parked), str(group.behind))
        table.add_row(group.room, group.code, group.age, *counts, group.newest[:SHORT], at, group.newest_error[:80])
    table.show()


def letters(found: Sequence[Letter]) -> None:
    table = Table("id", "room", "state", "topic", "key", "code", "tries", "behind", "since", "why")
    for column in table.columns[:3]:
        column.no_wrap = True  # an id cut short is none
    table.columns[0].min_width = SHORT
    for letter in found:
        since = letter.first_failed_at or letter.parked_at
        table.add_row(
            *(letter.letter_id[:SHORT], letter.room, letter.state, letter.topic, letter.key or "", letter.code or ""),
            *(str(letter.attempts), str(letter.behind), f"{since:%Y-%m-%d %H:%M:%S}", (letter.error or "")[:80]),
        )
    table.show()


def plan(found: Sequence[tuple[str, PlannedLetter]]) -> None:
    table = Table("id", "room", "topic", "key", "code", "does", "why")
    for room, each in found:
        table.add_row(each.letter_id[:SHORT], room, each.topic, each.key or "", each.code or "", each.does, each.why)
    table.show()


def page(found: LetterDetails) -> list[str]:
    """One letter in full, as lines; texts of senders are not escaped yet."""
    letter = found.letter
    stands = "stands" if found.effect_stands else "does not stand"
    lines = [
        f"{letter.room}/{letter.letter_id}: {letter.state}, {letter.code or 'never failed'}",
        f"event     {letter.event_id}; its effect {stands}",
        f"from      {letter.topic}[{found.partition}]@{found.offset}, key {letter.key}",
        f"parked    {_at(letter.parked_at)}; {letter.attempts} failed attempts, {letter.replays} replays",
        f"holds     {'its key' if letter.holds else 'nobody'}; {letter.behind} behind it",
    ]
    if found.ahead:
        lines.append(f"ahead     {found.ahead}")
    if letter.state == "parked":
        lines.append(f"due       {_at(letter.due_at)}")
    lines += _part("headers", [f"{name}: {value}" for name, value in found.headers])
    lines += _part("payload", value_lines(found.value))
    lines += _part("error", [letter.error or "", *(found.stack or "").splitlines()])
    lines += _part("attempts", [f"{each['at']}  {each['code']}: {each['error']}" for each in found.tried])
    lines += _part("behind it", [f"{each['letter_id']}  @{each['offset']}" for each in found.waiting])
    if found.edit is not None and found.edited_by is not None:
        approved = f"approved by {found.approved_by}" if found.approved_by else "waits for a second person"
        changed = diff(Edit(found.value, found.edit, found.edited_by))
        lines += _part(f"edit of {found.edited_by}, {approved}", changed)
    acts = [f"{_at(act['at'])}  {act['actor']}: {act['action']} ({act['reason']})" for act in found.acts]
    lines += _part("acts", acts)
    return lines


def _part(title: str, lines: Sequence[str]) -> list[str]:
    kept = [line for line in lines if line]
    return ["", title, *(f"  {line}" for line in kept)] if kept else []


def _at(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


def value_lines(value: bytes | None) -> list[str]:
    """Pretty where it is JSON."""
    if value is None:
        return ["(none)"]
    try:
        return json.dumps(json.loads(value), indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        return value.decode("utf-8", "backslashreplace").splitlines() or [""]


def diff(edit: Edit) -> list[str]:
    """Unified, of the pretty forms."""
    before, after = value_lines(edit.original), value_lines(edit.value)
    return list(difflib.unified_diff(before, after, "as it came", "edited", lineterm=""))
