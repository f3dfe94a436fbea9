"""Command line → one of the modules in operations/cli/commands; failures → one line on stderr and an exit code."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Annotated

import typer

from operations.cli import commands
from operations.cli.streams import UNWRITABLE, replace_streams
from operations.cli.terminal import note, say
from operations.stack.home import NoStack, StackError

FAILED, WRONG_USE, UNREACHABLE, OUR_BUG = 1, 2, 3, 70  # docs/cli.md explains them


# Where to look first for a command, so that a quick one need not wait for the imports of all; others are named after
# their module.
HOME_OF = {
    **dict.fromkeys(("up", "down", "status", "doctor"), "stack"),
    **dict.fromkeys(("capture", "void", "refund"), "money_back"),
}


def build(modules: Iterable[str]) -> typer.Typer:
    """Each module in operations/cli/commands has an `app`: one with a help text of its own is a group named after the
    module (`tally keys create`), the commands of any other are commands of ours. Modules import what is heavy late.
    """
    root = typer.Typer(
        name="tally",
        help="Tallystick: an open payment back end, where no fault doubles or loses a cent.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_root)  # with one, a root with a single command is not that command
    for name in modules:
        app = importlib.import_module(f"{commands.__name__}.{name}").app
        is_group = bool(app.info.help)
        root.add_typer(app, name=name.replace("_", "-") if is_group else None)
    return root


def _say_version(asked: bool) -> None:
    if asked:
        say(f"tally {metadata.version('tallystick')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and end.")
]


def _root(version: Version = False) -> None: ...


def modules_for(words: Sequence[str]) -> list[str]:
    """The one that holds the command asked for; none for `--version`; else all."""
    if words and words[0] == "--version":
        return []
    present = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    wanted = HOME_OF.get(words[0], words[0].replace("-", "_")) if words else ""
    return [wanted] if wanted in present else present


def main() -> None:
    replace_streams()
    if not sys.stdout.isatty() and not {"-h", "--help"} & set(sys.argv):
        os.environ.setdefault("COLUMNS", "200")  # output to a program or a file is not cut to a screen's width
    try:
        build(modules_for(sys.argv[1:]))()
    except Exception as error:
        fail(*failure_message(error))
    finally:
        sys.stdout.flush()


def failure_message(error: Exception) -> tuple[str, int]:
    """The message and exit code of a failure: 1, which may mean wrong books, only if a command chooses it."""
    if isinstance(error, StackError):
        return str(error), WRONG_USE if isinstance(error, NoStack) else FAILED
    if isinstance(error, _loaded("topics.settings", "SettingsError")):
        return str(error), WRONG_USE
    if is_unreachable(error):
        words = " ".join(str(error).split())
        return f"{words or type(error).__name__} (is the stack up? `tally status` says)", UNREACHABLE
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, UNWRITABLE
    return "".join(traceback.format_exception(error)), OUR_BUG


def fail(message: str, code: int) -> None:
    note(*f"tally: {message}".split("\n"))
    sys.exit(code)


def is_unreachable(error: Exception) -> bool:
    """Whether a server did not answer. Only a loaded library can have raised the error."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if "psycopg" in sys.modules:
        from topics.runtime.shape.store import error_kind

        if error_kind(error) == "away":  # also if the server is read-only
            return True
    return isinstance(error, _loaded("confluent_kafka", "KafkaException"))


def _loaded(module: str, name: str) -> tuple[type[Exception], ...]:
    """That class, if its module is loaded: this file must not import it."""
    return (getattr(sys.modules[module], name),) if module in sys.modules else ()


if __name__ == "__main__":
    main()
