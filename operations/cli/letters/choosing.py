"""Options and arguments → the chosen letters by room. All of them are checked before anything is done."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.terminal import note

if TYPE_CHECKING:
    from topics.runtime.dead_letters.acts import AuditNote
    from topics.runtime.dead_letters.listing import Filter
    from topics.settings import Settings

TEXT_MAX = 256


def _reason(text: str) -> str:
    """Checked before any query."""
    audit_note("nobody", text)
    return text


def _maybe_reason(text: str | None) -> str | None:
    return None if text is None else _reason(text)


def checked_actor(text: str | None) -> str | None:
    """For options. Exits 2 as `audit_note`."""
    audit_note(text, "none")
    return text


RoomOption = Annotated[str | None, typer.Option("--room", metavar="ROOM", help="Only this consumer's.")]
Code = Annotated[str | None, typer.Option("--code", help="Only of this error code.")]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Only from this topic, without prefix.")]
Key = Annotated[str | None, typer.Option("--key", help="Only of this key.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Only last failed at or after: 2026-01-31 or …T12:00:00Z.")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only last failed before.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="As `tally dlq list` shows them, or ROOM/ID.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter of --room.")]
Max = Annotated[int | None, typer.Option("--max", min=1, help="At most so many in this run, the oldest first.")]
Reason = Annotated[str, typer.Option("--reason", callback=_reason, help="Why; kept for ever in the room's ops_audit.")]
MaybeReason = Annotated[
    str | None,
    typer.Option(
        "--reason", callback=_maybe_reason, help="Why; kept for ever in the room's ops_audit. A dry run needs none."
    ),
]
Actor = Annotated[
    str | None, typer.Option("--actor", "--as", callback=checked_actor, help="Who acts; else the user of this shell.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@dataclass(frozen=True, slots=True)
class ChosenLetters:
    """Letters by room, oldest first; and the filter that chose them, if ids did not."""

    settings: Settings
    letters: dict[str, list[str]]
    filter: Filter | None

    @property
    def number(self) -> int:
        return sum(len(found) for found in self.letters.values())


def with_options_of(make: Callable[..., Any], name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds the options of `make` to a command, which gets the result of `make` as `name`."""

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != name]
        shared = list(inspect.signature(make, eval_str=True).parameters.values())

        def shared_first(**given: object) -> Any:
            mine = {parameter.name: given.pop(parameter.name) for parameter in own}
            return command(**{name: make(**given)}, **mine)

        shared_first.__name__, shared_first.__doc__ = command.__name__, command.__doc__
        shared_first.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]
        shared_first.__annotations__ = {parameter.name: parameter.annotation for parameter in (*shared, *own)}
        return shared_first

    return decorated


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """A filter of letters, of one room or of all."""

    room: str | None
    filter: Filter


def read_filter(
    *,
    room: RoomOption = None,
    code: Code = None,
    topic: TopicOption = None,
    key: Key = None,
    since: From = None,
    until: To = None,
) -> LetterFilter:
    """Exits with one line if a room, a text or a time is wrong."""
    wanted = make_filter(code, topic, key, since, until)
    known_room(room)
    return LetterFilter(room, wanted)


with_letter_filter = with_options_of(read_filter, "sought")


@with_letter_filter
def read_choice(sought: LetterFilter, *, ids: Ids = None, everything: All = False, most: Max = None) -> ChosenLetters:
    """Exits with one line if an id is wrong, or neither ids nor a filter are given."""
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters.listing import matching_ids

    settings, room = current_settings(), sought.room
    by_filter = everything or bool(sought.filter.as_dict())
    if bool(ids) == by_filter:
        raise typer.BadParameter("give either ids, or --room with --all, --code, --topic, --key, --from or --to")
    if ids:
        return ChosenLetters(settings, _by_ids(settings, ids[:most], room), None)
    if room is None:
        raise typer.BadParameter("a filter needs --room")
    found = matching_ids(settings, room, sought.filter, most)
    return ChosenLetters(settings, {room: found} if found else {}, sought.filter)


with_chosen_letters = with_options_of(read_choice, "chosen")


def _by_ids(settings: Settings, ids: list[str], room: str | None) -> dict[str, list[str]]:
    letters: dict[str, list[str]] = {}
    for given in ids:
        name, letter_id = one_letter(settings, given, room)
        if letter_id not in letters.setdefault(name, []):
            letters[name].append(letter_id)
    return letters


def one_letter(settings: Settings, given: str, room: str | None = None) -> tuple[str, str]:
    """(room, letter id). Exits 1 with the nearest matches where there is no such letter."""
    from topics.runtime.dead_letters.listing import NoSuchLetter, NoSuchRoom, resolve

    check_text("an id", given)
    try:
        return resolve(settings, given, room)
    except (NoSuchLetter, NoSuchRoom) as error:
        raise failed(str(error)) from None


def known_room(room: str | None) -> None:
    from topics.runtime.dead_letters.listing import NoSuchRoom, rooms_named

    try:
        rooms_named(room)
    except NoSuchRoom as error:
        raise failed(str(error)) from None


def make_filter(code: str | None, topic: str | None, key: str | None, since: str | None, until: str | None) -> Filter:
    """Exits 2 where a text or a time is none."""
    from topics.runtime.dead_letters.listing import Filter

    for option, text in (("--code", code), ("--topic", topic), ("--key", key)):
        if text is not None:
            check_text(option, text)
    wanted = Filter(code, topic, key, parse_time("--from", since), parse_time("--to", until))
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise typer.BadParameter("--from is not before --to")
    return wanted


def check_text(what: str, text: str) -> str:
    if not text.strip() or len(text) > TEXT_MAX or not text.isprintable():
        raise typer.BadParameter(f"{what} is 1 to {TEXT_MAX} printable characters")
    return text


def parse_time(option: str, text: str | None) -> datetime | None:
    """A day is its first moment in UTC; a time of day needs an offset. Exits 2 if the text is neither."""
    from schemas import times

    if text is None:
        return None
    try:
        return times.moment(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {text!r} is not {error}") from None


def audit_note(actor: str | None, reason: str) -> AuditNote:
    """The actor and the reason. Exits 2 if either is blank or not printable."""
    from topics.runtime.dead_letters.acts import ActRefused, AuditNote

    try:
        return AuditNote(shell_user() if actor is None else actor, reason)
    except ActRefused as refused:
        raise typer.BadParameter(str(refused)) from None


def required_reason(reason: str | None) -> str:
    """Exits 2 if there is none."""
    if reason is None:
        raise typer.BadParameter("--reason is needed for anything but a dry run: it is kept in ops_audit")
    return reason


def shell_user() -> str:
    """The user name of this shell."""
    import getpass

    return getpass.getuser()


def failed(message: str) -> typer.Exit:
    note(message)
    return typer.Exit(1)
