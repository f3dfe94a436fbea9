"""`tally sim …`: a person's hand on the simulated PSPs: faults, outages, a look at their true books."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from operations.cli.cut import cut
from operations.cli.terminal import note, say_json
from operations.http_client import HttpAnswer, http_request
from operations.stack.home import Home, NoStack, StackError, read_json

URL_VARIABLE = "TALLY_SIMULATOR_URL"
TIMEOUT_S = 10.0
CHARGES_MAX = 4999  # the simulator tells 5,000 at once, one of them to know that there are more

app = typer.Typer(help="The simulated PSPs: make them fail, look into their books.", no_args_is_help=True)

PspName = Annotated[str, typer.Argument(metavar="PSP", help="northpay, southpay or all")]
PspOption = Annotated[str, typer.Option("--psp", help="northpay, southpay or all")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
_RATE = {"min": 0.0, "max": 1.0, "metavar": "SHARE", "rich_help_panel": "Share of charges, 0 to 1"}


@app.command()
def status(as_json: AsJson = False) -> None:
    """What each PSP has charged, and how it misbehaves at present."""
    told = call("GET", "/control/status")
    if as_json:
        _print_json(told)
        return
    from operations.cli.tables import Table

    table = Table("psp", "state", "succeeded", "declined", "faults")
    for name, psp in told["psps"].items():
        state = "down" if psp["faults"]["down"] else "up"
        table.add_row(name, state, str(psp["succeeded"]), str(psp["declined"]), _in_words(psp["faults"]))
    table.show()


@app.command()
def faults(
    *,
    psp: PspOption = "all",
    clear: Annotated[bool, typer.Option("--clear", help="first set every rate and the latency to 0")] = False,
    slow: Annotated[float | None, typer.Option(**_RATE, help="answers after a second")] = None,
    too_many: Annotated[float | None, typer.Option("--429", **_RATE, help="429 with Retry-After")] = None,
    unavailable: Annotated[float | None, typer.Option("--503", **_RATE, help="503, nothing done")] = None,
    error_charged: Annotated[float | None, typer.Option("--500-charged", **_RATE)] = None,
    error_uncharged: Annotated[float | None, typer.Option("--500-uncharged", **_RATE)] = None,
    timeout_charged: Annotated[float | None, typer.Option(**_RATE)] = None,
    timeout_uncharged: Annotated[float | None, typer.Option(**_RATE)] = None,
    reset_charged: Annotated[float | None, typer.Option(**_RATE, help="connection reset in the middle")] = None,
    garbage: Annotated[float | None, typer.Option(**_RATE, help="charged, and the answer is not JSON")] = None,
    latency_ms: Annotated[float | None, typer.Option(min=0, max=60_000, help="added to every answer")] = None,
    told: Annotated[float | None, typer.Option(**_RATE, help="answered, and told by webhook besides")] = None,
    as_json: AsJson = False,
) -> None:
    """Make charges go wrong by rate; what is not named stays as it is. Without options: show the rates."""
    asked = {
        "slow": slow,
        "429": too_many,
        "503": unavailable,
        "500_charged": error_charged,
        "500_uncharged": error_uncharged,
        "timeout_charged": timeout_charged,
        "timeout_uncharged": timeout_uncharged,
        "reset_charged": reset_charged,
        "garbage": garbage,
        "latency_ms": latency_ms,
        "told": told,
    }
    changes: dict[str, object] = {name: value for name, value in asked.items() if value is not None}
    if clear:
        changes["clear"] = True
    _show_faults(change(psp, changes) if changes else call("GET", "/control/faults"), as_json)


@app.command()
def down(psp: PspName, as_json: AsJson = False) -> None:
    """Take a PSP down: it answers 503 to everything and does nothing."""
    _show_faults(change(psp, {"down": True}), as_json)


@app.command()
def up(psp: PspName, as_json: AsJson = False) -> None:
    """Bring a PSP back."""
    _show_faults(change(psp, {"down": False}), as_json)


@app.command()
def charges(
    reference: Annotated[str | None, typer.Option(help="our reference there, or a payment order's id")] = None,
    limit: Annotated[int, typer.Option(min=1, max=CHARGES_MAX, help="how many of the newest")] = 20,
    as_json: AsJson = False,
) -> None:
    """Charges as the PSPs keep them, those that look-ups do not show yet too."""
    query = {"reference": reference} if reference else {"limit": str(limit + 1)}
    told = call("GET", f"/control/charges?{urlencode(query)}")
    if not reference:
        told["charges"] = cut(told["charges"], limit, f"--limit takes up to {CHARGES_MAX}")
    if as_json:
        _print_json(told)
        return
    from operations.cli.tables import Table

    columns = ("created_at", "psp", "order", "reference", "amount", "currency", "status", "decline_code", "scheme")
    table = Table(*columns)
    for charge in told["charges"]:
        table.add_row(*("" if charge[column] is None else str(charge[column]) for column in columns))
    table.show()
    note("amounts are minor units, by the PSP's own exponents")


def change(psp: str, changes: Mapping[str, object]) -> dict[str, Any]:
    """Change a PSP's faults, or all PSPs'. → those of every PSP. Errors: as `call`."""
    return call("PUT", "/control/faults", {"psp": psp, **changes})


def _show_faults(told: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(told)
        return
    from operations.cli.tables import Table

    table = Table("psp", "state", "faults")
    for name, faults in told.items():
        table.add_row(name, "down" if faults["down"] else "up", _in_words(faults))
    table.show()


def _in_words(faults: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in faults.items() if value and name != "down") or "none"


def _print_json(value: object) -> None:
    say_json(value)


def simulator_url() -> str:
    """Where the simulator is: the environment, else the running stack. Errors: NoStack."""
    from operations.stack.settings import load_settings

    found = os.environ.get(URL_VARIABLE) or read_json(Home(load_settings().home).state).get("simulator_url")
    if not found:
        raise NoStack
    return str(found).rstrip("/")


def call(method: str, path: str, body: object = None) -> dict[str, Any]:
    """Errors: StackError with the simulator's reason or where there is none, ConnectionError."""
    url = simulator_url()
    data = None if body is None else json.dumps(body).encode()
    try:
        answer = http_request(method, url + path, data, {"Content-Type": "application/json"}, timeout_s=TIMEOUT_S)
        if answer.status >= 400:
            raise StackError(_reason(answer))
        told: dict[str, Any] = answer.json()
        return told
    except (OSError, ValueError) as error:
        raise ConnectionError(f"the simulator at {url} does not answer: {error}") from None


def _reason(answer: HttpAnswer) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"the simulator answered {answer.status}"
