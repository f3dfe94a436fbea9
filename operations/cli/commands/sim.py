"""`tally sim …`: a person's hand on the simulated PSPs and provider: faults, outages, a look at their true books."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from operations.cli.cut import cut
from operations.cli.terminal import note, say, say_json
from operations.http_client import HttpAnswer, http_request
from operations.stack.home import Home, NoStack, StackError, read_json
from schemas.times import moment

URL_VARIABLE = "TALLY_SIMULATOR_URL"
TIMEOUT_S = 10.0
SETTLING_TIMEOUT_S = 120.0  # a hundred thousand rows
MINOR = "minor units, by the PSP's own exponents"
MINOR_UNITS = f"amounts are {MINOR}"
CHARGES_MAX = 4999  # the simulator tells 5,000 at once, one of them to know that there are more

app = typer.Typer(
    help="The simulated PSPs and pay-out provider: make them fail, look into their books.", no_args_is_help=True
)

_NAMES = "northpay, southpay, harbour or all"
PspName = Annotated[str, typer.Argument(metavar="PSP", help=_NAMES)]
PspOption = Annotated[str, typer.Option("--psp", help=_NAMES)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
_RATE = {"min": 0.0, "max": 1.0, "metavar": "SHARE", "rich_help_panel": "Share of charges, 0 to 1"}


@app.command()
def status(as_json: AsJson = False) -> None:
    """What each PSP has charged and the provider has transferred, and how they misbehave at present."""
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
    providers = Table("provider", "state", "transfers", "faults")
    for name, provider in told["providers"].items():
        state = "down" if provider["faults"]["down"] else "up"
        providers.add_row(name, state, str(provider["transfers"]), _in_words(provider["faults"]))
    providers.show()


@app.command()
def faults(
    *,
    psp: PspOption = "all",
    op: Annotated[
        str | None, typer.Option("--op", help="charge (default), capture, void, refund, page or transfer")
    ] = None,
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
    declined: Annotated[float | None, typer.Option(**_RATE, help="with --op, not of charges")] = None,
    pending_share: Annotated[float | None, typer.Option("--pending", **_RATE, help="the same, then done")] = None,
    pending_declined_share: Annotated[
        float | None, typer.Option("--pending-declined", **_RATE, help="the same, then declined")
    ] = None,
    rejected: Annotated[float | None, typer.Option(**_RATE, help="of transfers, at once")] = None,
    failed: Annotated[float | None, typer.Option(**_RATE, help="of transfers, after they were accepted")] = None,
    returned: Annotated[float | None, typer.Option(**_RATE, help="of transfers, a day after they were paid")] = None,
    silent: Annotated[float | None, typer.Option(**_RATE, help="of transfers and pages: no webhook tells it")] = None,
    told_first: Annotated[
        float | None, typer.Option(**_RATE, help="of pages: the webhook arrives before the buyer is sent back")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make charges, what is done behind them, or transfers go wrong by rate; what is not named stays as it is. Without
    options: show the rates.
    """
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
        "declined": declined,
        "pending": pending_share,
        "pending_declined": pending_declined_share,
        "rejected": rejected,
        "failed": failed,
        "returned": returned,
        "silent": silent,
        "told_first": told_first,
    }
    changes: dict[str, object] = {name: value for name, value in asked.items() if value is not None}
    if clear:
        changes["clear"] = True
    if changes and op:
        changes["op"] = op
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
    _show_kept("charges", _CHARGE, reference, limit, as_json)


@app.command()
def transfers(
    reference: Annotated[str | None, typer.Option(help="our reference there, or a pay-out's id")] = None,
    limit: Annotated[int, typer.Option(min=1, max=CHARGES_MAX, help="how many of the newest")] = 20,
    as_json: AsJson = False,
) -> None:
    """Transfers as the pay-out provider keeps them, those that look-ups do not show yet too."""
    _show_kept("transfers", _TRANSFER, reference, limit, as_json)


_CHARGE = ("created_at", "psp", "order", "reference", "amount", "currency", "status", "decline_code", "scheme")
_TRANSFER = ("created", "payout", "reference", "amount", "returned_amount", "currency", "status", "code")


def _show_kept(what: str, columns: Sequence[str], reference: str | None, limit: int, as_json: bool) -> None:
    """The newest of the simulator's books, or those with a reference."""
    query = {"reference": reference} if reference else {"limit": str(limit + 1)}
    told = call("GET", f"/control/{what}?{urlencode(query)}")
    if not reference:
        told[what] = cut(told[what], limit, f"--limit takes up to {CHARGES_MAX}")
    if as_json:
        _print_json(told)
        return
    _show(columns, told[what])
    note(MINOR_UNITS)


@app.command()
def bank(
    reference: Annotated[
        str | None, typer.Option(help="a file's MsgId: its lines; or our reference there, or a pay-out's id")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=CHARGES_MAX, help="how many of the newest files")] = 20,
    as_json: AsJson = False,
) -> None:
    """Files of pay-outs as the bank keeps them, those that it refused too; of one, or of a pay-out, the lines."""
    query = {"reference": reference} if reference else {"limit": str(limit + 1)}
    told = call("GET", f"/control/bank?{urlencode(query)}")
    if not reference:
        told["files"] = cut(told["files"], limit, f"--limit takes up to {CHARGES_MAX}")
    if as_json:
        _print_json(told)
        return
    if told["files"]:
        _show(("received_at", "message_id", "lines", "total", "currency", "refusal", "fault", "name"), told["files"])
    if told.get("lines"):
        _show(("file", "position", "payout", "reference", "amount", "currency", "status", "code"), told["lines"])
    note(MINOR_UNITS)


@app.command(name="return")
def return_(
    subject: Annotated[str, typer.Argument(metavar="PAYOUT", help="a pay-out's id, or our reference at its provider")],
    *,
    amount: Annotated[int | None, typer.Option(min=1, help=f"{MINOR}; default: all of it")] = None,
    code: Annotated[str | None, typer.Option(help="default: returned_by_bank")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="pay what was rejected, has failed or was returned, after all")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have a paid transfer come back; its provider tells of it by webhook."""
    asked = {"subject": subject, "amount": amount, "code": code, "again": again}
    told = call("POST", "/control/return", {name: value for name, value in asked.items() if value is not None})
    if as_json:
        _print_json(told)
        return
    _show(_TRANSFER, [told])
    note(MINOR_UNITS)


SubjectName = Annotated[str, typer.Argument(metavar="ORDER", help="a payment order's id, or our reference at the PSP")]
OnePsp = Annotated[str | None, typer.Option("--psp", help="where several PSPs know it: northpay or southpay")]


@app.command()
def operations(subject: SubjectName, as_json: AsJson = False) -> None:
    """Captures, voids, refunds and disputes of an order as the PSPs keep them, those that look-ups do not show yet too."""
    told = call("GET", f"/control/operations?{urlencode({'reference': subject})}")
    if as_json:
        _print_json(told)
        return
    _show(
        ("created_at", "psp", "op", "id", "reference", "amount", "currency", "status", "decline_code"),
        told["operations"],
    )
    if told["disputes"]:
        _show(("created_at", "psp", "id", "stage", "status", "amount", "currency", "fee", "due_by"), told["disputes"])
    note(MINOR_UNITS)


@app.command()
def dispute(
    subject: SubjectName,
    *,
    status: Annotated[str, typer.Option(help="inquiry, opened, won or lost")] = "opened",
    stage: Annotated[int, typer.Option(help="2: a second chargeback, after the first was won or lost")] = 1,
    amount: Annotated[int | None, typer.Option(min=1, help=f"{MINOR}; default: all that is captured")] = None,
    fee: Annotated[int | None, typer.Option(min=0, help=f"what the PSP asks for it, {MINOR}")] = None,
    fee_returned: Annotated[int | None, typer.Option(min=0, help="what of that it gives back, where it is won")] = None,
    reason: Annotated[str | None, typer.Option(help="default: fraudulent")] = None,
    due_by: Annotated[str | None, typer.Option(metavar="TIME", help="until when evidence may be handed in")] = None,
    psp: OnePsp = None,
    as_json: AsJson = False,
) -> None:
    """Have a PSP open a dispute about a captured order, or move it on; it tells of it by webhook."""
    asked = {
        "subject": subject,
        "psp": psp,
        "status": status,
        "stage": stage,
        "amount": amount,
        "fee": fee,
        "fee_returned": fee_returned,
        "reason": reason,
        "due_by": None if due_by is None else _seconds(due_by),
    }
    told = call("POST", "/control/disputes", {name: value for name, value in asked.items() if value is not None})
    if as_json:
        _print_json(told)
        return
    _show(("psp", "id", "order", "stage", "status", "amount", "currency", "fee", "reason", "due_by"), [told])
    note(MINOR_UNITS)


@app.command()
def reverse(
    subject: SubjectName,
    *,
    op: Annotated[str, typer.Option("--op", help="capture (of an automatic charge: the charge) or refund")] = "capture",
    again: Annotated[bool, typer.Option("--again", help="do what was taken back, or declined, after all")] = False,
    psp: OnePsp = None,
    as_json: AsJson = False,
) -> None:
    """Have a PSP take a capture or a refund back that it has done; it tells of it by webhook."""
    told = call(
        "POST", "/control/reverse", {"subject": subject, "op": op, "again": again, **({"psp": psp} if psp else {})}
    )
    if as_json:
        _print_json(told)
        return
    _show(("psp", "op", "id", "order", "reference", "amount", "currency", "status"), [{"op": "charge", **told}])
    note(MINOR_UNITS)


@app.command(name="next")
def next_(
    subject: SubjectName,
    fault: Annotated[str, typer.Argument(metavar="FAULT", help="as the options of `tally sim faults`: 500_charged, …")],
    op: Annotated[
        str, typer.Option("--op", help="charge, capture, void, refund, page, transfer, file or line")
    ] = "charge",
    as_json: AsJson = False,
) -> None:
    """Have the next operation of that kind on an order, or transfer or bank file's line of a pay-out, fail, once. Of files
    (--op file) the subject is a MsgId, or `bank`: whatever file comes next.
    """
    told = call("POST", "/control/next", {"op": op, "subject": subject, "fault": fault})
    if as_json:
        _print_json(told)
        return
    _show(("op", "subject", "fault"), told["planned"])


@app.command()
def settle(
    *,
    psp: Annotated[str | None, typer.Option("--psp", help="only this one's files: northpay or southpay")] = None,
    date: Annotated[str | None, typer.Option(metavar="DAY", help="default: today by the stack's clock")] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="adyen, stripe, paypal, checkoutcom, native, or another one of docs/psp.md",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="default: settlements/DAY in the simulator's folder")
    ] = None,
    terms: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON: what PSPs charge from this day on")
    ] = None,
    plant: Annotated[
        list[str] | None, typer.Option(metavar="FAULT[=COUNT]", help="wrong_amount, missing_row=3, … (docs/psp.md)")
    ] = None,
    seed: Annotated[int, typer.Option(help="another one plants elsewhere")] = 0,
    as_json: AsJson = False,
) -> None:
    """Settle what PSPs have not settled up to a day; write their reports and the bank's statement. A day that is settled
    is written again, the same. What is planted, and what must be found of it, is told in a file beside --out.
    """
    from operations.cli.sim_files import write_files, write_planted

    asked = {"date": date, "terms": None if terms is None else _json_of(terms)}
    if plant:
        asked |= {"plant": plant, "psp": psp, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    told = call("POST", "/control/settle", given, SETTLING_TIMEOUT_S)
    query = {"date": told["date"], **({"psp": psp} if psp else {}), **({"format": format_} if format_ else {})}
    files = call("GET", f"/control/settlements?{urlencode(query)}")["files"]
    folder = out or _settlements_folder(told["date"])
    told["files"] = [str(path) for path in write_files(_bytes, files, query, folder)]
    if told["planted"]:
        told["planted_file"] = str(write_planted(told["planted"], told["date"], folder))
    if as_json:
        _print_json(told)
        return
    say(*told["files"])
    if told["planted"]:
        note(f"{len(told['planted'])} faults are planted: {told['planted_file']}")
    note(f"{told['date']}: what happened from {told['until']} on comes with the next day")


def _json_of(file: Path) -> object:
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise typer.BadParameter(f"{file} is not JSON: {error}", param_hint="--terms") from None


def _settlements_folder(day: str) -> Path:
    from operations.stack.settings import load_settings

    return Home(load_settings().home).simulator / "settlements" / day


def _show(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    from operations.cli.tables import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
    table.show()


def _seconds(text: str) -> int:
    """Errors: typer.BadParameter."""
    try:
        return int(moment(text).timestamp())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--due-by") from None


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
    """ "500_charged 0.1, refund declined 0.2" """
    kinds = [("", faults), *((f"{op} ", rates) for op, rates in faults.get("operations", {}).items())]
    told = [
        f"{kind}{name} {value:g}"
        for kind, rates in kinds
        for name, value in rates.items()
        if value and name not in ("down", "operations")
    ]
    return ", ".join(told) or "none"


def _print_json(value: object) -> None:
    say_json(value)


def simulator_url() -> str:
    """Where the simulator is: the environment, else the running stack. Errors: NoStack."""
    from operations.stack.settings import load_settings

    found = os.environ.get(URL_VARIABLE) or read_json(Home(load_settings().home).state).get("simulator_url")
    if not found:
        raise NoStack
    return str(found).rstrip("/")


def call(method: str, path: str, body: object = None, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Errors: StackError with the simulator's reason or where there is none, ConnectionError."""
    answer = _asked(method, path, None if body is None else json.dumps(body).encode(), timeout_s)
    try:
        told: dict[str, Any] = answer.json()
        return told
    except ValueError as error:
        raise _silent(error) from None


def _bytes(path: str) -> bytes:
    """Errors: as `call`."""
    return _asked("GET", path, None, SETTLING_TIMEOUT_S).body


def _asked(method: str, path: str, body: bytes | None, timeout_s: float) -> HttpAnswer:
    url = simulator_url() + path
    try:
        answer = http_request(method, url, body, {"Content-Type": "application/json"}, timeout_s=timeout_s)
    except (OSError, ValueError) as error:
        raise _silent(error) from None
    if answer.status >= 400:
        raise StackError(_reason(answer))
    return answer


def _silent(error: Exception) -> ConnectionError:
    return ConnectionError(f"the simulator at {simulator_url()} does not answer: {error}")


def _reason(answer: HttpAnswer) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"the simulator answered {answer.status}"
