"""`tally migrate`: brings the stores up to this release."""

from __future__ import annotations

import typer

from operations.cli.terminal import note, say

app = typer.Typer()


@app.command()
def migrate() -> None:
    """Make or upgrade database, roles and tables. Needs TALLY_POSTGRES_ADMIN; can be run again at any time."""
    from operations.stack.running import given_settings
    from topics.runtime.making.migrate import migrate as bring_up_to_date
    from topics.settings import SettingsError

    settings = given_settings()
    if not settings.postgres_admin:
        raise SettingsError(
            "TALLY_POSTGRES_ADMIN is not set: it is the postgresql:// address of a role that may create roles"
        )
    done = bring_up_to_date(settings, settings.postgres_admin)
    for line in done:
        say(line)
    if not done:
        note("every store is up to date: nothing to do")
