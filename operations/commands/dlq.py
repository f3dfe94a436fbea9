"""`tally dlq list | replay | discard`: what rooms gave up on, tried again or let go by a person with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from topics.runtime.dead_letters import Acted, Letter
    from topics.settings import Settings

app = typer.Typer(help="Dead letters: look at them, try them again, let them go.", no_args_is_help=True)

RoomOption = Annotated[str | None, typer.Option("--room", metavar="ROOM", help="Only this room's.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="As `tally dlq list` shows them, or ROOM/ID.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for ever in the room's ops_audit.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter of --room that --code, --topic and --key name.")]
Code = Annotated[str | None, typer.Option("--code", help="With --all: only of this reason code.")]
TopicOption = Annotated[str | None, typer.Option("--topic", help="With --all: only from this topic, without prefix.")]
Key = Annotated[str | None, typer.Option("--key", help="With --all: only of this key.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Who acts; else the user of this shell.")]


@app.command("list")
def list_(
    room: RoomOption = None,
    everything: Annotated[
        bool, typer.Option("--waiting", help="Also messages that failed nowhere and wait behind others.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Dead letters, and parked ones that are tried again by themselves."""
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters import list_letters

    _known(room)
    found = list_letters(current_settings(), room, followers=everything)
    if as_json:
        typer.echo(json.dumps([asdict(letter) for letter in found], indent=2, default=str))
    elif found:
        _print(found)
    else:
        typer.echo("no dead or parked letters", err=True)


@app.command()
def replay(
    *,
    ids: Ids = None,
    reason: Reason,
    room: RoomOption = None,
    everything: All = False,
    code: Code = None,
    topic: TopicOption = None,
    key: Key = None,
    actor: Actor = None,
) -> None:
    """Try dead letters again, and what waits behind them. A second time changes nothing."""
    from topics.runtime import dead_letters

    chosen = dead_letters.Filter(code, topic, key) if everything else None
    _act(ids or [], room, chosen, reason, actor, dead_letters.replay, "made due again")


@app.command()
def discard(
    *,
    ids: Ids = None,
    reason: Reason,
    room: RoomOption = None,
    everything: All = False,
    code: Code = None,
    topic: TopicOption = None,
    key: Key = None,
    actor: Actor = None,
) -> None:
    """Give dead letters up for good; later messages of their keys go on. What was not done stays undone."""
    from topics.runtime import dead_letters

    chosen = dead_letters.Filter(code, topic, key) if everything else None
    _act(ids or [], room, chosen, reason, actor, dead_letters.discard, "discarded")


def _act(
    ids: Sequence[str],
    room: str | None,
    chosen: object,
    reason: str,
    actor: str | None,
    act: Callable[..., Acted],
    done: str,
) -> None:
    from operations.stack.running import current_settings
    from topics.runtime.clock import Clock

    settings = current_settings()
    _known(room)
    wanted = _wanted(settings, ids, room, chosen)
    now = Clock(settings.clock_file).now()
    for name, letter_ids in wanted.items():
        acted = act(settings, name, letter_ids, actor=actor or who(), reason=_given(reason), now=now, chosen_by=chosen)
        for letter_id in acted.changed:
            typer.echo(f"{name}/{letter_id} {done}")
        for letter_id, state in acted.unchanged.items():
            typer.echo(f"{name}/{letter_id} is {state}, not dead: nothing to do", err=True)


def _wanted(settings: Settings, ids: Sequence[str], room: str | None, chosen: object) -> dict[str, list[str]]:
    """Room → letter ids. Exits with one line where an id is wrong; nothing has been done by then."""
    from topics.runtime.dead_letters import Filter, NoSuchLetter, matching, resolve

    if bool(ids) == isinstance(chosen, Filter):
        raise typer.BadParameter("give either ids, or --all with --room")
    wanted: dict[str, list[str]] = {}
    if isinstance(chosen, Filter):
        if room is None:
            raise typer.BadParameter("--all needs --room")
        wanted[room] = matching(settings, room, chosen)
        if not wanted[room]:
            typer.echo("no dead letter matches: nothing to do", err=True)
        return {name: found for name, found in wanted.items() if found}
    for given in ids:
        try:
            name, letter_id = resolve(settings, given, room)
        except NoSuchLetter as error:
            raise failed(str(error)) from None
        except KeyError as error:
            raise failed(f"{given}: there is no room {error}") from None
        wanted.setdefault(name, []).append(letter_id)
    return wanted


def _known(room: str | None) -> None:
    from topics.runtime.dead_letters import rooms_named

    try:
        rooms_named(room)
    except KeyError:
        names = ", ".join(each.name for each in rooms_named(None))
        raise failed(f"there is no room {room}; there are {names}") from None


def _given(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("--reason must say why")
    return reason.strip()


def who() -> str:
    """The person at this shell, as the machine knows them."""
    import getpass

    return getpass.getuser()


def failed(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(1)


def _print(found: Sequence[Letter]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "room", "state", "topic", "key", "code", "tries", "behind", "since", "why")
    for column in table.columns[:3]:
        column.no_wrap = True  # an id cut short is none
    for letter in found:
        since = letter.first_failed_at or letter.parked_at
        cells = (
            *(letter.letter_id[:8], letter.room, letter.state, letter.topic, letter.key or "", letter.code or ""),
            *(str(letter.attempts), str(letter.behind), f"{since:%Y-%m-%d %H:%M:%S}", (letter.error or "")[:80]),
        )
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)
