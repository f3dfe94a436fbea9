"""`tally clock show | advance | set | reset`: business time of the local stack, which only a person moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from topics.runtime.shape.clock import Clock
    from topics.settings import Settings

app = typer.Typer(help="Business time of the local stack: all its processes share one clock.", no_args_is_help=True)

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@app.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False) -> None:
    """Show business time, and how far it is ahead of the machine's."""
    _, clock = _clock()
    ahead, now = clock.offset(), clock.now()
    if as_json:
        say_json({"now": now.isoformat(), "ahead_s": ahead.total_seconds()}, indent=None)
    else:
        say(f"{now:%Y-%m-%d %H:%M:%S} UTC, {_in_words(ahead)}")


@app.command()
def advance(by: Annotated[str, typer.Argument(metavar="DURATION", help="Such as 3d, 12h, 1d6h or 90s.")]) -> None:
    """Move the clock forward."""
    settings, clock = _clock()
    _move(settings, clock, clock.offset() + _duration(by))


@app.command("set")
def set_(to: Annotated[str, typer.Argument(metavar="TIME", help="2027-01-31T09:00:00Z or 2027-01-31.")]) -> None:
    """Move the clock forward to a moment. It never goes back: what was booked cannot be booked earlier."""
    from schemas import times

    settings, clock = _clock()
    try:
        moment = times.moment(to)
    except ValueError as error:
        raise typer.BadParameter(f"{to!r} is not {error}") from None
    if moment < clock.now():
        note(f"it is {clock.now():%Y-%m-%dT%H:%M:%SZ} already, and the clock never goes back")
        raise typer.Exit(1)
    _move(settings, clock, moment - datetime.now(UTC))


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do it: time goes back for running payments.")] = False,
) -> None:
    """Back to the machine's time. What was booked meanwhile then lies in the future."""
    settings, clock = _clock()
    if not clock.offset():
        note("the clock is the machine's: nothing to do")
        return
    if not yes:
        note(f"this takes business time back by {_span(clock.offset())}; say --yes to do it")
        raise typer.Exit(1)
    settings.clock_file.unlink(missing_ok=True)
    say("the clock is the machine's again")


def _clock() -> tuple[Settings, Clock]:
    from operations.stack.running import given_settings
    from topics.runtime.shape.clock import Clock

    settings = given_settings()
    return settings, Clock(settings.clock_file)


def _move(settings: Settings, clock: Clock, to: timedelta) -> None:
    """Replace the file whole: every process sees the old offset or the new."""
    from operations.stack.home import write_private

    before = clock.now()
    settings.clock_file.parent.mkdir(parents=True, exist_ok=True)
    write_private(settings.clock_file, f"{to.total_seconds():.6f}\n")
    after = clock.now()
    say(f"from {before:%Y-%m-%d %H:%M:%S} to {after:%Y-%m-%d %H:%M:%S} UTC, {_in_words(clock.offset())}")


def _duration(text: str) -> timedelta:
    """ "3d", "1d12h", "90s". Errors: BadParameter for anything else, and for nothing."""
    import re

    if not re.fullmatch(r"(?:[0-9]{1,6}[smhdw])+", text):
        raise typer.BadParameter(f"{text!r} is no duration; write 3d, 12h, 1d6h or 90s")
    seconds = sum(int(number) * _UNITS_S[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))
    return timedelta(seconds=seconds)


def _in_words(ahead: timedelta) -> str:
    return f"{_span(ahead)} ahead of the machine's" if ahead else "the machine's own time"


def _span(ahead: timedelta) -> str:
    return str(timedelta(seconds=round(ahead.total_seconds())))
