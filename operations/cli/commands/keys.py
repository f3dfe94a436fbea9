"""`tally keys …`: API keys of upstream services."""

from __future__ import annotations

from typing import Annotated

import typer

from operations.cli.terminal import note, say, say_json

app = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]


@app.command()
def create(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="the upstream service whose payments they will be")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="may be given several times; without it: an upstream service's"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: once, since only its hash is kept."""
    from operations.stack.running import current_settings
    from producers.keys import UPSTREAM_SCOPES, KeyRefused, create_key

    scopes = scope or list(UPSTREAM_SCOPES)
    try:
        key = create_key(current_settings(), owner, scopes)
    except KeyRefused as refused:
        raise _failed(str(refused)) from None
    if as_json:
        say_json({"key": key, "key_id": key.split("_")[1], "owner": owner, "scopes": sorted(scopes)}, indent=None)
        return
    say(key)
    note(f"for {owner}, with {', '.join(sorted(scopes))}; it is not shown again")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every key there ever was, without its secret."""
    from operations.stack.running import current_settings
    from producers.keys import list_keys

    keys = list_keys(current_settings())
    if as_json:
        shown = [
            {
                "key_id": key.key_id,
                "owner": key.owner,
                "scopes": list(key.scopes),
                "created_at": key.created_at.isoformat(),
                "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
            }
            for key in keys
        ]
        say_json({"keys": shown})
        return
    from operations.cli.tables import Table

    table = Table("key id", "owner", "scopes", "created", "revoked")
    for key in keys:
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
        table.add_row(key.key_id, key.owner, " ".join(key.scopes), f"{key.created_at:%Y-%m-%d %H:%M}", revoked)
    table.show()


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="the eight characters that `tally keys list` shows")],
    as_json: AsJson = False,
) -> None:
    """From now on (within a second) the key opens nothing. Revoking twice changes nothing."""
    from operations.stack.running import current_settings
    from producers.keys import KeyRefused, revoke_key

    try:
        key = revoke_key(current_settings(), key_id)
    except KeyRefused as refused:
        raise _failed(str(refused)) from None
    assert key.revoked_at is not None
    if as_json:
        say_json({"key_id": key.key_id, "owner": key.owner, "revoked_at": key.revoked_at.isoformat()}, indent=None)
    else:
        note(f"{key.key_id} of {key.owner} is revoked")


def _failed(message: str) -> typer.Exit:
    note(f"tally: {message}")
    return typer.Exit(1)
