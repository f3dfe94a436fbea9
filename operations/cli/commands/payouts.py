"""`tally payouts …`: what is paid out to sellers, of all owners; and asking for it, over the API."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any

import typer

from operations.cli.commands.pay import ASK_EVERY_S, Api, running_api
from operations.cli.letters.choosing import Actor, Reason, failed
from operations.cli.terminal import note, say, say_json

app = typer.Typer(help="What is paid out to sellers; asking for it, and deciding.", no_args_is_help=True)

UNPAID = ("failed", "returned", "refused", "rejected", "cancelled", "expired")
ENDED = ("submitted", "paid", *UNPAID)

PayoutId = Annotated[str, typer.Argument(metavar="PAYOUT", help="pay-out id")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]


@app.command("list")
def list_(
    seller: Annotated[str | None, typer.Option(help="of one seller")] = None,
    status: Annotated[str | None, typer.Option(help="awaiting_approval, on_hold, paid, …")] = None,
    owner: Annotated[str | None, typer.Option(help="of one upstream service")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="at most so many")] = 50,
    as_json: AsJson = False,
) -> None:
    """Pay-outs, newest first."""
    from operations.cli.cut import cut
    from operations.cli.payout_rows import payouts
    from operations.stack.running import current_settings

    where = (
        "WHERE (%s::text IS NULL OR seller_account = %s) AND (%s::text IS NULL OR status = %s)"
        " AND (%s::text IS NULL OR owner = %s) ORDER BY received_at DESC, payout_id DESC LIMIT %s"
    )
    rows = payouts(current_settings(), where, [seller, seller, status, status, owner, owner, limit + 1])
    found = cut(rows, limit, "--limit")
    if as_json:
        say_json({"payouts": found})
    elif found:
        _print(found)
    else:
        note("no such pay-outs")


@app.command()
def show(payout_id: PayoutId, as_json: AsJson = False) -> None:
    """One pay-out: where it goes, its screenings, approvals and releases; `tally show` has all that happened."""
    from operations.cli.payout_rows import whole
    from operations.stack.running import current_settings

    found = whole(current_settings(), payout_id)
    if as_json:
        say_json(found)
        return
    _print([found])
    for line in _lines(found):
        say(line)


@app.command("files")
def files_(
    file_id: Annotated[str | None, typer.Argument(metavar="FILE", help="a file's id: its lines and reports")] = None,
    state: Annotated[str | None, typer.Option(help="closed, delivered, unresolved, …")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="at most so many files, or lines")] = 50,
    as_json: AsJson = False,
) -> None:
    """Files for banks, newest first; or one file, its lines, and what its bank has told of it."""
    from operations.cli.bank_files import file, files, print_file, print_files

    api = running_api()
    found = {"files": files(api, state, limit)} if file_id is None else file(api, file_id, limit)
    if as_json:
        say_json(found)
    elif file_id is None:
        print_files(found["files"])
    else:
        print_file(found)


@app.command()
def statement(
    payout_id: PayoutId,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout")] = False,
    as_json: AsJson = False,
) -> None:
    """What a pay-out is made of: all that has changed what was available since the pay-out before."""
    from operations.cli.statement import found, print_lines, written
    from operations.stack.running import current_settings

    settings = current_settings()
    of = found(settings, payout_id)
    if of is None:
        raise failed(f"tally: there is no pay-out {payout_id} for which anything was reserved")
    if as_csv or as_json:
        say(*written(settings, of, as_csv).splitlines())
    else:
        print_lines(settings, of)


@app.command()
def request(
    seller: Annotated[str, typer.Argument(metavar="SELLER", help="the seller's account")],
    amount: Annotated[str, typer.Option(help="as its currency is written; or all that is available")] = "all",
    currency: Annotated[str, typer.Option(help="ISO 4217")] = "EUR",
    payout_currency: Annotated[
        str | None, typer.Option("--to", help="send it in this currency, at the rate of TALLY_FX")
    ] = None,
    id_: Annotated[str | None, typer.Option("--id", help="ours to choose; the same again is a replay")] = None,
    description: Annotated[str | None, typer.Option(help="kept with the pay-out, and given back")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="stay until it is paid or has ended otherwise")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="seconds to watch at most")] = 60,
    as_json: AsJson = False,
) -> None:
    """Ask that a seller's money go to its destination. Exits 1 where --watch does not see it paid in time."""
    api = running_api()
    body = {
        "payout_id": id_ or f"payout-{secrets.token_hex(4)}",
        "seller_account": seller,
        "amount": amount,
        "currency": currency,
    }
    more = {"description": description, "payout_currency": payout_currency}
    asked = api.call("POST", "/v1/payouts", body | {name: text for name, text in more.items() if text})
    state = _watched(api, asked, timeout) if watch else asked
    if as_json:
        say_json(state)
    elif watch:
        say(f"pay-out {state['payout_id']} · {_standing(state)} · {_amount(state)}")
    else:
        say(state["payout_id"])
        note(f"accepted; `tally show {state['payout_id']}` says where it stands")
    if watch and state["status"] != "paid":
        late = "" if state["status"] in UNPAID else f" after {timeout:g} s at most"
        raise failed(f"tally: {state['payout_id']} is {_standing(state)}{late}")


@app.command()
def cancel(payout_id: PayoutId, actor: Actor = None, as_json: AsJson = False) -> None:
    """Do not send it, if it has not left. Exits 1 where it has."""
    from operations.cli.payout_acts import cancel as do
    from operations.stack.running import current_settings

    _tell(do(current_settings(), payout_id, actor), "cancelled", as_json)


@app.command()
def approve(payout_id: PayoutId, *, reason: Reason, actor: Actor = None, as_json: AsJson = False) -> None:
    """Let it go, as a person who has neither asked for it nor set where it goes. Exits 1 where that does not count."""
    _decide("approved", payout_id, reason, actor, as_json)


@app.command()
def reject(payout_id: PayoutId, *, reason: Reason, actor: Actor = None, as_json: AsJson = False) -> None:
    """Do not let it go. Exits 1 where that does not count."""
    _decide("rejected", payout_id, reason, actor, as_json)


def _decide(decision: Any, payout_id: str, reason: str, actor: str | None, as_json: bool) -> None:
    from operations.cli.payout_acts import decide
    from operations.stack.running import current_settings

    said, state = decide(current_settings(), payout_id, decision, reason, actor)
    if as_json:
        say_json(state | {"decision": said})
    if said["why_not"] is not None:
        raise failed(f"tally: {said['approver']}'s word on {payout_id} does not count: {said['why_not']}")
    if not as_json:
        say(f"{payout_id} is {decision} by {said['approver']}; it is {_standing(state)}")


def _tell(state: dict[str, Any], wanted: str, as_json: bool) -> None:
    if as_json:
        say_json(state)
    if state["status"] != wanted:
        raise failed(f"tally: {state['payout_id']} is {_standing(state)}")
    if not as_json:
        say(f"{state['payout_id']} is {wanted}")


def _watched(api: Api, state: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Each new state on stderr, until it is paid or can come no further."""
    started = time.monotonic()
    while state["status"] not in ("paid", *UNPAID) and time.monotonic() - started < timeout_s:
        time.sleep(ASK_EVERY_S)
        before, state = state, api.call("GET", state["links"]["self"])
        if (before["status"], before["code"]) != (state["status"], state["code"]):
            note(f"{time.monotonic() - started:.1f} s  {_standing(state)}")
    return state


def _standing(state: dict[str, Any]) -> str:
    status: str = state["status"]
    return status + (f" ({state['code']})" if state["code"] else "")


def _amount(state: dict[str, Any]) -> str:
    """And what is sent, where it is converted."""
    amount, to = f"{state['amount']} {state['currency']}", state["payout_currency"]
    return amount if to is None else f"{amount} → {state['target'] or '?'} {to}"


def _lines(found: dict[str, Any]) -> list[str]:
    from operations.cli.payout_turn import turn

    asked = f"asked for by {found['requested_by']}"
    if found["destination_changed_by"]:
        asked += f", to a destination that {found['destination_changed_by']} has set lately"
    lines = [asked, turn(found, found["approvals"])]
    if found["sha256"]:
        lines.append(
            f"approvals: {found['approvals_given']} of {found['approvals_needed']}, of sha256 {found['sha256']}"
        )
    for one in found["screenings"]:
        effect = "" if one["counts"] else " (too late: changed nothing)"
        lines.append(f"{_at(one['decided_at'])}  {one['outcome']} by {one['actor']}: rule {one['rule']}{effect}")
    for one in found["approvals"]:
        effect = f" (does not count: {one['why_not']})" if one["why_not"] else ""
        lines.append(f"{_at(one['at'])}  {one['decision']} by {one['approver']}{effect}: {one['reason']}")
    for one in found["releases"]:
        became = f": {one['outcome']}" + (f" ({one['code']})" if one["code"] else "") if one["outcome"] else ""
        what = f"release {one['release_no']} to {one['provider']}{_converted(found, one)}{became}"
        lines.append(f"{_at(one['released_at'])}  {what}")
    return lines


def _converted(found: dict[str, Any], release: dict[str, Any]) -> str:
    if release["rate"] is None:
        return ""
    sent = f"{release['target']} {found['payout_currency']} at {release['rate']}"
    return f", {sent}: {release['cost']} {found['currency']}, and {release['spread']} {found['currency']} are kept"


def _at(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _print(found: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table("pay-out", "seller", "owner", "amount", "to", "status", "asked (UTC)")
    table.columns[3].justify = "right"
    for one in found:
        table.add_row(
            one["payout_id"],
            one["seller_account"],
            one["owner"],
            _amount(one),
            one["destination_masked"],
            _standing(one),
            f"{one['received_at']:%m-%d %H:%M:%S}",
        )
    table.show()
