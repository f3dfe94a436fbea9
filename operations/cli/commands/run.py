"""`tally run NAME…`: any mix of rooms and the API in one process, until SIGTERM or SIGINT."""

from __future__ import annotations

import pkgutil
import sys
from typing import Annotated

import typer

import consumers

app = typer.Typer(no_args_is_help=True)
# Without importing the catalogue. `settlements` is what the room `reconciliation` hears through Faust.
NAMES = ("api", *(found.name for found in pkgutil.iter_modules(consumers.__path__)), "reconciliation", "settlements")


@app.command()
def run(names: Annotated[list[str], typer.Argument(help=f"Any of: {', '.join(NAMES)}.", metavar="NAME…")]) -> None:
    """Run rooms and the API in this process. Any number of processes may run the same room."""
    from operations.stack.host import serve
    from operations.stack.logs import configure_logs
    from operations.stack.settings import load_settings

    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(NAMES)}")
    settings = load_settings()
    configure_logs(settings)
    sys.exit(serve(settings, list(dict.fromkeys(names))))
