"""`tally sellers …`: who is paid on what terms; of all owners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.letters.choosing import Actor, shell_user
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from producers.doors.sellers import Changed, Edit
    from topics.settings import Settings

app = typer.Typer(help="Sellers: their terms, and who changed what.", no_args_is_help=True)

SellerId = Annotated[str, typer.Argument(metavar="SELLER", help="the seller's account")]
Why = Annotated[str | None, typer.Option("--reason", help="why; kept in the history")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
RULES = "none, proportional or full"


@app.command("list")
def list_(
    owner: Annotated[str | None, typer.Option(help="of one upstream service")] = None,
    state: Annotated[str | None, typer.Option(help="active, frozen or closed")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="at most so many")] = 50,
    as_json: AsJson = False,
) -> None:
    """Sellers by their account."""
    from operations.cli.cut import cut
    from operations.stack.running import current_settings

    settings = current_settings()
    rows = _rows(
        settings,
        "WHERE (%s::text IS NULL OR owner = %s) AND (%s::text IS NULL OR terms ->> 'state' = %s)"
        " ORDER BY seller_account LIMIT %s",
        [owner, owner, state, state, limit + 1],
    )
    found = cut(rows, limit, "--limit")
    if as_json:
        say_json({"sellers": found})
    elif found:
        _print(found)
    else:
        note("no such sellers")


@app.command()
def show(seller_account: SellerId, as_json: AsJson = False) -> None:
    """One seller's terms, and every change of them, the newest first."""
    from operations.stack.running import current_settings
    from topics.runtime.shape.reading import read

    settings = current_settings()
    rows = _rows(settings, "WHERE seller_account = %s", [seller_account])
    if not rows:
        raise _failed(f"{seller_account} is no registered seller")
    history = read(
        settings,
        "doors",
        "SELECT revision, changed_by, reason, at, before, after FROM seller_history_view WHERE seller_account = %s"
        " ORDER BY revision DESC",
        [seller_account],
    )
    if as_json:
        say_json(rows[0] | {"history": [_line(row) for row in history]})
        return
    _print(rows)
    for row in history:
        _say_line(_line(row))


@app.command()
def why(seller_account: SellerId, as_json: AsJson = False) -> None:
    """Why a seller is paid out or not: each cent's reason, until when, and whose turn it is."""
    from operations.cli.why import explained, print_explained
    from operations.stack.running import current_settings

    found = explained(current_settings(), seller_account)
    if found is None:
        raise _failed(f"{seller_account} is no registered seller, and has no wallet")
    if as_json:
        say_json({"seller_account": seller_account, "currencies": found})
    elif found:
        print_explained(found)
    else:
        note(f"{seller_account} has no wallet yet: one is opened by the first captured payment")


@app.command()
def put(
    seller_account: SellerId,
    owner: Annotated[str | None, typer.Option(help="registers the seller for this upstream service")] = None,
    name: Annotated[str | None, typer.Option(help="kept at the doors alone")] = None,
    country: Annotated[str | None, typer.Option(help="two capital letters")] = None,
    state: Annotated[str | None, typer.Option(help="active, frozen or closed")] = None,
    hold_days: Annotated[int | None, typer.Option(help="how long a capture's money stays pending")] = None,
    reserve: Annotated[
        str | None, typer.Option(metavar="PERCENT:DAYS", help="kept back longer: 10:90; or none")
    ] = None,
    fee: Annotated[str | None, typer.Option(metavar="PERCENT", help="of orders that name no fee: 2.9; or none")] = None,
    fixed: Annotated[list[str] | None, typer.Option(metavar="AMOUNT:CURRENCY", help="besides --fee: 0.30:EUR")] = None,
    fee_refund: Annotated[str | None, typer.Option(help=f"of the fee, back with a refund: {RULES}")] = None,
    fee_chargeback: Annotated[str | None, typer.Option(help=f"of the fee, back with a chargeback: {RULES}")] = None,
    dispute_fee_on: Annotated[str | None, typer.Option(help="seller or platform")] = None,
    iban: Annotated[str | None, typer.Option(help="where it is paid out to, with --holder; or none")] = None,
    holder: Annotated[str | None, typer.Option(help="whose account that is")] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CURRENCY[-TO]:EVERY[:DAY]@HH:MM",
            help="EUR:day@06:00, EUR:week:1@06:00, EUR-USD:day@06:00; or none",
        ),
    ] = None,
    file: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            "--file", help="JSON with any of the terms, as by PUT /v1/sellers; - is stdin. Other destinations"
        ),
    ] = None,
    reason: Why = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Register a seller (--owner), or change what is named here; the rest of its terms stays."""
    plain = {
        "name": name,
        "country": country,
        "state": state,
        "hold_days": hold_days,
        "fee_refund": fee_refund,
        "fee_chargeback": fee_chargeback,
        "dispute_fee_on": dispute_fee_on,
    }
    wanted = _read(file) | {field: value for field, value in plain.items() if value is not None}
    if iban is not None:
        wanted["destination"] = None if iban == "none" else {"type": "iban", "iban": iban, "holder": holder}
    if schedule:
        wanted["schedules"] = [] if schedule == ["none"] else [_schedule(each) for each in schedule]
    if reserve is not None:
        wanted["reserve"] = None if reserve == "none" else _reserve(reserve)
    if fee is not None:
        wanted["fee_plan"] = (
            None if fee == "none" else {"percent": fee, "fixed": [_fixed(each) for each in fixed or ()]}
        )
    elif fixed:
        raise typer.BadParameter("--fixed needs --fee: a plan is set as a whole")
    _change(seller_account, owner, wanted, reason, actor, as_json)


@app.command()
def freeze(seller_account: SellerId, reason: Why = None, actor: Actor = None, as_json: AsJson = False) -> None:
    """Nothing is to be paid out to the seller; captures are credited as always."""
    _change(seller_account, None, {"state": "frozen"}, reason, actor, as_json, not_if="closed")


@app.command()
def thaw(seller_account: SellerId, reason: Why = None, actor: Actor = None, as_json: AsJson = False) -> None:
    """The seller is active again."""
    _change(seller_account, None, {"state": "active"}, reason, actor, as_json, not_if="closed")


def _read(file: typer.FileBinaryRead | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        told = json.load(file)
    except ValueError as error:
        raise typer.BadParameter(f"--file: not JSON: {error}") from None
    if not isinstance(told, dict):
        raise typer.BadParameter("--file: no JSON object")
    return told


def _schedule(text: str) -> dict[str, Any]:
    """ "EUR:week:1@06:00" → every Monday; "EUR-USD:day@06:00" → every day, in dollars."""
    when, _, at = text.partition("@")
    currencies, _, period = when.partition(":")
    currency, _, to = currencies.partition("-")
    every, _, day = period.partition(":")
    told = {"currency": currency, "every": every, "at": at} | ({"payout_currency": to} if to else {})
    try:
        return told | {{"week": "weekday", "month": "day"}[every]: int(day)}
    except (KeyError, ValueError):
        if every == "day" and not day:
            return told
        raise typer.BadParameter(
            f"--schedule: {text!r} is no CURRENCY[-TO]:EVERY[:DAY]@HH:MM such as EUR:week:1@06:00"
        ) from None


def _reserve(text: str) -> dict[str, Any]:
    percent, _, days = text.partition(":")
    if not days.isdecimal():
        raise typer.BadParameter(f"--reserve: {text!r} is no PERCENT:DAYS such as 10:90")
    return {"percent": percent, "days": int(days)}


def _fixed(text: str) -> dict[str, str]:
    amount, _, currency = text.partition(":")
    return {"amount": amount, "currency": currency}


def _change(
    seller_account: str,
    owner: str | None,
    wanted: Mapping[str, Any],
    reason: str | None,
    actor: str | None,
    as_json: bool,
    *,
    not_if: str | None = None,
) -> None:
    """Does it once; where it is so already it says that. `not_if`: the state in which it is refused.

    Exits 1 with one line where it cannot be done.
    """
    from operations.cli.door_commands import run_command
    from operations.stack.running import current_settings
    from producers.doors.destinations import Sealing
    from producers.doors.sellers import SellerEdit
    from producers.problems import Problem
    from schemas.ids import NEW_ID, is_new_id

    if not is_new_id(seller_account) or not (owner is None or is_new_id(owner)):
        raise typer.BadParameter(f"an account and an owner are {NEW_ID}")
    by = f"operator {shell_user() if actor is None else actor}"
    try:
        settings, keeps = current_settings(), "destination" not in wanted
        edit = SellerEdit(
            owner, seller_account, _edited(wanted, not_if), by, Sealing(settings), reason, keeps_destination=keeps
        )
        changed = run_command(settings, edit.command())
    except Problem as problem:
        unknown = f"{seller_account} is no registered seller; `tally sellers put --owner` registers one"
        raise _failed(unknown if problem.code == "not_found" else problem.detail) from None
    _tell(changed, as_json)


def _edited(wanted: Mapping[str, Any], not_if: str | None) -> Edit:
    """Errors, when it is done: Problem that names the field; `refused`."""
    import orjson

    from producers.bodies import parsed
    from producers.problems import Problem
    from schemas.sellers import SellerRequest

    def change(standing: SellerRequest) -> SellerRequest:
        if standing.state == not_if:
            raise Problem("refused", f"the seller is {not_if}; `tally sellers put --state` opens it again")
        return parsed(SellerRequest, orjson.dumps(standing.model_dump(mode="json") | dict(wanted)))

    return change


def _tell(changed: Changed, as_json: bool) -> None:
    from producers.doors.sellers import changes

    seller = changed.seller
    lines = [] if changed.nothing else changes(changed.before.settings if changed.before else None, seller.settings)
    if as_json:
        told = {"seller_account": seller.seller_account, "owner": seller.owner, "revision": seller.revision}
        say_json(told | {"changes": lines})
        return
    name = f"{seller.seller_account} of {seller.owner}"
    if changed.nothing:
        note(f"{name} is so already, by revision {seller.revision}: nothing is changed")
        return
    done = "is registered" if changed.before is None else "is changed"
    say(f"{name} {done}; revision {seller.revision} holds for orders that are asked for from now on")
    for line in lines:
        say(f"  {_shown(line)}")


def _rows(settings: Settings, where: str, values: list[object]) -> list[dict[str, Any]]:
    """Sellers as the doors have them, with the revision that payments has heard."""
    from topics.runtime.shape.reading import read

    rows = read(
        settings, "doors", f"SELECT seller_account, owner, revision, terms, changed_at FROM seller_view {where}", values
    )
    heard = read(
        settings,
        "payments",
        "SELECT seller_account, max(revision) AS revision FROM seller_view WHERE seller_account = ANY(%s) GROUP BY 1",
        [[row["seller_account"] for row in rows]],
    )
    in_force = {row["seller_account"]: row["revision"] for row in heard}
    return [row | {"in_force": in_force.get(row["seller_account"])} for row in rows]


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    from producers.doors.sellers import changes

    told = {name: row[name] for name in ("revision", "changed_by", "reason", "at")}
    return told | {"changes": changes(row["before"], row["after"])}


def _say_line(line: Mapping[str, Any]) -> None:
    why = f" ({line['reason']})" if line["reason"] else ""
    say(f"{line['at']:%Y-%m-%d %H:%M:%S}  revision {line['revision']} by {line['changed_by']}{why}")
    if not line["changes"]:
        say("  name or country, which are kept at the doors alone")
    for change in line["changes"]:
        say(f"  {_shown(change)}")


def _shown(change: Mapping[str, Any]) -> str:
    before = "" if change["before"] is None else f"{_value(change['before'])} → "
    return f"{change['field']}: {before}{_value(change['after'])}"


def _value(value: Any) -> str:
    """Amounts and shares as they are typed: 2.90 % + 0.30 EUR, 10.00 % for 90 days."""
    match value:
        case {"percent": percent, "days": days}:
            return f"{percent} % for {days} days"
        case {"percent": percent, "fixed": fixed}:
            return " + ".join([f"{percent} %", *(f"{each['amount']} {each['currency']}" for each in fixed)])
        case {"masked": masked, "country": country}:
            return f"{masked} ({country})"
        case [*schedules]:
            return ", ".join(_when(each) for each in schedules)
    return "none" if value is None else str(value)


def _when(schedule: Mapping[str, Any]) -> str:
    """ "EUR in USD every week, on day 1, at 06:00, at least 25.00"."""
    to = f" in {schedule['payout_currency']}" if "payout_currency" in schedule else ""
    on = schedule.get("weekday", schedule.get("day"))
    told = [
        f"{schedule['currency']}{to} every {schedule['every']}",
        "" if on is None else f"on day {on}",
        f"at {schedule['at']}",
    ]
    told += [f"at least {schedule['minimum']}"] if "minimum" in schedule else []
    told += [f"{schedule['keep']} stays"] if "keep" in schedule else []
    return ", ".join(part for part in told if part)


def _print(found: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table("seller", "owner", "state", "hold days", "reserve", "fee", "paid out to", "revision", "in force")
    for one in found:
        terms, in_force = one["terms"], one["in_force"]
        table.add_row(
            one["seller_account"],
            one["owner"],
            terms["state"],
            str(terms.get("hold_days", "")),
            _value(terms["reserve"]) if "reserve" in terms else "",
            _value(terms["fee_plan"]) if "fee_plan" in terms else "",
            _value(terms["destination"]) if "destination" in terms else "",
            str(one["revision"]),
            "not yet" if in_force is None else str(in_force),
        )
    table.show()


def _failed(message: str) -> typer.Exit:
    note(f"tally: {message}")
    return typer.Exit(1)
