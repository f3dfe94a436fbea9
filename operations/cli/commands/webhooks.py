"""`tally webhooks …`: the merchants' endpoints, what was sent to them, and sending it again."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from operations.cli.cut import cut
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from producers.doors.commands import Command
    from topics.settings import Settings

Result = TypeVar("Result")

app = typer.Typer(help="Webhooks: endpoints, deliveries, test, resend.", no_args_is_help=True)

STATES = ("due", "waiting", "sending", "delivered", "given_up", "cancelled")
OVER = ("delivered", "given_up", "cancelled")
ASK_EVERY_S = 0.1

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]


@app.command("list")
def list_(
    endpoint_id: Annotated[str | None, typer.Argument(metavar="[ENDPOINT]", help="Show its deliveries.")] = None,
    state: Annotated[str | None, typer.Option("--state", help=f"Only these: {', '.join(STATES)}.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """All endpoints with the states of their deliveries; or one endpoint's deliveries, the newest first."""
    from operations.stack.running import current_settings

    settings = current_settings()
    if state is not None and state not in STATES:
        raise typer.BadParameter(f"--state is one of {', '.join(STATES)}")
    if endpoint_id is None:
        if state is not None:
            raise typer.BadParameter("--state needs an endpoint")
        rows = _endpoints(settings)
        columns: tuple[str, ...] = ("endpoint_id", "owner", "url", "event_types", "secret_versions", "deliveries")
    else:
        _known_endpoint(settings, endpoint_id)
        rows = cut(_deliveries(settings, endpoint_id, state, limit + 1), limit, "--limit takes up to 10000")
        columns = ("delivery_id", "event_type", "lane", "state", "attempts", "created_at", "due_at", "last_error")
    if as_json:
        say_json(rows)
    elif rows:
        _print([row | {"deliveries": _counted(row)} for row in rows], columns)
    else:
        note("no deliveries" if endpoint_id else "no endpoints")


@app.command()
def show(
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="As `tally webhooks list ENDPOINT` shows it.")],
    as_json: AsJson = False,
) -> None:
    """One delivery: its body, and every attempt."""
    from operations.stack.running import current_settings

    settings = current_settings()
    found = _delivery(settings, delivery_id)
    attempts = _attempts(settings, found["delivery_id"])
    if as_json:
        say_json(found | {"log": attempts})
        return
    for name, value in found.items():
        say(f"{name:12} {value if value is not None else ''}")
    if attempts:
        _print(attempts, ("attempt_no", "at", "took_ms", "status", "error", "reply"))
    else:
        note("no attempt yet")


@app.command("test")
def send_test(
    endpoint_id: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Where to.")],
    wait: Annotated[float, typer.Option("--wait", min=0, max=600, help="Seconds to wait for the first attempt.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Send a test event and print the result. Exits 1 if its first attempt failed, or did not end in time."""
    from operations.stack.running import current_settings
    from producers.doors import endpoints

    settings = current_settings()
    _known_endpoint(settings, endpoint_id)
    delivery_id = _act(settings, endpoints.test(None, endpoint_id))
    attempt = _first_attempt(settings, delivery_id, wait)
    if as_json:
        say_json({"delivery_id": delivery_id, "attempt": attempt})
    elif attempt is not None and attempt["error"] is None:
        say(f"{delivery_id} delivered: HTTP {attempt['status']} in {attempt['took_ms']} ms")
    if attempt is None:
        raise _failed(f"{delivery_id} was not tried within {wait:g} s (does the room run? `tally status` says)")
    if attempt["error"] is not None:
        raise _failed(f"{delivery_id} failed and is tried again: {attempt['error']}")


@app.command()
def resend(
    delivery_ids: Annotated[list[str], typer.Argument(metavar="DELIVERY…", help="One or more.")],
    as_json: AsJson = False,
) -> None:
    """Send deliveries once more: the same bytes under the same webhook-id. Unfinished deliveries become due now."""
    from operations.stack.running import current_settings
    from producers.doors import endpoints

    settings = current_settings()
    found = [_delivery(settings, given) for given in dict.fromkeys(delivery_ids)]  # all are known before any is sent
    for each in found:
        _act(settings, endpoints.resend(None, each["endpoint_id"], each["delivery_id"]))
        if not as_json:
            say(f"{each['delivery_id']} to {each['endpoint_id']} is sent again")
    if as_json:
        say_json([each["delivery_id"] for each in found], indent=None)


@app.command()
def delete(
    endpoint_ids: Annotated[list[str], typer.Argument(metavar="ENDPOINT…", help="One or more.")],
    as_json: AsJson = False,
) -> None:
    """Delete endpoints: nothing more is sent to them, unfinished deliveries included. Their ids stay their owners'."""
    from operations.stack.running import current_settings
    from producers.doors import endpoints

    settings, given = current_settings(), list(dict.fromkeys(endpoint_ids))
    for endpoint_id in given:  # all are known before any is deleted
        _known_endpoint(settings, endpoint_id)
    for endpoint_id in given:
        _act(settings, endpoints.delete(None, endpoint_id))
        if not as_json:
            say(f"{endpoint_id} is deleted")
    if as_json:
        say_json(given, indent=None)


def _act(settings: Settings, command: Command[Result]) -> Result:
    """Errors: typer.Exit with one line."""
    from operations.cli.door_commands import run_command
    from producers.problems import Problem

    try:
        return run_command(settings, command)
    except Problem as problem:
        why = "the endpoint was deleted" if problem.code == "not_found" else problem.detail
        raise _failed(why) from None


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _endpoints(settings: Settings) -> list[dict[str, Any]]:
    """The endpoints that the room has consumed; one created a moment ago may be missing."""
    from topics.runtime.shape.reading import read

    rows = read(
        settings,
        "webhooks",
        "SELECT endpoint_id, owner, url, event_types, secret_versions FROM endpoint_view WHERE NOT deleted ORDER BY 1",
    )
    counts = read(settings, "webhooks", "SELECT endpoint_id, state, count(*) AS n FROM delivery_view GROUP BY 1, 2")
    by_state = {(row["endpoint_id"], row["state"]): row["n"] for row in counts}
    return [row | {state: by_state.get((row["endpoint_id"], state), 0) for state in STATES} for row in rows]


def _deliveries(settings: Settings, endpoint_id: str, state: str | None, limit: int) -> list[dict[str, Any]]:
    from topics.runtime.shape.reading import read

    return read(
        settings,
        "webhooks",
        "SELECT delivery_id::text, event_id::text, event_type, lane, state, attempts, created_at, due_at, ended_at,"
        " (SELECT a.error FROM attempt_view a WHERE a.delivery_id = d.delivery_id ORDER BY attempt_no DESC LIMIT 1)"
        " AS last_error FROM delivery_view d WHERE endpoint_id = %s AND (%s::text IS NULL OR state = %s)"
        " ORDER BY seq DESC LIMIT %s",
        [endpoint_id, state, state, limit],
    )


def _known_endpoint(settings: Settings, endpoint_id: str) -> None:
    """Exits with the nearest matches where there is none of that name."""
    from topics.runtime.shape.reading import read

    rows = read(settings, "webhooks", "SELECT endpoint_id FROM endpoint_view WHERE NOT deleted")
    names = [row["endpoint_id"] for row in rows]
    if endpoint_id not in names:
        near = difflib.get_close_matches(endpoint_id, names, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise _failed(f"there is no endpoint {endpoint_id!r}{hint}")


def _delivery(settings: Settings, given: str) -> dict[str, Any]:
    """The delivery with this id, or with this unique beginning of an id. Exits with one line if there is none."""
    from topics.runtime.shape.reading import read

    if not 8 <= len(given) <= 36 or any(letter not in "0123456789abcdef-" for letter in given):
        raise _failed(f"{given!r} is no delivery id: 36 hex digits and dashes, or the first 8 and more of them")
    rows = read(
        settings,
        "webhooks",
        "SELECT delivery_id::text, endpoint_id, owner, lane, event_id::text, event_type, state, attempts, created_at,"
        " due_at, ended_at, convert_from(body, 'UTF8') AS body FROM delivery_view"
        " WHERE delivery_id::text LIKE %s || '%%' LIMIT 2",
        [given],
    )
    if len(rows) != 1:
        raise _failed(f"{'more than one delivery starts' if rows else 'no delivery starts'} with {given}")
    return rows[0]


def _attempts(settings: Settings, delivery_id: str) -> list[dict[str, Any]]:
    from topics.runtime.shape.reading import read

    return read(
        settings,
        "webhooks",
        "SELECT attempt_no, at, took_ms, status, error, reply FROM attempt_view WHERE delivery_id = %s ORDER BY 1",
        [delivery_id],
    )


def _first_attempt(settings: Settings, delivery_id: str, wait_s: float) -> dict[str, Any] | None:
    until = time.monotonic() + wait_s
    while True:
        attempts = _attempts(settings, delivery_id)
        if attempts:
            return attempts[0]
        if time.monotonic() >= until:
            return None
        time.sleep(ASK_EVERY_S)


def _failed(message: str) -> typer.Exit:
    note(f"tally: {message}")
    return typer.Exit(1)


def _print(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    from operations.cli.tables import Table

    table = Table(*columns)
    table.columns[0].no_wrap = True  # a truncated id is useless
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    table.show()


def _counted(row: dict[str, Any]) -> str:
    """The states that have deliveries, with their numbers."""
    return ", ".join(f"{row[state]} {state}" for state in STATES if row.get(state))


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(each) for each in value)
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else str(value)
